"""Fields counted batch by batch equal a plain count over everything, by the kernels and by torch alike."""

from __future__ import annotations

from collections.abc import Callable

import numba
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from torch import Tensor

from atlas.dataset import kernels, measure
from atlas.dataset.measure import Measure, OnDevice, OnProcessor, Tally
from atlas.dataset.summary import BINS, EDGES, FIELDS, Fields, merge
from tests.dataset.plain import Values, assert_fields

pytestmark = pytest.mark.builder

Made = Callable[[int], Tally]
TALLIES: list[Made] = [OnProcessor, lambda channels: OnDevice(channels, "cpu")]
NUMBERS = st.sampled_from([0.0, -0.0, 0.5, 1.0, 1.25, -1.0, -2.5, 1e-30, -7e6, 7e6, np.nan, np.inf, -np.inf])


def measured(values: Values, tally: Made, width: int, ranked: Values | None = None) -> Fields:
    """The fields of `values`, `width` crops at a time, each batch padded by a row that must not count."""
    keys = list(values)
    channels, positions = values[keys[0]].shape
    found = Measure(channels, tally(channels))
    padding = torch.full((1, channels, positions), 9e9)

    def stacked(source: Values, some: list[tuple[int, int]]) -> Tensor:
        return torch.cat([torch.from_numpy(np.stack([source[key] for key in some])), padding])

    for start in range(0, len(keys), width):
        some = keys[start : start + width]
        images, crops = np.array(some, np.int64).T
        before = None if ranked is None else stacked(ranked, some)
        high = found.add(stacked(values, some), before, images, crops)
        for row, key in zip(high, some, strict=True):
            finite = np.where(np.isfinite(values[key]), values[key], -np.inf).max(1)
            np.testing.assert_array_equal(row, np.where(np.isinf(finite), np.nan, finite))
    return found.fields()


@st.composite
def made_values(draw: st.DrawFn) -> dict[tuple[int, int], NDArray[np.float32]]:
    images = draw(st.lists(st.integers(0, 60), min_size=1, max_size=16, unique=True))
    crops, positions = draw(st.integers(1, 3)), draw(st.integers(1, 4))
    rows = st.lists(NUMBERS, min_size=2 * positions, max_size=2 * positions)
    keys = [(image, crop) for image in images for crop in range(crops)]
    return {key: np.array(draw(rows), np.float32).reshape(2, positions) for key in keys}


@pytest.mark.parametrize("tally", TALLIES, ids=["kernels", "torch"])
@settings(max_examples=40, deadline=None)
@given(values=made_values(), width=st.integers(1, 9))
def test_equals_a_plain_count(tally: Made, values: dict[tuple[int, int], NDArray[np.float32]], width: int) -> None:
    assert_fields(measured(values, tally, width), values)


@pytest.mark.parametrize("tally", TALLIES, ids=["kernels", "torch"])
@settings(max_examples=20, deadline=None)
@given(before=made_values(), width=st.integers(1, 9))
def test_the_lowest_are_ranked_before_the_rectifier(
    tally: Made, before: dict[tuple[int, int], NDArray[np.float32]], width: int
) -> None:
    values = {key: np.clip(rows, 0, 6) for key, rows in before.items()}
    assert_fields(measured(values, tally, width, before), values, before)


def many(channels: int = 70, images: int = 23) -> dict[tuple[int, int], NDArray[np.float32]]:
    """More than vectors are wide, of magnitudes over many octaves, a third of them zero."""
    chance = np.random.default_rng(5)
    shape = (channels, 37)
    return {
        (image, crop): (
            chance.normal(size=shape) * np.exp(chance.normal(size=shape) * 4) * (chance.random(shape) > 0.3)
        ).astype(np.float32)
        for image in range(images)
        for crop in range(2)
    }


def test_kernels_and_torch_count_the_same() -> None:
    values = many()
    one, other = (measured(values, tally, 8) for tally in TALLIES)
    for name, place in FIELDS.items():
        np.testing.assert_allclose(one[:, place], other[:, place], rtol=1e-12 if name in {"sum", "squares"} else 0)
    assert_fields(one, values)


@pytest.mark.parametrize("tally", TALLIES, ids=["kernels", "torch"])
def test_shards_of_any_size_merge_to_the_whole(tally: Made) -> None:
    values = many(channels=3)
    keys = list(values)
    for size in (1, 7, 20, 46):
        shards = [keys[start : start + size] for start in range(0, len(keys), size)]
        assert_fields(merge(measured({key: values[key] for key in some}, tally, 4) for some in shards[::-1]), values)


@pytest.mark.parametrize("tally", TALLIES, ids=["kernels", "torch"])
def test_every_edge_is_counted_on_the_right_side(tally: Made) -> None:
    near = np.concatenate([EDGES, np.nextafter(EDGES, np.float32(0)), np.nextafter(EDGES, np.float32(np.inf))])
    values = {(0, 0): near[None]}
    assert_fields(measured(values, tally, 1), values)


@pytest.mark.parametrize("layout", ["maps", "channels-last maps", "tokens", "vectors"])
def test_any_layout_in_memory(layout: str) -> None:
    chance = torch.Generator().manual_seed(2)
    value = {
        "maps": lambda: torch.randn(4, 6, 3, 5, generator=chance),
        "channels-last maps": lambda: torch.randn(4, 3, 5, 6, generator=chance).permute(0, 3, 1, 2),
        "tokens": lambda: torch.randn(4, 16, 6, generator=chance)[:, 1:].transpose(1, 2),
        "vectors": lambda: torch.randn(4, 6, generator=chance),
    }[layout]()
    found = Measure.on("cpu", 6)
    found.add(value, None, np.arange(4), np.zeros(4, np.int64))
    flat = value.reshape(4, 6, -1).numpy()
    assert_fields(found.fields(), {(image, 0): flat[image] for image in range(4)})


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16, torch.float16])
def test_other_floats_are_counted_as_float32(dtype: torch.dtype) -> None:
    value = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0)).to(dtype)
    found = Measure.on("cpu", 3)
    found.add(value, None, np.arange(2), np.zeros(2, np.int64))
    flat = value.float().reshape(2, 3, -1).numpy()
    assert_fields(found.fields(), {(image, 0): flat[image] for image in range(2)})


def test_counts_do_not_run_over(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure, "MOST", 100)
    values = many(channels=2, images=6)
    tally = OnProcessor(2)
    most = 0

    def watched(_: int) -> Tally:
        return tally

    count = tally.count

    def counting(rows: Tensor, which: NDArray[np.int64]) -> None:
        nonlocal most
        count(rows, which)
        most = max(most, int(tally._histogram.sum(1).max()))

    monkeypatch.setattr(tally, "count", counting)
    assert_fields(measured(values, watched, 4), values)
    assert 0 < most <= 100


def test_fields_may_be_asked_for_on_the_way() -> None:
    values = many(channels=2, images=4)
    found = Measure.on("cpu", 2)
    for (image, crop), rows in values.items():
        found.add(torch.from_numpy(rows)[None], None, np.array([image]), np.array([crop]))
        found.fields()[:] = 0
    assert_fields(found.fields(), values)


def test_nowhere_to_keep_machine_code(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[bool] = []

    def refusing(cache: bool = False, **_: object) -> Callable[[Callable[..., None]], Callable[..., None]]:
        asked.append(cache)
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: function

    def plain(rows: object) -> None: ...

    monkeypatch.setattr(numba, "njit", refusing)
    assert kernels.compiled(plain) is plain
    assert asked == [True, False]


def test_there_is_a_bin_for_what_is_not_finite() -> None:
    tally = OnProcessor(1)
    tally.count(torch.tensor([[[np.nan], [np.inf], [1.0]]]), np.array([0]))
    _, counts, histogram = tally.taken()
    assert counts.tolist() == [[1], [2]]
    assert histogram[0, BINS] == 2
    assert histogram.sum() == 3
