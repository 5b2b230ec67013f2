"""What says that a shard is done, and nothing else does.

    (plan, shard, objects, numbers) -> Receipt -> JSON

A receipt is written last, after its data is safe on the disk. It appears whole and once. One that does not
parse, fails its own digest or names another plan counts as absent and may be replaced.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any

from atlas.plans import fingerprint
from atlas.store.seals import Seal, fits, parsed, seal_of, sealed

SHAPE = {
    "plan": str,
    "shard": int,
    "units": [int],
    "numbers": {str: [list]},
    "record": dict,
    "objects": [{"key": str, "size": int, "sha256": str}],
    "holes": ({str: str}, None),
}
"""What is taken for granted of a receipt."""

KEPT = 2**20
"""Bytes of a manifest from which on its receipts are not kept in memory."""
BEGIN, BETWEEN, END = b'{"encoding-type": "manifest", "receipts": [', b", ", b"]}"
"""What stands in a manifest around its receipts."""
DECODER = json.JSONDecoder()


@dataclass(frozen=True)
class Stored:
    """One object a shard wrote."""

    key: str
    size: int
    """Bytes."""
    sha256: str

    @classmethod
    def of(cls, key: str, data: bytes) -> Stored:
        """An object as it is written."""
        return cls(key, len(data), hashlib.sha256(data).hexdigest())

    def to_dict(self) -> dict[str, Any]:
        return {"key": self.key, "size": self.size, "sha256": self.sha256}


@dataclass(frozen=True)
class Receipt:
    """A finished piece of work: one shard of a map stage, or one reduce."""

    plan: str
    """Id of the plan; of a reduce, the digest of the receipts it read."""
    shard: int
    units: tuple[int, int]
    """First unit, and the one after the last."""
    objects: tuple[Stored, ...]
    numbers: dict[str, list[list[float | int | None]]] = field(default_factory=dict, hash=False)
    """Per name a row a unit, a value a variant; None where the number is no number."""
    record: dict[str, Any] = field(default_factory=dict, hash=False)
    """What happened on the way: seconds a phase, host, back-offs. Never compared."""
    holes: dict[int, str] = field(default_factory=dict, hash=False)
    """Units that could not be made and are not in it, each with the reason: `retry` makes the shard again."""

    @property
    def content(self) -> dict[str, Any]:
        """What two receipts of the same work have in common."""
        return {
            "plan": self.plan,
            "shard": self.shard,
            "units": list(self.units),
            "objects": [stored.to_dict() for stored in self.objects],
            "numbers": self.numbers,
        } | ({"holes": {str(unit): reason for unit, reason in self.holes.items()}} if self.holes else {})

    @cached_property
    def proof(self) -> str:
        """A hash of the content."""
        return fingerprint(self.content)

    def to_dict(self) -> dict[str, Any]:
        return sealed(self.content | {"record": self.record})

    def to_bytes(self) -> bytes:
        return json.dumps(self.to_dict(), allow_nan=False).encode()

    @classmethod
    def parse(cls, data: bytes | None) -> Receipt | None:
        """The receipt in `data`; None where it is torn, altered or no receipt at all."""
        try:
            return cls.from_dict(parsed(data))
        except ValueError:
            return None

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Receipt:
        """The receipt that `to_dict` wrote. Raises ValueError where its digest does not fit."""
        if seal_of(data) is not Seal.WHOLE or not fits(data, SHAPE):
            raise ValueError("the receipt's digest does not fit its content")
        objects = tuple(Stored(one["key"], one["size"], one["sha256"]) for one in data["objects"])
        if any(key.startswith("/") or ".." in key.split("/") for key in (stored.key for stored in objects)):
            raise ValueError("the receipt names an object outside of its store")
        if len(data["units"]) != 2:
            raise ValueError("the receipt does not say what it is of")
        first, after = data["units"]
        holes = {int(unit): reason for unit, reason in (data.get("holes") or {}).items()}
        return cls(data["plan"], data["shard"], (first, after), objects, data["numbers"], data["record"], holes)


def digest_of(receipts: Iterable[Receipt]) -> str:
    """What a reduce names as its plan: a hash of the receipts it reads, in the order of their shards."""
    return digest_of_proofs({receipt.shard: receipt.proof for receipt in receipts})


def digest_of_proofs(proofs: Mapping[int, str]) -> str:
    """The same, of the proofs of receipts by their shards."""
    return fingerprint([proofs[shard] for shard in sorted(proofs)])


def fold(receipts: Iterable[Receipt]) -> bytes:
    """The manifest of a finished layer."""
    return manifest_of({receipt.shard: receipt.to_bytes() for receipt in receipts})


def manifest_of(written: Mapping[int, bytes]) -> bytes:
    """The same, of receipts as they are written, by their shards."""
    return BEGIN + BETWEEN.join(written[shard] for shard in sorted(written)) + END


def unfold(data: bytes | None) -> Iterable[Receipt]:
    """The receipts in a manifest; those that are torn are left out, and all of them where it does not parse.

    They are proven once for the same bytes, unless there are many: a reader asks for them again and again. Of many, one
    at a time is in memory.
    """
    return _unfolded(data) if len(data or b"") < KEPT else _whole_ones(data)


@lru_cache(maxsize=32)
def _unfolded(data: bytes | None) -> tuple[Receipt, ...]:
    return tuple(_whole_ones(data))


def _whole_ones(data: bytes | None) -> Iterator[Receipt]:
    for row in rows_of(data):
        with suppress(ValueError):
            yield Receipt.from_dict(row)


def rows_of(data: bytes | None) -> Iterator[Any]:
    """What stands in a manifest, whole or not; nothing where it does not parse."""
    try:
        for _ in _rows(data or b""):
            pass
    except (ValueError, RecursionError):
        return
    yield from _rows(data or b"")


def _rows(data: bytes) -> Iterator[Any]:
    """The same, one at a time. Raises ValueError where it does not parse, maybe after some."""
    if not data.startswith(BEGIN + b"{"):  # it is empty, or somebody else has written it
        manifest = parsed(data)
        yield from manifest["receipts"] if fits(manifest, {"receipts": list}) else ()
        return
    text, at, between = data.decode(), len(BEGIN), BETWEEN.decode()
    while True:
        row, at = DECODER.raw_decode(text, at)
        yield row
        if not text.startswith(between, at):
            break
        at += len(between)
    if text[at:].rstrip() != END.decode():
        raise ValueError("the manifest does not end as one does")
