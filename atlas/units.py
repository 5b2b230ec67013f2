"""What a network is looked into by: its layers, and the units of a layer.

    Layer   one named activation of a network
    Unit    one thing with a page of its own: LAYER[/BASIS]:INDEX
    Status  what became of a picture; a unit's failure is data
    ImageStatus  what became of an image that was to be shown to the network
    SampleStatus what became of an activation that was to be laid out

>>> Unit.parse("features.11:300")
Unit(layer='features.11', index=300, basis='channel')
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import IntEnum
from typing import Any, Literal, SupportsInt
from urllib.parse import quote, unquote

from atlas.errors import UnknownName

Kind = Literal["conv", "tokens", "linear"]


def status_name(kind: type[IntEnum], code: SupportsInt) -> str:
    """What a status in a store is called; a number that has no name here was altered, or is a newer version's.

    >>> status_name(Status, 0), status_name(Status, 200)
    ('ok', 'unknown-200')
    """
    number = int(code)
    return kind(number).name.lower() if number in kind.__members__.values() else f"unknown-{number}"


class Status(IntEnum):
    """What became of one picture of a unit, as it is stored (uint8)."""

    OK = 0
    UNSTARTED = 1
    """No gradient was found: nothing moved the unit."""
    NAN = 2
    """The network answered with NaN or infinity."""
    RECTIFIED = 3
    """No negative exists: the value is never below zero, and what came before the rectifier is out of reach."""
    ABSENT = 255
    """Not rendered (yet)."""


class Counted(IntEnum):
    """A status of things that are counted in lines for people."""

    @property
    def words(self) -> str:
        """As a line for people counts it: `3 not an image`."""
        return self.name.lower().replace("_", " ")


class ImageStatus(Counted):
    """What became of one image that was to be shown to the network, as it is stored (uint8)."""

    OK = 0
    DUPLICATE = 1
    """The same bytes as an image before it in the list."""
    NOT_AN_IMAGE = 2
    """Empty, or of no format that is read."""
    TRUNCATED = 3
    """Cut short: what came before the cut is not used either."""
    DAMAGED = 4
    """An image by its first bytes, but its decoder gave up."""
    TOO_LARGE = 5
    """More pixels or bytes than are decoded."""
    UNREADABLE = 6
    """The file, folder or data set could not be read."""
    CHANGED = 7
    """No longer what was listed."""
    UNSUPPORTED = 8
    """An image of a kind that is not read: a drawing, bands that are no colours."""
    BESIDE = 9
    """A mask or the like that stands beside the picture of its sample."""
    ABSENT = 255
    """Not looked at (yet)."""


class SampleStatus(Counted):
    """What became of one activation that was to be laid out, as it is stored (uint8)."""

    OK = 0
    NOT_FINITE = 1
    """The network answered with NaN or infinity."""
    ZERO = 2
    """No channel fired, and a layout by angle was asked for: a vector of zeros points nowhere."""
    ABSENT = 255
    """Not collected (yet)."""


def summary(statuses: Mapping[str, int]) -> str:
    """One line that counts images, and what was skipped by its reason, from how many have which status.

    >>> summary({"ok": 5, "truncated": 1, "not_an_image": 2})
    '8 images: 5 used, 3 skipped (2 not an image, 1 truncated)'
    """
    counts = {name: count for name, count in statuses.items() if count}
    total, used = sum(counts.values()), counts.pop("ok", 0)
    told = f"{total:,} image{'' if total == 1 else 's'}"
    if not counts:
        return told
    order = sorted(counts.items(), key=lambda item: -item[1])
    skipped = ", ".join(f"{count:,} {ImageStatus[name.upper()].words}" for name, count in order)
    return f"{told}: {used:,} used, {sum(counts.values()):,} skipped ({skipped})"


@dataclass(frozen=True)
class Layer:
    """One named activation, as found by a dry run of the network at its own input size."""

    name: str
    """Module path; `@2` from a module's second call on, `#i` for item i of a tuple output."""
    kind: Kind
    """`conv` [n,c,h,w] (or [n,h,w,c], see `channels_last`), `tokens` [n,t,c], `linear` [n,c]."""
    channels: int
    size: tuple[int, ...]
    """Spatial size (h, w); the patch grid for tokens where it is known; () for linear layers."""
    stride: float
    """Input pixels a position, along the height; 0 where there are no positions."""
    flops: int
    """Floating point operations that one image costs from the input to here."""
    channels_last: bool = False
    prefix: int = 0
    """Leading tokens that are no patches (class token, registers)."""
    axes: str = ""
    """The order of its axes where `kind` and `channels_last` do not say it; see `layout`."""
    evidence: str = field(default="", compare=False)
    """What established the order of its axes; empty where nobody looked. Never part of a plan's id."""

    @property
    def layout(self) -> str:
        """Its axes in order: n images, c channels, h and w a map's height and width, t a row of tokens.

        >>> Layer("features.3", "conv", 64, (55, 55), 4.0, 0).layout
        'nchw'
        """
        usual = {"conv": "nhwc" if self.channels_last else "nchw", "tokens": "ntc", "linear": "nc"}
        return self.axes or usual[self.kind]

    @property
    def key(self) -> str:
        """The layer's name as one path segment of a store or an address."""
        return encode(self.name)

    def to_dict(self) -> dict[str, Any]:
        """As plans and stores write it: what is unusual alone, and nothing of the evidence."""
        left_out = {"evidence"} | ({"axes"} if not self.axes else set())
        data = {name: value for name, value in asdict(self).items() if name not in left_out}
        return data | {"size": list(self.size)}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Layer:
        return cls(**(data | {"size": tuple(data["size"])}))


@dataclass(frozen=True, order=True)
class Unit:
    """The address of one unit, the same in code, on the command line and in the page.

    What an address needs for itself (`/`, `:` and `%`) is percent-encoded in the layer's name.
    """

    layer: str
    index: int
    basis: str = "channel"

    def __str__(self) -> str:
        basis = "" if self.basis == "channel" else f"/{self.basis}"
        return f"{_spare(self.layer)}{basis}:{self.index}"

    @classmethod
    def parse(cls, text: str) -> Unit:
        """The unit that `text` names. Raises `UnknownName` where it is no LAYER[/BASIS]:INDEX."""
        match = re.fullmatch(r"(?P<layer>[^:/]+)(/(?P<basis>[a-z][a-z0-9_-]*))?:(?P<index>[0-9]+)", text)
        if match is None:
            raise UnknownName(f"{text!r} names no unit: write LAYER:INDEX, as in features.11:300.")
        return cls(unquote(match["layer"]), int(match["index"]), match["basis"] or "channel")


def _spare(name: str) -> str:
    """`name` without the signs that part an address."""
    return name.replace("%", "%25").replace("/", "%2F").replace(":", "%3A")


def encode(name: str) -> str:
    """`name` as one segment of a key: everything but letters, digits and `. _ -` percent-encoded."""
    return quote(name, safe="").replace("~", "%7E")


def decode(segment: str) -> str:
    """The name that `encode` made `segment` of."""
    return unquote(segment)


def class_called(name: str, labels: Sequence[str]) -> int | None:
    """The number of the class called `name`; None where none is. Raises `UnknownName` where several are.

    >>> class_called("crane", ["tench", "crane"])
    1
    """
    numbers = [number for number, label in enumerate(labels) if label == name]
    if len(numbers) > 1:
        named = " and ".join(map(str, numbers))
        raise UnknownName(f"{name!r} names the classes {named}. Say which by its number.")
    return numbers[0] if numbers else None


def shown_map(name: str) -> str:
    """How a stored map of an atlas is called: as the command line says it.

    >>> shown_map("winners-207"), shown_map("all")
    ('class-207', 'all')
    """
    return re.sub("^winners-", "class-", name)


def stored_map(name: str) -> str:
    """The other way round.

    >>> stored_map("class-207"), stored_map("winners-207")
    ('winners-207', 'winners-207')
    """
    return re.sub("^class-", "winners-", name)
