"""All chance of a layout, a number at a time.

    (seed, purpose, numbers uint64) -> uint64, or uniform in [0,1)

What is drawn for a sample depends on its number alone, not on how many there are or which came before; and on no
library's generator. (The mixing is that of SplitMix64: Steele, Lea and Flood, OOPSLA 2014.)
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas.projection.rows import Numbers, Wide

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
MIXERS = ((np.uint64(30), np.uint64(0xBF58476D1CE4E5B9)), (np.uint64(27), np.uint64(0x94D049BB133111EB)))


def drawn(seed: int, purpose: str, numbers: NDArray[Any]) -> NDArray[np.uint64]:
    """Any of 2^64 for each of `numbers`, of any shape."""
    start = hashlib.sha256(f"{seed}\x1f{purpose}".encode()).digest()
    state = np.asarray(numbers).astype(np.uint64) * GOLDEN + np.frombuffer(start[:8], np.uint64)
    for shift, factor in MIXERS:
        state = (state ^ (state >> shift)) * factor
    return state ^ (state >> np.uint64(31))


def uniform(seed: int, purpose: str, numbers: NDArray[Any]) -> Wide:
    """Uniform in [0,1) for each of `numbers`."""
    return (drawn(seed, purpose, numbers) >> np.uint64(11)).astype(np.float64) * 2.0**-53


def some(seed: int, purpose: str, numbers: Numbers, most: int) -> Numbers:
    """At most `most` of `numbers`, rising: of more, those that drew least. More of them keep what fewer would."""
    if len(numbers) <= most:
        return np.sort(numbers)
    draws = drawn(seed, purpose, numbers)
    return np.sort(numbers[np.argpartition(draws, most)[:most]])
