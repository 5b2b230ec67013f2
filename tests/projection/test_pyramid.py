"""Tiles join into the canvas of their grid, and the levels below are that canvas at half its size."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

from atlas.errors import AtlasError
from atlas.projection.pyramid import CELL, NEUTRAL, Pixels, Tile, levels_below, smaller, tiles
from atlas.stages.atlas import TILE


def picture(cell: int) -> Pixels | None:
    """A third of the cells have none; the others noise of their own."""
    if cell % 3 == 0:
        return None
    return np.random.default_rng(cell).integers(0, 256, (CELL, CELL, 3)).astype(np.uint8)


def canvas(level: Iterable[Tile], count: int) -> Pixels:
    found = np.zeros((count * TILE, count * TILE, 3), np.uint8)
    seen = set()
    for tile in level:
        found[tile.row * TILE : (tile.row + 1) * TILE, tile.column * TILE : (tile.column + 1) * TILE] = tile.pixels
        seen.add((tile.row, tile.column))
    assert seen == set(np.ndindex(count, count))
    return found


def test_every_cell_is_where_it_belongs() -> None:
    made = list(tiles(10, picture))
    whole = canvas(made, 2)
    for cell in range(100):
        row, column = divmod(cell, 10)
        here = whole[row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL]
        wanted = picture(cell)
        np.testing.assert_array_equal(here, np.full(here.shape, NEUTRAL) if wanted is None else wanted)
        assert made[row // 5 * 2 + column // 5].mask[row % 5, column % 5] == (wanted is not None)


@pytest.mark.parametrize(("side", "counts"), [(20, (2, 1)), (15, (2, 1)), (10, (1,)), (5, ())])
def test_levels_below_are_the_means_of_four_pixels(side: int, counts: tuple[int, ...]) -> None:
    level = list(tiles(side, picture))
    assert levels_below(side) == len(counts)
    whole = canvas(level, side // 5)
    for count in counts:
        level = list(smaller(level))
        found = canvas(level, count)
        height = len(whole) // 2
        half = whole.reshape(height, 2, height, 2, 3).astype(float).mean((1, 3))
        assert np.abs(found[:height, :height] - half).max() <= 0.5
        assert (found[height:] == NEUTRAL).all()
        assert all(tile.mask.size == 0 for tile in level)
        whole = found


def test_pictures_of_other_sizes_are_fitted() -> None:
    flat = np.full((128, 128, 3), (10, 200, 30), np.uint8)
    tile = next(tiles(5, lambda cell: flat if cell == 6 else None))
    assert (tile.pixels[CELL : 2 * CELL, CELL : 2 * CELL] == (10, 200, 30)).all()
    assert tile.mask.sum() == 1


def test_a_grid_without_pictures_is_neutral() -> None:
    level = list(tiles(5, lambda _: None))
    assert [tile.mask.any() for tile in level] == [False]
    assert (level[0].pixels == NEUTRAL).all()


def test_a_side_that_tiles_do_not_divide_is_refused() -> None:
    with pytest.raises(AtlasError, match="multiple of 5"):
        list(tiles(12, picture))
