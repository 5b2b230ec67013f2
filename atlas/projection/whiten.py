"""Directions told apart from what all activations have in common.

    blocks [n,c] -> Moment -> inverse [c,c], or its root

The second moment of activations about zero, E[h h^T], holds which channels fire together. A direction times its inverse
is what sets that direction apart; activations times the root of its inverse are as wide in one direction as in another.
("Activation Atlas", Carter et al., Distill 2019, whose plain inverse does not exist where a channel never fires.)
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from atlas.errors import AtlasError
from atlas.projection.rows import Floats, Wide

LEAST = 1e-3
"""Least part of the sphere in a shrunk moment: no direction is then raised above another by more than about 1/LEAST."""


@dataclass(eq=False)
class Moment:
    """The sum of h h^T over some activations."""

    channels: int
    count: int = 0
    total: Wide = field(init=False)
    """[c,c]"""

    def __post_init__(self) -> None:
        self.total = np.zeros((self.channels, self.channels))

    def add(self, block: Floats | Wide) -> None:
        """Count in the finite rows of `block` [n,c]."""
        finite = block[np.isfinite(block).all(axis=1)].astype(np.float64)
        self.total += finite.T @ finite
        self.count += len(finite)

    @property
    def mean(self) -> Wide:
        """E[h h^T], [c,c]. Raises `AtlasError` where nothing was counted in."""
        if self.count == 0:
            raise AtlasError("Whitening: none of the activations is finite. Look at the layer's statistics.")
        return self.total / self.count

    def shrinkage(self) -> float:
        """How much of the moment is to be replaced by a sphere of the same trace, in [1e-3, 1].

        What so many samples leave uncertain: the oracle approximating shrinkage of Chen, Wiesel, Eldar and Hero,
        "Shrinkage algorithms for MMSE covariance estimation", 2010; never less than `LEAST`, since channels that never
        fire are not a matter of how many samples there are.
        """
        mean, size = self.mean, self.channels
        square, trace = float((mean**2).sum()), float(np.trace(mean))
        spread = (self.count + 1 - 2 / size) * (square - trace**2 / size)
        share = ((1 - 2 / size) * square + trace**2) / spread if spread > 0 else 1.0
        return float(np.clip(share, LEAST, 1))

    def inverse(self, power: float = -1.0) -> Floats:
        """The shrunk moment to `power`, [c,c], scaled to an average of 1 over its eigenvalues' directions.

        -1 for directions, -0.5 for activations. Its scale has no meaning: objectives and cosines do not see it.
        """
        values, vectors = np.linalg.eigh(self.mean)
        share = self.shrinkage()
        average = max(float(values.mean()), 1e-300)
        shrunk = (1 - share) * np.maximum(values, 0) / average + share
        found: Floats = ((vectors * shrunk**power) @ vectors.T).astype(np.float32)
        return found
