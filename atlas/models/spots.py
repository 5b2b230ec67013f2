"""Whether tokens lie in their grid row by row, behind the prefix, by spots of the image that change.

    how far each token moves for each spot -> True, False, or None where the spots do not tell

The number of tokens says how large their grid is, not where each of them lies: a class token may stand behind the
others, and windows, columns or chosen tokens may follow one another. But the token that moves most when a spot of the
image changes is the one that lies there, as long as tokens are not wholly mixed.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]

SPOTS = 12
PART = 28
"""A spot's side is this part of the image's: smaller than a patch of most networks."""
LITTLE = 0.05
"""Of the strongest movement: what is added to each token's own mean, so that next to nothing is not magnified."""
FAR = 2.0
"""Cells beyond which it makes no difference how far a token lies from the spot."""
NEAR = 0.4
"""Cells that the tokens which move most may lie from their spots in the mean."""
ALONE = 2.5
"""Tokens that move for a spot, counted by how far, where each is made of its own patch: a spot may lie on an edge."""
SHARP = {True: 0.1, False: 0.35}
"""The same where few tokens move, so that there is no doubt where they lie: where they move alone, and where patches
overlap, of which the nearest may be the neighbour's."""
FEW = 1 / 4
"""Share of the tokens that move, or of the spots that one moves for, each counted by how far: more are mixed."""
APART = 0.2
"""By how much another order must be farther from the spots."""


def places() -> Floats:
    """The middles of the spots, as parts of the image's height and width [SPOTS,2]: in no order that a grid has."""
    steps = np.arange(SPOTS)
    return np.stack([(0.137 + steps * 0.6180339887) % 1, (0.291 + steps * 0.7548776662) % 1], axis=1)


def spotted(picture: Tensor) -> Tensor:
    """`picture` [1,3,h,w] in [0,1], and with each spot turned into what it is not [1+SPOTS,3,h,w]."""
    sides = picture.shape[2:]
    found: Tensor = picture.repeat(SPOTS + 1, 1, 1, 1)
    for number, middle in enumerate(places(), 1):
        lengths = [max(1, round(side / PART)) for side in sides]
        first = [
            min(max(0, round(at * side - length / 2)), side - length)
            for at, side, length in zip(middle, sides, lengths, strict=True)
        ]
        rows, columns = (slice(at, at + length) for at, length in zip(first, lengths, strict=True))
        spot = found[number, :, rows, columns]
        found[number, :, rows, columns] = (spot < 0.5).to(spot)
    return found


def in_order(moves: Floats, size: tuple[int, ...], prefix: int) -> bool | None:
    """Whether tokens lie row by row in a grid of `size` behind `prefix` others; None where the spots do not tell.

    moves [SPOTS,t]: how far each token moves when a spot changes. Where few tokens move, they lie where they move: what
    lies in no order that is known lies elsewhere than claimed.
    """
    if not np.isfinite(moves).all() or not moves.any():
        return None
    share = moves / (moves.mean(0) + LITTLE * moves.max())
    most = share.argmax(1)
    claimed, *others = (_distance(cells[most], size) for cells in _orders(size, prefix, moves.shape[1]))
    moved = _counted(moves.T)
    sharp = bool((moved < FEW * moves.shape[1]).mean() > 1 / 2)
    if _local(moves[:, :prefix], moves) or (sharp and claimed > SHARP[bool(np.median(moved) < ALONE)]):
        return False
    if claimed <= NEAR and all(other >= claimed + APART for other in others):
        return True
    return False if any(other <= NEAR and other < claimed - APART for other in others) else None


def _counted(moves: Floats) -> Floats:
    """How many of the numbers along the first axis there are, each counted by how large it is."""
    counted: Floats = moves.sum(0) ** 2 / np.maximum((moves**2).sum(0), 1e-300)
    return counted


def _local(prefix: Floats, moves: Floats) -> bool:
    """Whether tokens that should be of the whole image, of class tokens say, move for few of the spots alone."""
    heard = prefix.max(0, initial=0) > LITTLE * moves.max()
    return bool((_counted(prefix[:, heard]) < FEW * SPOTS).any())


def _orders(size: tuple[int, ...], prefix: int, tokens: int) -> Iterator[Floats]:
    """Row and column of each token [t,2], NaN for one that lies nowhere.

    First as it is claimed, then with some or all of the prefix behind, by rows and by columns.
    """
    rows, columns = size
    count = np.arange(rows * columns)
    orders = [np.stack([count // columns, count % columns], axis=1)]
    if 1 not in size:
        orders.append(np.stack([count % rows, count // rows], axis=1))
    for first in range(prefix, -1, -1):
        for order in orders:
            cells = np.full((tokens, 2), np.nan)
            cells[first : first + len(order)] = order
            yield cells


def _distance(cells: Floats, size: tuple[int, ...]) -> float:
    """How many cells the tokens that move most lie from their spots, in the mean; cells [SPOTS,2]."""
    spots = places() * size
    beyond = np.maximum(cells - spots, spots - cells - 1).clip(0).max(1)
    return float(np.nan_to_num(beyond, nan=FAR).clip(max=FAR).mean())
