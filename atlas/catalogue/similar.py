"""Similar units, over any layers.

(Catalogue, unit, layers) -> SimilarUnits: units with their similarity, and the images it rests on
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.catalogue import notebook, similarity
from atlas.errors import UnknownName
from atlas.plans import SAMPLES
from atlas.store.layout import layer_key
from atlas.words import shown

if TYPE_CHECKING:
    from atlas.catalogue.catalogue import Catalogue
    from atlas.catalogue.layer import LayerView
    from atlas.catalogue.unit import UnitView

Values = np.ndarray[Any, Any]


@dataclass(frozen=True)
class SimilarUnits:
    """The units most similar to one; iterate for (unit, similarity) pairs."""

    unit: UnitView
    units: tuple[tuple[UnitView, float], ...]
    """Each with the cosine of standardised activations, at most 1; the most similar first."""
    basis: str
    """How many images it rests on: `1,024 of 40,000 images`."""
    images: Values
    """Their numbers, int64 [n], rising: at most 1,024, evenly spread over the reference set."""

    def __iter__(self) -> Iterator[tuple[UnitView, float]]:
        return iter(self.units)

    def __len__(self) -> int:
        return len(self.units)

    def __getitem__(self, index: int) -> tuple[UnitView, float]:
        return self.units[index]

    def _repr_html_(self) -> str:
        return f"<div>{escape(self._basis)}</div>{notebook.Listed(self.units)._repr_html_()}"

    @property
    def _basis(self) -> str:
        return f"most similar to {shown(self.unit)}, over {self.basis}:"

    def __repr__(self) -> str:
        rows = "".join(f"\n  {cosine:.3f}  {shown(unit)}" for unit, cosine in self.units)
        return f"{self._basis}{rows}"


class Similarity:
    """Units as vectors of length one, in one matrix: a layer's rows are read when it is first compared, and kept."""

    def __init__(self, catalogue: Catalogue) -> None:
        self._catalogue = catalogue
        self._layers = [view for view in catalogue if view.answers.there]
        if not self._layers:
            build = catalogue.command("--images ...")
            raise UnknownName(f"{catalogue.store} has no statistics yet. Collect them: {build}")
        self._numbers = {view.name: number for number, view in enumerate(self._layers)}
        self._firsts = np.cumsum([0, *(view.channels for view in self._layers)])
        reference = catalogue.index["images"]["reference"]
        self._wanted = similarity.thinned(reference)
        # Memory is taken when rows are written: of layers that nobody compares there is none.
        self._vectors = np.empty((self._firsts[-1], len(self._wanted)), np.float32)
        self._fires = np.zeros(self._firsts[-1], bool)
        """Which units are not constant over the images."""
        self._images: dict[int, Values] = {}
        """Of the layers that were read, for which images all units have a number: bool [r]."""

    def nearest(self, unit: UnitView, top: int, layers: Sequence[str]) -> SimilarUnits:
        """The `top` units of `layers` most similar to `unit`; of equal ones those that the network computes first."""
        if unit.layer.name not in self._numbers:
            raise UnknownName(f"{unit.layer.name} has no statistics yet, so {unit} cannot be compared.")
        own = self._numbers[unit.layer.name]
        chosen = sorted(self._numbers[name] for name in layers if name in self._numbers)
        images = np.logical_and.reduce([self._read(layer) for layer in (own, *chosen)])
        query = self._over(images, own, own + 1)[unit.index]
        cosines = np.full(self._firsts[-1], -np.inf, np.float32)
        if query.any():  # else it is constant over the images: nothing is similar to it
            for start, stop in self._runs(chosen, images):
                cosines[self._rows(start, stop)] = self._over(images, start, stop) @ query
        cosines[~self._fires] = -np.inf
        cosines[self._firsts[own] + unit.index] = -np.inf
        (places,), (values,) = similarity.best(cosines[None], top)
        found = [(self._view(int(at)), float(one)) for at, one in zip(places, values, strict=True) if at >= 0]
        told = self._catalogue.index["images"]
        basis = f"{int(images.sum()):,} of {told['count']:,} images"
        return SimilarUnits(unit, tuple(found), basis, self._wanted[images] * told["step"])

    def _rows(self, start: int, stop: int) -> slice:
        """Of the layers from `start` to `stop`."""
        return slice(int(self._firsts[start]), int(self._firsts[stop]))

    def _view(self, place: int) -> UnitView:
        layer = int(np.searchsorted(self._firsts, place, side="right")) - 1
        return self._layers[layer][place - int(self._firsts[layer])]

    def _runs(self, layers: Sequence[int], images: Values) -> Iterator[tuple[int, int]]:
        """Layers that lie side by side and rest on `images`, from one to another: one product for all of them."""
        start = 0
        for end, layer in enumerate(layers, 1):
            beside = end < len(layers) and layers[end] == layer + 1
            if not beside or not all(self._rests_on(images, other) for other in layers[end - 1 : end + 1]):
                yield layers[start], layer + 1
                start = end

    def _rests_on(self, images: Values, layer: int) -> bool:
        return np.array_equal(self._images[layer], images)

    def _over(self, images: Values, start: int, stop: int) -> Values:
        """The vectors of layers over `images`: as they are kept, or of one layer that has more of them, anew."""
        if self._rests_on(images, start):
            return self._vectors[self._rows(start, stop)]
        return _vectors(self._maxima(self._layers[start]), images)

    def _read(self, layer: int) -> Values:
        """Which images a layer's vectors rest on, bool [r], once they are read."""
        if layer not in self._images:
            maxima = self._maxima(self._layers[layer])
            images = np.asarray(np.isfinite(maxima).all(axis=1))
            rows = self._rows(layer, layer + 1)
            self._vectors[rows] = _vectors(maxima, images)
            self._fires[rows] = self._vectors[rows].any(axis=1)
            self._images[layer] = images
        return self._images[layer]

    def _maxima(self, view: LayerView) -> Values:
        """The strongest activations of a layer's units on the images that similarity rests on, float32 [r,c].

        Read shard by shard; NaN where a shard of images has failed.
        """
        images, wanted = self._catalogue.index["images"], self._wanted
        maxima = np.full((len(wanted), view.channels), np.nan, np.float32)
        store, path = self._catalogue.store, f"{layer_key(view.layer)}/statistics/maxima"
        rows = SAMPLES // images["step"]
        for index in view.answers.shards:
            start, stop = index * rows, min((index + 1) * rows, images["reference"])
            at = np.flatnonzero((wanted >= start) & (wanted < stop))
            if len(at):
                maxima[at] = store.read(path, slice(start, stop))[wanted[at] - start]
        return maxima


def _vectors(maxima: Values, images: Values) -> Values:
    """Units of the activations `maxima` [r,c] as vectors over `images`, float32 [c,r]: zeros for the other images."""
    vectors = np.zeros(maxima.shape[::-1], np.float32)
    vectors[:, images] = similarity.vectors(maxima[images])
    return vectors
