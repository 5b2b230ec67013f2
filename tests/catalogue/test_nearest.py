"""Which units are nearest, beside looking at every pair; what is nobody's neighbour."""

from __future__ import annotations

import numpy as np
import pytest

from atlas.catalogue.similarity import Excited, nearest


@pytest.mark.parametrize("first", [None, 0])
def test_a_unit_of_zeros_is_nobodys_neighbour_and_one_at_a_right_angle_is(first: int | None) -> None:
    units = np.array([[1, 0], [0, 0], [0, 1], [0.6, 0.8]], np.float32)
    ((_, index, cosine),) = nearest(units, units, 4, first=first)
    alone = (
        {0: [3, 2], 1: [], 2: [3, 0], 3: [2, 0]} if first == 0 else {0: [0, 3, 2], 1: [], 2: [2, 3, 0], 3: [3, 2, 0]}
    )
    assert {row: [one for one in found if one >= 0] for row, found in enumerate(index.tolist())} == alone
    assert np.array_equal(np.isnan(cosine), index < 0)


def test_a_query_of_zeros_has_no_neighbour_and_hides_none() -> None:
    units = np.array([[1, 0], [0, 0], [0, 1]], np.float32)
    ((_, index, _),) = nearest(units[[1, 0]], units, 3)
    assert index.tolist() == [[-1, -1, -1], [0, 2, -1]]


def test_what_images_excite_is_kept_of_those_that_are_known_and_given_of_any_range() -> None:
    excited = Excited.nothing(np.array([0, 4, 5]), 2)
    excited.add(0, np.array([0, 4]), np.array([[1.0, 3.0, 2.0], [np.nan, 0.5, -1.0]], np.float32))
    excited.add(1, np.array([4]), np.array([[0.7]], np.float32))
    assert excited.layer.tolist() == [[0, 0], [1, 0], [-1, -1]]
    assert excited.unit.tolist() == [[1, 2], [0, 1], [-1, -1]]
    some = excited.of(slice(3, 6))
    assert some.layer.tolist() == [[-1, -1], [1, 0], [-1, -1]]
    assert some.unit.tolist() == [[-1, -1], [0, 1], [-1, -1]]
    assert some.score.tolist()[1] == pytest.approx([0.7, 0.5])
    assert excited.of(slice(1, 4)).layer.tolist() == [[-1, -1]] * 3
