"""Samples as they are read: chunk after chunk, as often as needed.

    Rows -> (number of its first row, block [n,c] float32), ...

Whoever wrote the samples cut them as suited him. Here they are cut anew into blocks of one size, so that no sum and
no product depends on how they came.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Wide = NDArray[np.float64]
Integers = NDArray[np.int32]
Numbers = NDArray[np.int64]

Rows = Iterable[NDArray[Any]]
"""Chunks [n,c] of any floats in the order of the samples; each iteration begins anew, as that of a list does."""

BLOCK = 4096
"""Rows of a block; only the last may be shorter."""


def blocks(rows: Rows, size: int = BLOCK) -> Iterator[tuple[int, Floats]]:
    """All rows as blocks of `size`, each with the number of its first row.

    Raises `TypeError` for a generator, which could be read only once.
    """
    if iter(rows) is rows:
        raise TypeError("rows are read several times: give a list of chunks, or an object that iterates anew")
    first, held, waiting = 0, 0, list[NDArray[Any]]()
    for chunk in rows:
        waiting.append(chunk)
        held += len(chunk)
        while held >= size:
            block = _joined(waiting, size)
            held -= size
            yield first, block
            first += size
    if held:
        yield first, _joined(waiting, held)


def _joined(waiting: list[NDArray[Any]], size: int) -> Floats:
    """The first `size` rows of what waits, taken out of it."""
    taken, missing = list[NDArray[Any]](), size
    while missing:
        chunk = waiting.pop(0)
        if len(chunk) > missing:
            waiting.insert(0, chunk[missing:])
        taken.append(chunk[:missing])
        missing -= len(taken[-1])
    return np.concatenate(taken, dtype=np.float32, casting="same_kind")


def gathered(rows: Rows, numbers: Numbers) -> Floats:
    """The rows of these rising numbers, [n,c]."""
    found = [
        block[numbers[(numbers >= first) & (numbers < first + len(block))] - first] for first, block in blocks(rows)
    ]
    return np.concatenate(found) if found else np.zeros((0, 0), np.float32)
