"""The stage `statistics`: what shards of images left behind of a layer, merged in their order.

partial [shards,c,F], attribution [r,c] -> mean, ..., histogram, strongest images, classes
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from atlas.engine.reducing import Receipts, Reduced
from atlas.engine.stages import images
from atlas.plans import Plan
from atlas.stages import IMAGES
from atlas.stages.dataset import CLASSES
from atlas.store import Store

Floats = np.ndarray[Any, np.dtype[np.float32]]
Integers = np.ndarray[Any, np.dtype[np.int32]]

make = images.make


def reduce(store: Store, plan: Plan, receipts: Receipts) -> Reduced:
    """A layer's statistics."""
    return Reduced(_columns(store, plan, sorted(receipts)))


def _columns(store: Store, plan: Plan, shards: list[int]) -> dict[str, np.ndarray[Any, Any]]:
    from atlas.dataset.summary import merge, statistics

    fields = merge(store.read_shard(plan, plan.shard(index), "partial")[0] for index in shards)
    return statistics(fields) | dict(_classes(store, plan, shards))


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
