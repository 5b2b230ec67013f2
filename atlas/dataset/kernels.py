"""The inner loops of `measure` on a processor: one image's rows [p,c], channels innermost.

Each loop does one thing to all channels of a position, which a compiler turns into vector instructions; only the count
of a histogram goes value by value. Indices are unsigned: a negative one would be looked for from the end, and with it
every load would have to be a gather.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np
from numpy.typing import NDArray

from atlas.dataset.summary import BINS, KEPT, MIDDLE, OFFSET, SHIFT

Function = TypeVar("Function", bound=Callable[..., None])

INFINITE = np.float32(np.inf)
NONE = np.float32(0)
SIGN, INFINITY = np.int32(0x7FFFFFFF), np.int32(0x7F800000)
"""A float32's bits without its sign; the least of them that are not finite."""
FURTHEST, NEAREST, BEFORE = np.int32(MIDDLE), np.int32(0), np.int32(OFFSET - 1)
BITS, ELSEWHERE = np.int32(SHIFT), np.int32(BINS)
"""`ELSEWHERE`: one bin more, for what is not finite."""
UNSIGNED = np.uint64


def compiled(function: Function) -> Function:
    """`function` as machine code, kept on disk where that can be, and run without Python's lock."""
    settings: dict[str, Any] = {"nogil": True, "error_model": "numpy"}
    try:
        made: Function = numba.njit(cache=True, **settings)(function)
    except RuntimeError:  # nowhere to keep it
        made = numba.njit(**settings)(function)
    return made


@compiled
def count(
    rows: NDArray[np.float32],
    bits: NDArray[np.int32],
    sums: NDArray[np.float64],
    counts: NDArray[np.int64],
    histogram: NDArray[np.int32],
) -> None:
    """Add an image's rows [p,c] and their `bits` to `sums` [2,c], `counts` [2,c] and `histogram` [c,B+1].

    The sums are of the finite values and their squares, the counts of those above zero and of those not finite.
    """
    positions, channels = UNSIGNED(rows.shape[0]), UNSIGNED(rows.shape[1])
    total, squares, active, other = sums[0], sums[1], counts[0], counts[1]
    place = np.empty(rows.shape[1], np.int32)
    for p in range(positions):
        for c in range(channels):
            x = rows[p, c]
            total[c] += np.float64(x if abs(x) < INFINITE else NONE)
        for c in range(channels):
            x = rows[p, c]
            wide = np.float64(x if abs(x) < INFINITE else NONE)
            squares[c] += wide * wide
        for c in range(channels):
            x = rows[p, c]
            active[c] += np.int64(NONE < x < INFINITE)
        for c in range(channels):
            x = rows[p, c]
            other[c] += np.int64(not abs(x) < INFINITE)
        for c in range(channels):
            size = bits[p, c] & SIGN
            step = max(NEAREST, min(FURTHEST, (size >> BITS) - BEFORE))
            side = FURTHEST - step if bits[p, c] < NEAREST else FURTHEST + step
            place[c] = side if size < INFINITY else ELSEWHERE
        for c in range(channels):
            histogram[c, UNSIGNED(place[c])] += 1


@compiled
def highest(rows: NDArray[np.float32], value: NDArray[np.float32], position: NDArray[np.int32]) -> None:
    """The largest finite `value` [c] of rows [p,c], -inf where there is none, and the first `position` that has it."""
    positions, channels = UNSIGNED(rows.shape[0]), UNSIGNED(rows.shape[1])
    value[:] = -INFINITE
    position[:] = -1
    for p in range(positions):
        for c in range(channels):
            x = rows[p, c]
            if value[c] < x < INFINITE:
                value[c] = x
                position[c] = np.int32(p)


@compiled
def lowest(rows: NDArray[np.float32], value: NDArray[np.float32], position: NDArray[np.int32]) -> None:
    """The least finite `value` [c] of rows [p,c], inf where there is none, and the first `position` that has it."""
    positions, channels = UNSIGNED(rows.shape[0]), UNSIGNED(rows.shape[1])
    value[:] = INFINITE
    position[:] = -1
    for p in range(positions):
        for c in range(channels):
            x = rows[p, c]
            if -INFINITE < x < value[c]:
                value[c] = x
                position[c] = np.int32(p)


@compiled
def keep(
    entries: NDArray[np.float64],
    value: NDArray[np.float32],
    position: NDArray[np.int32],
    images: NDArray[np.int64],
    crops: NDArray[np.int64],
    sign: int,
) -> None:
    """Put what of the crops' extremes, `value` and `position` [n,c], belongs there into the strongest [c,9,4].

    As `summary.first_entries`: the least `sign * value` first, at most one entry an image.
    """
    last = KEPT - 1
    for i in range(len(images)):
        for c in range(value.shape[1]):
            rank = sign * np.float64(value[i, c])
            kept = entries[c]
            if not abs(rank) < np.inf or (kept[last, 1] >= 0 and rank > sign * kept[last, 0]):
                continue
            where = last
            for place in range(KEPT):
                if kept[place, 1] == images[i]:
                    where = place
            new = (rank, np.float64(images[i]), np.float64(crops[i]), np.float64(position[i, c]))
            old = (sign * kept[where, 0], kept[where, 1], kept[where, 2], kept[where, 3])
            if kept[where, 1] >= 0 and old <= new:
                continue
            while where > 0:
                above = (sign * kept[where - 1, 0], kept[where - 1, 1], kept[where - 1, 2], kept[where - 1, 3])
                if kept[where - 1, 1] >= 0 and above < new:
                    break
                kept[where] = kept[where - 1]
                where -= 1
            kept[where, 0], kept[where, 1] = np.float64(value[i, c]), new[1]
            kept[where, 2], kept[where, 3] = new[2], new[3]
