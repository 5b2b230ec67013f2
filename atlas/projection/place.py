"""Layouts as maps: turned to face one way, cut to their middle, scaled to a square.

    raw positions [m,2] -> positions [m,2] in [0,1]

An embedding is as good turned or mirrored; which of them a run gives is chance. Which way a map faces is therefore
settled by the layer's own data, or by another layer's map of the same samples.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas.projection.rows import Floats, Wide

FLAT = 1e-6
"""Below this part of the first, a second singular value is none: then nothing tells a turn from a mirror image."""


def turn(raw: NDArray[Any], target: NDArray[Any]) -> Wide:
    """The rotation or reflection [d,d] after which positions lie nearest to a target, both [s,d] with d of 1 or 2.

    However `raw` was turned before, `raw @ turn(raw, target)` is the same. Rows of which either is not finite do not
    count. (Orthogonal Procrustes: Schönemann, "A generalized solution of the orthogonal Procrustes problem", 1966.)
    """
    here, there = paired(raw, target)
    left, values, right = np.linalg.svd(here.T @ there)
    if len(values) == 2 and values[1] <= FLAT * values[0]:
        left, right = _along_a_line(here, left[:, 0], right[0])
    found: Wide = left @ right
    return found


def _along_a_line(here: Wide, ours: Wide, theirs: Wide) -> tuple[Wide, Wide]:
    """Axes [2,2] where the target is a line along `theirs`; across it the positions' third moment is positive."""
    sign = -1 if theirs[np.abs(theirs).argmax()] < 0 else 1
    ours, theirs = ours * sign, theirs * sign
    across = np.array([-ours[1], ours[0]])
    across *= -1 if ((here @ across) ** 3).sum() < 0 else 1
    return np.stack([ours, across], axis=1), np.stack([theirs, [-theirs[1], theirs[0]]])


def paired(one: NDArray[Any], other: NDArray[Any]) -> tuple[Wide, Wide]:
    """Both positions [s,d] of the rows that are finite in both, about their means."""
    known = np.isfinite(one).all(axis=1) & np.isfinite(other).all(axis=1)
    both = (np.asarray(rows, np.float64)[known] for rows in (one, other))
    first, second = (rows - rows.mean(axis=0) if len(rows) else rows for rows in both)
    return first, second


def framed(raw: NDArray[Any], *, clip: float = 1.0, margin: float = 0.1) -> Floats:
    """Positions [m,d] float32 in [0,1], each axis by itself; NaN where `raw` is.

    What lies outside the percentiles `clip` and 100 - `clip`, widened by `margin` of what is between them, is moved to
    the edge: a few samples far out would otherwise leave the map empty. An axis along which nothing differs is 0.5.
    """
    raw = np.asarray(raw, np.float64)
    found = np.full(raw.shape, np.nan, np.float32)
    known = np.isfinite(raw).all(axis=1)
    if known.any():
        low, high = np.percentile(raw[known], [clip, 100 - clip], axis=0)
        least, most = raw[known].min(axis=0), raw[known].max(axis=0)
        low, high = low - margin * (high - low), high + margin * (high - low)
        low, high = np.maximum(low, least), np.minimum(high, most)
        width = high - low
        scaled = (raw[known] - low) / np.where(width > 0, width, 1)
        found[known] = np.where(width > 0, scaled.clip(0, 1), 0.5)
    return found
