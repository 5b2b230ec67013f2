"""Crops: the first as evaluation has it, the others by their own chance, all with their true box."""

from __future__ import annotations

import hashlib
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from atlas.dataset import open_images
from atlas.dataset.crops import AREA, SHAPE, Crop, Cut, crops, cuts
from atlas.dataset.crops import crop as one_crop
from atlas.dataset.decoding import Pixels
from atlas.models.preprocessing import Preprocessing
from tests.dataset.made import index, photographs, pixels

pytestmark = pytest.mark.builder

IMAGENET = Preprocessing((224, 224), resize=256)
HOW = [
    IMAGENET,
    Preprocessing((224, 224)),
    Preprocessing((96, 160), resize=100, interpolation="bicubic"),
    Preprocessing((64, 64), resize=64, interpolation="lanczos"),
]
CONTENT = hashlib.sha256(b"an image").digest()


def some(picture: Pixels, how: Preprocessing = IMAGENET, count: int = 4, seed: int = 0) -> list[Crop]:
    return crops(picture, how, count, seed=seed, sha256=CONTENT)


@pytest.mark.parametrize("how", HOW)
def test_crop_0_is_evaluation_itself(how: Preprocessing) -> None:
    source = open_images(sorted(photographs().glob("imagenet_*.jpg")))
    images = index(source)
    for number in range(0, 20, 4):
        picture = images.looked[number].picture
        assert isinstance(picture, np.ndarray)
        first = crops(picture, how, 1, seed=3, sha256=images.sha256(number))[0]
        assert torch.equal(first.x, how.image(Image.fromarray(picture)))


@pytest.mark.parametrize("how", HOW)
def test_one_crop_alone_is_that_of_all(how: Preprocessing) -> None:
    picture = pixels(3, (70, 90))
    for number, expected in enumerate(some(picture, how)):
        found = one_crop(picture, how, number, seed=0, sha256=CONTENT)
        assert torch.equal(found.x, expected.x)
        assert found.cut == expected.cut


@pytest.mark.parametrize("how", HOW)
@pytest.mark.parametrize("size", [(300, 200), (200, 301), (40, 90), (224, 224)])
def test_a_box_is_where_the_crop_came_from(how: Preprocessing, size: tuple[int, int]) -> None:
    """On a picture whose red grows along x and green along y, the corners of a crop tell its box."""
    width, height = size
    x, y = np.meshgrid((np.arange(width) + 0.5) / width, (np.arange(height) + 0.5) / height)
    ramp = np.rint(np.stack([x, y, 0 * x], 2) * 255).astype(np.uint8)
    for crop in some(ramp, how, 6):
        x0, y0, x1, y1 = crop.cut.box
        seen = crop.x.flip(2) if crop.cut.mirrored else crop.x
        rows, columns = seen.shape[1:]
        across = x0 + (torch.arange(columns) + 0.5) / columns * (x1 - x0)
        down = y0 + (torch.arange(rows) + 0.5) / rows * (y1 - y0)
        inner = slice(8, -8)
        torch.testing.assert_close(seen[0].mean(0)[inner], (across / width).float()[inner], atol=0.02, rtol=0)
        torch.testing.assert_close(seen[1].mean(1)[inner], (down / height).float()[inner], atol=0.02, rtol=0)


def test_chance_is_that_of_seed_content_and_number_alone() -> None:
    picture = pixels(1, (80, 100))
    four, nine = some(picture), some(picture, count=9)
    assert all(torch.equal(one.x, other.x) and one.cut == other.cut for one, other in zip(four, nine[:4], strict=True))
    assert len({crop.cut for crop in nine}) == 9
    assert some(picture, seed=1)[0].cut == four[0].cut
    assert some(picture, seed=1)[1].cut != four[1].cut
    assert crops(picture, IMAGENET, 2, seed=0, sha256=bytes(32))[1].cut != four[1].cut
    assert some(picture, count=0) == []


def test_chance_never_changes() -> None:
    """Stores rest on these numbers: they are the same with every version of every library."""
    cut = cuts((400, 300), IMAGENET, 2, seed=0, sha256=bytes(32))[1]
    assert cut == Cut(pytest.approx((87.095872, 66.826316, 374.683976, 296.994351), abs=1e-6), mirrored=False)  # type: ignore[arg-type]


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 5_000), st.integers(1, 5_000), st.sampled_from(HOW), st.integers(0, 2**31))
def test_boxes_lie_on_the_picture_and_have_the_share_and_shape(
    width: int, height: int, how: Preprocessing, seed: int
) -> None:
    first, *drawn = cuts((width, height), how, 5, seed=seed, sha256=CONTENT)
    assert first.box == how.box((width, height))
    for cut in [first, *drawn]:
        x0, y0, x1, y1 = cut.box
        assert -1e-6 <= x0 < x1 <= width + 1e-6
        assert -1e-6 <= y0 < y1 <= height + 1e-6
    for cut in drawn:
        wide, high = cut.box[2] - cut.box[0], cut.box[3] - cut.box[1]
        fills = wide > width - 1e-3 or high > height - 1e-3 or 1.0 in (round(wide, 6), round(high, 6))
        assert wide * high <= AREA[1] * width * height * (1 + 1e-6)
        assert fills or wide * high >= AREA[0] * width * height * (1 - 1e-6)
        shape = wide / high * how.size[0] / how.size[1]
        assert min(wide, high) <= 1 + 1e-6 or SHAPE[0] - 1e-3 <= shape <= SHAPE[1] + 1e-3


def test_half_of_the_drawn_are_mirrored_and_their_boxes_spread() -> None:
    drawn = cuts((400, 300), IMAGENET, 2_001, seed=0, sha256=CONTENT)[1:]
    assert 0.45 < sum(cut.mirrored for cut in drawn) / 2_000 < 0.55
    centres = np.array([((cut.box[0] + cut.box[2]) / 800, (cut.box[1] + cut.box[3]) / 600) for cut in drawn])
    np.testing.assert_allclose(centres.mean(0), 0.5, atol=0.02)
    assert centres.std(0).min() > 0.05


@pytest.mark.parametrize("size", [(1, 1), (1, 60_000), (60_000, 1), (3, 20_000)])
def test_the_narrowest_pictures_take_no_more_memory_than_others(size: tuple[int, int]) -> None:
    picture = np.full((*size, 3), 200, np.uint8)
    for crop in some(picture):
        assert crop.x.shape == (3, 224, 224)
        assert torch.allclose(crop.x, torch.tensor(200 / 255))


@pytest.mark.parametrize("how", HOW)
def test_what_is_too_long_to_resize_is_cropped_the_same(how: Preprocessing, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = pixels(2, (150, 420))
    whole = some(picture, how, 1)[0]
    monkeypatch.setattr("atlas.dataset.crops.MOST_RESIZED", 0)
    part = some(picture, how, 1)[0]
    assert part.cut == whole.cut
    assert float((part.x - whole.x).abs().max()) < 3 / 255
    assert math.prod(how.resized((420, 150))) > 0
