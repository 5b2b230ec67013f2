"""What is known of channels, merged from any shards, equals a plain computation over everything."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from atlas.dataset.summary import (
    BINS,
    EDGES,
    FIELDS,
    KEPT,
    WIDTH,
    Fields,
    bins,
    first_entries,
    merge,
    nothing,
    statistics,
    strongest,
)
from atlas.stages.dataset import LEVELS
from tests.dataset.plain import Values, assert_fields, histogram_of, statistics_of, strongest_of


def fields_of(values: Values, channels: int, ranked: Values | None = None) -> Fields:
    """The fields of a few images, by the plain means of the tests."""
    fields = nothing(channels)
    for channel in range(channels if values else 0):
        if any(crop == 0 for _, crop in values):
            for name, number in statistics_of(values, channel).items():
                fields[channel, FIELDS[name]] = number
        for side, source in enumerate((values, ranked or values)):
            for place, entry in enumerate(strongest_of(source, channel, highest=side == 0)):
                strongest(fields)[channel, side, place] = entry
    return fields


NUMBERS = st.sampled_from(
    [0.0, -0.0, 1.0, 1.25, -1.25, 2.0, -3.0, 1e-9, -1e-9, 5e6, -5e6, np.nan, np.inf, -np.inf, 0.1]
)
"""Few enough that ties are common."""


@st.composite
def made_values(draw: st.DrawFn) -> dict[tuple[int, int], NDArray[np.float32]]:
    """Up to 14 images of up to 3 crops, 2 channels of 3 positions."""
    numbers = draw(st.lists(st.integers(0, 40), min_size=1, max_size=14, unique=True))
    crops = draw(st.integers(1, 3))
    rows = st.lists(NUMBERS, min_size=6, max_size=6)
    return {(image, crop): np.array(draw(rows), np.float32).reshape(2, 3) for image in numbers for crop in range(crops)}


@settings(max_examples=60, deadline=None)
@given(made_values(), st.data())
def test_any_shards_in_any_order_merge_to_the_whole(
    values: dict[tuple[int, int], NDArray[np.float32]], data: st.DataObject
) -> None:
    shard_of = {key: data.draw(st.integers(0, 4)) for key in values}
    parts = [fields_of({key: values[key] for key in values if shard_of[key] == shard}, 2) for shard in range(5)]
    whole = merge(parts)
    assert_fields(whole, values)
    again = merge(data.draw(st.permutations(parts)))
    exact = [place for name, place in FIELDS.items() if name not in {"sum", "squares"}]
    for place in exact:
        np.testing.assert_array_equal(whole[:, place], again[:, place])


def test_merging_leaves_its_parts_alone() -> None:
    parts = [fields_of({(image, 0): np.full((1, 1), image, np.float32)}, 1) for image in range(12)]
    copies = [part.copy() for part in parts]
    assert strongest(merge(parts))[0, 0, :, 1].tolist() == [11, 10, 9, 8, 7, 6, 5, 4, 3]
    for part, copied in zip(parts, copies, strict=True):
        np.testing.assert_array_equal(part, copied)


def test_equal_values_are_ordered_by_image_crop_and_position() -> None:
    entries = np.array([[(1.0, image, crop, 4) for image in range(12, 0, -1) for crop in (1, 0)]])
    assert first_entries(entries, -1)[0, :, 1:3].tolist() == [[image, 0] for image in range(1, 10)]


def test_merging_nothing_is_an_error() -> None:
    with pytest.raises(ValueError, match="no parts"):
        merge([])


def test_edges_are_the_same_on_both_sides_of_zero() -> None:
    assert EDGES.dtype == np.float32
    assert len(EDGES) == BINS + 1
    assert (np.diff(EDGES) > 0).all()
    assert (-EDGES[::-1] == EDGES).all()
    assert EDGES[-1] == 2.0**20
    assert EDGES[EDGES > 0].min() == 2.0**-16
    assert {1.0, 1.25, 1.5, 1.75, 2.0} <= set(EDGES.tolist())
    assert sum(place.stop - place.start for place in FIELDS.values()) == WIDTH


@given(st.lists(st.floats(width=32, allow_nan=False, allow_infinity=False), min_size=1))
def test_the_bin_of_a_value_is_a_shift_of_its_bits(numbers: list[float]) -> None:
    values = np.array(numbers, np.float32)
    np.testing.assert_array_equal(np.bincount(bins(values), minlength=BINS), histogram_of(values))


def test_an_edge_belongs_to_the_bin_away_from_zero() -> None:
    for edge in EDGES:
        place = int(bins(edge))
        assert (EDGES[min(place, BINS - 1)] if edge > 0 else EDGES[place + 1]) in (edge, EDGES[-2], EDGES[1])
    assert bins(np.float32(1)) == bins(np.float32(1.2))
    assert bins(np.float32(-1)) == bins(np.float32(-1.2))


def spread(count: int = 4000, channels: int = 3) -> dict[tuple[int, int], NDArray[np.float32]]:
    chance = np.random.default_rng(0)
    return {
        (image, 0): (chance.normal(size=(channels, count // 8)) * [[1], [30], [0.001]]).astype(np.float32)
        for image in range(8)
    }


@pytest.mark.parametrize("rectified", [False, True])
def test_statistics_are_those_of_the_values(rectified: bool) -> None:
    values = {key: np.maximum(rows, 0) if rectified else rows for key, rows in spread().items()}
    found = statistics(fields_of(values, 3))
    whole = np.concatenate([values[image, 0] for image in range(8)], axis=1).astype(float)
    assert found["seen"].tolist() == [8, whole.shape[1]]
    np.testing.assert_allclose(found["mean"], whole.mean(1), rtol=1e-6)
    np.testing.assert_allclose(found["std"], whole.std(1), rtol=1e-6)
    np.testing.assert_array_equal(found["largest"], whole.max(1).astype(np.float32))
    np.testing.assert_array_equal(found["least"], whole.min(1).astype(np.float32))
    np.testing.assert_allclose(found["active_positions"], (whole > 0).mean(1), rtol=1e-6)
    assert (found["active_images"] == 1).all()
    assert found["histogram"].sum() == whole.size
    wanted = np.quantile(whole, LEVELS, axis=1).T
    # Within the quarter of an octave that a bin is wide.
    np.testing.assert_allclose(found["quantile"], wanted, rtol=0.13, atol=2e-4 if not rectified else 2e-5)
    assert (np.diff(found["quantile"], axis=1) >= 0).all()
    assert {found[f"example_{name}"].shape for name in ("image", "crop", "position", "value")} == {(3, 2, KEPT)}
    assert (found["example_image"][:, :, 8:] == -1).all()


def test_quantiles_stay_between_least_and_largest() -> None:
    for number in (0.0, 1.1, -2e7, 3e30, -1e-20):
        found = statistics(fields_of({(0, 0): np.full((1, 5), number, np.float32)}, 1))
        assert (found["quantile"] == np.float32(number)).all()
        assert found["least"] == found["largest"] == np.float32(number)


def test_a_channel_of_nan_has_no_numbers() -> None:
    found = statistics(fields_of({(3, 0): np.full((1, 4), np.nan, np.float32)}, 1))
    for name in ("mean", "std", "largest", "least", "active_positions", "active_images"):
        assert np.isnan(found[name]).all()
    assert np.isnan(found["quantile"]).all()
    assert (found["seen"].tolist(), found["nan"].tolist()) == ([1, 4], [4])
    assert (found["example_image"] == -1).all()
    assert np.isnan(found["example_value"]).all()


def test_a_shard_without_images_adds_nothing() -> None:
    fields = fields_of({(0, 0): np.ones((1, 2), np.float32)}, 1)
    np.testing.assert_array_equal(merge([nothing(1), fields, nothing(1)]), fields)
    assert np.isnan(statistics(nothing(1))["mean"]).all()
