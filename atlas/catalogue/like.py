"""Units that answer alike, over any layers.

(Catalogue, unit, layers) -> Alike: units with their likeness, and the set of images it rests on
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.catalogue import likeness
from atlas.errors import UnknownName
from atlas.plan import SAMPLES
from atlas.store.schema import layer_key

if TYPE_CHECKING:
    from atlas.catalogue.catalogue import Catalogue, LayerView, UnitView

Values = np.ndarray[Any, Any]


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


@dataclass(frozen=True, eq=False)
class Vectors:
    """A layer's units as vectors of length one."""

    images: Values
    """bool [r]: which of the images they rest on were answered, by every unit, with a number."""
    units: Values
    """float32 [c,d]; zeros where a unit answers all images the same."""
    fires: Values
    """bool [c]: whether it does not."""

    @classmethod
    def of(cls, maxima: Values, images: Values) -> Vectors:
        """The vectors of units that answered `maxima` [r,c], over `images`."""
        units = likeness.vectors(maxima[images])
        return cls(images, units, np.asarray(units.any(axis=1)))


class Likeness:
    """Units as vectors, layer by layer: read when a layer is first compared, and kept, 4 kB a unit."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        if not any(view.answers.there for view in catalogue):
            spec = catalogue.model["spec"]
            raise UnknownName(f"{catalogue.store} has no statistics yet. Collect them: atlas build {spec} --images ...")
        self._images = catalogue.door["images"]
        self._kept: dict[str, Vectors] = {}

    def nearest(self, unit: UnitView, top: int, layers: Sequence[str]) -> Alike:
        """The `top` units of `layers` most like `unit`; of equal ones those that the network computes first."""
        if not unit.layer.answers.there:
            raise UnknownName(f"{unit.layer.name} has no statistics yet, so {unit} cannot be compared.")
        views = [self._catalogue.layers[name] for name in layers]
        views = [view for view in views if view.answers.there]
        own, *others = self._comparable([unit.layer, *views])
        basis = f"{int(own.images.sum()):,} of {self._images['count']:,} images"
        if not own.fires[unit.index] or not views:  # it answers all images the same: nothing is like it
            return Alike(unit, (), basis)
        cosines = [_cosines(vectors, own.units[unit.index]) for vectors in others]
        for view, found in zip(views, cosines, strict=True):
            if view.name == unit.layer.name:
                found[unit.index] = -np.inf
        (places,), (values,) = likeness.best(np.concatenate(cosines)[None], top)
        firsts = np.cumsum([0, *(view.channels for view in views)])
        found_in = np.searchsorted(firsts, places, side="right") - 1
        rows = [
            (views[layer][int(place - firsts[layer])], float(value))
            for layer, place, value in zip(found_in, places, values, strict=True)
            if place >= 0
        ]
        return Alike(unit, tuple(rows), basis)

    def _comparable(self, views: Sequence[LayerView]) -> list[Vectors]:
        """The vectors of layers over the same images: those that all of them answered."""
        found = [self._of(view) for view in views]
        images = np.logical_and.reduce([vectors.images for vectors in found])
        return [
            vectors if np.array_equal(vectors.images, images) else Vectors.of(self._maxima(view), images)
            for view, vectors in zip(views, found, strict=True)
        ]

    def _of(self, view: LayerView) -> Vectors:
        if view.name not in self._kept:
            maxima = self._maxima(view)
            self._kept[view.name] = Vectors.of(maxima, np.asarray(np.isfinite(maxima).all(axis=1)))
        return self._kept[view.name]

    def _maxima(self, view: LayerView) -> Values:
        """What a layer's units answered to the images that likeness rests on, float32 [r,c].

        Read shard by shard; NaN where a shard of images has failed.
        """
        reference, step = self._images["reference"], self._images["step"]
        wanted = np.arange(reference)[likeness.thinned(reference)]
        maxima = np.full((len(wanted), view.channels), np.nan, np.float32)
        store, path = self._catalogue.store, f"{layer_key(view.layer)}/statistics/maxima"
        rows = SAMPLES // step
        for index in view.answers.shards:
            start, stop = index * rows, min((index + 1) * rows, reference)
            at = np.flatnonzero((wanted >= start) & (wanted < stop))
            if len(at):
                maxima[at] = store.read(path, slice(start, stop))[wanted[at] - start]
        return maxima


def _cosines(vectors: Vectors, query: Values) -> Values:
    """The likeness of each unit [c] to a vector [d]; minus infinity for those that do not fire."""
    return np.where(vectors.fires, vectors.units @ query, -np.inf)
