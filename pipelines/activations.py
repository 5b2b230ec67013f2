"""The stage `activations`: vectors at random positions of every crop, and what each says for every class.

    (model, images, plans, shard) -> samples of each layer -> store -> receipts

A map stage over ranges of images. One pass serves every layer that lacks the shard.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.plan import Plan, Shard
from atlas.store import Data, Receipt, Store
from atlas.store.layout import written_by
from atlas.units import SampleStatus, Status
from pipelines.album import Album
from pipelines.events import Advanced, Event, LayerDone, ShardDone, Task

if TYPE_CHECKING:
    from atlas.explain.samples import Samples
    from pipelines.work import Worker


def make(worker: Worker, task: Task, index: int) -> Iterator[Event]:
    """Show a shard of images to the network and store the samples of every plan of the task; receipts last."""
    began, cpu = time.perf_counter(), time.process_time()
    plan, store = task.plans[0], worker.store
    album, found, seconds, width = _collected(worker, task, index)
    yield Advanced(plan.stage, plan.layer_name, len(album))
    split = {"decode": round(album.waited, 3)} | {name: round(took, 3) for name, took in seconds.items()}
    took = {"seconds": {"all": round(time.perf_counter() - began, 3)}, "cpu": round(time.process_time() - cpu, 3)}
    record: dict[str, Any] = took | worker.host | ({"backoff": width} if width < plan.numerics.batch else {})
    for number, each in enumerate(task.plans):
        shard = each.shard(index)
        if (receipt := store.receipt(each, shard)) is not None:
            yield ShardDone(shard, {}, receipt.record)
            continue
        stored = store.write_shard(each, shard, columns(each, shard, found[each.layer_name]))
        noted = record | {"pass": split} if number == 0 else record
        store.put_receipt(each, shard, Receipt(each.id, index, (shard.start, shard.stop), tuple(stored), {}, noted))
        yield ShardDone(shard, {}, noted)


def _collected(worker: Worker, task: Task, index: int) -> tuple[Album, dict[str, Samples], dict[str, float], int]:
    """A shard's images, the samples of each layer, seconds by phase, and the width they were shown at.

    Where a device's memory does not hold the plan's width, half of it is tried. The receipt says so: it moves bits.
    """
    from torch import OutOfMemoryError

    from atlas.explain.samples import collect
    from atlas.rendering.host import computing

    plan, width = task.plans[0], task.plans[0].numerics.batch
    layers, first = [each.on for each in task.plans], plan.shard(index).start
    while True:
        album = Album(worker.store, worker.images, plan, index, worker.model.preprocessing)
        settings: dict[str, Any] = {"first": first, "width": width, "device": plan.numerics.device}
        try:
            with computing(plan.numerics):
                found, seconds = collect(worker.model, layers, album.shown(), plan.sampling, **settings)
        except OutOfMemoryError:
            if width == 1:
                raise
            width //= 2
        else:
            return album, found, seconds, width


def columns(plan: Plan, shard: Shard, found: Samples) -> Data:
    """What a shard writes: a row for every sample there could be, absent where its image was not shown."""
    vectors, sampling = found.vectors, plan.sampling
    place = ((vectors.image - shard.start) * sampling.crops + vectors.crop).astype(np.int64) * sampling.positions
    if sampling.positions > 1:  # samples of one crop follow each other
        place += np.arange(len(place)) % sampling.positions
    status = np.where(vectors.status == Status.OK, SampleStatus.OK, SampleStatus.NOT_FINITE)
    values: dict[str, Any] = {
        "vector": vectors.vectors,
        "scale": vectors.scale,
        "image": vectors.image,
        "crop": vectors.crop,
        "position": vectors.position,
        "status": status,
    }
    if found.attribution is not None:
        packed = found.attribution
        values |= {"logit": packed.values, "logit_scale": packed.scale, "logit_class": packed.classes}
    rows = len(shard) * sampling.each
    made = {}
    for name, array in written_by(plan, "shard").items():
        made[name] = np.full((rows, *array.shape[1:]), array.fill, array.dtype)
        if name in values:
            made[name][place] = values[name]
    return made


def reduce(store: Store, plan: Plan) -> LayerDone:
    """Nothing is left to write when all images were shown but the manifest."""
    store.fold(plan)
    shown = sum(receipt.units[1] - receipt.units[0] for receipt in store.receipts(plan).values())
    return LayerDone(plan, shown * plan.sampling.each)
