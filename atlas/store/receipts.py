"""What says that a shard is done, and nothing else does.

    (plan, shard, objects, numbers) -> Receipt -> JSON

A receipt is written last, after its data is safe on the disk. It appears whole and once. One that does not
parse, fails its own digest or names another plan counts as absent and may be replaced.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from atlas.plan import fingerprint


@dataclass(frozen=True)
class Stored:
    """One object a shard wrote."""

    key: str
    size: int
    """Bytes."""
    sha256: str

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

    @property
    def content(self) -> dict[str, Any]:
        """What two receipts of the same work have in common."""
        return {
            "plan": self.plan,
            "shard": self.shard,
            "units": list(self.units),
            "objects": [stored.to_dict() for stored in self.objects],
            "numbers": self.numbers,
        }

    @property
    def proof(self) -> str:
        """A hash of the content."""
        return fingerprint(self.content)

    def to_dict(self) -> dict[str, Any]:
        whole = self.content | {"record": self.record}
        return whole | {"digest": fingerprint(whole)}

    def to_bytes(self) -> bytes:
        return json.dumps(self.to_dict(), allow_nan=False).encode()

    @classmethod
    def parse(cls, data: bytes | None) -> Receipt | None:
        """The receipt in `data`; None where it is torn, altered or no receipt at all."""
        try:
            return cls.from_dict(json.loads(data or b""))
        except (ValueError, KeyError, TypeError, AttributeError):
            return None

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Receipt:
        """The receipt that `to_dict` wrote. Raises ValueError where its digest does not fit."""
        if fingerprint({name: value for name, value in data.items() if name != "digest"}) != data["digest"]:
            raise ValueError("the receipt's digest does not fit its content")
        objects = tuple(Stored(**stored) for stored in data["objects"])
        if any(key.startswith("/") or ".." in key.split("/") for key in (stored.key for stored in objects)):
            raise ValueError("the receipt names an object outside of its store")
        first, after = data["units"]
        return cls(data["plan"], data["shard"], (first, after), objects, data["numbers"], data["record"])


def digest_of(receipts: Iterable[Receipt]) -> str:
    """What a reduce names as its plan: a hash of the receipts it reads, in the order of their shards."""
    return fingerprint([receipt.proof for receipt in sorted(receipts, key=lambda receipt: receipt.shard)])


def fold(receipts: Iterable[Receipt]) -> bytes:
    """The manifest of a finished layer."""
    rows = [receipt.to_dict() for receipt in sorted(receipts, key=lambda receipt: receipt.shard)]
    return json.dumps({"encoding-type": "manifest", "receipts": rows}, allow_nan=False).encode()


def unfold(data: bytes | None) -> list[Receipt]:
    """The receipts in a manifest; those that are torn are left out, and all of them where it does not parse."""
    try:
        rows = json.loads(data or b"")["receipts"]
        found = [Receipt.parse(json.dumps(row).encode()) for row in rows]
    except (ValueError, KeyError, TypeError):
        return []
    return [receipt for receipt in found if receipt is not None]
