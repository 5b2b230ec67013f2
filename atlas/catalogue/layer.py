"""One layer of a catalogue: its pictures' numbers as columns, its units, its atlases.

(Catalogue, row of the index) -> LayerView -> UnitView, Atlas
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np
from PIL import Image

from atlas.catalogue import notebook, numbers
from atlas.catalogue.answers import Answers
from atlas.catalogue.atlases import ALL, Atlas
from atlas.catalogue.renamed import renamed
from atlas.catalogue.unit import UnitView
from atlas.errors import UnknownName
from atlas.plans import SHARD, Plan
from atlas.recipe import Recipe
from atlas.stages.features import THUMB
from atlas.store.layout import layer_key
from atlas.store.missing import gone
from atlas.units import Layer, Status, shown_map
from atlas.words import quoted, shown

if TYPE_CHECKING:
    from atlas.catalogue.catalogue import Catalogue

ARRAYS = ("image", "thumb", "mean", "peak", "status", "attempt", "agreement", "spectrum")
"""Arrays of a layer's feature visualizations; the last three only where the recipe asks for them."""


@renamed(mean="objective", peak="objective_peak", silent="dead")
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
        """How the layer's units respond to images."""
        return Answers(self)

    @property
    def maps(self) -> dict[str, dict[str, Any]]:
        """How much of each of its activation atlases is there, by the name of its map."""
        return {shown_map(name): row for name, row in (self._row.get("atlases") or {}).items()}

    @property
    def atlases(self) -> tuple[str, ...]:
        """The maps of its activations: `all`, and those of a class (`class-207`) or a pair; see `atlas_of`."""
        return tuple(self.maps)

    @property
    def atlas(self) -> Atlas:
        """Its activation atlas: the map of all its activations. Raises `UnknownName` where there is none."""
        return self.atlas_of(ALL)

    def atlas_of(self, name: str) -> Atlas:
        """Its activation atlas of the map `name`. Raises `UnknownName`, naming what there is and how one is made."""
        name = shown_map(name)
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
    def objective(self) -> np.ndarray[Any, Any]:
        """Mean objective of each picture on held-out transforms, float32 [channels,variants]; NaN where none."""
        return self._column("mean")

    @cached_property
    def objective_peak(self) -> np.ndarray[Any, Any]:
        """The objective at each picture's strongest position, float32 [channels,variants]; NaN where none."""
        return self._column("peak")

    @cached_property
    def status(self) -> np.ndarray[Any, Any]:
        """Status codes (`atlas.units.Status`), uint8 [channels,variants]."""
        return self._column("status")

    @cached_property
    def attempt(self) -> np.ndarray[Any, Any]:
        """Which of the recipe's tries each picture is of, from 0, uint8 [channels,variants]."""
        return self._column("attempt") if self.recipe.restarts > 1 else np.zeros(self.status.shape, np.uint8)

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
        """`objective_peak` over the best real image's activation, float32 [channels,variants]; NaN where none."""
        return self.answers.ratio

    @property
    def dead(self) -> np.ndarray[Any, Any]:
        """Which units never fired on the images that were shown, bool [channels]."""
        return self.answers.dead

    @property
    def units(self) -> list[UnitView]:
        """The units that have been rendered."""
        if not self.variants:
            return notebook.Listed()
        return notebook.Listed(self[int(index)] for index in np.flatnonzero((self.status != Status.ABSENT).any(axis=1)))

    def sheet(
        self, variant: str = "positive", *, columns: int = 16, units: Iterable[int] | None = None, size: int = THUMB
    ) -> Image.Image:
        """A contact sheet: `columns` pictures of `size` pixels in a row, of the numbers `units` in their order.

        Of all units that have been rendered unless said. Raises `UnknownName` for a unit that is not there or was not
        rendered.
        """
        return notebook.sheet(self, variant, columns, units, size)

    def thumbs(self, variant: str = "positive") -> np.ndarray[Any, Any]:
        """Thumbnails of every channel, uint8 [channels,64,64,3]; black where there is none."""
        v = self.variant(variant)
        if self.catalogue.store.columns_done(self._plan):
            return self.catalogue.store.column(self._plan, "thumb")[:, v]
        there = np.flatnonzero(self.status[:, v] != Status.ABSENT)
        found = np.zeros((self.channels, THUMB, THUMB, 3), np.uint8)
        found[there] = self.small(there, v, THUMB)
        return found

    def small(self, units: Sequence[int] | np.ndarray[Any, Any], variant: int, size: int) -> np.ndarray[Any, Any]:
        """Pictures of units that have been rendered, uint8 [n,size,size,3], of a variant by its number."""
        return numbers.small(self.catalogue.store, self._plan, units, variant, size)

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
        return self.catalogue.store.array(f"{layer_key(self.layer)}/features/{name}")

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
        return shown(f"<{self.name}: {self.layer.kind}, {self.done} of {self.channels} units rendered{collected}>")

    def _repr_html_(self) -> str:
        return notebook.layer(self)

    def _rendered(self, index: int) -> bool:
        """Whether a unit's pictures lie in the store, whatever the columns say: its shard has a receipt."""
        return self.catalogue.store.receipt(self._plan, self._plan.shard(index // SHARD)) is not None

    @cached_property
    def _plan(self) -> Plan:
        store, key = self.catalogue.store, f"features/{self.layer.key}.json"
        plan = store.plan(key)
        if plan is None:
            raise gone(store, key)
        return plan

    def _column(self, name: str) -> np.ndarray[Any, Any]:
        if not self.variants:
            raise self._unpictured("no pictures")
        return numbers.column(self.catalogue.store, self._plan, name)

    def _unmapped(self, name: str) -> UnknownName:
        """Of a layer that has no atlas of that name."""
        if self.maps:
            hint = f"{self.name} has the maps {', '.join(self.maps)}."
            return UnknownName.among("map", name, self.maps, hint=hint)
        others = [view.name for view in self.catalogue if view.maps]
        there = f" {', '.join(others)} {'have' if len(others) > 1 else 'has'} one." if others else ""
        build = self.catalogue.command(f"--images ... --atlas {quoted(self.name)}")
        return UnknownName(f"{self.name} has no activation atlas.{there} Make one: {build}")

    def _unpictured(self, what: str) -> UnknownName:
        """Of a layer that images were shown to and nothing was rendered of."""
        build = self.catalogue.command(f"--layers {quoted(self.name)}")
        return UnknownName(f"{self.name} has {what} yet. Build them: {build}")
