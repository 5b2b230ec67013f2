"""Small made stores with an activation atlas: what its stages write, without a network.

Store -> the same store: activations, layout, cells, patches, icons, tiles of a layer

Everything goes through the real store, receipts and reduces; only activations and pictures are made up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from atlas.attribution.packing import pack
from atlas.attribution.samples import Samples
from atlas.catalogue import write_index
from atlas.dataset.vectors import Vectors
from atlas.engine.making import plain
from atlas.engine.planning import atlases
from atlas.engine.reducing import filled
from atlas.engine.stages import activations
from atlas.engine.work import reduce
from atlas.plans import Plan
from atlas.recipe import Collection, ProjectionRecipe, Recipe, Sampling
from atlas.stages import ACTIVATIONS, ICONS, PATCHES
from atlas.store import Receipt, Store
from atlas.units import Layer, Status
from tests.stores import HOST, NUMERICS, waves, write_shard

CLUSTERS = 5


def chart_into(
    store: Store,
    layer: Layer,
    collection: Collection,
    *,
    positions: int = 8,
    size: int = 16,
    maps: Sequence[str] = ("all",),
    grids: Sequence[int] = (5, 10),
) -> list[Plan]:
    """Give `store` an atlas of `layer`, of activations of the images of `collection`; the plans of it."""
    sampling = atlases.sampled(collection, positions)
    recipe = Recipe.named("cell", size=size)
    layout = ProjectionRecipe(n_neighbors=8)
    planned = atlases.plans(
        store.identity, [layer], sampling, recipe, NUMERICS, width=4, maps=maps, grids=grids, layout=lambda _: layout
    )
    makers = {ACTIVATIONS.name: _show, PATCHES.name: _patch, ICONS.name: _paint}
    store.prepare(planned)
    for plan in planned:
        before = store.before(plan)
        if plan.over == "cells" and before is not None:
            shards = range(-(-filled(store, before) // plan.kind.shard))
            (plan,) = store.prepare([plan.asking(shards)])  # noqa: PLW2901
        for shard in plan.shards:
            makers[plan.stage](store, plan, shard)
        reduce(store, plan)
    write_index(store)
    return planned


def vectors(sampling: Sampling, channels: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """Activations [m,c] about a few directions, and what each says for every class [m,k]; the same every time."""
    chance = np.random.default_rng(0)
    cluster = np.arange(sampling.samples) % CLUSTERS
    middle = chance.gamma(0.5, 1, (CLUSTERS, channels))
    values = np.maximum(middle[cluster] + 0.3 * chance.standard_normal((sampling.samples, channels)), 0)
    said = 0.2 * chance.standard_normal((sampling.samples, sampling.classes))
    said[np.arange(len(said)), cluster % max(sampling.classes, 1)] += 1
    return values.astype(np.float32), said.astype(np.float32)


def _show(store: Store, plan: Plan, shard: Any) -> None:
    sampling = plan.sampling
    rows = slice(shard.start * sampling.each, shard.stop * sampling.each)
    values, said = (found[rows] for found in vectors(sampling, plan.on.channels))
    number = np.arange(len(values), dtype=np.int32)
    made = Vectors(
        values.astype(np.float16),
        np.ones(len(values), np.float32),
        number // sampling.each + shard.start,
        number // sampling.positions % sampling.crops,
        number * 7 % 16,
        np.zeros(len(values), np.uint8),
    )
    found = Samples(made, pack(said) if sampling.classes else None)
    stored = write_shard(store, plan, shard, activations.columns(plan, shard, found))
    receipt = Receipt(plan.id, shard.index, (shard.start, shard.stop), tuple(stored), record=HOST)
    store.put_receipt(shard, receipt)


def _patch(store: Store, plan: Plan, shard: Any) -> None:
    boxes = np.tile(np.array([64, 48, 320, 304], np.float32), (len(shard), 4, 1))
    pictures = np.stack([[waves(row, rank, 96) for rank in range(4)] for row in range(len(shard))])
    data = {"picture": pictures} if plan.sampling.photographs else {}
    stored = write_shard(store, plan, shard, data)
    numbers = {"box": plain(boxes.reshape(len(shard), -1))}
    span = (shard.start, shard.stop)
    store.put_receipt(shard, Receipt(plan.id, shard.index, span, tuple(stored), numbers, HOST))


def _paint(store: Store, plan: Plan, shard: Any) -> None:
    before = store.before(plan)
    assert before is not None
    count = min(filled(store, before) - shard.start, len(shard))
    rows = slice(shard.start, shard.stop)
    direction = store.read(f"layers/{plan.on.key}/atlas/{'/'.join(plan.part)}/direction", rows)
    pictures = np.stack([waves(row, 0, plan.rendering.size) for row in range(len(shard))])[:, None]
    stored = write_shard(store, plan, shard, {"image": pictures, "answer": direction})
    value = np.arange(count, dtype=np.float32)[:, None]
    status = np.where(value == 3, int(Status.UNSTARTED), int(Status.OK))
    numbers = {"mean": plain(value), "peak": plain(2 * value), "status": plain(status), "attempt": plain(status * 0)}
    span = (shard.start, shard.start + count)
    store.put_receipt(shard, Receipt(plan.id, shard.index, span, tuple(stored), numbers, HOST))
