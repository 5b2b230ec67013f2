"""Maps face one way however a run turned them, and lie in a square."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from atlas.projection.place import framed, turn

Wide = NDArray[np.float64]


def turned(angle: float, mirrored: bool) -> Wide:
    cosine, sine = np.cos(angle), np.sin(angle)
    return np.array([[cosine, -sine], [sine, cosine]]) @ np.diag([1, -1 if mirrored else 1])


def layout(seed: int) -> Wide:
    """Positions without any symmetry."""
    rng = np.random.default_rng(seed)
    return np.stack([rng.gamma(2.0, 3.0, 200), rng.gamma(1.0, 1.0, 200)], axis=1)


ANGLES = st.floats(0, 2 * np.pi)


@settings(deadline=None)
@given(ANGLES, st.booleans(), st.integers(0, 5), st.sampled_from(["plane", "line", "nothing"]))
def test_however_it_was_turned_it_faces_the_same(angle: float, mirrored: bool, seed: int, target: str) -> None:
    raw, noise = layout(seed), np.random.default_rng(seed + 50).standard_normal((200, 2))
    aim = raw + 2 * noise
    if target == "line":
        aim = np.outer(aim[:, 0], [0.6, -0.8])
    if target == "nothing":
        aim[:, 1] = 0
    other = raw @ turned(angle, mirrored) + 7
    np.testing.assert_allclose(
        (other - other.mean(0)) @ turn(other, aim), (raw - raw.mean(0)) @ turn(raw, aim), atol=1e-6
    )


@settings(deadline=None)
@given(ANGLES, st.booleans(), st.floats(0.1, 10))
def test_it_comes_back_to_a_target_that_it_was_turned_from(angle: float, mirrored: bool, size: float) -> None:
    target = layout(1)
    raw = size * (target - target.mean(0)) @ turned(angle, mirrored)
    np.testing.assert_allclose(raw @ turn(raw, target) / size, target - target.mean(0), atol=1e-6)


def test_what_is_not_known_of_either_does_not_count() -> None:
    target = layout(2)
    raw = target @ turned(1.0, True)
    expected = turn(raw[5:-5], target[5:-5])
    raw[:5], target[-5:] = np.nan, np.nan
    np.testing.assert_allclose(turn(raw, target), expected)


@pytest.mark.parametrize("raw", [np.zeros((5, 2)), np.full((3, 2), np.nan), np.zeros((0, 2)), np.ones((1, 2))])
def test_without_any_extent_it_is_some_turn(raw: Wide) -> None:
    found = turn(raw, np.zeros_like(raw))
    np.testing.assert_allclose(found @ found.T, np.eye(2), atol=1e-12)


def test_one_dimension_is_turned_by_its_sign() -> None:
    raw = layout(0)[:, :1]
    assert turn(raw, -raw).tolist() == [[-1]]


@settings(deadline=None)
@given(st.integers(0, 9), st.floats(0, 10), st.floats(0, 1))
def test_everything_lies_in_the_square_in_the_same_order(seed: int, clip: float, margin: float) -> None:
    raw = layout(seed) * [1, 1e5]
    raw[3] = np.nan
    found = framed(raw, clip=clip, margin=margin)
    assert np.isnan(found[3]).all()
    known = np.delete(found, 3, axis=0)
    assert known.min() == 0
    assert known.max() == 1
    for axis in (0, 1):
        assert (np.diff(known[np.argsort(np.delete(raw, 3, axis=0)[:, axis]), axis]) >= 0).all()


def test_a_few_far_out_do_not_empty_the_map() -> None:
    raw = layout(0)
    raw[0] = 1e6
    assert (framed(raw)[1:].max(0) > 0.8).all()
    assert (framed(raw)[0] == 1).all()
    assert (framed(raw, clip=0)[1:].max(0) < 0.01).all()


def test_an_axis_along_which_nothing_differs_is_its_middle() -> None:
    raw = layout(0)
    raw[:, 1] = -4
    assert (framed(raw)[:, 1] == 0.5).all()
    assert (framed(np.ones((3, 2))) == 0.5).all()
    assert framed(np.zeros((0, 2))).shape == (0, 2)
