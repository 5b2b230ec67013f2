"""Neighbours equal those found one by one, and are the same for a point whichever others are asked for."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.projection import neighbours
from atlas.projection.neighbours import nearest, weights


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several blocks even of few points."""
    monkeypatch.setattr(neighbours, "QUERIES", 16)
    monkeypatch.setattr(neighbours, "ANCHORS", 24)


def points(count: int, dims: int, seed: int, levels: int = 0) -> np.ndarray[tuple[int, int], np.dtype[np.float32]]:
    """Some points; with few `levels` many of them coincide or are equally far apart."""
    found = np.random.default_rng(seed).standard_normal((count, dims))
    return (np.round(found * levels) if levels else found).astype(np.float32)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(1, 70), st.integers(1, 90), st.integers(1, 12), st.integers(1, 9), st.integers(0, 9), st.integers(0, 2)
)
def test_equals_looking_at_every_pair(
    queries: int, anchors: int, dims: int, count: int, seed: int, levels: int
) -> None:
    here, there = points(queries, dims, seed, levels), points(anchors, dims, seed + 1, levels)
    count = min(count, anchors)
    index, distance = nearest(here, there, count)
    apart = np.sqrt(((here[:, None].astype(float) - there[None]) ** 2).sum(2))
    np.testing.assert_allclose(distance, np.sort(apart, axis=1)[:, :count], rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(np.take_along_axis(apart, index, 1), distance, rtol=1e-6, atol=1e-6)
    assert all(len(set(row)) == count for row in index.tolist())


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_nothing_depends_on_the_others(data: st.DataObject) -> None:
    here, there = points(60, 20, 0), points(80, 20, 1)
    index, distance = nearest(here, there, 7)
    some = data.draw(st.lists(st.integers(0, 59), min_size=1, max_size=60, unique=True))
    for whole, part in zip((index, distance), nearest(here[some], there, 7), strict=True):
        np.testing.assert_array_equal(whole[some], part)


def test_weights_end_at_the_last_neighbour_and_hold_on_to_the_first() -> None:
    distance = np.array([[0, 1, 2, 3], [1, 1, 1, 1], [1, 2, 4, 4], [0.5, 1, 1.5, 1e5], [0, 0, 0, 0]], float)
    found = weights(distance)
    np.testing.assert_allclose(found.sum(1), 1)
    assert found[0, 0] > 1 - 1e-9
    np.testing.assert_allclose(found[1], 1 / 3)
    assert found[2, 2] == 0
    np.testing.assert_allclose(found[3], np.array([4, 1, 4 / 9]) / (5 + 4 / 9), rtol=1e-4)
    np.testing.assert_allclose(found[4], 1 / 3)
