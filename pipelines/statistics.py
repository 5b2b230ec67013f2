"""The reduce of a layer's statistics: what shards of images left behind, merged in their order.

partial [shards,c,F], attribution [r,c] -> mean, ..., histogram, strongest images, classes -> one receipt
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from atlas.errors import StoreError
from atlas.plan import IMAGES, Plan
from atlas.store import Receipt, Store, digest_of
from atlas.store.layout import CLASSES
from pipelines.events import LayerDone

Floats = np.ndarray[Any, np.dtype[np.float32]]
Integers = np.ndarray[Any, np.dtype[np.int32]]


def reduce(store: Store, plan: Plan) -> LayerDone:
    """Write a layer's statistics from the receipts that are there, then fold a whole layer's."""
    receipts = store.receipts(plan)
    if not store.columns_done(plan):
        _merge(store, plan, receipts)
    store.fold(plan)
    return LayerDone(plan, sum(receipt.units[1] - receipt.units[0] for receipt in receipts.values()))


def _merge(store: Store, plan: Plan, receipts: dict[int, Receipt]) -> None:
    """Write what the shards of `receipts` left behind as the layer's columns.

    Raises `StoreError`, and forgets the shards that are to be made again, where that is gone.
    """
    columns: dict[str, np.ndarray[Any, Any]] = {}
    try:
        if not store.dropped(plan):
            columns = _columns(store, plan, sorted(receipts))
    except StoreError:
        if not store.dropped(plan):
            raise
    dropped = store.dropped(plan)  # once more: what went meanwhile may have been read as nothing
    if not dropped:
        stored = store.write_whole(plan, "reduce", columns)
        store.put_columns_receipt(plan, Receipt(digest_of(receipts.values()), 0, (0, plan.total), tuple(stored)))
    elif not store.columns_done(plan):  # else another driver merged and dropped it
        store.forget(plan, dropped)
        raise StoreError(
            f"{store}: what {len(dropped)} shards of {plan.layer_name} left to be merged is gone, as it is once it was "
            "merged. Run the same atlas build to collect them anew."
        )


def _columns(store: Store, plan: Plan, shards: list[int]) -> dict[str, np.ndarray[Any, Any]]:
    from atlas.collecting.summary import EDGES, FIELDS, merge, statistics

    parts = (store.read_shard(plan, plan.shard(index), "partial")[0] for index in shards)
    fields = merge(parts)
    found = statistics(fields, signed=bool((fields[:, FIELDS["least"]] < 0).any()))
    columns: dict[str, np.ndarray[Any, Any]] = {
        "seen": np.array([found.images, found.positions], np.int64),
        "edge": EDGES,
        "quantile": found.quantiles,
        "example_value": found.value,
        "example_image": found.image,
        "example_crop": found.crop,
        "example_position": found.position,
    }
    for name in ("mean", "std", "least", "largest", "active_positions", "active_images", "nan", "histogram"):
        columns[name] = getattr(found, name)
    return columns | dict(_classes(store, plan, shards))


def _classes(store: Store, plan: Plan, shards: list[int]) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    """What the layer's units do for which classes: means of their attributions over the reference images of a class."""
    attribution = [store.read_shard(plan, plan.shard(index), "attribution") for index in shards]
    best = _best_classes(store, plan, shards)
    means, counts = class_means(np.concatenate(attribution), best, plan.collection.classes)
    index, value = strongest(means.T, CLASSES)
    yield "class", index
    yield "class_attribution", value
    if plan.collection.classes:
        index, value = strongest(means, CLASSES)
        yield "unit_of_class", index
        yield "unit_attribution", value
        yield "class_images", counts


def _best_classes(store: Store, plan: Plan, shards: list[int]) -> Integers:
    """The highest class of each reference image of `shards`, -1 where there is none."""
    step = plan.collection.step
    rows = [slice(plan.shard(index).start, plan.shard(index).stop) for index in shards]
    return np.concatenate([store.read(f"{IMAGES.name}/class", row)[::step, 0] for row in rows])


def class_means(attribution: Floats, best: Integers, classes: int) -> tuple[Floats, Integers]:
    """Mean attribution [k,c] over the images of each class, NaN where it has none, and how many it has [k].

    attribution [r,c] is towards each image's own highest class, best [r]. Sums in float64, in the images' order.
    """
    sums = np.zeros((classes, attribution.shape[1]))
    known = (best >= 0) & np.isfinite(attribution).all(axis=1)
    np.add.at(sums, best[known], attribution[known].astype(np.float64))
    counts = np.bincount(best[known], minlength=classes).astype(np.int32)
    with np.errstate(invalid="ignore"):
        return (sums / counts[:, None]).astype(np.float32), counts


def strongest(values: Floats, count: int) -> tuple[Integers, Floats]:
    """The `count` highest positive entries of each row: columns int32 and values [n,count]; -1 and NaN for none."""
    index = np.full((len(values), count), -1, np.int32)
    value = np.full((len(values), count), np.nan, np.float32)
    ranked = np.where(values > 0, values, -np.inf)
    order = np.argsort(-ranked, axis=1, kind="stable")[:, :count]
    found = np.take_along_axis(ranked, order, axis=1)
    there = np.isfinite(found)
    index[:, : order.shape[1]] = np.where(there, order, -1)
    value[:, : order.shape[1]] = np.where(there, found, np.nan)
    return index, value
