"""Attributions as they are kept."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from atlas.attribution import Packed, pack


def made(samples: int, classes: int, size: float = 1.0, seed: int = 0) -> NDArray[np.float32]:
    return (np.random.default_rng(seed).standard_normal((samples, classes)) * size).astype(np.float32)


@given(st.integers(1, 40), st.integers(0, 30), st.floats(-30, 30), st.integers(0, 5))
def test_all_classes_come_back_whatever_their_size(samples: int, classes: int, exponent: float, seed: int) -> None:
    attribution = made(samples, classes, 10.0**exponent, seed)
    packed = pack(attribution)
    assert packed.classes is None
    largest = np.abs(attribution).max(axis=1, initial=0, keepdims=True)
    assert (np.abs(packed.dense() - attribution) <= 2**-11 * np.abs(attribution) + 2**-24 * largest).all()


def test_of_many_classes_the_strongest_of_each_sign_come_back() -> None:
    attribution = made(7, 5000)
    packed = pack(attribution)
    assert packed.classes is not None
    assert packed.values.shape == (7, 128)
    dense = packed.dense()
    for found, row in zip(dense, attribution, strict=True):
        order = np.argsort(row)
        kept = np.concatenate([order[:64], order[-64:]])
        np.testing.assert_allclose(found[kept], row[kept], rtol=2**-11)
        assert np.flatnonzero(found).tolist() == sorted(kept.tolist())


@pytest.mark.parametrize("classes", [10, 3000])
def test_a_range_of_classes_is_cut_from_the_whole(classes: int) -> None:
    packed = pack(made(5, classes))
    whole = packed.dense()
    for start, stop in ((0, 4), (3, 9), (5, classes), (classes - 1, classes + 7)):
        np.testing.assert_array_equal(packed.dense(start, stop), whole[:, start:stop])


@pytest.mark.parametrize("classes", [10, 3000])
def test_samples_that_are_not_finite_read_as_nan(classes: int) -> None:
    attribution = made(4, classes)
    attribution[1, 3], attribution[2, 7] = np.nan, np.inf
    dense = pack(attribution).dense()
    assert np.isnan(dense[1:3]).all()
    assert np.isfinite(dense[[0, 3]]).all()


def test_zeros_and_equal_values() -> None:
    for fill in (0.0, -3.0):
        packed = pack(np.full((2, 3000), fill, np.float32))
        assert isinstance(packed, Packed)
        assert packed.classes is not None
        assert all(len(set(row)) == 128 for row in packed.classes.tolist())
        assert (packed.values.astype(np.float32) * packed.scale[:, None] == fill).all()
