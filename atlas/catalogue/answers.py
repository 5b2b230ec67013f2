"""How a layer's units respond to the images: read from the columns of `statistics` and `examples`.

    LayerView -> Answers -> examples, statistics, classes, similar units of a unit

A column is read when it is first asked for, whole, and kept.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from atlas.catalogue import derived, notebook
from atlas.catalogue.renamed import renamed
from atlas.errors import UnknownName
from atlas.stages.dataset import LEVELS
from atlas.store.layout import layer_key
from atlas.store.missing import gone
from atlas.words import quoted

if TYPE_CHECKING:
    from atlas.catalogue.images import ImageView
    from atlas.catalogue.layer import LayerView
    from atlas.catalogue.unit import UnitView

Values = np.ndarray[Any, Any]
STORED = {"mean": "mean", "std": "std", "min": "least", "max": "largest"}
STORED |= {name: name for name in ("active_positions", "active_images")}
"""Numbers of a channel, and the arrays that hold them."""


@dataclass(frozen=True)
class Example:
    """One of the images that activate a unit most, or least."""

    image: ImageView
    value: float
    """The unit's activation there; of the lowest ones before its rectifier, where that is known."""
    crop: int
    """0 is the network's own evaluation crop."""
    position: int
    """Of the layer's positions, row by row."""
    box: tuple[float, float, float, float] | None
    """What the unit saw, in pixels of the photograph: left, top, right, bottom; None where it was not measured."""
    picture: Image.Image | None = field(repr=False)
    """What lies in the box, 96 x 96 pixels; None where no photographs are stored."""

    @property
    def small(self) -> Image.Image | None:
        """What a list shows of it in a notebook."""
        return self.picture

    def __str__(self) -> str:
        return f"{self.image}: {self.value:.4g}"


@renamed(least="min", largest="max")
@dataclass(frozen=True)
class ChannelStatistics:
    """A channel's activations over the evaluation crops of all images."""

    images: int
    positions: int
    """Over all images; those with NaN are not counted in the rest."""
    nan: int
    mean: float
    std: float
    min: float
    max: float
    active_positions: float
    """Share of the positions above zero."""
    active_images: float
    """Share of the images with any position above zero."""
    quantiles: dict[float, float]
    histogram: Values = field(repr=False)
    """int64 [289]: positions in each bin."""
    edges: Values = field(repr=False)
    """float32 [290]: the bins' edges, signed and logarithmic, the same for every layer."""


class Answers:
    """How the units of one layer respond to the images."""

    def __init__(self, layer: LayerView) -> None:
        self._layer, self._columns = layer, dict[str, Values]()

    def column(self, name: str) -> Values:
        """A column of the layer's statistics, whole. Raises `UnknownName` where nothing was collected."""
        if name not in self._columns:
            self._columns[name] = self._read(f"statistics/{name}", "statistics")
        return self._columns[name]

    @property
    def there(self) -> bool:
        """Whether the layer's statistics are written."""
        return bool((self._layer.stage("statistics") or {}).get("written"))

    @cached_property
    def shards(self) -> list[int]:
        """The shards of images that were shown to the layer: those that failed are not among them."""
        store, key = self._layer.catalogue.store, f"statistics/{self._layer.layer.key}.json"
        plan = store.plan(key)
        if plan is None and self._layer.stage("statistics"):
            raise gone(store, key)
        return [] if plan is None else sorted(store.told(plan))

    @cached_property
    def dead(self) -> Values:
        """Which units never fired on the images, bool [c]; nobody where nothing was collected."""
        if not self.there:
            return np.zeros(self._layer.channels, bool)
        return derived.dead(*(self.column(name) for name in ("example_value", "least", "largest")))

    @cached_property
    def ratio(self) -> Values:
        """Each picture's peak over the best real example of its sign, float32 [c,variants]; NaN for none."""
        variants = self._layer.variants
        if not (variants and self.there):
            return np.full((self._layer.channels, len(variants)), np.nan, np.float32)
        return derived.ratios(variants, self._layer.objective_peak, self.column("example_value"))

    def examples(self, unit: int, extreme: int) -> list[Example]:
        """A unit's strongest images (extreme 0) or weakest (1), the first first."""
        value, image, crop, position = (
            self.column(f"example_{name}")[unit, extreme] for name in ("value", "image", "crop", "position")
        )
        boxes = self._boxes(unit, extreme)
        pictures = self._pictures(unit, extreme, any(box is not None for box in boxes))
        images = self._layer.catalogue.images
        return notebook.Listed(
            Example(images[int(image[at])], float(value[at]), int(crop[at]), int(position[at]), boxes[at], pictures[at])
            for at in range(len(value))
            if image[at] >= 0
        )

    def statistics(self, unit: int) -> ChannelStatistics:
        """A channel's activations over all images."""
        images, positions = map(int, self.column("seen"))
        numbers = {name: float(self.column(array)[unit]) for name, array in STORED.items()}
        quantiles = dict(zip(LEVELS, map(float, self.column("quantile")[unit]), strict=True))
        return ChannelStatistics(
            images=images,
            positions=positions,
            nan=int(self.column("nan")[unit]),
            quantiles=quantiles,
            histogram=self._read("statistics/histogram", "statistics", slice(unit, unit + 1))[0],
            edges=self.column("edge"),
            **numbers,
        )

    def classes(self, unit: int) -> list[tuple[int, str | None, float]]:
        """The classes a unit is most evidence for: number, name, mean activation x gradient over their images.

        Empty where its attribution is negative for every class that images were taken for.
        """
        index, value = self.column("class")[unit], self.column("class_attribution")[unit]
        label = self._layer.catalogue.label
        return notebook.Listed((int(k), label(int(k)), float(v)) for k, v in zip(index, value, strict=True) if k >= 0)

    def similar(self, unit: int) -> list[tuple[UnitView, float]]:
        """The most similar units of any layer, each with its similarity, at most 1."""
        related = self._layer.catalogue.index.get("relations") or []
        if self._layer.name not in related:  # nobody has looked for them yet
            return notebook.Listed()
        names = ("neighbour_layer", "neighbour_unit", "neighbour_likeness")
        rows = zip(*(self.column(name)[unit] for name in names), strict=True)
        where = f"layers/{self._layer.layer.key}/statistics/neighbour_layer"
        layer_of = self._layer.catalogue.related
        return notebook.Listed(
            (layer_of(layer, where)[int(index)], float(cosine)) for layer, index, cosine in rows if layer >= 0
        )

    def _boxes(self, unit: int, extreme: int) -> list[tuple[float, float, float, float] | None]:
        if not (self._layer.stage("examples") or {}).get("written"):
            return [None] * self.column("example_value").shape[2]
        boxes = self._read("examples/box", "examples", slice(unit, unit + 1))[0, extreme]
        return [None if np.isnan(box).any() else tuple(map(float, box)) for box in boxes]  # type: ignore[misc]

    def _pictures(self, unit: int, extreme: int, measured: bool) -> list[Image.Image | None]:
        """What lies in the boxes; a unit without any was not `measured`: nobody asked for its examples."""
        if not self._layer.catalogue.images.photographs or not measured:
            return [None] * self.column("example_value").shape[2]
        found = self._read("examples/picture", "examples", slice(unit, unit + 1))[0, extreme]
        return [Image.fromarray(picture) for picture in found]

    def _read(self, path: str, stage: str, rows: slice | None = None) -> Values:
        layer = self._layer
        if not (layer.stage(stage) or {}).get("written"):
            build = layer.catalogue.command(f"--layers {quoted(layer.name)} --images ...")
            raise UnknownName(f"{layer.name} has no {stage} yet. Collect them: {build}")
        return layer.catalogue.store.read(f"{layer_key(layer.layer)}/{path}", rows)
