"""Attributions as they are kept: small numbers, and of very many classes only those that say something.

    attribution [m,k] -> Packed -> float32 [m,k], of all classes or a range of them

Each sample has a scale of its own, a power of two, so that attributions of any size survive in float16. Above 2,000
classes the strongest 64 of each sign are kept and the others read as 0: the result is then approximate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from atlas.stages.atlas import EXTREME_CLASSES, LISTED

Floats = NDArray[np.float32]

KEPT = EXTREME_CLASSES // 2
"""Strongest classes of each sign that are kept where there are more than `LISTED`."""


@dataclass(frozen=True, eq=False)
class Packed:
    """Attributions of m samples to k classes."""

    values: NDArray[np.float16]
    """[m,k], or [m,128] where only the strongest are kept; times `scale`."""
    scale: Floats
    """[m]: powers of two; NaN for samples of which any attribution was not finite."""
    classes: NDArray[np.int32] | None
    """[m,128], rising along a row: what the values belong to; None where all classes are kept."""
    count: int
    """k"""

    def dense(self, start: int = 0, stop: int | None = None) -> Floats:
        """Attributions to the classes from `start` up to `stop`: [m,stop-start]."""
        stop = self.count if stop is None else min(stop, self.count)
        values = self.values.astype(np.float32) * self.scale[:, None]
        if self.classes is None:
            return values[:, start:stop]
        found = np.zeros((len(values), stop - start), np.float32)
        found[np.isnan(self.scale)] = np.nan
        row, place = np.nonzero((self.classes >= start) & (self.classes < stop))
        found[row, self.classes[row, place] - start] = values[row, place]
        return found


def pack(attribution: Floats) -> Packed:
    """Attributions [m,k] as they are kept."""
    known = np.logical_and.reduce(np.isfinite(attribution), axis=1)
    found = np.where(known[:, None], attribution, 0).astype(np.float32)
    scale = _scale(found)
    classes = _strongest(found) if found.shape[1] > LISTED else None
    if classes is not None:
        found = np.take_along_axis(found, classes, axis=1)
    values = (found / scale[:, None]).astype(np.float16)
    return Packed(values, np.where(known, scale, np.float32(np.nan)), classes, attribution.shape[1])


def _scale(found: Floats) -> Floats:
    """The power of two [m] next above each row's largest magnitude; 1 where all are zero."""
    largest = np.abs(found).max(axis=1, initial=0)
    _, exponent = np.frexp(largest)
    scale: Floats = np.ldexp(np.float32(1), np.clip(exponent, -126, 127))
    return np.where(largest > 0, scale, np.float32(1))


def _strongest(found: Floats) -> NDArray[np.int32]:
    """The classes [m,128] with the lowest and the highest values of each row, rising by their number."""
    order = np.argpartition(found, (KEPT, found.shape[1] - KEPT), axis=1)
    ends = np.concatenate([order[:, :KEPT], order[:, -KEPT:]], axis=1)
    return np.sort(ends, axis=1).astype(np.int32)
