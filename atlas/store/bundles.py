"""How the objects of a shard, or of a reduce, and their receipt become part of a store together.

    receipt, objects -> bundle: the first one counts -> objects in their places -> receipt

Attempts at the same work may have different bytes, as those of unlike hardware have, and any of them may freeze before
any write and go on much later. A bundle is a receipt and the objects that it names, all in one object, which is
created, never replaced. The first bundle is what everybody puts in place from then on, whoever made it: an attempt that
died is finished by the next. So:

1. Before there is a receipt, one bundle counts, and all that is written are its objects. What was in their places is
   read first, then it is asked whether the work is still due, then it is replaced where it is still what was read: once
   an object is the bundle's, no write that was decided on before succeeds any more.
2. The receipt follows when all objects are in their places, and is the bundle's.
3. The bundle goes after that. A late attempt may create another; whoever reads one asks for a receipt afterwards, finds
   it, and touches nothing.

So no attempt replaces what a valid receipt names, and what it names is of one attempt. A receipt that is dropped, as a
repair does, begins this anew.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from atlas.store.backends import Backend
from atlas.store.receipts import Receipt, Stored
from atlas.store.seals import fits, found

BUNDLES = "bundles/"
BETWEEN = b"\0"
"""Between a receipt and the keys of what was dropped of it, where that is anything."""

Objects = Mapping[str, bytes]
"""Bytes by the keys of their objects."""
Due = Callable[[], bool]
"""Whether work is still to be done: nobody has, and it is still asked for."""


def stored(objects: Objects) -> tuple[Stored, ...]:
    """What a receipt says of objects."""
    return tuple(Stored.of(key, data) for key, data in objects.items())


def folder_of(receipt: str) -> str:
    """Where the bundles lie that end in the receipt at that key, or in one below it."""
    return f"{BUNDLES}{receipt.removeprefix('receipts/').removesuffix('.json').rstrip('/')}/"


def bundles_of(plan: str) -> tuple[str, str]:
    """Where the bundles lie of the shards of the plan at that key below `plans/`, and of what follows them."""
    columns = f"columns/{plan.removeprefix('features/')}"
    return folder_of(f"receipts/{plan}"), folder_of(f"receipts/{columns}")


def bundle_key(key: str, plan: str) -> str:
    """Where the bundle lies whose receipt is to lie at `key` and names `plan`: work of another plan is another."""
    return folder_of(key) + plan[:16]


@dataclass(frozen=True, eq=False)
class Bundle:
    """A receipt, and the objects that it names."""

    receipt: Receipt
    objects: Objects
    dropped: tuple[str, ...] = ()
    """Keys of objects that the receipt names and that went since, as a copy of an older store finds it."""

    @classmethod
    def of(cls, receipt: Receipt, objects: Objects, dropped: Collection[str] = ()) -> Bundle:
        """The bundle of `objects`, which are all that `receipt` names but for what was `dropped`."""
        kept = [one.key for one in receipt.objects if one.key not in dropped]
        return cls(receipt, {key: objects[key] for key in kept}, tuple(sorted(dropped)))

    def to_bytes(self) -> bytes:
        dropped = [BETWEEN, json.dumps(self.dropped).encode()] if self.dropped else []
        return b"".join([self.receipt.to_bytes(), *dropped, b"\n", *self.objects.values()])

    @classmethod
    def parse(cls, data: bytes | None) -> Bundle | None:
        """The bundle in `data`; None where it is none, or not whole."""
        head, _, rest = (data or b"").partition(b"\n")
        told, between, last = head.partition(BETWEEN)
        receipt, dropped = Receipt.parse(told), found(last) if between else []
        if receipt is None or not fits(dropped, [str]):
            return None
        named, objects, start = tuple(one for one in receipt.objects if one.key not in dropped), {}, 0
        for one in named:
            objects[one.key] = rest[start : start + one.size]
            start += one.size
        return cls.of(receipt, objects, dropped) if stored(objects) == named and start == len(rest) else None


def commit(backend: Backend, key: str, bundle: Bundle, due: Due) -> None:
    """Put the objects and the receipt of `bundle` in place, the receipt at `key`; or those of one that was first.

    Returns once the work is no longer due: then a valid receipt is there, or nobody asks for it any more.
    """
    place = bundle_key(key, bundle.receipt.plan)
    while due():
        first = _first(backend, place, bundle)
        if first is None:
            continue  # it is gone: somebody has finished
        if due() and all(_put(backend, key, data, due) for key, data in first.objects.items()):
            put_receipt(backend, key, first.receipt, due)
        backend.delete(place)


def put_receipt(backend: Backend, key: str, receipt: Receipt, due: Due = lambda: True) -> None:
    """Write a receipt at `key`. The first valid one stays; one that is torn or of another plan is replaced."""
    data = receipt.to_bytes()
    while not backend.put_new(key, data):
        there = backend.get(key)
        first = Receipt.parse(there)
        if (first is not None and first.plan == receipt.plan) or not due():
            return
        if there is not None and backend.put_if(key, data, there):
            return


def _first(backend: Backend, place: str, mine: Bundle) -> Bundle | None:
    """The bundle that counts: `mine` where there was none; None where it is gone again."""
    if backend.put_new(place, mine.to_bytes()):
        return mine
    there = backend.get(place)
    first = Bundle.parse(there)
    if first is None and there is not None and backend.put_if(place, mine.to_bytes(), there):
        return mine  # of what a disk has damaged nothing can be put in place
    return first


def _put(backend: Backend, key: str, data: bytes, due: Due) -> bool:
    """Put an object in its place, whatever lies there; say whether it lies there then, for as long as it is due."""
    while not backend.put_new(key, data):
        there = backend.get(key)
        if there == data:
            return True
        if not due():
            return False
        if there is not None and backend.put_if(key, data, there):
            return True
    return True
