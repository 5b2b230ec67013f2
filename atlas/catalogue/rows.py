"""The rows of the tables, as whole columns, a layer (or some thousand images) at a time.

    Store -> Source -> {column: values [n] | one value for all | SQL} of units, examples, classes, images

A column that a chunk leaves out is NULL; what it holds beside columns is there for its SQL.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from atlas.catalogue import derived, numbers
from atlas.catalogue.answers import STORED
from atlas.catalogue.columns import quantile
from atlas.plans import Plan, by_layer
from atlas.recipe import VARIANTS
from atlas.stages import EXAMPLES, FEATURES, IMAGES, STATISTICS
from atlas.stages.dataset import EXTREMES, GUESSES, LEVELS
from atlas.store import Receipt, Store
from atlas.store.layout import LIST, RELATIONS, columns_receipt, group_key
from atlas.store.text import texts
from atlas.units import ImageStatus, Layer, Status, Unit

Values = np.ndarray[Any, Any]
Chunk = dict[str, Any]
"""Columns by name: an array [n], one value that all rows share, or an `Expression`."""


@dataclass(frozen=True)
class Expression:
    """A column as SQL over the others of its chunk: arrays by name, shared values behind a `$`."""

    sql: str


ADDRESS = Expression("""$address || ':' || "index" """)
MOST_SIMILAR = Expression("$addresses[near + 1] || ':' || near_index")

SOME = 1 << 16
"""Images a chunk."""
STATUSES = {int(status): status.name.lower() for status in ImageStatus}
SHARED = {name if name.startswith("active") else f"activation_{name}": array for name, array in STORED.items()}
"""Columns that are arrays of the statistics as they are."""


class Source:
    """What the tables are made of: a store's plans, its layers and images."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.plans = sorted(store.plans(), key=store.place_of)
        self.class_names = store.labels
        self._labels = np.array([*(self.class_names or ()), None], object)
        relations = store.told_of(RELATIONS)
        self.related: list[str] = [] if relations is None else relations.record.get("layers") or []
        """The layers that similar units are numbered by."""

    def labels(self, classes: Values) -> Values:
        """Names, object [...], of class numbers; None where there is no class, or no name of it."""
        last = len(self._labels) - 1
        return self._labels[np.where((classes >= 0) & (classes < last), classes, last)]

    @cached_property
    def layers(self) -> list[LayerSource]:
        """Every layer that anything is planned of, in the network's order."""
        found = by_layer(plan for plan in self.plans if plan.layer is not None)
        return [LayerSource(self.store, plans) for plans in found.values()]

    @cached_property
    def images(self) -> Plan | None:
        """The plan of the images; None where there are none, or their list is not written yet."""
        plan = next((plan for plan in self.plans if plan.stage == IMAGES.name), None)
        listed = self.store.told_of(LIST)
        return plan if plan is not None and listed is not None and listed.plan == plan.id else None

    def paths(self, rows: slice) -> Values:
        """The names of a range of images, object [n]."""
        return np.array(texts(self.store.read("images/path", rows)), object)

    def paths_of(self, images: Values) -> Values:
        """The names of some images, object [m], by their numbers [m]: never those of all at once."""
        numbers, place = np.unique(images, return_inverse=True)
        names = np.empty(len(numbers), object)
        for rows in _spans(0 if self.images is None else self.images.total):
            here = slice(*np.searchsorted(numbers, (rows.start, rows.stop)))
            if here.start < here.stop:
                names[here] = self.paths(rows)[numbers[here] - rows.start]
        return names[place]

    def example_paths(self, images: Values) -> Values:
        """As `paths_of`, of images that are anybody's example: their names are read once for all layers."""
        numbers, names = self._examples
        return names[np.searchsorted(numbers, images)]

    @cached_property
    def _examples(self) -> tuple[Values, Values]:
        """The images that are anybody's example, rising, and their names."""
        layers = [layer for layer in self.layers if layer.has(STATISTICS.name)]
        found = [np.unique(layer.column(STATISTICS.name, "example_image")) for layer in layers]
        numbers = np.unique(np.concatenate([np.zeros(0, np.int32), *found]))
        numbers = numbers[numbers >= 0]
        return numbers, self.paths_of(numbers)


class LayerSource:
    """A layer's columns."""

    def __init__(self, store: Store, plans: Sequence[Plan]) -> None:
        self.store = store
        self.layer: Layer = plans[0].on
        self.plans = {plan.stage: plan for plan in plans if not plan.part}
        self.parts = [plan for plan in plans if plan.part]
        """Of its atlases: each stage of every map and grid."""

    def receipt(self, stage: str) -> Receipt | None:
        """Of the columns of a stage; None where they are not written."""
        plan = self.plans.get(stage)
        return None if plan is None else self.store.told_of(columns_receipt(plan))

    def has(self, stage: str) -> bool:
        """Whether the columns of a stage are written."""
        return self.receipt(stage) is not None

    def column(self, stage: str, name: str) -> Values:
        """An array of a stage, whole. Raises `StoreError` where it is gone."""
        return self.store.read(f"{group_key(self.plans[stage])}/{name}")

    @property
    def common(self) -> Chunk:
        """What the rows of all its units share."""
        layer = self.layer
        shared = {"layer": layer.name, "basis": "channel", "kind": layer.kind}
        return shared | {"unit": ADDRESS, "address": address(layer.name)}


def address(layer: str) -> str:
    """What stands before the colon in the addresses of a layer's units."""
    return str(Unit(layer, 0)).removesuffix(":0")


def units(source: Source) -> Iterator[Chunk]:
    """A row a unit."""
    for layer in source.layers:
        index = np.arange(layer.layer.channels, dtype=np.int32)
        absent = np.full(len(index), Status.ABSENT, np.uint8)
        chunk = layer.common | {"index": index}
        answers = _answers(layer, source) if layer.has(STATISTICS.name) else {}
        best = answers.pop("example_value", None)
        pictures = _pictures(layer, best) if FEATURES.name in layer.plans else {}
        codes = pictures.pop("codes", absent)
        yield chunk | answers | pictures | {"status": derived.statuses(codes, answers.get("dead"))}


def _pictures(layer: LayerSource, best: Values | None) -> Chunk:
    """The numbers of the pictures, and the status `codes` of the positive ones."""
    chunk: Chunk = {}
    variants = layer.plans[FEATURES.name].rendering.variants
    plan = layer.plans[FEATURES.name]
    mean, peak, codes = (numbers.column(layer.store, plan, name) for name in ("mean", "peak", "status"))
    for place, variant in enumerate(variants):
        if variant not in VARIANTS:
            continue
        before = "" if variant == VARIANTS[0] else f"{variant}_"
        chunk[f"{before}objective"], chunk[f"{before}objective_peak"] = mean[:, place], peak[:, place]
        if best is not None:
            chunk[f"{before}ratio"] = derived.ratio(variant, peak[:, place], best)
        if before:
            chunk[f"{before}status"] = derived.statuses(codes[:, place], None)
        else:
            chunk["codes"] = codes[:, place]
            if layer.plans[FEATURES.name].rendering.agreement:
                chunk["agreement"] = numbers.column(layer.store, plan, "agreement")[:, place]
    return chunk


def _answers(layer: LayerSource, source: Source) -> Chunk:
    """The units' activations on the images, with the values of their examples."""

    def column(name: str) -> Values:
        return layer.column(STATISTICS.name, name)

    chunk: Chunk = {name: column(array) for name, array in SHARED.items()}
    chunk["images"], chunk["example_value"] = int(column("seen")[0]), column("example_value")
    if chunk["images"]:
        least, largest = chunk["activation_min"], chunk["activation_max"]
        chunk["dead"] = derived.dead(chunk["example_value"], least, largest)
    chunk |= {quantile(level): values for level, values in zip(LEVELS, column("quantile").T, strict=True)}
    best = column("class")[:, 0]
    chunk |= {
        "class": _or_null(best),
        "label": source.labels(best),
        "attribution": column("class_attribution")[:, 0],
    }
    if layer.layer.name in source.related:
        near = {"near": column("neighbour_layer")[:, 0], "near_index": column("neighbour_unit")[:, 0]}
        chunk |= near | {"most_similar": MOST_SIMILAR, "addresses": [address(name) for name in source.related]}
        chunk["similarity"] = column("neighbour_likeness")[:, 0]
    return chunk


def examples(source: Source) -> Iterator[Chunk]:
    """A row an example: of each unit those at the top, then those at the bottom."""
    for layer in source.layers:
        if not layer.has(STATISTICS.name):
            continue
        image = layer.column(STATISTICS.name, "example_image")
        there = image >= 0
        unit, extreme, rank = (places.astype(np.int32) for places in np.nonzero(there))
        chunk = layer.common | {"index": unit, "rank": rank + 1, "image": image[there]}
        chunk |= {"extreme": np.array(EXTREMES, object)[extreme], "path": source.example_paths(image[there])}
        for name in ("crop", "position", "value"):
            chunk[name] = layer.column(STATISTICS.name, f"example_{name}")[there]
        if layer.has(EXAMPLES.name):
            boxes = layer.column(EXAMPLES.name, "box")[there]
            chunk |= dict(zip(("x0", "y0", "x1", "y1"), boxes.T, strict=True))
        yield chunk


def classes(source: Source) -> Iterator[Chunk]:
    """A row a unit and class of which either is among the other's strongest."""
    for layer in source.layers:
        if not layer.has(STATISTICS.name) or not layer.plans[STATISTICS.name].collection.classes:
            continue
        of_unit = _pairs(*(layer.column(STATISTICS.name, name) for name in ("class", "class_attribution")))
        of_class = _pairs(*(layer.column(STATISTICS.name, name) for name in ("unit_of_class", "unit_attribution")))
        count = layer.plans[STATISTICS.name].collection.classes
        # A pair is known by one number, in the order of units and then of classes.
        keys = of_unit[0] * count + of_unit[1], of_class[1] * count + of_class[0]
        pairs = np.union1d(*keys)
        ranks, attribution = [], np.full(len(pairs), np.nan, np.float32)
        for key, (_, _, rank, value) in zip(keys, (of_unit, of_class), strict=True):
            at = np.searchsorted(pairs, key)
            ranks.append(np.ma.masked_array(np.zeros(len(pairs), np.int32), mask=True))
            ranks[-1][at], attribution[at] = rank + 1, value
        chunk = layer.common | {"index": pairs // count, "class": pairs % count, "attribution": attribution}
        chunk |= {"label": source.labels(pairs % count)}
        yield chunk | {"rank_in_unit": ranks[0], "rank_in_class": ranks[1]}


def _pairs(strongest: Values, attribution: Values) -> tuple[Values, Values, Values, Values]:
    """Rows, entries, ranks and values of what is there in tables [n,8] of entries and values."""
    there = strongest >= 0
    row, rank = np.nonzero(there)
    return row, strongest[there].astype(np.int64), rank.astype(np.int32), attribution[there]


def images(source: Source) -> Iterator[Chunk]:
    """A row an image of the list, looked at or not."""
    plan = source.images
    if plan is None:
        return
    receipts = source.store.told(plan)
    for rows in _spans(plan.total):
        number = np.arange(rows.start, rows.stop, dtype=np.int32)
        hashes = source.store.read("images/sha256", rows)
        sha256 = np.array([row.tobytes().hex() for row in hashes], object)
        chunk: Chunk = {"number": number, "path": source.paths(rows), "sha256": sha256}
        chunk |= _looked_at(source, plan, rows, receipts)
        # One that could not be shown has its row there, and nothing in it.
        yield chunk | {"in_reference": (number % plan.collection.step == 0) & (chunk["status"] == "ok")}


def _looked_at(source: Source, plan: Plan, rows: slice, receipts: Mapping[int, Receipt]) -> Chunk:
    """What the images `rows`, whole shards of them, turned out to be."""
    shards = range(rows.start // plan.kind.shard, -(-rows.stop // plan.kind.shard))
    found: dict[str, Values] = {}
    for name in ("status", "reason", "size", "class", "probability"):
        array = plan.arrays[name]
        found[name] = np.full((rows.stop - rows.start, *array.shape[1:]), array.fill, array.dtype)
        for index in set(shards) & receipts.keys():
            at = array.of(index)
            found[name][at.start - rows.start : at.stop - rows.start] = source.store.read(f"images/{name}", at)
    statuses = np.array([STATUSES.get(code, str(code)) for code in range(256)], object)
    chunk: Chunk = {"status": statuses[found["status"]]}
    unseen = found["status"] != ImageStatus.OK
    for place, name in enumerate(("width", "height")):
        chunk[name] = np.ma.masked_array(found["size"][:, place], mask=unseen)
    chunk["reason"] = np.array([reason or None for reason in texts(found["reason"])], object)
    for rank in range(GUESSES):
        guessed = found["class"][:, rank]
        chunk |= {f"class_{rank + 1}": _or_null(guessed), f"label_{rank + 1}": source.labels(guessed)}
        chunk[f"probability_{rank + 1}"] = found["probability"][:, rank]
    return chunk


def _or_null(numbers: Values) -> Values:
    """Numbers [n], of which those below zero are NULL."""
    return np.ma.masked_less(numbers, 0)


def _spans(total: int) -> Iterator[slice]:
    """`total` images, some at a time."""
    for start in range(0, total, SOME):
        yield slice(start, min(start + SOME, total))
