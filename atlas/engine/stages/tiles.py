"""The stage `tiles`: the pictures of a grid, joined to the tiles of a zoomable map.

    icons of a grid -> tile, mask; below the first grid each half of the one before

One task that makes all of it, a few rows of cells at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.engine.reducing import Receipts, Reduced, required
from atlas.plans import Plan
from atlas.stages.atlas import ACROSS
from atlas.store import Store
from atlas.store.layout import group_key
from atlas.units import Status

if TYPE_CHECKING:
    from atlas.projection.pyramid import Pixels, Tile


def reduce(store: Store, plan: Plan, _: Receipts) -> Reduced:
    """The tiles of `plan`."""
    from atlas.projection.pyramid import smaller, tiles

    icons = required(store, plan)
    pictures = _Pictures(store, icons, store.read(f"{group_key(required(store, icons))}/cell"))
    level: Iterable[Tile] = tiles(plan.side, pictures)
    streamed: dict[str, Iterator[np.ndarray[Any, Any]]] = {}
    if plan.charting.below:  # of a first grid, which is small
        level = list(level)
    streamed["tile"] = _blocks(level, plan.arrays["tile"].rows)
    for below in range(1, plan.charting.below + 1):
        level = list(smaller(level))
        streamed[f"below-{below}"] = _blocks(level, plan.arrays[f"below-{below}"].rows)
    return Reduced({"mask": pictures.mask}, streamed, count=(plan.side // ACROSS) ** 2)


def _blocks(level: Iterable[Tile], rows: int) -> Iterator[np.ndarray[Any, Any]]:
    """The pixels of a level's tiles, an object's at a time."""
    tiles = iter(level)
    while some := list(islice(tiles, rows)):
        yield np.stack([tile.pixels for tile in some])


class _Pictures:
    """The pictures of a grid by the numbers of their cells, of which those of one row of tiles are held."""

    def __init__(self, store: Store, icons: Plan, cell: np.ndarray[Any, Any]) -> None:
        self._store, self._group, self._side = store, group_key(icons), icons.side
        self._cell = cell[cell >= 0]
        good = store.read(f"{self._group}/status")[: len(self._cell), 0] == Status.OK
        self._row = np.full(self._side**2, -1)
        self._row[self._cell[good]] = np.flatnonzero(good)
        self._band, self._first = -1, 0
        self._held: np.ndarray[Any, Any] = np.zeros(0, np.uint8)

    @property
    def mask(self) -> np.ndarray[Any, Any]:
        """Which of its cells each tile has a picture of, uint8 [T,5,5]."""
        edge = self._side // ACROSS
        parts = (self._row >= 0).reshape(edge, ACROSS, edge, ACROSS).transpose(0, 2, 1, 3)
        return parts.reshape(edge**2, ACROSS, ACROSS).astype(np.uint8)

    def __call__(self, cell: int) -> Pixels | None:
        row = self._row[cell]
        if row < 0:
            return None
        band = cell // (ACROSS * self._side)
        if band != self._band:
            self._hold(band)
        found: Pixels = self._held[row - self._first]
        return found

    def _hold(self, band: int) -> None:
        """Read the pictures of the cells in five rows of the grid: they follow each other."""
        span = ACROSS * self._side
        first, stop = np.searchsorted(self._cell, [band * span, (band + 1) * span])
        self._band, self._first = band, int(first)
        self._held = self._store.read(f"{self._group}/image", slice(int(first), int(stop)))[:, 0]
