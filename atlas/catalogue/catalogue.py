"""A catalogue: what a person opens.

    place -> Catalogue -> LayerView -> UnitView -> picture, numbers

>>> cat = atlas.open("demo.atlas")          # doctest: +SKIP
>>> cat["features.11:300"].image            # doctest: +SKIP

Reading needs neither torch nor ray. Nothing is loaded before it is asked for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatchcase
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from atlas.catalogue import notebook
from atlas.catalogue.find import question
from atlas.catalogue.images import Images
from atlas.catalogue.index import read_index
from atlas.catalogue.layer import LayerView
from atlas.catalogue.query import Result, ask
from atlas.catalogue.renamed import renamed
from atlas.catalogue.similar import Similarity, SimilarUnits
from atlas.catalogue.tables import Tables
from atlas.catalogue.unit import UnitView
from atlas.errors import UnknownName
from atlas.store import Backend, Run, Store, runs
from atlas.store.missing import lost
from atlas.units import Unit, class_called
from atlas.words import command, shown


@renamed(like="similar")
class Catalogue:
    """Everything a store knows of one network. Made by `atlas.open`."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.index = read_index(store)

    @property
    def model(self) -> dict[str, Any]:
        """The network: spec, title, input size, hash of its weights, whether they are random."""
        model: dict[str, Any] = self.index["model"]
        return model

    @cached_property
    def layers(self) -> dict[str, LayerView]:
        """The layers that have pictures, by name, in the order the network computes them."""
        return {row["name"]: LayerView(self, row) for row in self.index["layers"]}

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
        unit = self._addressed(str(name))
        if unit.basis != "channel":
            raise UnknownName.among("basis", unit.basis, ["channel"], hint=f"{self.store} has only channels.")
        return self.layer(unit.layer)[unit.index]

    def _addressed(self, text: str) -> Unit:
        """The unit that an address names, or else a layer's name as it is, colons and all, and a number behind it."""
        layer, _, index = text.rpartition(":")
        plain = Unit(layer, int(index)) if layer in self.layers and re.fullmatch("[0-9]+", index) else None
        try:
            unit = Unit.parse(text)
        except UnknownName:
            if plain is None:
                raise
            return plain
        return plain if plain is not None and unit.layer not in self.layers else unit

    @property
    def runs(self) -> list[Run]:
        """The runs of the builds that made it, in the order in which they began: what happened, where the time went."""
        return runs(self.store)

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
        """The units that fit, in `order`, as `objective_peak desc`: the first `top` of them.

        `layer` names layers, or is a glob. Of `ranges` each is a column of the table `units`: a range (low, high),
        either of them None; a list of values; or one value, which may be a glob where it is text. Raises `UnknownName`,
        offering the nearest.
        """
        layers = None if layer is None else self.matching(layer)
        text, values = question(layers, status, order, top, ranges)
        found = self.sql(text, **values)
        return notebook.Listed(self.layers[name][index] for name, index in found if name in self.layers)

    def similar(
        self, unit: str | Unit | UnitView, top: int = 10, layers: str | Sequence[str] | None = None
    ) -> SimilarUnits:
        """The `top` units of any layers, or of `layers` (names or globs), most similar to `unit`.

        Similarity is the cosine of the units' strongest activations on each image of the reference set, standardised
        over it. The first call reads those of all units; they are kept. Raises `UnknownName`.
        """
        if top < 1:
            raise UnknownName(f"top={top}: at least 1.")
        chosen = list(self.layers) if layers is None else self.matching(layers)
        return self._similarity.nearest(self.unit(unit), top, chosen)

    @cached_property
    def _similarity(self) -> Similarity:
        return Similarity(self)

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

    def related(self, number: int, where: str) -> LayerView:
        """The layer that relations call by `number`, as it is stored at `where`. Raises `StoreError` for none."""
        names = self.index.get("relations") or []
        if number >= len(names):
            raise self.store.damaged(where, f"names layer {number}, and there are {len(names)}")
        return self.layers[names[number]]

    def units_of(self, class_: int | str, top: int = 10) -> list[tuple[UnitView, float]]:
        """The units of all layers with the highest attribution to a class (number or name): activation x gradient.

        Raises `UnknownName` for a class that there is none of, or that no image was taken for: nothing is known of it.
        """
        number = self.class_number(class_)
        seen = self._images_of_classes
        if len(seen) and not seen[number]:
            raise UnknownName(
                f"No image was predicted as class {self.label(number) or number}, so its attributions are unknown: "
                f"{self.store} has them for {self.known_classes}."
            )
        found: list[tuple[UnitView, float]] = []
        for view in (view for view in self if view.answers.there):
            units, values = (view.answers.column(name)[number] for name in ("unit_of_class", "unit_attribution"))
            found += [(view[int(unit)], float(value)) for unit, value in zip(units, values, strict=True) if unit >= 0]
        return notebook.Listed(sorted(found, key=lambda one: -one[1])[:top])

    @property
    def known_classes(self) -> str:
        """How many classes have attributions: `12 of 1,000 classes, those that ...`."""
        seen = self._images_of_classes
        return f"{int((seen > 0).sum()):,} of {len(seen):,} classes, those predicted for an image of the reference set"

    @cached_property
    def _images_of_classes(self) -> np.ndarray[Any, Any]:
        """Images of the reference set that were taken for each class, int [k]; empty where there are no classes."""
        views = [view for view in self if view.answers.there]
        if not views or not (self.index["images"] or {"classes": 0})["classes"]:
            return np.zeros(0, np.int32)
        return np.asarray(np.max([view.answers.column("class_images") for view in views], axis=0))

    def class_number(self, class_: int | str) -> int:
        """The number of a class, by name or number. Raises `UnknownName` for one that there is none of."""
        count = (self.index["images"] or {"classes": 0})["classes"]
        if isinstance(class_, str):
            number = class_called(class_, self._labels)
            if number is None:
                raise UnknownName.among("class", class_, self._labels)
            class_ = number
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

    def command(self, options: str) -> str:
        """What adds to this store what is missing: a line to copy into a shell; `options` are quoted already."""
        return f"{command('atlas', 'build', self.model['spec'])} {options} {command('--store', self.store)}"

    def __repr__(self) -> str:
        units = sum(layer.done for layer in self)
        short = "".join(f"; plans/{key} is gone" for key in lost(self.store))
        told = f"{len(self)} layers, {units:,} units, in {self.store}{short}"
        return shown(f"<Catalogue of {self.model['title']}: {told}>")

    def _repr_html_(self) -> str:
        return notebook.catalogue(self)


def open(place: str | Path | Backend) -> Catalogue:  # noqa: A001
    """The catalogue of the store at `place`. Raises `NotAStore` or `StoreTooNew`."""
    return Catalogue(Store.open(place))
