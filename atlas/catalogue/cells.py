"""One cell of an activation atlas.

Grid, row -> Cell -> picture and its numbers, labels, samples, units, parent and children
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from atlas.catalogue import derived, notebook
from atlas.catalogue.renamed import renamed
from atlas.units import Status, status_name
from atlas.words import shown

if TYPE_CHECKING:
    from atlas.catalogue.atlases import Grid
    from atlas.catalogue.images import ImageView
    from atlas.catalogue.unit import UnitView

UNITS = 8
"""Units that a cell's direction is told by."""


@renamed(strength="attribution", frequency="stability", sure="reliable")
@dataclass(frozen=True)
class Label:
    """A class that a cell is evidence for."""

    number: int
    name: str | None
    attribution: float
    """Mean attribution of its samples, in logits."""
    stability: float
    """Share of resamplings of the cell's samples in which the class ranks at least as high; of one sample always 1."""
    reliable: bool = True
    """Whether the cell has at least five samples, and the stability is at least 0.8."""


@dataclass(frozen=True)
class Sample:
    """A real activation of a cell."""

    number: int
    """Of the layer's samples."""
    image: ImageView
    crop: int
    """0 is the network's own evaluation crop."""
    position: int
    """Of the layer's positions, row by row."""
    cosine: float
    """Cosine of the sample and the cell's direction, at most 1."""
    box: tuple[float, float, float, float] | None
    """What its position saw, in pixels of the photograph; None where that was not measured."""
    patch: Image.Image | None = field(repr=False)
    """What lies in the box, 96 x 96 pixels; None where it was not cut out."""

    @property
    def small(self) -> Image.Image | None:
        """What a list shows of it in a notebook."""
        return self.patch

    def __str__(self) -> str:
        return f"{self.image}: {self.cosine:.3f}"


@renamed(mean="objective", apt="picture_reliable", sure_labels="reliable_labels")
@dataclass(frozen=True, eq=False)
class Cell:
    """A filled cell: the samples that lie in one square of the map."""

    grid: Grid
    row: int
    """Its place among the grid's filled cells, and in every array of them."""

    @property
    def number(self) -> int:
        """Of all cells of the grid, row by row from the top left."""
        return int(self.grid.cells[self.row])

    @property
    def place(self) -> tuple[int, int]:
        """Its column from the left and its row from the top."""
        return self.number % self.grid.side, self.number // self.grid.side

    @property
    def x(self) -> float:
        """Its middle, from the left of the map, 0 to 1."""
        return (self.place[0] + 0.5) / self.grid.side

    @property
    def y(self) -> float:
        """Its middle, from the top of the map, 0 to 1."""
        return (self.place[1] + 0.5) / self.grid.side

    @property
    def count(self) -> int:
        """Samples in it."""
        return int(self.grid.column("count")[self.number])

    @property
    def direction(self) -> np.ndarray[Any, Any]:
        """The mean of its samples, float32 [c]."""
        return np.asarray(self.grid.direction[self.row])

    @property
    def image(self) -> Image.Image:
        """What activates the layer in its direction. Raises `UnknownName` where there is no picture yet."""
        return Image.fromarray(self.grid.picture(self.row))

    @property
    def status(self) -> str:
        """`ok`, `unstarted`, `nan`; `absent` where it was not rendered (yet)."""
        return status_name(Status, self.grid.status[self.row])

    @property
    def objective(self) -> float:
        """Mean objective of the stored picture on held-out transforms; NaN where there is none."""
        return float(self.grid.objective[self.row])

    @property
    def rank(self) -> int:
        """How many other cells' pictures match its direction at least as well as its own; -1 for no picture yet."""
        return int(self.grid.rank[self.row])

    @property
    def picture_reliable(self) -> bool:
        """Whether its picture is `ok`, and of rank within the top 2% of the grid."""
        return bool(self.grid.picture_reliable[self.row])

    @property
    def labels(self) -> list[Label]:
        """The classes it is most evidence for, at most five, the strongest first, `reliable` or not."""
        number, attribution, stability = (
            self.grid.column(name)[self.row] for name in ("label", "label_strength", "label_frequency")
        )
        name = self.grid.atlas.layer.catalogue.label
        rows = zip(number, attribution, stability, strict=True)
        return [
            Label(int(k), name(int(k)), float(value), float(share), bool(derived.label_reliable(self.count, share)))
            for k, value, share in rows
            if k >= 0
        ]

    @property
    def reliable_labels(self) -> list[Label]:
        """Its reliable labels, the strongest first; of a cell of few samples none."""
        return [label for label in self.labels if label.reliable]

    @property
    def samples(self) -> list[Sample]:
        """The real samples nearest to its direction, at most nine and one an image, the nearest first."""
        atlas, images = self.grid.atlas, self.grid.atlas.layer.catalogue.images
        number, cosine = (self.grid.column(name)[self.row] for name in ("sample", "cosine"))
        seen = self._seen()
        found: list[Sample] = notebook.Listed()
        for at, (one, near) in enumerate(zip(number[number >= 0], cosine, strict=False)):
            image, crop, position = (atlas.sample(name, int(one)) for name in ("image", "crop", "position"))
            box, patch = seen[at] if at < len(seen) else (None, None)
            found.append(Sample(int(one), images[image], crop, position, float(near), box, patch))
        return found

    @property
    def patches(self) -> list[Image.Image]:
        """What the nearest samples saw, at most four pictures; none where no photographs are stored."""
        return [patch for _, patch in self._seen() if patch is not None]

    @property
    def units(self) -> list[tuple[UnitView, float]]:
        """The units that its direction is largest in, with their means over its samples; the strongest first."""
        order = np.argsort(-self.direction, kind="stable")[:UNITS]
        layer = self.grid.atlas.layer
        return notebook.Listed(
            (layer[int(index)], float(self.direction[index])) for index in order if self.direction[index] > 0
        )

    @property
    def parent(self) -> Cell | None:
        """The cell of the next coarser grid that it is a quarter of; None in the first, or where it is not filled."""
        grids, (column, row) = self.grid.atlas.grids, self.place
        at = grids.index(self.grid.side)
        return self.grid.atlas.grid(grids[at - 1]).find(column // 2, row // 2) if at else None

    @property
    def children(self) -> list[Cell]:
        """Those of its quarters that are filled in the next finer grid; none in the finest."""
        grids, (column, row) = self.grid.atlas.grids, self.place
        at = grids.index(self.grid.side) + 1
        if at == len(grids):
            return []
        finer = self.grid.atlas.grid(grids[at])
        quarters = (finer.find(2 * column + right, 2 * row + down) for down in (0, 1) for right in (0, 1))
        return [cell for cell in quarters if cell is not None]

    def _seen(self) -> list[tuple[tuple[float, float, float, float] | None, Image.Image | None]]:
        """Boxes and patches of the samples that they were measured of."""
        grid = self.grid
        if not grid.patched:
            return []
        boxes = grid.column("patches/box")[self.row]
        known = [None if np.isnan(box).any() else tuple(map(float, box)) for box in boxes]
        if not grid.atlas.layer.catalogue.images.photographs:
            return [(box, None) for box in known]  # type: ignore[misc]
        rows = slice(self.row, self.row + 1)
        pictures = map(Image.fromarray, grid.atlas.read(f"{grid.side}/patches/picture", rows)[0])
        return [(box, picture if box else None) for box, picture in zip(known, pictures, strict=True)]  # type: ignore[misc]

    def __repr__(self) -> str:
        reliable, any_ = self.reliable_labels, self.labels
        label = f", {reliable[0].name or reliable[0].number}" if reliable else ", no reliable label" if any_ else ""
        return shown(f"<cell {self.place} of grid {self.grid.side}: {self.count:,} samples{label}>")

    def _repr_html_(self) -> str:
        return notebook.atlas_cell(self)
