"""Planted samples: clusters of vectors about known directions, and attributions that say which cluster each is of.

planted(samples) -> Planted
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Planted:
    vectors: Floats
    """[m,c], never below zero, of very different lengths."""
    cluster: NDArray[np.int64]
    """[m]"""
    attribution: Floats
    """[m,k]: that of sample i is highest for class 2 * cluster[i]."""


def planted(samples: int = 900, channels: int = 32, clusters: int = 6, seed: int = 0) -> Planted:
    rng = np.random.default_rng(seed)
    aims = np.maximum(rng.standard_normal((clusters, channels)), 0)
    cluster = rng.integers(clusters, size=samples)
    vectors = np.maximum(aims[cluster] + 0.15 * rng.standard_normal((samples, channels)), 0)
    vectors *= np.exp(rng.standard_normal((samples, 1)))
    attribution = 0.4 * rng.standard_normal((samples, 2 * clusters))
    attribution[np.arange(samples), 2 * cluster] += 2
    return Planted(vectors.astype(np.float32), cluster, attribution.astype(np.float32))


class Cut:
    """An array as chunks cut at some places, to be read as often as wanted."""

    def __init__(self, rows: NDArray[Any], places: Sequence[int]) -> None:
        self._chunks = np.split(rows, sorted(places))

    def __iter__(self) -> Iterator[NDArray[Any]]:
        return iter(self._chunks)
