"""The stage `layout`: where a layer's samples lie on one of its maps.

    activations of a layer, MAP -> xy, status, fitted, quality

One task that makes all of it: a layout knows all of its samples. MAP is `all`, `winners-K` or `strongest-K` for the
samples of class K, or `pair-A-B` for those of two.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.engine.reducing import Receipts, Reduced, required
from atlas.engine.samples import StoredSamples
from atlas.errors import AtlasError
from atlas.plans import Plan, place
from atlas.store import Data, Store
from atlas.store.layout import group_key
from atlas.units import SampleStatus, shown_map

if TYPE_CHECKING:
    from atlas.projection.project import Map
    from atlas.projection.rows import Numbers


def reduce(store: Store, plan: Plan, _: Receipts) -> Reduced:
    """The map of `plan`."""
    data = laid_out(StoredSamples(store, required(store, plan)), plan)
    return Reduced(data, count=int((data["status"] == SampleStatus.OK).sum()))


def laid_out(samples: StoredSamples, plan: Plan) -> Data:
    """The columns of a map: a row for every sample of the layer, those of the map placed."""
    from atlas.projection.project import project
    from atlas.projection.quality import trusted

    recipe = plan.charting.layout
    numbers = members(samples, plan.part[0])
    if not len(numbers):
        raise AtlasError(f"{plan.layer_name}: no activation belongs to the map {shown_map(plan.part[0])}.")
    some = samples.of(numbers)
    vectors = some.vectors
    pair = classes_of(plan.part[0]) if plan.part[0].startswith("pair-") else []
    if pair:
        found = _pair(some, vectors, pair, plan)
    else:
        found = project(vectors, recipe, facing=_faced(samples.store, plan, numbers))
    total = plan.sampling.samples
    xy, status = np.full((total, 2), np.nan, np.float32), np.full(total, SampleStatus.ABSENT, np.uint8)
    xy[numbers], status[numbers] = found.xy, found.status
    fitted = np.zeros(total, np.uint8)
    fitted[numbers[found.fitted]] = 1
    quality = trusted(vectors, found, recipe, dims=1 if pair else 2)
    return {"xy": xy, "status": status, "fitted": fitted, "quality": np.array(quality, np.float32)}


def members(samples: StoredSamples, name: str) -> Numbers:
    """The rising numbers of the samples that are on the map `name`."""
    from atlas.projection.classes import strongest, winners

    classes = samples.plan.sampling.classes
    collected = np.flatnonzero(samples.column("status") != SampleStatus.ABSENT)
    if name == "all":
        return collected
    choose = winners if name.startswith("winners-") else strongest
    found = [choose(samples.attributions, classes, label) for label in classes_of(name)]
    return np.intersect1d(np.unique(np.concatenate(found)), collected)


def classes_of(name: str) -> list[int]:
    """The numbers of the classes that a map is of: none for `all`."""
    return [int(number) for number in re.findall(r"-([0-9]+)", name)]


def _faced(store: Store, plan: Plan, numbers: Numbers) -> Any:
    """Where the samples lie on the map that this one is to face, [m,2]; None where it faces by its own data.

    Samples of two layers belong together by image, crop and draw. Raises `AtlasError` where that map is not there.
    """
    layer = plan.charting.layout.align_to
    if layer in ("", plan.layer_name):
        return None
    other = store.plan(f"{place(plan.stage, layer, ('all',))}.json")
    if other is None or not store.columns_done(other):
        raise AtlasError(f"{plan.layer_name}: align_to={layer}: that layer has no map yet. Build it first.")
    if other.sampling.samples != plan.sampling.samples:
        raise AtlasError(f"{plan.layer_name}: align_to={layer}: the map of that layer has different samples.")
    return store.read(f"{group_key(other)}/xy")[numbers]


def _pair(samples: StoredSamples, vectors: Any, classes: list[int], plan: Plan) -> Map:
    from atlas.projection.classes import pair

    towards, against = (
        np.concatenate([block[:, 0] for block in samples.attributions(label, label + 1)]) for label in classes
    )
    return pair(vectors, towards, against, plan.charting.layout)
