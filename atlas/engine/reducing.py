"""What follows a plan's last shard, or makes all of a stage that has none: the law of receipts once more.

    receipts -> stage's reduce -> Reduced -> arrays and one receipt -> manifest

The receipt names a digest of the receipts that were read, so that it is done again when there are more of them, and
only then: one that arrives while a reduce is under way is not vouched for by it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from atlas.engine.events import LayerDone
from atlas.engine.making import Clock
from atlas.errors import StoreError
from atlas.plans import Plan, columns_of
from atlas.store import Data, Receipt, Store
from atlas.store.bundles import stored
from atlas.store.layout import columns_receipt
from atlas.store.store import Blocks

Receipts = Mapping[int, Receipt]
"""By the index of their shard."""


@dataclass(frozen=True, eq=False)
class Reduced:
    """What a stage's reduce made."""

    data: Data
    """Its arrays, by name."""
    streamed: Mapping[str, Blocks] = field(default_factory=dict)
    """Those that are too large to be held at once."""
    count: int | None = None
    """Of a stage without shards: how many things it made, as cells that are filled; None for the plan's total."""


Reduce = Callable[[Store, Plan, Receipts], Reduced]


def reduced(store: Store, plan: Plan, reduce: Reduce | None) -> LayerDone:
    """Do what follows the last shard of `plan`, where that is due; then fold the receipts of a whole one."""
    clock = Clock()
    while reduce is not None and not store.columns_done(plan):
        _write(store, plan, reduce)  # receipts that come meanwhile make it due once more
    store.fold(plan)
    clock.lap("all")
    return LayerDone(plan, _items(store, plan), round(clock.seconds["all"], 3))


def _write(store: Store, plan: Plan, reduce: Reduce) -> None:
    clock, receipts = Clock(), store.receipts(plan)
    digest = store.digest(plan, receipts)
    # A matrix product's last bits depend on how many threads share it.
    with threadpool_limits(plan.numerics.threads):
        found = _whole(store, plan, receipts, reduce)
        if found is None:
            return
        objects = store.whole_objects(plan, "reduce", found.data, found.streamed)
    objects |= store.standing(plan, "driver")  # what the shards kept to is vouched for with them
    clock.lap("all")
    count = plan.total if found.count is None else found.count
    took = clock.told() if plan.over == "whole" else {}  # of the others their shards' receipts tell
    receipt = Receipt(digest, 0, (0, count), stored(objects), record=took)
    store.commit_reduced(columns_receipt(plan), objects, receipt, lambda: store.digest(plan) == digest)


def _whole(store: Store, plan: Plan, receipts: Receipts, reduce: Reduce) -> Reduced | None:
    """What `reduce` makes; None where another driver has done it and dropped what it was to read.

    Raises `StoreError`, and forgets the shards that are to be made again, where that is gone.
    """
    if not any(array.scratch for array in plan.arrays.values()):
        return reduce(store, plan, receipts)
    found = None
    try:
        if not store.dropped(plan):
            found = reduce(store, plan, receipts)
    except StoreError:
        if not store.dropped(plan):
            raise
    dropped = store.dropped(plan)  # once more: what went meanwhile may have been read as nothing
    if not dropped:
        return found
    if store.columns_done(plan):
        return None
    store.forget(plan, dropped)
    raise StoreError(
        f"{store}: the partial results of {len(dropped)} shards of {plan.layer_name} were deleted after an earlier "
        "merge. Run the same atlas build to collect them again."
    )


def _items(store: Store, plan: Plan) -> int:
    """How much of `plan` is done, in what its stage counts."""
    if plan.over == "whole":
        return filled(store, plan)
    done = sum(store.each_receipt(plan, lambda receipt: receipt.units[1] - receipt.units[0]).values())
    cells = store.before(plan) if plan.over == "cells" else None
    return (done if cells is None else min(done, filled(store, cells))) * plan.kind.results(plan)


def required(store: Store, plan: Plan) -> Plan:
    """The plan that `plan` rests on. Raises `StoreError` where it is gone."""
    before = store.before(plan)
    if before is None:
        stage = "what it rests on" if plan.before is None else f"the {plan.before[0]} that it rests on"
        raise StoreError(f"{store}: of {columns_of(plan)} {stage} is gone. Run the same atlas build to make it anew.")
    return before


def filled(store: Store, plan: Plan) -> int:
    """How much a stage without shards made, as cells that are filled, once that is known; 0 before."""
    receipt = store.reduced(columns_receipt(plan))
    return 0 if receipt is None else receipt.units[1]


def gathered(plan: Plan, receipts: Receipts) -> dict[str, np.ndarray[Any, Any]]:
    """The arrays that the reduce of `plan` writes, by name, with what the shards' receipts carry for them."""
    owned = plan.written_by("reduce").items()
    data = {name: np.full(array.shape, array.fill, array.dtype) for name, array in owned}
    for receipt in receipts.values():
        for name in data.keys() & receipt.numbers.keys():
            rows = data[name][slice(*receipt.units)]
            rows[...] = np.array(receipt.numbers[name], dtype=float).reshape(rows.shape)
    return data
