"""Sampled activations: where they are taken is keyed, never at an edge, and what is kept is what was there."""

from __future__ import annotations

import doctest
import hashlib
import importlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from atlas.dataset.shown import Batch, Shown, batches, in_places
from atlas.dataset.vectors import Sampler, Vectors, chance, drawn, inner_positions
from atlas.dataset.watch import on_device, watch
from atlas.models import load_model
from atlas.units import Kind, Layer, Status
from tests.dataset.made import photographs
from tests.dataset.sampling import sample
from tests.dataset.test_collect import made, plainly
from tests.models.networks import model_of

pytestmark = pytest.mark.builder


def some_images(count: int = 9, crops: int = 2) -> list[Shown]:
    generator = torch.Generator().manual_seed(1)
    return [
        Shown(5 * number, torch.rand(crops, 3, 32, 32, generator=generator), hashlib.sha256(bytes([number])).digest())
        for number in range(count)
    ]


@pytest.mark.parametrize("name", ["rectified", "vit", "swin", "tuples"])
@pytest.mark.parametrize("count", [1, 3])
def test_vectors_are_the_activations_at_their_positions(name: str, count: int) -> None:
    model, shown = made(name), some_images()
    values, _, _ = plainly(model, shown, 4)
    found = sample(model, model.layers, shown, width=4, seed=2, count=count)
    for layer in model.layers:
        kept = found[layer.name]
        assert kept.vectors.shape == (18 * count, layer.channels)
        assert kept.image.tolist() == np.repeat([one.image for one in shown], 2 * count).tolist()
        assert kept.crop.tolist() == ([0] * count + [1] * count) * 9
        for vector, image, crop, position in zip(kept.vectors, kept.image, kept.crop, kept.position, strict=True):
            wanted = values[layer.name][int(image), int(crop)][:, position]
            np.testing.assert_array_equal(vector, wanted.astype(np.float16))
        assert (kept.status == Status.OK).all()
        assert (kept.scale == 1).all()


def joined(parts: Sequence[Vectors], name: str) -> NDArray[Any]:
    return np.concatenate([getattr(part, name) for part in parts])


@pytest.mark.parametrize("cut", [1, 4, 8])
def test_a_crop_gives_the_same_vectors_in_any_shard(cut: int) -> None:
    model, shown = made("rectified"), some_images()
    layers = [model.layer("stem"), model.layer("conv")]
    whole = sample(model, layers, shown, width=4, seed=2)
    alone = sample(model, layers[1:], shown, width=4, seed=2)
    parts = [sample(model, layers, some, width=4, seed=2) for some in (shown[:cut], shown[cut:])]
    for name in Vectors.__dataclass_fields__:
        np.testing.assert_array_equal(getattr(whole["conv"], name), getattr(alone["conv"], name))
        for layer in layers:
            rows = joined([part[layer.name] for part in parts], name)
            np.testing.assert_array_equal(rows, getattr(whole[layer.name], name))


def test_seed_image_crop_and_layer_all_matter() -> None:
    content, other = (hashlib.sha256(text).digest() for text in (b"one", b"other"))
    keys = [(0, content, 0, "a"), (1, content, 0, "a"), (0, other, 0, "a"), (0, content, 1, "a"), (0, content, 0, "b")]
    numbers = [chance(*key, 20) for key in keys]
    assert len({number for row in numbers for number in row}) == 100
    assert chance(*keys[0], 3) == numbers[0][:3]


def test_chance_is_what_it_always_was() -> None:
    digest = hashlib.sha512(b"7/" + b"ab" * 32 + b"/2/features.3/0").digest()
    wanted = int.from_bytes(digest[:8], "little") / 2**64
    assert chance(7, b"\xab" * 32, 2, "features.3", 1) == [wanted]


@given(st.integers(1, 9), st.integers(1, 9), st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=20))
def test_no_edges_where_a_map_is_large_enough(rows: int, columns: int, numbers: list[float]) -> None:
    found = drawn((rows, columns), rows * columns, len(numbers), numbers)
    assert len(found) == len(numbers)
    large = rows >= 5 and columns >= 5
    inside = (rows - 2) * (columns - 2) if large else rows * columns
    for position in found:
        row, column = divmod(position, columns)
        assert 0 <= row < rows
        if large:
            assert 0 < row < rows - 1
            assert 0 < column < columns - 1
    for start in range(0, len(found), inside):
        part = found[start : start + inside]
        assert len(set(part)) == len(part)


def test_every_position_inside_is_as_likely_as_any_other() -> None:
    numbers = [(k + 0.5) / 9000 for k in range(9000)]
    found = [drawn((5, 5), 25, 1, [number])[0] for number in numbers]
    positions, counts = np.unique(found, return_counts=True)
    assert positions.tolist() == [6, 7, 8, 11, 12, 13, 16, 17, 18]
    assert (counts == 1000).all()


def test_tokens_of_no_known_grid_are_drawn_from_all() -> None:
    assert drawn((), 30, 2, [0.0, 0.999]) == [0, 29]
    assert drawn((), 1, 2, [0.5, 0.5]) == [0, 0]


class Scaled(nn.Module):
    """An image's own pixels, times a million."""

    def __init__(self) -> None:
        super().__init__()
        self.pixels = nn.Conv2d(3, 3, 1, bias=False)
        with torch.no_grad():
            self.pixels.weight[:] = torch.eye(3)[:, :, None, None] * 1e6

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.pixels(x)
        return found


def test_large_numbers_are_scaled_and_nan_rows_say_so() -> None:
    model = model_of(Scaled())
    shown = some_images(3, 1)
    shown[1].crops[:, 1] = torch.nan
    shown[2].crops[:] = 0.5
    kept = sample(model, model.layers, shown, width=2, seed=0)["pixels"]
    assert kept.status.tolist() == [Status.OK, Status.NAN, Status.OK]
    assert np.isnan(kept.vectors[1]).all()
    assert kept.scale[1] == 1
    wanted = model.preprocessing.normalise(shown[2].crops)[0, :, 0, 0].numpy() * 1e6
    assert kept.scale[2] == pytest.approx(np.abs(wanted).max() / 65504)
    np.testing.assert_allclose(kept.vectors[2] * kept.scale[2], wanted, rtol=1e-3)
    assert (kept.vectors.dtype, kept.scale.dtype) == (np.dtype("float16"), np.dtype("float32"))


def test_no_images_give_no_vectors() -> None:
    model = made("rectified")
    kept = sample(model, [model.layer("conv")], [], width=4, seed=0)["conv"]
    assert kept.vectors.shape == (0, 20)
    assert kept.image.shape == kept.crop.shape == kept.position.shape == kept.status.shape == (0,)


def test_nothing_after_the_layer_is_computed_and_crops_are_told() -> None:
    model = made("rectified")
    reached: list[str] = []
    layer = model.layer("relu")
    on_device(model, "cpu").network.get_submodule("conv").register_forward_hook(lambda *_: reached.append("conv"))
    told: list[int] = []
    sample(model, [layer], some_images(), width=4, seed=0, told=told.append)
    assert not reached
    assert told == [4, 8, 12, 16, 18]


def test_a_sampler_takes_beside_others() -> None:
    model, shown = made("rectified"), some_images()
    layer = model.layer("conv")
    sampler = Sampler([layer], seed=2)
    with torch.no_grad(), watch(model, [layer], sampler.take) as forward:
        for batch in batches(shown, 4):
            sampler.expect(batch)
            forward(model.preprocessing.normalise(batch.x))
    wanted = sample(model, [layer], shown, width=4, seed=2)["conv"]
    found = sampler.vectors()["conv"]
    assert found.position.tolist() == wanted.position.tolist()
    np.testing.assert_allclose(found.vectors, wanted.vectors, rtol=1e-2, atol=1e-3)


def test_photographs_through_a_trained_network() -> None:
    model = load_model("squeezenet")
    shown = []
    for number, file in enumerate(sorted(photographs().glob("imagenet_*.jpg"))[:6]):
        with Image.open(file) as picture:
            crops = model.preprocessing.image(picture)[None]
        shown.append(Shown(number, crops, hashlib.sha256(file.read_bytes()).digest()))
    kept = sample(model, [model.layer("features.11")], shown, width=4, seed=0)["features.11"]
    assert kept.vectors.shape == (6, 512)
    assert ((kept.vectors > 0).mean(axis=1) > 0.02).all()
    rows, columns = np.divmod(kept.position, 13)
    assert set(rows) | set(columns) <= set(range(1, 12))


def test_examples() -> None:
    assert doctest.testmod(importlib.import_module("atlas.dataset.vectors")).attempted > 0
    assert doctest.testmod(importlib.import_module("atlas.dataset.vectors")).failed == 0


def test_every_crop_has_a_place_that_no_other_image_moves() -> None:
    shown = some_images(7, crops=3)
    shown = [Shown(number, one.crops, one.sha256) for number, one in enumerate(shown, 100)]
    whole = list(in_places(shown, 4, crops=3, first=100))
    told = [(image, crop) for batch in whole for image, crop, _ in _rows(batch)]
    assert told == [(image, crop) for image in range(100, 107) for crop in range(3)]
    fewer = list(in_places([one for one in shown if one.image not in (102, 103)], 4, crops=3, first=100))
    places = {(int(i), int(c)): (int(place), batch.x[place]) for batch in whole for i, c, place in _rows(batch)}
    for batch in fewer:
        assert batch.x.shape == (4, 3, 32, 32)
        for image, crop, place in _rows(batch):
            expected, x = places[int(image), int(crop)]
            assert int(place) == expected == ((int(image) - 100) * 3 + int(crop)) % 4
            assert torch.equal(batch.x[place], x)
        assert all(any(torch.equal(row, batch.x[place]) for place in batch.place.tolist()) for row in batch.x)
    assert sum(map(len, fewer)) == 15
    assert not list(in_places([], 4, crops=3, first=0))


def _rows(batch: Batch) -> list[tuple[int, int, int]]:
    return list(zip(batch.images.tolist(), batch.crops.tolist(), batch.place.tolist(), strict=True))


@pytest.mark.parametrize(
    ("size", "kind", "count"), [((13, 13), "conv", 121), ((4, 9), "conv", 36), ((), "linear", 1), ((), "tokens", 0)]
)
def test_how_many_positions_there_are_to_draw_from(size: tuple[int, ...], kind: Kind, count: int) -> None:
    assert inner_positions(Layer("layer", kind, 8, size, 1.0, 0)) == count
