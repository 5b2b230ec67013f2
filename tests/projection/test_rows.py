"""Samples read chunk by chunk: the blocks are the same however they were cut."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.projection.rng import drawn, some, uniform
from atlas.projection.rows import blocks, gathered
from tests.projection.made import Cut

CUTS = st.lists(st.integers(0, 50), max_size=8)


@given(CUTS, st.integers(1, 60))
def test_blocks_are_the_same_however_the_chunks_are_cut(places: list[int], size: int) -> None:
    rows = np.arange(100, dtype=np.float16).reshape(50, 2)
    found = list(blocks(Cut(rows, places), size))
    assert [first for first, _ in found] == list(range(0, 50, size))
    assert all(len(block) == size for _, block in found[:-1])
    assert all(block.dtype == np.float32 for _, block in found)
    np.testing.assert_array_equal(np.concatenate([block for _, block in found]), rows)


@given(CUTS, st.sets(st.integers(0, 49)))
def test_rows_are_gathered_by_their_numbers(places: list[int], numbers: set[int]) -> None:
    rows = np.arange(100, dtype=np.float32).reshape(50, 2)
    chosen = np.array(sorted(numbers), np.int64)
    np.testing.assert_array_equal(gathered(Cut(rows, places), chosen), rows[chosen])


def test_a_generator_is_refused() -> None:
    with pytest.raises(TypeError, match="several times"):
        list(blocks(iter([np.zeros((2, 2))])))


def test_no_rows() -> None:
    assert list(blocks([])) == []
    assert list(blocks([np.zeros((0, 3))])) == []


def test_chance_is_even_and_each_number_has_its_own() -> None:
    numbers = np.arange(20_000)
    values = uniform(3, "a test", numbers)
    counts = np.histogram(values, 10, (0, 1))[0]
    assert np.abs(counts - 2000).max() < 200
    assert abs(np.corrcoef(values[1:], values[:-1])[0, 1]) < 0.03
    np.testing.assert_array_equal(values[137:140], uniform(3, "a test", numbers[137:140]))
    for seed, purpose in ((4, "a test"), (-3, "a test"), (3, "another")):
        assert abs(np.corrcoef(values, uniform(seed, purpose, numbers))[0, 1]) < 0.03


def test_chance_never_changes() -> None:
    assert drawn(0, "sample", np.arange(2)).tolist() == [5379058475792783163, 10178008813053025705]


@given(st.integers(0, 2**40), st.integers(1, 40), st.integers(0, 40))
def test_a_choice_of_more_keeps_what_one_of_fewer_would(seed: int, more: int, fewer: int) -> None:
    numbers = np.arange(0, 90, 3)
    large, small = (some(seed, "sample", numbers, most) for most in (max(more, fewer), min(more, fewer)))
    assert set(small) <= set(large) <= set(numbers)
    assert len(large) == min(max(more, fewer), 30)
    assert (np.diff(large) > 0).all()
