"""The stage `icons`: a picture of what each cell's direction looks for.

    (model, cells, shard of cells) -> pictures, what the layer answers to them -> store -> receipt
    answers, directions -> how well each picture stands for its cell -> columns

A map stage over the filled cells, through the one renderer. Numbers are measured on the pictures as stored.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.errors import StoreError
from atlas.plan import Plan, Shard
from atlas.recipe import Numerics
from atlas.store import Receipt, Store, as_stored
from atlas.store.layout import arrays, written_by
from atlas.store.schema import group_key
from atlas.units import Status
from pipelines.cells import filled
from pipelines.events import Event, LayerDone, ShardDone, Task, counted
from pipelines.features import Clock, plain, rendered

if TYPE_CHECKING:
    from atlas.models import Prepared
    from atlas.rendering import Aims, Rendered
    from pipelines.work import Worker


def make(worker: Worker, task: Task, index: int) -> Iterator[Event]:
    """Render, measure and store one shard of cells; its receipt last."""
    (plan,), store = task.plans, worker.store
    shard, clock, cpu = plan.shard(index), Clock(), time.process_time()
    prepared, cells = worker.prepared(plan.on, plan.numerics), _cells(store, plan)
    aims = _aims(store, cells, shard)
    units = range(min(len(shard), filled(store, cells) - shard.start))
    found, numerics = yield from rendered(prepared, plan, shard, units, aims=aims)
    clock.lap("render")
    numbers, answer = _measured(prepared, plan, found, units, aims, numerics)
    clock.lap("score")
    if (receipt := store.receipt(plan, shard)) is not None:
        yield ShardDone(shard, counted(plan.stage, receipt), receipt.record)
        return
    stored = store.write_shard(plan, shard, {"image": found.pictures, "answer": _rows(answer, len(shard))})
    clock.lap("write")
    record = {"seconds": clock.seconds, "cpu": round(time.process_time() - cpu, 3), **worker.host}
    if numerics.batch < plan.numerics.batch:
        record["backoff"] = numerics.batch
    span = (shard.start, shard.start + len(units))
    receipt = Receipt(plan.id, shard.index, span, tuple(stored), numbers, record)
    store.put_receipt(plan, shard, receipt)
    yield ShardDone(shard, counted(plan.stage, receipt), record)


def _cells(store: Store, plan: Plan) -> Plan:
    cells = store.before(plan)
    if cells is None:
        raise StoreError(f"{store}: the cells of {plan.layer_name} are gone. Build as before.")
    return cells


def _aims(store: Store, cells: Plan, shard: Shard) -> Aims:
    """What the pictures of a shard look for; their chance is keyed by the map, the grid and the shard."""
    import torch

    from atlas.rendering import Aims

    aim = store.read(f"{group_key(cells)}/aim", slice(shard.start, shard.stop))
    return Aims("/".join(["atlas", *shard.part, str(shard.index)]), torch.from_numpy(aim))


def _measured(
    prepared: Prepared, plan: Plan, found: Rendered, units: range, aims: Aims, numerics: Numerics
) -> tuple[dict[str, Any], np.ndarray[Any, Any]]:
    """The numbers of a shard's pictures as stored, and what the layer answers to them [n,c]."""
    from atlas.rendering import answers, score_pictures

    recipe, some = plan.rendering, slice(0, len(units))
    stored = as_stored(found.pictures[some], recipe.level)
    mean, peak = score_pictures(prepared, stored, units, recipe, numerics, aims)
    status = found.status[some]
    # A network that answers the stored picture with NaN has no number for it.
    status[(status == Status.OK) & ~np.isfinite(mean)] = Status.NAN
    values: dict[str, np.ndarray[Any, Any]] = {"mean": mean, "peak": peak, "status": status}
    if "attempt" in arrays(plan):
        values["attempt"] = found.attempt[some]
    answer = answers(prepared, stored[:, 0], numerics)
    return {name: plain(rows) for name, rows in values.items()}, answer


def _rows(values: np.ndarray[Any, Any], count: int) -> np.ndarray[Any, Any]:
    """`values` [n,c] with rows of nothing up to `count`."""
    found = np.full((count, values.shape[1]), np.nan, np.float32)
    found[: len(values)] = values
    return found


def reduce(store: Store, plan: Plan) -> LayerDone:
    """Write the numbers of a grid's pictures from the receipts that are there, then fold a whole grid's."""
    if not store.columns_done(plan):
        receipts = store.receipts(plan)
        data = {
            name: np.full(array.shape, array.fill, array.dtype) for name, array in written_by(plan, "reduce").items()
        }
        for receipt in receipts.values():
            for name in data.keys() & receipt.numbers.keys():
                data[name][slice(*receipt.units)] = np.array(receipt.numbers[name], dtype=float)
        data |= _standing(store, plan, data)
        stored = store.write_whole(plan, "reduce", data)
        store.put_columns_receipt(plan, Receipt(store.digest(plan), 0, (0, plan.total), tuple(stored)))
    store.fold(plan)
    made = store.receipts(plan).values()
    return LayerDone(plan, sum(receipt.units[1] - receipt.units[0] for receipt in made))


def _standing(store: Store, plan: Plan, data: dict[str, np.ndarray[Any, Any]]) -> dict[str, np.ndarray[Any, Any]]:
    """How each picture stands among those of its grid: `rank` and `above`. A picture that failed ranks last."""
    from threadpoolctl import threadpool_limits

    from atlas.layout.quality import beaten, own_ranks

    made = np.flatnonzero(data["status"][:, 0] != Status.ABSENT)
    answer = np.full((len(made), plan.on.channels), np.nan, np.float32)
    for index in store.receipts(plan):
        shard = plan.shard(index)
        at = (made >= shard.start) & (made < shard.stop)
        answer[at] = store.read_shard(plan, shard, "answer")[made[at] - shard.start]
    answer[data["status"][made, 0] != Status.OK] = np.nan
    direction = store.read(f"{group_key(_cells(store, plan))}/direction")[made]
    with threadpool_limits(plan.numerics.threads):
        data["rank"][made] = own_ranks(answer, direction)
        data["above"][made] = beaten(answer, direction, plan.rendering.seed)
    return {name: data[name] for name in ("rank", "above")}
