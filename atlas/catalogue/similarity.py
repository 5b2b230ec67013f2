"""Which units are similar, and which an image excites most.

    maxima [r,c] of each layer -> unit vectors [c,d] -> nearest units; scores -> units of each image

A unit is represented by its strongest activation on each image of the reference set, standardised over the set. The
similarity of two units is the cosine of these vectors (their correlation over the images).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

Floats = np.ndarray[Any, np.dtype[np.float32]]
Integers = np.ndarray[Any, np.dtype[np.int64]]
Numbers = np.ndarray[Any, np.dtype[np.int32]]

IMAGES = 1024
"""Images of the reference set that similarity rests on at most: every so many of them."""
BLOCK = 1024
"""Units that are compared with all others at a time."""


def thinned(rows: int) -> Integers:
    """Rows of the reference set that similarity rests on, rising: 1024, evenly spread, or all where there are fewer."""
    kept = min(rows, IMAGES)
    return np.arange(kept, dtype=np.int64) * rows // max(kept, 1)


def scores(maxima: Floats) -> Floats:
    """Each activation in standard deviations above the unit's mean over the set: float32 [r,c].

    Rows of images that could not be shown, and columns of units that are constant over the images, are NaN.
    """
    shown = np.isfinite(maxima).all(axis=1)
    found = np.full(maxima.shape, np.nan, np.float32)
    if shown.any():
        answers = maxima[shown].astype(np.float64)
        deviation = answers.std(axis=0)
        # What differs by rounding alone does not differ.
        deviation[deviation <= 1e-6 * np.abs(answers).max(axis=0)] = np.nan
        found[shown] = (answers - answers.mean(axis=0)) / deviation
    return found


def vectors(maxima: Floats) -> Floats:
    """Units as vectors of length one, float32 [c,d]; zeros where a unit is constant over the images."""
    found = scores(maxima)
    found = np.nan_to_num(found[np.isfinite(maxima).all(axis=1)]).T
    length = np.linalg.norm(found, axis=1, keepdims=True)
    return np.ascontiguousarray(found / np.where(length > 0, length, 1), dtype=np.float32)


def nearest(
    queries: Floats, units: Floats, count: int, *, first: int | None = None
) -> Iterator[tuple[int, Integers, Floats]]:
    """The `count` units nearest to each query, block by block: where the block begins, indices, cosines [b,count].

    queries [q,d], units [u,d], of length one; query i is unit `first` + i, and no unit is its own neighbour. Places
    that stay empty are -1 and NaN.
    """
    for start in range(0, len(queries), BLOCK):
        block = queries[start : start + BLOCK]
        cosines = block @ units.T
        # A unit of zeros has a cosine of zero to whatever is asked: only such are looked at whole.
        zeros = np.flatnonzero(cosines[0] == 0)
        zeros = zeros[~units[zeros].any(axis=1)]
        if first is not None:
            rows = np.arange(len(block))
            cosines[rows, first + start + rows] = -np.inf
        cosines[~block.any(axis=1)] = -np.inf
        cosines[:, zeros] = -np.inf
        yield start, *best(cosines, count)


def best(values: Floats, count: int) -> tuple[Integers, Floats]:
    """The `count` highest entries of each row, falling: their columns and values; -1 and NaN where there are fewer."""
    kept = min(count, values.shape[1])
    some = np.argpartition(-values, kept - 1, axis=1)[:, :kept] if kept else np.zeros((len(values), 0), np.int64)
    some.sort(axis=1)  # of equal ones the first comes first
    order = np.take_along_axis(some, np.argsort(-np.take_along_axis(values, some, 1), axis=1, kind="stable"), 1)
    index = np.full((len(values), count), -1, np.int64)
    value = np.full((len(values), count), np.nan, np.float32)
    found = np.take_along_axis(values, order, 1)
    there = np.isfinite(found)
    index[:, :kept], value[:, :kept] = np.where(there, order, -1), np.where(there, found, np.nan)
    return index, value


@dataclass
class Excited:
    """The units that each of some images excites most, gathered layer by layer."""

    image: Integers
    """[n], rising: the images' numbers."""
    layer: Numbers
    unit: Numbers
    score: Floats
    """[n,count] each, falling by score; -1 and NaN where there are fewer."""

    @classmethod
    def nothing(cls, images: Integers, count: int) -> Excited:
        """Nothing yet of `images` [n], rising numbers."""
        shape = (len(images), count)
        layer, unit = (np.full(shape, -1, np.int32) for _ in range(2))
        return cls(images, layer, unit, np.full(shape, np.nan, np.float32))

    def add(self, layer: int, images: Integers, found: Floats) -> None:
        """Take in what a layer's units [i,c] scored on `images` [i], which are among its own."""
        count = self.score.shape[1]
        unit, score = best(np.nan_to_num(found, nan=-np.inf), count)
        rows = np.searchsorted(self.image, images)
        joined = np.concatenate([self.score[rows], score], axis=1)
        order, value = best(np.nan_to_num(joined, nan=-np.inf), count)
        here = np.where(unit >= 0, layer, -1)
        for kept, new in ((self.layer, here), (self.unit, unit)):
            both = np.concatenate([kept[rows], new], axis=1)
            kept[rows] = np.where(order >= 0, np.take_along_axis(both, np.maximum(order, 0), 1), -1)
        self.score[rows] = value

    def of(self, images: slice) -> Excited:
        """Those of a range of images, all of them: also those of which nothing is known."""
        known = slice(*np.searchsorted(self.image, (images.start, images.stop)))
        spread = Excited.nothing(np.arange(images.start, images.stop), self.score.shape[1])
        at = self.image[known] - images.start
        for whole, some in ((spread.layer, self.layer), (spread.unit, self.unit), (spread.score, self.score)):
            whole[at] = some[known]
        return spread
