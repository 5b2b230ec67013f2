"""Which points are nearest: all of them looked at, a block at a time.

    points [q,d], anchors [a,d], k -> indices [q,k], distances [q,k]

Exact, in bounded memory, and the same for a point whichever others are asked for beside it: products of matrices find a
few candidates more than are wanted, and these are measured one by one.
"""

from __future__ import annotations

import numpy as np

from atlas.projection.kernels import keep_best, squared_distances
from atlas.projection.rows import Floats, Integers, Wide

QUERIES, ANCHORS = 1024, 4096
"""Points and anchors that are compared at a time."""
SPARE = 4
"""Candidates beyond those wanted, among which rounding may have changed the order."""


def nearest(points: Floats, anchors: Floats, count: int) -> tuple[Integers, Floats]:
    """The `count` nearest of `anchors` to each point: indices and distances [q,count], the nearest first.

    Equally near ones by their index. There must be `count` anchors.
    """
    wanted = min(count + SPARE, len(anchors))
    index = np.empty((len(points), count), np.int32)
    distance = np.empty((len(points), count), np.float32)
    half = np.einsum("ad,ad->a", anchors, anchors, dtype=np.float64).astype(np.float32) / 2
    for start in range(0, len(points), QUERIES):
        block = points[start : start + QUERIES]
        found = _candidates(_padded(block), anchors, half, wanted)[: len(block)]
        squared = np.empty(found.shape)
        squared_distances(block, anchors, found, squared)
        order = np.lexsort((found, squared), axis=1)[:, :count]
        index[start : start + QUERIES] = np.take_along_axis(found, order, axis=1)
        distance[start : start + QUERIES] = np.sqrt(np.take_along_axis(squared, order, axis=1))
    return index, distance


def _candidates(block: Floats, anchors: Floats, half: Floats, wanted: int) -> Integers:
    """The anchors [q,wanted] whose product with a point less half their own square is highest: its nearest."""
    best = np.full((len(block), wanted), -np.inf, np.float32)
    index = np.zeros((len(block), wanted), np.int32)
    for first in range(0, len(anchors), ANCHORS):
        scores = block @ anchors[first : first + ANCHORS].T
        scores -= half[first : first + ANCHORS]
        keep_best(scores, first, best, index)
    return index


def _padded(block: Floats) -> Floats:
    """`block` with rows of zeros up to `QUERIES`: products of one shape are computed in one way."""
    return np.concatenate([block, np.zeros((QUERIES - len(block), block.shape[1]), np.float32)])


def weights(distance: Wide) -> Wide:
    """What each of the nearest says of where a point lies, [q,k-1] for distances [q,k]; each row adds up to 1.

    Shepard's inverse distances in the form that ends at the last neighbour's, ((R - d) / (R d))^2: positions then
    change without steps as a point moves and its neighbours take turns, and a point that is an anchor lies where the
    anchor lies. (Franke and Nielson, "Smooth interpolation of large sets of scattered data", 1980.)
    """
    radius = distance[:, -1:]
    share = distance[:, :-1] / np.where(radius > 0, radius, 1)
    share = np.maximum(share, 1e-9)
    weight = np.square((1 - np.minimum(share, 1)) / share)
    flat = weight.sum(axis=1) <= 0
    weight[flat] = 1
    found: Wide = weight / weight.sum(axis=1, keepdims=True)
    return found
