"""What rests on all layers: the neighbours of every unit, what every image excites, and the tables.

    statistics of all layers -> neighbours, excited units -> one receipt -> Parquet tables

Done again when a layer's statistics came or changed, and only then.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from threadpoolctl import threadpool_limits

from atlas.catalogue import similarity, write_tables
from atlas.plans import SAMPLES, Plan, fingerprint
from atlas.stages import IMAGES, STATISTICS
from atlas.stages.dataset import EXCITED, NEIGHBOURS
from atlas.store import Receipt, Store
from atlas.store.bundles import stored
from atlas.store.layout import RELATIONS, columns_receipt, group_key
from atlas.store.missing import refuse
from atlas.store.prepare import consolidate


def finish(store: Store) -> dict[str, Any]:
    """Write the relations where they are due, and the tables; say how long it took.

    Raises `StoreError` where a plan that they rest on is gone: what is there was right.
    """
    began = time.perf_counter()
    refuse(store, IMAGES.name, STATISTICS.name)
    consolidate(store)
    plans = _collected(store)
    if plans:
        read = digest(store, plans)
        done = store.reduced(RELATIONS)
        if done is None or done.plan != read:
            # A matrix product's last bits depend on how many threads share it: on one, they are the same everywhere.
            with threadpool_limits(1):
                objects = dict(_neighbours(store, plans)) | _excited(store, plans)
            layers = [plan.layer_name for plan in plans]
            receipt = Receipt(read, 0, (0, len(plans)), stored(objects), record={"layers": layers})
            store.commit_reduced(RELATIONS, objects, receipt, lambda: digest(store, _collected(store)) == read)
    write_tables(store)
    return {"seconds": round(time.perf_counter() - began, 3)}


def _collected(store: Store) -> list[Plan]:
    """The plans of the layers whose statistics are there."""
    return [plan for plan in store.plans_of(STATISTICS.name) if store.columns_done(plan)]


def digest(store: Store, plans: list[Plan]) -> str:
    """What the relations name as their plan: a hash of the statistics that they rest on."""
    receipts = (store.reduced(columns_receipt(plan)) for plan in plans)
    return fingerprint([[receipt.plan, receipt.proof] for receipt in receipts if receipt is not None])


def _maxima(store: Store, plan: Plan) -> np.ndarray[Any, Any]:
    """What a layer's channels answered to the reference set; NaN where a shard of images has failed."""
    group = group_key(plan)
    whole = np.full((plan.collection.reference, plan.on.channels), np.nan, np.float32)
    rows = plan.kind.shard // plan.collection.step
    for index in store.receipts(plan):
        at = slice(index * rows, min((index + 1) * rows, len(whole)))
        whole[at] = store.read(f"{group}/maxima", at)
    return whole


def _neighbours(store: Store, plans: list[Plan]) -> Iterator[tuple[str, bytes]]:
    thin = similarity.thinned(plans[0].collection.reference)
    maxima = [_maxima(store, plan)[thin] for plan in plans]
    shown = np.logical_and.reduce([np.isfinite(some).all(axis=1) for some in maxima])
    units = np.concatenate([similarity.vectors(some[shown]) for some in maxima])
    firsts = np.cumsum([0, *(plan.on.channels for plan in plans)])
    for plan, first in zip(plans, firsts, strict=False):
        shape = (plan.on.channels, NEIGHBOURS)
        layer, unit, cosine = np.full(shape, -1, np.int32), np.full(shape, -1, np.int32), np.empty(shape, np.float32)
        mine = units[first : first + plan.on.channels]
        for start, index, values in similarity.nearest(mine, units, NEIGHBOURS, first=int(first)):
            rows, there = slice(start, start + len(index)), index >= 0
            of_layer = np.searchsorted(firsts, index, side="right") - 1
            layer[rows] = np.where(there, of_layer, -1)
            unit[rows] = np.where(there, index - firsts[of_layer], -1)
            cosine[rows] = values
        data = {"neighbour_layer": layer, "neighbour_unit": unit, "neighbour_likeness": cosine}
        yield from store.whole_objects(plan, "relations", data).items()


def _excited(store: Store, plans: list[Plan]) -> dict[str, bytes]:
    """The units that each image excites most: images of the reference set, and those that are somebody's example."""
    (images,) = store.plans_of(IMAGES.name)
    collection = images.collection
    members = np.arange(0, collection.count, collection.step)
    found = [_example_scores(store, plan, number) for number, plan in enumerate(plans)]
    examples = Scored(*map(np.concatenate, zip(*found, strict=True)))
    excited = similarity.Excited.nothing(np.union1d(members, examples.image), EXCITED)
    for number, plan in enumerate(plans):
        excited.add(number, members, similarity.scores(_maxima(store, plan)))
    _add_examples(excited, members, examples)
    spans = [slice(start, min(start + SAMPLES, collection.count)) for start in range(0, collection.count, SAMPLES)]
    columns = {
        "excited_layer": (excited.of(rows).layer for rows in spans),
        "excited_unit": (excited.of(rows).unit for rows in spans),
        "excited_score": (excited.of(rows).score for rows in spans),
    }
    return store.whole_objects(images, "relations", {}, streamed=columns)


class Scored(NamedTuple):
    """Some units' top examples, a column each [m]."""

    layer: np.ndarray[Any, Any]
    image: np.ndarray[Any, Any]
    unit: np.ndarray[Any, Any]
    score: np.ndarray[Any, Any]
    """In standard deviations above the unit's mean, both over the reference set."""


def _example_scores(store: Store, plan: Plan, number: int) -> Scored:
    """The top examples of layer `number`, but for those whose score says nothing."""
    group, maxima = group_key(plan), _maxima(store, plan)
    image, value = store.read(f"{group}/example_image")[:, 0], store.read(f"{group}/example_value")[:, 0]
    answers = maxima[np.isfinite(maxima).all(axis=1)].astype(np.float64)
    score = np.full(value.shape, np.nan)
    if len(answers):
        with np.errstate(invalid="ignore", divide="ignore"):
            score = (value - answers.mean(axis=0)[:, None]) / answers.std(axis=0)[:, None]
    known = (image >= 0) & np.isfinite(score)
    unit, _ = np.nonzero(known)
    return Scored(np.full(len(unit), number), image[known], unit, score[known].astype(np.float32))


def _add_examples(excited: similarity.Excited, members: np.ndarray[Any, Any], found: Scored) -> None:
    """Fill in the images outside of the reference set, each with the units whose example it is."""
    others = ~np.isin(found.image, members)
    layer, image, unit, score = (column[others] for column in found)
    order = np.lexsort((unit, layer, -score, image))
    layer, image, unit, score = layer[order], image[order], unit[order], score[order]
    _, first = np.unique(image, return_index=True)
    rank = np.arange(len(image)) - np.repeat(first, np.diff([*first, len(image)]))
    best = rank < excited.score.shape[1]
    at = np.searchsorted(excited.image, image[best]), rank[best]
    excited.layer[at], excited.unit[at], excited.score[at] = layer[best], unit[best], score[best]
