"""Small objects that vouch for themselves, and the one place where JSON of a store is parsed.

    {...} -> {..., digest} -> bytes -> {...}, and whether the digest fits

Everything else in a store has its hash in a receipt. What no receipt names carries its own: the root, plans, the index,
names of classes, calibrations; of logs each object's last line does. Stores of before have no such digests; `verify`
says so, and a repair adds them.
"""

from __future__ import annotations

import json
from enum import Enum
from typing import Any

from atlas.plans import fingerprint

DIGEST = "digest"
"""The field that holds the hash of all others."""


class Seal(Enum):
    """What an object's digest says of it."""

    WHOLE = "whole"
    BROKEN = "broken"
    NONE = "none"
    """It has none: it was written before there were any."""


def parsed(data: bytes | None) -> Any:
    """What JSON says. Raises ValueError where it is none, is nested too deep, or holds a number without end."""
    try:
        return json.loads(data or b"")
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def found(data: bytes | None) -> Any:
    """What JSON says; None where it is none."""
    try:
        return parsed(data)
    except ValueError:
        return None


def attributes_in(group: Any) -> dict[str, Any]:
    """The attributes in a group's parsed metadata; none where it is no metadata."""
    attributes = group.get("attributes") if isinstance(group, dict) else None
    return attributes if isinstance(attributes, dict) else {}


def sealed(value: dict[str, Any]) -> dict[str, Any]:
    """`value` with the hash of what it says."""
    bare = unsealed(value)
    return bare | {DIGEST: fingerprint(bare)}


def unsealed(value: dict[str, Any]) -> dict[str, Any]:
    """`value` without its hash."""
    return {name: told for name, told in value.items() if name != DIGEST}


def seal_of(value: Any) -> Seal:
    """Whether a parsed object says what it said when it was written."""
    if not isinstance(value, dict):
        return Seal.BROKEN
    if DIGEST not in value:
        return Seal.NONE
    try:
        return Seal.WHOLE if value == sealed(value) else Seal.BROKEN
    except (ValueError, RecursionError):  # NaN, which no writer of ours leaves
        return Seal.BROKEN


def fits(value: Any, pattern: Any) -> bool:
    """Whether parsed JSON has the shape that a reader takes for granted.

    A pattern is a type, a tuple of alternatives, `[of every item]`, `{str: of every value}`, or a dict of the fields
    that are needed; fields that may be absent allow None.

    >>> fits({"a": [1, 2]}, {"a": [int], "b": (str, None)}), fits({"a": [1, "2"]}, {"a": [int]})
    (True, False)
    """
    match pattern:
        case None:
            return value is None
        case tuple():
            return any(fits(value, one) for one in pattern)
        case [type() as kind]:  # as below, at once: lists of names and numbers may be long
            return isinstance(value, list) and set(map(type, value)) <= {kind}
        case list():
            return isinstance(value, list) and all(fits(one, pattern[0]) for one in value)
        case dict() if str in pattern:
            return isinstance(value, dict) and all(fits(one, pattern[str]) for one in value.values())
        case dict():
            return isinstance(value, dict) and all(fits(value.get(name), one) for name, one in pattern.items())
    # By its very type: to Python, True is a number.
    return type(value) is pattern
