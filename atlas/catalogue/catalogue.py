"""A catalogue: what a person opens.

    place -> Catalogue -> LayerView -> UnitView -> picture, numbers

>>> cat = atlas.open("demo.atlas")          # doctest: +SKIP
>>> cat["features.11:300"].image            # doctest: +SKIP

Reading needs neither torch nor ray. Nothing is loaded before it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np
from PIL import Image

from atlas.catalogue import show
from atlas.catalogue.answers import Answers, ChannelStatistics, Example
from atlas.catalogue.atlases import ALL, Atlas
from atlas.catalogue.door import read_door
from atlas.catalogue.find import question
from atlas.catalogue.images import Images
from atlas.catalogue.like import Alike, Likeness
from atlas.catalogue.query import Result, ask
from atlas.catalogue.tables import Tables
from atlas.errors import StoreError, UnknownName
from atlas.plan import SHARD, Plan
from atlas.recipe import Recipe
from atlas.store import Backend, Store
from atlas.store.schema import features_key
from atlas.units import Layer, Status, Unit

ARRAYS = ("image", "thumb", "mean", "peak", "status", "attempt", "agreement", "spectrum")
"""Arrays of a layer's feature visualizations; the last three only where the recipe asks for them."""


class Catalogue:
    """Everything a store knows of one network. Made by `atlas.open`."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.door = read_door(store)

    @property
    def model(self) -> dict[str, Any]:
        """The network: spec, title, input size, hash of its weights, whether they are random."""
        model: dict[str, Any] = self.door["model"]
        return model

    @cached_property
    def layers(self) -> dict[str, LayerView]:
        """The layers that have pictures, by name, in the order the network computes them."""
        return {row["name"]: LayerView(self, row) for row in self.door["layers"]}

    def __getitem__(self, name: str) -> LayerView | UnitView:
        """The layer `features.11`, or the unit `features.11:300`; `layer` and `unit` say which.

        Raises `UnknownName`, offering the nearest.
        """
        if not isinstance(name, str):
            raise UnknownName(f"There is no {name!r}: ask by name, as features.11 or features.11:300.")
        return self.layer(name) if name in self.layers or ":" not in name else self.unit(name)

    def layer(self, name: str) -> LayerView:
        """The layer called `name`. Raises `UnknownName`, offering the nearest."""
        if name not in self.layers:
            raise UnknownName.among("layer", name, self.layers, hint=f"{self.store} has {len(self)} of them.")
        return self.layers[name]

    def unit(self, name: str | Unit | UnitView) -> UnitView:
        """The unit `name`, as `features.11:300`. Raises `UnknownName`, offering the nearest."""
        if not isinstance(name, str | Unit | UnitView):
            raise UnknownName(f"There is no unit {name!r}: ask by name, as features.11:300.")
        unit = Unit.parse(str(name))
        if unit.basis != "channel":
            raise UnknownName.among("basis", unit.basis, ["channel"], hint=f"{self.store} has only channels.")
        return self.layer(unit.layer)[unit.index]

    @cached_property
    def tables(self) -> Tables:
        """Its tables: units, examples, classes, images, atlas_cells."""
        return Tables(self.store)

    def sql(self, text: str, **values: Any) -> Result:
        """The answer to a question in SQL, in which `$name` stands for one of `values`.

        The tables and what their columns mean: `atlas query STORE`. Raises `QueryError` or `UnknownName`.
        """
        return ask(self.tables, text, values)

    def find(
        self,
        layer: str | Sequence[str] | None = None,
        status: str | Sequence[str] | None = None,
        order: str | None = None,
        top: int | None = None,
        **ranges: Any,
    ) -> list[UnitView]:
        """The units that fit, in `order`, as `peak desc`: the first `top` of them.

        `layer` names layers, or is a glob. Of `ranges` each is a column of the table `units`: a range (low, high),
        either of them None; a list of values; or one value, which may be a glob where it is text. Raises `UnknownName`,
        offering the nearest.
        """
        layers = None if layer is None else self.matching(layer)
        text, values = question(layers, status, order, top, ranges)
        return [self.layers[name][index] for name, index in self.sql(text, **values) if name in self.layers]

    def like(self, unit: str | Unit | UnitView, top: int = 10, layers: str | Sequence[str] | None = None) -> Alike:
        """The `top` units of any layers, or of `layers` (names or globs), that answer images most like `unit`.

        Likeness is the cosine of the units' strongest answers to each image of the reference set, standardised over
        it. The first call reads the answers of all units; they are kept. Raises `UnknownName`.
        """
        if top < 1:
            raise UnknownName(f"top={top}: at least 1.")
        chosen = list(self.layers) if layers is None else self.matching(layers)
        return self._likeness.nearest(self.unit(unit), top, chosen)

    @cached_property
    def _likeness(self) -> Likeness:
        return Likeness(self)

    @cached_property
    def images(self) -> Images:
        """The images that were shown, by number or name: `cat.images["a.jpg"]`."""
        return Images(self)

    def label(self, index: int) -> str | None:
        """The name of a class; None where the store does not say."""
        return self._labels[index] if 0 <= index < len(self._labels) else None

    @cached_property
    def _labels(self) -> list[str]:
        return self.store.labels or []

    def units_of(self, class_: int | str, top: int = 10) -> list[tuple[UnitView, float]]:
        """The units of all layers that work for a class (number or name) most, by activation x gradient.

        Raises `UnknownName` for a class that there is none of.
        """
        number = self.class_number(class_)
        found: list[tuple[UnitView, float]] = []
        for view in (view for view in self if view.answers.there):
            units, values = (view.answers.column(name)[number] for name in ("unit_of_class", "unit_attribution"))
            found += [(view[int(unit)], float(value)) for unit, value in zip(units, values, strict=True) if unit >= 0]
        return sorted(found, key=lambda one: -one[1])[:top]

    def class_number(self, class_: int | str) -> int:
        """The number of a class, by name or number. Raises `UnknownName` for one that there is none of."""
        count = (self.door["images"] or {"classes": 0})["classes"]
        if isinstance(class_, str):
            if class_ not in self._labels:
                raise UnknownName.among("class", class_, self._labels)
            class_ = self._labels.index(class_)
        if not 0 <= class_ < count:
            raise UnknownName(f"There is no class {class_}: {self.store} knows {count} classes.")
        return class_

    def matching(self, layers: str | Sequence[str]) -> list[str]:
        """The names of the layers that names or globs say, in the network's order. Raises `UnknownName`."""
        patterns = [layers] if isinstance(layers, str) else list(layers)
        for pattern in patterns:
            if not any(name == pattern or fnmatchcase(name, pattern) for name in self.layers):
                self.layer(pattern)
        return [
            name for name in self.layers if any(name == pattern or fnmatchcase(name, pattern) for pattern in patterns)
        ]

    def __iter__(self) -> Iterator[LayerView]:
        return iter(self.layers.values())

    def __len__(self) -> int:
        return len(self.layers)

    def __contains__(self, name: str) -> bool:
        return name in self.layers

    def __repr__(self) -> str:
        units = sum(layer.done for layer in self)
        return f"<Catalogue of {self.model['title']}: {len(self)} layers, {units:,} units, in {self.store}>"

    def _repr_html_(self) -> str:
        return show.catalogue(self)


class LayerView:
    """One layer of a catalogue, and the units it has."""

    def __init__(self, catalogue: Catalogue, row: dict[str, Any]) -> None:
        self.catalogue = catalogue
        self.name: str = row["name"]
        self.channels: int = row["channels"]
        features = row.get("features") or {"done": 0, "variants": ()}
        self.done: int = features["done"]
        """Units that have been rendered."""
        self.variants: tuple[str, ...] = tuple(features["variants"])
        self._row = row

    @cached_property
    def layer(self) -> Layer:
        """Kind, channels, spatial size, stride and cost."""
        names = ("name", "kind", "channels", "stride", "flops")
        return Layer(**{name: self._row[name] for name in names}, size=tuple(self._row["size"]))

    def stage(self, name: str) -> dict[str, Any] | None:
        """How much of a stage is there (`features`, `statistics`, `examples`); None where it was never asked for."""
        return self._row.get(name)

    @cached_property
    def answers(self) -> Answers:
        """What images say of the layer's units."""
        return Answers(self)

    @property
    def maps(self) -> dict[str, dict[str, Any]]:
        """How much of each of its activation atlases is there, by the name of its map."""
        return self._row.get("atlases") or {}

    @property
    def atlases(self) -> tuple[str, ...]:
        """The maps of its activations: `all`, and those of a class (`winners-207`) or a pair; see `atlas_of`."""
        return tuple(self.maps)

    @property
    def atlas(self) -> Atlas:
        """Its activation atlas: the map of all its activations. Raises `UnknownName` where there is none."""
        return self.atlas_of(ALL)

    def atlas_of(self, name: str) -> Atlas:
        """Its activation atlas of the map `name`. Raises `UnknownName`, naming what there is and how one is made."""
        if name not in self._atlases:
            raise self._unmapped(name)
        return self._atlases[name]

    @cached_property
    def _atlases(self) -> dict[str, Atlas]:
        return {name: Atlas(self, name) for name in self.maps}

    @property
    def recipe(self) -> Recipe:
        """How the layer's pictures are made. Raises `UnknownName` for no pictures, `StoreError` where it is gone."""
        if not self.variants:
            raise self._unpictured("no pictures")
        return self._plan.rendering

    @cached_property
    def mean(self) -> np.ndarray[Any, Any]:
        """The objective each picture reaches on held-out transforms, float32 [channels,variants]; NaN where none."""
        return self._column("mean")

    @cached_property
    def peak(self) -> np.ndarray[Any, Any]:
        """The strongest position of each picture, float32 [channels,variants]; NaN where none."""
        return self._column("peak")

    @cached_property
    def status(self) -> np.ndarray[Any, Any]:
        """Status codes (`atlas.units.Status`), uint8 [channels,variants]."""
        return self._column("status")

    @cached_property
    def attempt(self) -> np.ndarray[Any, Any]:
        """Which of the recipe's tries each picture is of, from 0, uint8 [channels,variants]."""
        return self._column("attempt") if self.recipe.tries > 1 else np.zeros(self.status.shape, np.uint8)

    @cached_property
    def agreement(self) -> np.ndarray[Any, Any]:
        """How alike the picture of a second seed is to the network, float32 [channels,variants], -1 to 1.

        NaN where there is none, and everywhere where the recipe does not ask for it.
        """
        if not self.recipe.agreement:
            return np.full(self.status.shape, np.nan, np.float32)
        return self._column("agreement")

    @property
    def ratio(self) -> np.ndarray[Any, Any]:
        """`peak` over what the best real image of its sign reaches, float32 [channels,variants]; NaN where none."""
        return self.answers.ratio

    @property
    def silent(self) -> np.ndarray[Any, Any]:
        """Which units never fired on the images that were shown, bool [channels]."""
        return self.answers.silent

    @property
    def units(self) -> list[UnitView]:
        """The units that have been rendered."""
        if not self.variants:
            return []
        return [self[int(index)] for index in np.flatnonzero((self.status != Status.ABSENT).any(axis=1))]

    def sheet(self, variant: str = "positive", *, columns: int = 16) -> Image.Image:
        """A contact sheet of the layer's thumbnails."""
        return show.sheet(self, variant, columns)

    def thumbs(self, variant: str = "positive") -> np.ndarray[Any, Any]:
        """Thumbnails of every channel, uint8 [channels,64,64,3]; black where there is none."""
        return np.asarray(self.array("thumb")[:, self.variant(variant)])

    def variant(self, name: str) -> int:
        """The index of a variant. Raises `UnknownName`."""
        if not self.variants:
            raise self._unpictured(f"no {name} pictures")
        if name not in self.variants:
            raise UnknownName.among("variant", name, self.variants, hint=f"{self.name} has {', '.join(self.variants)}.")
        return self.variants.index(name)

    def array(self, name: str) -> Any:
        """One of the layer's Zarr arrays, unread: `image`, `thumb`, `mean`, `peak`, `status`.

        Also `attempt`, `agreement` and `spectrum` where the recipe asks for them; else raises `StoreError`.
        """
        if name not in ARRAYS:
            raise UnknownName.among("array", name, ARRAYS, hint=f"There are: {', '.join(ARRAYS)}.")
        return self.catalogue.store.array(f"{features_key(self.layer)}/{name}")

    def __getitem__(self, index: SupportsIndex) -> UnitView:
        """The unit of a number. Raises `UnknownName`."""
        if not isinstance(index, SupportsIndex):
            raise UnknownName(f"There is no unit {index!r} of {self.name}: ask by number, or iterate over the layer.")
        if not 0 <= int(index) < self.channels:
            raise UnknownName(
                f"There is no unit '{self.name}:{index}': {self.name} has the units 0 to {self.channels - 1}."
            )
        return UnitView(self, int(index))

    def __len__(self) -> int:
        return self.channels

    def __iter__(self) -> Iterator[UnitView]:
        return (UnitView(self, index) for index in range(self.channels))

    def __repr__(self) -> str:
        collected = ", with statistics" if self.answers.there else ""
        return f"<{self.name}: {self.layer.kind}, {self.done} of {self.channels} units rendered{collected}>"

    def _repr_html_(self) -> str:
        return show.layer(self)

    def _rendered(self, index: int) -> bool:
        """Whether a unit's pictures lie in the store, whatever the columns say: its shard has a receipt."""
        return self.catalogue.store.receipt(self._plan, self._plan.shard(index // SHARD)) is not None

    @cached_property
    def _plan(self) -> Plan:
        store, key = self.catalogue.store, f"features/{self.layer.key}.json"
        plan = store.plan(key)
        if plan is None:
            raise StoreError(f"{store}: plans/{key} is gone. See what else is: atlas verify")
        return plan

    def _column(self, name: str) -> np.ndarray[Any, Any]:
        if not self.variants:
            raise self._unpictured("no pictures")
        return np.asarray(self.array(name)[:])

    def _unmapped(self, name: str) -> UnknownName:
        """Of a layer that has no atlas of that name."""
        if self.maps:
            hint = f"{self.name} has the maps {', '.join(self.maps)}."
            return UnknownName.among("map", name, self.maps, hint=hint)
        others = [view.name for view in self.catalogue if view.maps]
        there = f" {', '.join(others)} {'have' if len(others) > 1 else 'has'} one." if others else ""
        build = f"atlas build {self.catalogue.model['spec']} --images ... --atlas '{self.name}'"
        return UnknownName(f"{self.name} has no activation atlas.{there} Make one: {build}")

    def _unpictured(self, what: str) -> UnknownName:
        """Of a layer that images were shown to and nothing was rendered of."""
        spec = self.catalogue.model["spec"]
        return UnknownName(f"{self.name} has {what} yet. Build them: atlas build {spec} --layers '{self.name}'")


class UnitView:
    """One unit of a catalogue: its pictures and their numbers."""

    def __init__(self, layer: LayerView, index: int) -> None:
        self.layer = layer
        self.index = index
        self.unit = Unit(layer.name, index)

    @property
    def image(self) -> Image.Image:
        """What raises the unit: its feature visualization."""
        return self.picture("positive")

    @property
    def negative(self) -> Image.Image:
        """What lowers it, before the rectifier where there is one."""
        return self.picture("negative")

    @property
    def neuron(self) -> Image.Image:
        """What raises it at the centre position alone."""
        return self.picture("neuron")

    @property
    def diverse(self) -> list[Image.Image]:
        """Pictures that raise it, each in another way; empty where none were asked for."""
        names = [name for name in self.layer.variants if name.startswith("diverse-")]
        return [self.picture(name) for name in sorted(names, key=lambda name: int(name.removeprefix("diverse-")))]

    @property
    def mean(self) -> float:
        """The objective on held-out transforms, of the picture as stored; NaN where there is none."""
        return float(self.layer.mean[self.index, 0]) if self.layer.variants else float("nan")

    @property
    def peak(self) -> float:
        """The strongest position on held-out transforms; NaN where there is no picture."""
        return float(self.layer.peak[self.index, 0]) if self.layer.variants else float("nan")

    @property
    def ratio(self) -> float:
        """`peak` over what the best real image reaches; NaN where none reaches anything, or none was shown."""
        return self.ratio_of("positive")

    def ratio_of(self, variant: str) -> float:
        """The ratio of one of the unit's pictures: of a negative, to the image that lowers it most."""
        layer = self.layer
        return float(layer.ratio[self.index, layer.variant(variant)]) if variant in layer.variants else float("nan")

    @property
    def agreement(self) -> float:
        """How alike the picture of a second seed is to the network, -1 to 1; NaN where nobody asked."""
        return float(self.layer.agreement[self.index, 0])

    @property
    def attempt(self) -> int:
        """Which of several tries the picture is of, from 0."""
        return int(self.layer.attempt[self.index, 0])

    @property
    def status(self) -> str:
        """`ok`, `unstarted`, `nan`, `rectified` or `absent`, of the positive picture; or `silent`.

        A silent unit never fired on the images that were shown (`statistics.images` of them), whatever its picture.
        """
        pictured = self.status_of(self.layer.variants[0]) if self.layer.variants else "absent"
        return "silent" if self.silent and pictured in ("ok", "absent") else pictured

    @property
    def silent(self) -> bool:
        """Whether it never fired on the images that were shown."""
        return bool(self.layer.answers.silent[self.index])

    @property
    def examples(self) -> list[Example]:
        """The images that raise it most, at most nine. Raises `UnknownName` where none were collected."""
        return self.layer.answers.examples(self.index, 0)

    @property
    def bottom(self) -> list[Example]:
        """The images that lower it most, before its rectifier where it has one."""
        return self.layer.answers.examples(self.index, 1)

    @property
    def statistics(self) -> ChannelStatistics:
        """What it answers over all images: mean, quantiles, histogram, ..."""
        return self.layer.answers.statistics(self.index)

    @property
    def classes(self) -> list[tuple[int, str | None, float]]:
        """The classes it works for most: number, name, mean activation x gradient; empty where it works for none."""
        return self.layer.answers.classes(self.index)

    @property
    def neighbours(self) -> list[tuple[UnitView, float]]:
        """The units of any layer that answer the images most alike, with their likeness."""
        return self.layer.answers.neighbours(self.index)

    def status_of(self, variant: str) -> str:
        """The status of one of the unit's pictures."""
        return Status(int(self.layer.status[self.index, self.layer.variant(variant)])).name.lower()

    def picture(self, variant: str) -> Image.Image:
        """One of the unit's pictures.

        Raises `UnknownName` where it has not been rendered, `StoreError` where it is gone or damaged, or where the
        layer's numbers, by which it is known, are not written yet.
        """
        v = self.layer.variant(variant)
        if self.layer.status[self.index, v] == Status.ABSENT:
            raise self._absent(variant)
        path = f"{features_key(self.layer.layer)}/image"
        return Image.fromarray(self.layer.catalogue.store.read(path, slice(self.index, self.index + 1))[0, v])

    def _absent(self, variant: str) -> UnknownName | StoreError:
        """Why there is no picture. The receipts are asked here, where something is missing, and never before."""
        if not self.layer._rendered(self.index):
            model = self.layer.catalogue.model["spec"]
            return UnknownName(f"{self} has no {variant} picture yet. Build it: atlas build {model} --layers '{self}'")
        return StoreError(
            f"{self} is rendered, but the numbers of {self.layer.name} were not written when it was opened: its build "
            f"was still going on, or failed. Open it again, or see: atlas status {self.layer.catalogue.store}"
        )

    def __str__(self) -> str:
        return str(self.unit)

    def __repr__(self) -> str:
        return f"<{self}: {self.status}, mean {self.mean:.4g}, peak {self.peak:.4g}>"

    def _repr_html_(self) -> str:
        return show.unit(self)


def open(place: str | Path | Backend) -> Catalogue:  # noqa: A001
    """The catalogue of the store at `place`. Raises `NotAStore` or `StoreTooNew`."""
    return Catalogue(Store.open(place))
