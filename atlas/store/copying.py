"""Copying a store to another place: shard by shard, each held against its hash, and gone on with where it stopped.

    Store, place -> the same store there

What is copied follows the law of receipts: bundle, objects, receipt. So a copy that stopped is a store of which less is
done, a store that is built meanwhile may be copied, and a place that holds some of it gets the rest; another copy, or a
build, that writes there at the same time is one attempt more, and the first counts.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from atlas.plans import Plan
from atlas.store import layout
from atlas.store.backends import Backend, backend_at
from atlas.store.bundles import Due, Objects
from atlas.store.logs import LINES
from atlas.store.receipts import Receipt, Stored
from atlas.store.store import Store, first_in

SIDE_BY_SIDE = 8
"""Receipts whose objects are copied at a time: of an object store, each waits for its answer."""

Piece = tuple[list[Stored], Callable[[Objects], object]]
"""Objects that a receipt names, and what puts them in their places in the copy, and then the receipt."""


@dataclass(frozen=True)
class Copied:
    """What was copied."""

    store: Store
    """The copy."""
    objects: int
    """Objects that were written now, of those that receipts name."""
    bytes: int
    damaged: tuple[str, ...]
    """Objects that are missing or not what their receipts say: what these name was left out."""


def copy(source: Store, place: str | Path | Backend, tell: Callable[[int, int], None] = lambda *_: None) -> Copied:
    """Copy a store to `place`, a folder or an address in an object store; `tell` hears how many shards of how many.

    A store of the same network that is there gets what it lacks; no result that is there is replaced. Raises
    `PlanMismatch` where one of another network or of other plans is there, `NotAStore` where other files lie there,
    before anything is written.
    """
    store, plans = _begun(source, backend_at(place)), source.plans()
    store.prepare(plans)
    written, damaged = list[Stored](), list[str]()

    def carry_over(pieces: Iterable[Piece], told: Callable[[int, int], None] = lambda *_: None) -> None:
        found = list(pieces)
        for done, (new, broken) in enumerate(pool.map(partial(_copied, source), found), 1):
            written.extend(new)
            damaged.extend(broken)
            told(done, len(found))

    def alone() -> bool:
        return len(store.plans()) == len(plans)

    with ThreadPoolExecutor(SIDE_BY_SIDE) as pool:
        list(pool.map(partial(_alike, source, store), _small(source, store, alone=alone())))
        # A reduce rests on receipts of shards or on another reduce, and what is derived on all of these.
        carry_over(_shards(source, store, plans), tell)
        for plan in plans:
            carry_over(_reduce(source, store, plan))
        carry_over(_whole(source, store, alone=alone()))
    for plan in plans:
        store.fold(plan)
    return Copied(store, len(written), sum(one.size for one in written), tuple(damaged))


def _small(source: Store, store: Store, *, alone: bool) -> Iterator[str]:
    """Small objects that the copy lacks, or may have otherwise; parts of logs are written once.

    What the last build was told stays where the copy was asked for more than the store.
    """
    yield layout.CLASSES
    if alone or store.backend.get(layout.PIPELINE) is None:
        yield layout.PIPELINE
    yield from source.backend.list(layout.CALIBRATIONS)
    there = set(store.backend.list(layout.LOGS))
    yield from (key for key in source.backend.list(layout.LOGS) if key not in there or not key.endswith(LINES))


def _alike(source: Store, store: Store, key: str) -> None:
    """Make a small object of the copy what it is in the source, unless somebody writes it meanwhile."""
    data, there = source.backend.get(key), store.backend.get(key)
    if data is not None and there != data:
        store.backend.put_if(key, data, there)


def _begun(source: Store, backend: Backend) -> Store:
    """The store in which the copy is made, or goes on."""
    if backend.get(layout.ROOT) is None and first_in(backend) is None:
        backend.put_new(layout.ROOT, source.backend.get(layout.ROOT) or b"")
    return Store.create(backend, source.identity, source.model)


def _shards(source: Store, store: Store, plans: Sequence[Plan]) -> Iterator[Piece]:
    """The shards that the copy lacks."""
    for plan in plans:
        there = store.receipts(plan)
        # What shards wrote for a reduce alone goes once that is done.
        gone = source.dropped(plan)
        for index, receipt in source.receipts(plan).items():
            if index not in there:
                dropped = layout.scratch_objects(plan, index) if index in gone else []
                objects = [one for one in receipt.objects if one.key not in dropped]
                yield objects, partial(store.commit_shard, plan, plan.shard(index), receipt=receipt, dropped=dropped)


def _reduce(source: Store, store: Store, plan: Plan) -> Iterator[Piece]:
    """The reduce of a plan, where the copy lacks it, and has what it read."""
    key = layout.columns_receipt(plan)
    receipt = source.reduced(key) if layout.reduces(plan) else None
    if receipt is not None and not store.columns_done(plan) and store.digest(plan) == receipt.plan:
        yield list(receipt.objects), _putting(store, key, receipt, lambda: store.digest(plan) == receipt.plan)


def _whole(source: Store, store: Store, *, alone: bool) -> Iterator[Piece]:
    """What was written whole: the list of images, neighbours, what is derived; `alone` where the copy has no more."""
    derived = (key for folder in layout.RECEIPTS_OF_DERIVED for key in source.backend.list(folder))
    for key in (layout.LIST, layout.RELATIONS, *derived):
        receipt, there = source.reduced(key), store.reduced(key)
        if receipt is not None and (there is None or (alone and there.plan != receipt.plan)):
            yield list(receipt.objects), _putting(store, key, receipt, partial(_as_it_was, store, key, there))


def _as_it_was(store: Store, key: str, there: Receipt | None) -> bool:
    """Whether nobody has written what lies at `key` since it was looked at."""
    return store.reduced(key) == there


def _putting(store: Store, key: str, receipt: Receipt, current: Due) -> Callable[[Objects], object]:
    """What puts in its place what was written whole."""
    return lambda objects: store.commit_reduced(key, objects, receipt, current)


def _copied(source: Store, piece: Piece) -> tuple[list[Stored], list[str]]:
    """Copy what a receipt names, and the receipt; what was written, or what is damaged."""
    named, put = piece
    objects = {}
    for stored in named:
        data = source.backend.get(stored.key)
        if data is None or hashlib.sha256(data).hexdigest() != stored.sha256:
            return [], [stored.key]
        objects[stored.key] = data
    put(objects)
    return named, []
