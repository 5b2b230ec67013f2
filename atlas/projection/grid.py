"""A map cut into squares, and what lies in each.

    positions [m,2], side -> cell of each sample [m]        vectors, cells -> Cells: counts, directions, real samples

Grids are g0 x 2^k: every cell is four of the next grid's, and none of them moves a sample. A cell's direction is the
mean of the vectors in it, and shown with the real samples nearest to that, which say whether the mean is anything the
network met. ("Activation Atlas", Carter et al., Distill 2019, which shows the first alone.)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from atlas.projection.kernels import add_rows, keep_nearest
from atlas.projection.rows import Floats, Integers, Numbers, Rows, Wide, blocks
from atlas.stages.atlas import REAL

LEAST = 5
"""Samples without which a cell says nothing, where there are many."""


@dataclass(frozen=True, eq=False)
class Cells:
    """A grid's cells; n of them are filled."""

    side: int
    """Cells along each edge; cell i is in row i // side from the top and column i % side from the left."""
    count: Integers
    """[side * side]: samples in every cell."""
    cells: Integers
    """[n], rising: the filled ones, those of enough samples."""
    direction: Floats
    """[n,c]: the mean of the vectors in each filled cell."""
    nearest: Numbers
    """[n,9]: the samples in it that are nearest to this by their angle, the nearest first; -1 where there are fewer."""
    cosine: Floats
    """[n,9]: how near; NaN where there are fewer."""

    def __len__(self) -> int:
        return len(self.cells)


def cells_of(xy: Floats, side: int) -> Integers:
    """The cell of each position [m,2] in a grid of `side`: one for each that is in [0,1], -1 for what is NaN."""
    known = np.isfinite(xy).all(axis=1)
    found = np.full(len(xy), -1, np.int32)
    # In float64 the doubled side doubles the product exactly, so that a cell's four parts are never another cell's.
    column, row = np.minimum((xy[known].astype(np.float64) * side).astype(np.int32), side - 1).T
    found[known] = row * side + column
    return found


def least_members(samples: int, side: int) -> int:
    """How many samples fill a cell: 5, and fewer where a grid holds few to a cell, so that no map is empty."""
    return int(np.clip(samples // (4 * side * side), 1, LEAST))


def fill(
    vectors: Rows, cell: Integers, side: int, *, least: int | None = None, images: NDArray[np.integer] | None = None
) -> Cells:
    """The cells of a grid from all vectors and the cell of each [m].

    A cell is filled by `least` samples, by default `least_members`. With `images` [m], the number of the image that
    each sample is of, at most one sample an image is shown beside a cell.
    """
    placed = cell >= 0
    count = np.bincount(cell[placed], minlength=side * side).astype(np.int32)
    least = least_members(int(placed.sum()), side) if least is None else max(least, 1)
    filled = np.flatnonzero(count >= least).astype(np.int32)
    place = places(cell, filled, side)
    direction = means(vectors, place, len(filled))
    nearest, cosine = _nearest(vectors, place, direction, images)
    return Cells(side, count, filled, direction.astype(np.float32), nearest, cosine)


def places(cell: Integers, filled: Integers, side: int) -> Numbers:
    """Which of the `filled` cells each sample is in, [m]; -1 for none."""
    place = np.full(side * side + 1, -1)
    place[filled] = np.arange(len(filled))
    return place[cell]


def means(rows: Rows, place: Numbers, count: int) -> Wide:
    """The mean [count,c] of the finite rows at each place; NaN where there is none."""
    sums, members = np.zeros((count, 0)), np.zeros(count, np.int64)
    for first, block in blocks(rows):
        if sums.shape[1] != block.shape[1]:
            sums = np.zeros((count, block.shape[1]))
        add_rows(block, place[first : first + len(block)], sums, members)
    found: Wide = sums / np.where(members > 0, members, np.nan)[:, None]
    return found


def _nearest(
    vectors: Rows, place: Numbers, direction: Wide, images: NDArray[np.integer] | None
) -> tuple[Numbers, Floats]:
    """The samples nearest to each direction among those at its place, [n,9], and their cosines."""
    best = np.full((len(direction), REAL), -np.inf, np.float32)
    index, kept = np.full(best.shape, -1), np.full(best.shape, -1)
    length = np.linalg.norm(direction, axis=1, keepdims=True)
    aims = np.zeros((len(direction) + 1, direction.shape[1]), np.float32)  # the last for what is at no place
    aims[:-1] = direction / np.where(length > 0, length, 1)
    for first, block in blocks(vectors):
        here = place[first : first + len(block)]
        long = np.sqrt(np.einsum("nc,nc->n", block, block, dtype=np.float64))
        with np.errstate(invalid="ignore"):
            cosine = np.einsum("nc,nc->n", block, aims[here], dtype=np.float64) / np.where(long > 0, long, 1)
        own = np.arange(first, first + len(block)) if images is None else images[first : first + len(block)]
        keep_nearest(cosine.astype(np.float32), here, first, own.astype(np.int64), best, index, kept)
    return index, np.where(index >= 0, best, np.float32(np.nan))
