"""The inner loops of layouts, as machine code: the best of many, and sums by cell.

Each goes through its rows in their order, so that equal values are told apart by which came first.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from atlas.dataset.kernels import compiled


@compiled
def keep_best(scores: NDArray[np.float32], first: int, best: NDArray[np.float32], index: NDArray[np.int32]) -> None:
    """Put what of `scores` [q,a], of the anchors from `first` on, belongs there into the `best` [q,k] and `index`.

    The highest first; of equal ones those that came first.
    """
    last = best.shape[1] - 1
    for i in range(scores.shape[0]):
        least = best[i, last]
        for j in range(scores.shape[1]):
            score = scores[i, j]
            if score > least:
                place = last
                while place > 0 and best[i, place - 1] < score:
                    best[i, place] = best[i, place - 1]
                    index[i, place] = index[i, place - 1]
                    place -= 1
                best[i, place] = score
                index[i, place] = first + j
                least = best[i, last]


@compiled
def squared_distances(
    queries: NDArray[np.float32], anchors: NDArray[np.float32], index: NDArray[np.int32], found: NDArray[np.float64]
) -> None:
    """The squared distance `found` [q,k] of each query [q,d] to the anchors [a,d] of its `index` [q,k]."""
    for i in range(index.shape[0]):
        for j in range(index.shape[1]):
            total = 0.0
            for d in range(queries.shape[1]):
                step = np.float64(queries[i, d]) - np.float64(anchors[index[i, j], d])
                total += step * step
            found[i, j] = total


@compiled
def add_rows(
    rows: NDArray[np.float32], place: NDArray[np.int64], sums: NDArray[np.float64], counts: NDArray[np.int64]
) -> None:
    """Add rows [n,c] to the `sums` [s,c] at their `place` [n], and count them; not at -1, nor what is not finite."""
    for i in range(rows.shape[0]):
        if place[i] >= 0 and np.isfinite(rows[i]).all():
            counts[place[i]] += 1
            for c in range(rows.shape[1]):
                sums[place[i], c] += np.float64(rows[i, c])


@compiled
def add_resamples(
    values: NDArray[np.float32],
    times: NDArray[np.uint8],
    place: NDArray[np.int64],
    sums: NDArray[np.float64],
    counts: NDArray[np.int64],
) -> None:
    """Add values [n,q] as often as `times` [n,r] says to the `sums` [s,r,q] at their `place` [n], and count them."""
    for i in range(values.shape[0]):
        if place[i] >= 0 and np.isfinite(values[i]).all():
            for r in range(times.shape[1]):
                if times[i, r]:
                    counts[place[i], r] += times[i, r]
                    for q in range(values.shape[1]):
                        sums[place[i], r, q] += np.float64(times[i, r]) * np.float64(values[i, q])


@compiled
def keep_nearest(
    cosine: NDArray[np.float32],
    place: NDArray[np.int64],
    first: int,
    images: NDArray[np.int64],
    best: NDArray[np.float32],
    index: NDArray[np.int64],
    kept: NDArray[np.int64],
) -> None:
    """Put the samples from `first` on, of `cosine` [n] to the mean of the cell at `place` [n], among its `best` [s,k].

    `index` [s,k] is the samples' numbers, `kept` [s,k] their `images`: at most one sample an image, the first of
    equals. Places that stay empty hold -inf and -1.
    """
    last = best.shape[1] - 1
    for i in range(cosine.shape[0]):
        cell = place[i]
        if cell < 0 or not cosine[i] > best[cell, last]:
            continue
        where = last
        for k in range(best.shape[1]):
            if kept[cell, k] == images[i]:
                where = k
        if kept[cell, where] == images[i] and best[cell, where] >= cosine[i]:
            continue
        while where > 0 and best[cell, where - 1] < cosine[i]:
            best[cell, where] = best[cell, where - 1]
            index[cell, where] = index[cell, where - 1]
            kept[cell, where] = kept[cell, where - 1]
            where -= 1
        best[cell, where] = cosine[i]
        index[cell, where] = first + i
        kept[cell, where] = images[i]
