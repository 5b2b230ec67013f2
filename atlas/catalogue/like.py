"""Units that answer alike, over any layers.

(Catalogue, unit) -> Alike: units with their likeness, and the set of images it rests on
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.catalogue import likeness
from atlas.errors import StoreError, UnknownName
from atlas.store.schema import layer_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from atlas.catalogue.catalogue import Catalogue, LayerView, UnitView


@dataclass(frozen=True)
class Alike:
    """The units most like one; iterate for (unit, likeness) pairs."""

    unit: UnitView
    units: tuple[tuple[UnitView, float], ...]
    """Each with the cosine of standardised answers, at most 1; the most alike first."""
    basis: str
    """The images that it rests on: `1,024 of 40,000 images`."""

    def __iter__(self) -> Iterator[tuple[UnitView, float]]:
        return iter(self.units)

    def __len__(self) -> int:
        return len(self.units)

    def __getitem__(self, index: int) -> tuple[UnitView, float]:
        return self.units[index]

    def __repr__(self) -> str:
        rows = "".join(f"\n  {likeness:.3f}  {unit}" for unit, likeness in self.units)
        return f"most like {self.unit}, by the answers to {self.basis}:{rows}"


class Likeness:
    """All units of a catalogue as vectors of length one. Read when likeness is first asked for, and kept."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._layers = [view for view in catalogue if view.answers.there]
        if not self._layers:
            spec = catalogue.model["spec"]
            raise UnknownName(f"{catalogue.store} has no statistics yet. Collect them: atlas build {spec} --images ...")
        self._firsts = np.cumsum([0, *(view.channels for view in self._layers)])
        self.basis, self._vectors = self._read()
        self._fires = np.asarray(self._vectors.any(axis=1))

    def nearest(self, unit: UnitView, top: int, layers: list[str]) -> Alike:
        """The `top` units of `layers` most like `unit`."""
        names = [view.name for view in self._layers]
        if unit.layer.name not in names:
            raise UnknownName(f"{unit.layer.name} has no statistics yet, so {unit} cannot be compared.")
        own = int(self._firsts[names.index(unit.layer.name)]) + unit.index
        if not self._fires[own]:  # it answers all images the same: nothing is like it
            return Alike(unit, (), self.basis)
        cosines = np.where(self._fires, self._vectors @ self._vectors[own], -np.inf)
        cosines[own] = -np.inf
        for view, first in zip(self._layers, self._firsts, strict=False):
            if view.name not in layers:
                cosines[first : first + view.channels] = -np.inf
        (index,), (value,) = likeness.best(cosines[None], top)
        found = [(self._view(int(at)), float(one)) for at, one in zip(index, value, strict=True) if at >= 0]
        return Alike(unit, tuple(found), self.basis)

    def _view(self, place: int) -> UnitView:
        layer = int(np.searchsorted(self._firsts, place, side="right")) - 1
        return self._layers[layer][place - int(self._firsts[layer])]

    def _read(self) -> tuple[str, np.ndarray[Any, Any]]:
        images = self._catalogue.door["images"]
        thin = likeness.thinned(images["reference"])
        maxima = [self._maxima(view)[thin] for view in self._layers]
        shown = np.logical_and.reduce([np.isfinite(some).all(axis=1) for some in maxima])
        vectors = np.concatenate([likeness.vectors(some[shown]) for some in maxima])
        return f"{int(shown.sum()):,} of {images['count']:,} images", vectors

    def _maxima(self, view: LayerView) -> np.ndarray[Any, Any]:
        path = f"{layer_key(view.layer)}/statistics/maxima"
        try:
            return self._catalogue.store.read(path)
        except StoreError:  # a shard of images has failed: its rows are NaN
            return np.asarray(self._catalogue.store.array(path)[:])
