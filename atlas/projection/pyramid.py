"""Pictures of cells joined to the tiles of a zoomable map.

    side, cell -> picture -> Tile, ...        and below the first grid, Tile, ... -> smaller tiles

Every grid is a level of the pyramid: it has twice the cells of the one before along each edge, and so twice the pixels.
Cells are 80 pixels wide and tiles 400, of which 80 is a fifth: no picture is cut by a tile's edge. A cell without a
picture shows one neutral colour; how densely a cell is filled is drawn by whoever shows the map.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from atlas.errors import AtlasError
from atlas.stages.atlas import ACROSS, TILE

Pixels = NDArray[np.uint8]
"""[h,w,3]"""
Lookup = Callable[[int], Pixels | None]
"""A cell's number -> its picture, square, of any size; None where it has none."""

CELL = TILE // ACROSS
"""Pixels along the edge of a cell."""
NEUTRAL = (128, 128, 128)


@dataclass(frozen=True, eq=False)
class Tile:
    """One tile of a level."""

    row: int
    column: int
    pixels: Pixels
    """[400,400,3]"""
    mask: NDArray[np.bool_]
    """[5,5]: which of its cells have a picture; [0,0] below the first grid, where tiles show several cells a pixel."""


def tiles(side: int, picture: Lookup) -> Iterator[Tile]:
    """All tiles of a grid of `side` cells, row by row, whether or not any picture is on them.

    Raises `AtlasError` for a side that tiles do not divide.
    """
    if side % ACROSS:
        raise AtlasError(f"grid {side}: a grid's side is a multiple of {ACROSS}, the cells along a tile.")
    for row in range(side // ACROSS):
        for column in range(side // ACROSS):
            yield _tile(side, row, column, picture)


def _tile(side: int, row: int, column: int, picture: Lookup) -> Tile:
    pixels, mask = _empty(), np.zeros((ACROSS, ACROSS), np.bool_)
    for down, right in np.ndindex(mask.shape):
        found = picture((row * ACROSS + down) * side + column * ACROSS + right)
        if found is not None:
            mask[down, right] = True
            pixels[down * CELL : (down + 1) * CELL, right * CELL : (right + 1) * CELL] = _icon(found)
    return Tile(row, column, pixels, mask)


def _icon(picture: Pixels) -> Pixels:
    """A picture [h,w,3] at the size of a cell."""
    if picture.shape == (CELL, CELL, 3):
        return picture
    return np.asarray(Image.fromarray(picture).resize((CELL, CELL), Image.Resampling.LANCZOS))


def _empty() -> Pixels:
    return np.full((TILE, TILE, 3), NEUTRAL, np.uint8)


def levels_below(side: int) -> int:
    """How many halvings it takes until a grid of `side` cells fits on one tile."""
    count = 0
    while side * CELL > TILE << count:
        count += 1
    return count


def smaller(level: Iterable[Tile]) -> Iterator[Tile]:
    """The tiles of a level, row by row -> those of the level of half its pixels, each of up to four of them.

    Each pixel is the mean of four. Where a level ends in the middle of a tile the rest is neutral.
    """
    parts: dict[tuple[int, int], Pixels] = {}
    for tile in level:
        place = tile.row // 2, tile.column // 2
        pixels = parts.setdefault(place, _empty())
        down, right = (half % 2 * (TILE // 2) for half in (tile.row, tile.column))
        pixels[down : down + TILE // 2, right : right + TILE // 2] = _halved(tile.pixels)
    for (row, column), pixels in sorted(parts.items()):
        yield Tile(row, column, pixels, np.zeros((0, 0), np.bool_))


def _halved(pixels: Pixels) -> Pixels:
    quarters = pixels.reshape(TILE // 2, 2, TILE // 2, 2, 3).astype(np.uint16)
    halved: Pixels = ((quarters.sum(axis=(1, 3)) + 2) // 4).astype(np.uint8)
    return halved
