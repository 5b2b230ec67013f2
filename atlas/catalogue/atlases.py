"""Activation atlases of a layer: its maps, their grids, and what is known of every cell.

    LayerView, map -> Atlas -> Grid -> Cell: picture, direction, labels, real samples, units, kin

>>> cat["features.11"].atlas.nearest(0.3, 0.6).reliable_labels  # doctest: +SKIP

A column is read when it is first asked for, whole, and kept; pictures are read one by one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np

from atlas.catalogue import derived
from atlas.catalogue.cells import Cell
from atlas.catalogue.query import Result
from atlas.catalogue.renamed import renamed
from atlas.errors import UnknownName
from atlas.stages.atlas import ACROSS, TILE
from atlas.store.layout import atlas_key, layer_key
from atlas.units import Status, stored_map
from atlas.words import shown

if TYPE_CHECKING:
    from atlas.catalogue.layer import LayerView

Values = np.ndarray[Any, Any]
ALL = "all"
"""The map of all activations."""
CELL = TILE // ACROSS
"""Pixels along the edge of a cell on a tile."""


class Canvas(np.ndarray[Any, np.dtype[np.uint8]]):
    """A map as one picture, uint8 [h,w,3]; a notebook shows it."""

    def _repr_png_(self) -> bytes | None:
        from atlas.catalogue import notebook

        return notebook.png(np.asarray(self)) if self.ndim == 3 else None


@renamed(apt="pictures_reliable")
@dataclass(frozen=True)
class Quality:
    """How far a map and its pictures can be trusted; shares are from 0 to 1."""

    trustworthiness: float
    """Whether neighbours on the map are neighbours in the layer."""
    agreement: float
    """How far another seed's layout is the same, after moving, turning and scaling it."""
    filled: dict[int, float]
    """Of each grid by its side: the share of its cells that have enough samples."""
    stability: dict[int, float]
    """Mean stability of the cells' first labels: share of resamplings in which they stay first."""
    pictures_reliable: dict[int, float]
    """The share of filled cells whose picture is reliable: `ok`, and of rank within the top 2% of the grid."""


@renamed(strength="attribution")
class Atlas:
    """One map of a layer's activations."""

    def __init__(self, layer: LayerView, name: str) -> None:
        self.layer = layer
        self.name = name
        """`all`, or what it is of: `class-207`, `strongest-207`, `pair-207-208`."""
        self._row: dict[str, Any] = layer.maps[name]

    @property
    def samples(self) -> int:
        """Activations that were collected, whether or not they are on this map."""
        return int(self._row["samples"])

    @property
    def placed(self) -> int:
        """Those that are on it, and could be placed; 0 as long as it is not laid out."""
        return int(self._row["placed"] or 0)

    @property
    def approximate(self) -> bool:
        """Whether attributions and labels rest on each sample's strongest classes alone: of more than 2,000 classes."""
        return bool(self._row.get("approximate"))

    @property
    def grids(self) -> tuple[int, ...]:
        """The sides of its grids, from coarse to fine, as far as their cells are known."""
        return tuple(row["side"] for row in self._row["grids"] if row["filled"] is not None)

    def grid(self, side: int | None = None) -> Grid:
        """The grid of `side` cells along each edge; the finest unless said. Raises `UnknownName`."""
        if not self.grids:
            raise UnknownName(f"{self} has no cells yet: its build goes on, or stopped. Run it again to resume.")
        wanted = self.grids[-1] if side is None else side
        if wanted not in self._grids:
            raise UnknownName(f"{self} has no grid of {wanted}. There are: {', '.join(map(str, self.grids))}.")
        return self._grids[wanted]

    @cached_property
    def _grids(self) -> dict[int, Grid]:
        return {row["side"]: Grid(self, row) for row in self._row["grids"] if row["filled"] is not None}

    def cell(self, x: float, y: float, side: int | None = None) -> Cell:
        """The cell at a place of the map, 0 to 1 from the left and from the top, in the grid of `side`.

        Unless said, in the finest grid that has its pictures and enough samples there; see `cell.grid.side`. Raises
        `UnknownName` where too few samples lie, naming the nearest place where there are enough; `nearest` goes there.
        """
        grids = self._finished if side is None else [self.grid(side)]
        found = (grid.find(*grid.square(x, y)) for grid in grids)
        return next((cell for cell in found if cell is not None), None) or grids[0].at(x, y)

    def nearest(self, x: float, y: float, side: int | None = None) -> Cell:
        """The filled cell nearest to a place, 0 to 1 from the left and from the top, in the grid of `side`.

        Unless said, in the finest grid that has its pictures. Raises `UnknownName` where there is none.
        """
        return (self._finished[0] if side is None else self.grid(side)).nearest(x, y)

    @property
    def _finished(self) -> list[Grid]:
        """The grids that have their pictures, from fine to coarse; where none has them yet, the finest."""
        return [grid for grid in map(self.grid, reversed(self.grids)) if grid.pictured] or [self.grid()]

    @property
    def cells(self) -> Result:
        """All filled cells of all grids as a table: `.rows`, `.df()`, `.arrow()`; the columns are of `atlas_cells`."""
        where = "layer = $layer and map = $map"
        catalogue = self.layer.catalogue
        return catalogue.sql(
            f"select * from atlas_cells where {where} order by side, cell", layer=self.layer.name, map=self.name
        )

    def attribution(self, class_: int | str, side: int | None = None) -> Values:
        """Mean attribution of a grid's filled cells to a class, float32 [n]; of the finest unless said."""
        return self.grid(side).attribution(class_)

    def canvas(self, side: int | None = None) -> Canvas:
        """A grid's map as one picture of 80 pixels a cell, uint8 [80 side, 80 side, 3]; of the finest unless said.

        Raises `UnknownName` where it is not joined yet.
        """
        return self.grid(side).canvas()

    @cached_property
    def quality(self) -> Quality:
        """How far it can be trusted, in a few figures."""
        trustworthiness, agreement = map(float, self.read("quality"))
        grids = [self.grid(side) for side in self.grids]
        return Quality(
            trustworthiness,
            agreement,
            filled={grid.side: len(grid) / grid.side**2 for grid in grids},
            stability={grid.side: _mean(grid.column("label_frequency")[:, 0]) for grid in grids},
            pictures_reliable={grid.side: _mean(grid.picture_reliable) for grid in grids if grid.pictured},
        )

    @cached_property
    def xy(self) -> Values:
        """Where every sample lies, float32 [samples,2] in [0,1]; NaN for those that are not on this map."""
        return self.read("xy")

    def read(self, path: str, rows: slice | None = None) -> Values:
        """An array of the map by its path below it. Raises `StoreError` where it is gone."""
        return self.layer.catalogue.store.read(f"{atlas_key(self.layer.layer)}/{stored_map(self.name)}/{path}", rows)

    def sample(self, name: str, number: int) -> int:
        """What the array `activations/NAME` (`image`, `crop`, `position`) holds of a sample."""
        path = f"{layer_key(self.layer.layer)}/activations/{name}"
        return int(self.layer.catalogue.store.read(path, slice(number, number + 1))[0])

    def __str__(self) -> str:
        return f"the atlas of {self.layer.name}" if self.name == ALL else f"the map {self.name} of {self.layer.name}"

    def __repr__(self) -> str:
        grids = ", ".join(map(str, self.grids)) or "none yet"
        rough = ", labels approximate" if self.approximate else ""
        return shown(f"<{self}: {self.placed:,} samples, grids {grids}{rough}>")

    def _repr_html_(self) -> str:
        from atlas.catalogue import notebook

        return notebook.atlas(self)


@renamed(mean="objective", above="win_rate", apt="picture_reliable", strength="attribution")
class Grid:
    """One grid of a map; n of its cells are filled, and stand in this order in every array."""

    def __init__(self, atlas: Atlas, row: dict[str, Any]) -> None:
        self.atlas = atlas
        self.side: int = row["side"]
        """Cells along each edge."""
        self.pictured: bool = row["pictured"]
        """Whether its cells' pictures and their numbers are written."""
        self.patched: bool = row["patched"]
        """Whether the patches of its cells' samples are written."""
        self._tiled: bool = row["tiled"]
        self._columns = dict[str, Values]()

    def column(self, name: str) -> Values:
        """An array of the grid, its filled cells only: `cell`, `direction`, `label`, `icons/rank`, ..."""
        if name not in self._columns:
            values = self.atlas.read(f"{self.side}/{name}")
            self._columns[name] = values if name == "count" else values[: len(self)]
        return self._columns[name]

    @cached_property
    def cells(self) -> Values:
        """The numbers of the filled cells, int32 [n], rising: row by row from the top left."""
        cells = self.atlas.read(f"{self.side}/cell")
        return cells[cells >= 0]

    @property
    def count(self) -> Values:
        """Samples in every cell, filled or not: int32 [side,side], rows from the top."""
        return self.column("count").reshape(self.side, self.side)

    @property
    def direction(self) -> Values:
        """The mean activation of each filled cell, float32 [n,c]."""
        return self.column("direction")

    @property
    def status(self) -> Values:
        """Status codes (`atlas.units.Status`) of the filled cells' pictures, uint8 [n]."""
        return self._number("status", np.uint8, Status.ABSENT)

    @property
    def objective(self) -> Values:
        """Mean objective of each picture on held-out transforms, float32 [n]; NaN where there is none."""
        return self._number("mean", np.float32, np.nan)

    @property
    def rank(self) -> Values:
        """How many other cells' pictures match each cell's direction at least as well as its own, int32 [n].

        0 is best; -1 where there is no picture yet.
        """
        return self._number("rank", np.int32, -1)

    @property
    def win_rate(self) -> Values:
        """The share of eight other cells' pictures that its own beats, float32 [n]; NaN where there is none yet."""
        return self._number("above", np.float32, np.nan)

    @property
    def picture_reliable(self) -> Values:
        """Which pictures are reliable, bool [n]: `ok`, and of rank within the top 2% of the grid."""
        return derived.picture_reliable(self.status, self.rank)

    def attribution(self, class_: int | str) -> Values:
        """Mean attribution of each filled cell to a class (number or name), in logits, float32 [n].

        Raises `UnknownName` for a class that there is none of.
        """
        number = self.atlas.layer.catalogue.class_number(class_)
        return self.atlas.read(f"{self.side}/strength", slice(number, number + 1))[0, : len(self)]

    def canvas(self) -> Canvas:
        """The grid's map as one picture, uint8 [80 side, 80 side, 3]; where no cell is filled it is grey."""
        if not self._tiled:
            raise self._unready("no tiles")
        across = self.side // ACROSS
        tiles = self.atlas.read(f"{self.side}/tiles/tile").reshape(across, across, TILE, TILE, 3)
        return tiles.swapaxes(1, 2).reshape(self.side * CELL, self.side * CELL, 3).view(Canvas)

    def picture(self, row: int) -> Values:
        """The picture of the `row`-th filled cell, uint8 [h,w,3]. Raises `UnknownName` where there is none yet."""
        if self.status[row] == Status.ABSENT:
            raise self._unready("no pictures")
        return np.asarray(self.atlas.read(f"{self.side}/icons/image", slice(row, row + 1))[0, 0])

    def at(self, x: float, y: float) -> Cell:
        """The cell at a place, 0 to 1 from the left and from the top. Raises `UnknownName` where none is filled."""
        return self.within(*self.square(x, y))

    def square(self, x: float, y: float) -> tuple[int, int]:
        """The column from the left and the row from the top of a place, 0 to 1 each. Raises `UnknownName`."""
        if not (0 <= x <= 1 and 0 <= y <= 1):
            raise UnknownName(f"There is no place ({x}, {y}) on {self.atlas}: x and y are from 0 to 1.")
        return min(int(x * self.side), self.side - 1), min(int(y * self.side), self.side - 1)

    def nearest(self, x: float, y: float) -> Cell:
        """The filled cell nearest to a place, 0 to 1 from the left and from the top. Raises `UnknownName`."""
        column, row = self.square(x, y)
        if not len(self):
            raise UnknownName(f"{self!r}: no place of it holds enough samples.")
        return Cell(self, self._near(column, row))

    def _near(self, column: int, row: int) -> int:
        """The filled cell nearest to a square, as its row in every array."""
        return int(np.hypot(self.cells % self.side - column, self.cells // self.side - row).argmin())

    def within(self, column: int, row: int) -> Cell:
        """The cell in a column from the left and a row from the top. Raises `UnknownName` where none is filled."""
        found = self.find(column, row)
        if found is None:
            raise self._empty(column, row)
        return found

    def find(self, column: int, row: int) -> Cell | None:
        """The same; None where there is none."""
        if not (0 <= column < self.side and 0 <= row < self.side):
            return None
        place = int(np.searchsorted(self.cells, row * self.side + column))
        there = place < len(self) and self.cells[place] == row * self.side + column
        return Cell(self, place) if there else None

    def __getitem__(self, row: SupportsIndex) -> Cell:
        """The `row`-th filled cell. Raises `UnknownName`."""
        if not isinstance(row, SupportsIndex) or not 0 <= int(row) < len(self):
            raise UnknownName(f"There is no filled cell {row!r}: grid {self.side} of {self.atlas} has {len(self)}.")
        return Cell(self, int(row))

    def __len__(self) -> int:
        return len(self.cells)

    def __iter__(self) -> Iterator[Cell]:
        return (Cell(self, row) for row in range(len(self)))

    def __repr__(self) -> str:
        return shown(f"<grid {self.side} of {self.atlas}: {len(self)} of {self.side**2} cells filled>")

    def _number(self, name: str, dtype: Any, none: float) -> Values:
        """Of each filled cell's picture [n]; `none` as long as there are no pictures."""
        if not self.pictured:
            return np.full(len(self), none, dtype)
        return self.column(f"icons/{name}").reshape(len(self))

    def _empty(self, column: int, row: int) -> UnknownName:
        place = f"{int(self.count[row, column]):,} samples" if min(column, row) >= 0 else "no samples"
        near = ""
        if len(self):
            other = Cell(self, self._near(column, row))
            near = f" The nearest filled cell is at ({other.x:.3f}, {other.y:.3f})."
        return UnknownName(f"Cell ({column}, {row}) of grid {self.side} of {self.atlas} has {place}, too few.{near}")

    def _unready(self, what: str) -> UnknownName:
        return UnknownName(
            f"Grid {self.side} of {self.atlas} has {what} yet: its build goes on, or stopped. Run it again to resume."
        )


def _mean(values: Values) -> float:
    known = values[np.isfinite(values)]
    return float(known.mean(dtype=np.float64)) if len(known) else float("nan")
