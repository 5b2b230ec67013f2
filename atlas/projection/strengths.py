"""What the cells of a grid say for each class.

    attributions of all samples, cells -> strengths [n,k] block by block -> Labels: the strongest classes, how surely

A cell's strength for a class is the mean attribution of its samples. How sure its labels are is asked of the samples
themselves: drawn again with replacement, how often does a label stay as high as it is shown? (Efron's bootstrap, with
each sample's number of draws Poisson distributed, so that one pass suffices: Chamandy et al., "Estimating uncertainty
for massive data streams", 2012.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from atlas.projection.grid import Cells, means, places
from atlas.projection.kernels import add_resamples
from atlas.projection.rng import uniform
from atlas.projection.rows import Floats, Integers, Numbers, Rows, Wide, blocks
from atlas.stages.atlas import LABELS

Columns = Callable[[int, int], Rows]
"""(start, stop) -> attributions [m, stop-start] of all samples to these classes, as `Rows`; NaN where not known."""

CANDIDATES = 16
"""Classes of a cell that could become labels when its samples are drawn again."""
DRAWS = 50
"""Times they are drawn."""
BYTES = 2**28
"""Memory for sums of attributions."""


@dataclass(frozen=True, eq=False)
class Labels:
    """The strongest classes of each of n cells, the strongest first; -1 and NaN where there are fewer classes."""

    classes: Integers
    """[n,5]"""
    strength: Floats
    """[n,5]: their mean attribution."""
    frequency: Floats
    """[n,5]: the share of draws in which the class was at least as high as it is here."""


def strengths(read: Columns, classes: int, cell: Integers, cells: Cells) -> Iterator[tuple[int, Floats]]:
    """The mean attribution [n,b] of every filled cell, class by class in blocks, each with its first class."""
    place = places(cell, cells.cells, cells.side)
    width = max(1, BYTES // (8 * max(len(cells), 1)))
    for start in range(0, classes, width):
        stop = min(start + width, classes)
        yield start, means(read(start, stop), place, len(cells)).astype(np.float32)


class Strongest:
    """The strongest classes of each of n cells, gathered from blocks of strengths."""

    def __init__(self, cells: int, count: int = CANDIDATES) -> None:
        self._count = count
        self.classes = np.zeros((cells, 0), np.int32)
        """[n,q], the strongest first; equal ones by their number."""
        self.strength = np.zeros((cells, 0), np.float32)
        """[n,q]"""

    def add(self, start: int, block: Floats) -> None:
        """Take in the strengths [n,b] of the classes from `start` on."""
        numbers = np.broadcast_to(np.arange(start, start + block.shape[1], dtype=np.int32), block.shape)
        classes = np.concatenate([self.classes, numbers], axis=1)
        strength = np.concatenate([self.strength, block], axis=1)
        ranked = np.where(np.isfinite(strength), strength, -np.inf)
        order = np.lexsort((classes, -ranked), axis=1)[:, : self._count]
        self.classes, self.strength = (np.take_along_axis(rows, order, axis=1) for rows in (classes, strength))


def labels(read: Columns, classes: int, cell: Integers, cells: Cells, found: Strongest, *, seed: int) -> Labels:
    """The labels of every filled cell, whose strongest classes are `found`."""
    names, strength = np.full((len(cells), LABELS), -1, np.int32), np.full((len(cells), LABELS), np.nan, np.float32)
    frequency = strength.copy()
    shown = min(LABELS, found.classes.shape[1])
    if shown and len(cells):
        names[:, :shown], strength[:, :shown] = found.classes[:, :shown], found.strength[:, :shown]
        frequency[:, :shown] = _frequency(*_resampled(read, classes, cell, cells, found.classes, seed), shown)
        unknown = ~np.isfinite(strength)
        names[unknown], frequency[unknown] = -1, np.nan
    return Labels(names, strength, frequency)


def _resampled(
    read: Columns, classes: int, cell: Integers, cells: Cells, candidates: Integers, seed: int
) -> tuple[Wide, Numbers]:
    """Attributions to each cell's candidates [n,q], summed over its samples as each draw repeats them: [n,draws,q].

    And how many samples each draw held, [n,draws].
    """
    place = places(cell, cells.cells, cells.side)
    sums = np.zeros((len(cells), DRAWS, candidates.shape[1]))
    counts = np.zeros(sums.shape[:2], np.int64)
    for first, block in blocks(read(0, classes), size=max(64, min(4096, 2**24 // classes))):
        here = place[first : first + len(block)]
        values = np.take_along_axis(block, candidates[here], axis=1)
        add_resamples(values, times(seed, first, len(block)), here, sums, counts)
    return sums, counts


def times(seed: int, first: int, count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """How often each draw repeats the `count` samples from `first` on, [count,draws]: Poisson distributed about 1."""
    number = (first + np.arange(count))[:, None] * DRAWS + np.arange(DRAWS)
    chance = uniform(seed, "draws", number)
    found = np.zeros(chance.shape, np.uint8)
    below, share = 0.0, float(np.exp(-1))
    for upto in range(1, 9):
        below += share
        found += chance >= below
        share /= upto
    return found


def _frequency(sums: Wide, counts: Numbers, shown: int) -> Floats:
    """The share [n,shown] of the draws in which a candidate stays among as many as it is shown among."""
    held = counts > 0
    draws = np.where(held.any(axis=1), held.sum(axis=1), np.nan)
    found = [
        (((sums > sums[:, :, place, None]).sum(axis=2) <= place) & held).sum(axis=1) / draws for place in range(shown)
    ]
    return np.stack(found, axis=1).astype(np.float32)
