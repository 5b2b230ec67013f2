"""Every sample in exactly one cell, every cell four of the next grid's, and in each what plain means find."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from atlas.projection.grid import Cells, cells_of, fill, least_members
from atlas.stages.atlas import REAL
from tests.projection.made import Cut, planted

EDGES = st.sampled_from([0.0, 1.0, 0.5, 0.25, 0.05, 0.95, float(np.nextafter(np.float32(1), np.float32(0)))])
POSITIONS = arrays.arrays(np.float32, (30, 2), elements=st.one_of(EDGES, st.floats(0, 1, width=32), st.just(np.nan)))


@given(POSITIONS, st.sampled_from([5, 15, 20]), st.integers(1, 4))
def test_every_sample_is_in_one_cell_of_every_grid(xy: NDArray[np.float32], first: int, levels: int) -> None:
    known = np.isfinite(xy).all(axis=1)
    for side in (first << level for level in range(levels)):
        cell = cells_of(xy, side)
        assert (cell[~known] == -1).all()
        assert ((cell[known] >= 0) & (cell[known] < side * side)).all()
        row, column = np.divmod(cells_of(xy, 2 * side)[known], 2 * side)
        np.testing.assert_array_equal(row // 2 * side + column // 2, cell[known])


def test_cells_count_from_the_top_left_row_by_row() -> None:
    xy = np.array([[0, 0], [0.99, 0], [0, 0.3], [1, 1]], np.float32)
    assert cells_of(xy, 5).tolist() == [0, 4, 5, 24]


def test_the_fewer_samples_the_fewer_fill_a_cell() -> None:
    assert [least_members(count, 20) for count in (3, 2000, 5000, 10**6)] == [1, 1, 3, 5]
    assert [least_members(10**6, side) for side in (20, 40, 80, 160)] == [5, 5, 5, 5]
    assert least_members(100_000, 160) == 1


def filled(
    seed: int = 0, least: int | None = 2
) -> tuple[NDArray[np.float32], NDArray[np.int32], NDArray[np.int64], Cells]:
    rng = np.random.default_rng(seed)
    vectors = planted(400, 8).vectors
    xy = rng.random((400, 2), np.float32)
    xy[::50] = np.nan
    images = rng.integers(60, size=400)
    cell = cells_of(xy, 10)
    return vectors, cell, images, fill([vectors], cell, 10, least=least, images=images)


def test_cells_hold_what_plain_means_find() -> None:
    vectors, cell, images, found = filled()
    assert found.count.sum() == (cell >= 0).sum() == 392
    assert found.cells.tolist() == [one for one in range(100) if (cell == one).sum() >= 2]
    for place, one in enumerate(found.cells):
        members = np.flatnonzero(cell == one)
        assert found.count[one] == len(members)
        mean = vectors[members].mean(axis=0, dtype=np.float64)
        np.testing.assert_allclose(found.direction[place], mean, rtol=1e-5)
        cosine = vectors[members] @ mean / np.linalg.norm(vectors[members], axis=1) / np.linalg.norm(mean)
        best: dict[int, tuple[float, int]] = {}
        for value, member in sorted(zip(-cosine, members, strict=True)):
            best.setdefault(int(images[member]), (value, int(member)))
        expected = [member for _, member in sorted(best.values())][:REAL]
        expected += [-1] * (REAL - len(expected))
        assert found.nearest[place].tolist() == expected
        np.testing.assert_allclose(
            found.cosine[place][: len(best)], [-value for value, _ in sorted(best.values())][:REAL], rtol=1e-5
        )


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(0, 400), max_size=6))
def test_nothing_depends_on_how_the_shards_are_cut(places: list[int]) -> None:
    vectors, cell, images, found = filled()
    again = fill(Cut(vectors, places), cell, 10, least=2, images=images)
    for name in ("count", "cells", "direction", "nearest", "cosine"):
        np.testing.assert_array_equal(getattr(again, name), getattr(found, name))


def test_without_images_samples_are_shown_as_they_are() -> None:
    vectors, cell = planted(20, 8).vectors, np.zeros(20, np.int32)
    found = fill([vectors], cell, 5)
    assert len(found) == 1
    assert len(set(found.nearest[0].tolist())) == REAL
    assert (np.diff(found.cosine[0]) <= 0).all()


def test_a_grid_without_samples_is_empty() -> None:
    found = fill([np.full((3, 4), np.nan)], np.full(3, -1, np.int32), 5)
    assert len(found) == 0
    assert found.nearest.shape == (0, REAL)
    assert not found.count.any()


def test_opposite_vectors_have_a_mean_without_a_direction() -> None:
    vectors = np.array([[1, 0], [-1, 0]], np.float32)
    found = fill([vectors], np.zeros(2, np.int32), 5)
    assert found.direction.tolist() == [[0, 0]]
    assert sorted(found.nearest[0][:2]) == [0, 1]
