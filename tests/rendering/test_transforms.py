from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from atlas.recipe import Recipe
from atlas.rendering import Key, crop
from atlas.rendering.transforms import draw, resample

pytestmark = pytest.mark.builder

KEYS = [Key(0, "features.11", unit, "positive") for unit in range(3)]
STILL = Recipe(size=24, jitter=0.0, zoom=(1.0, 1.0), turn=0.0)
PICTURES = torch.rand(3, 3, 24, 24, generator=torch.Generator().manual_seed(0))


def test_no_transform_gives_the_picture_back() -> None:
    (affine,) = draw(KEYS, STILL, 1, "training")
    assert torch.allclose(resample(PICTURES, affine, (24, 24)), PICTURES, atol=1e-5)


def test_a_shift_of_whole_pixels_moves_the_picture_and_reflects_its_edge() -> None:
    affine = torch.tensor([[1.0, 0.0, 2 * 2 / 24], [0.0, 1.0, 0.0]]).expand(3, 2, 3)
    moved = resample(PICTURES, affine, (24, 24))
    assert torch.allclose(moved[..., :-2], PICTURES[..., 2:], atol=1e-4)
    assert torch.allclose(moved[..., -2:], PICTURES[..., -2:].flip(-1), atol=1e-4)


def test_a_network_of_another_size_sees_the_whole_picture() -> None:
    (affine,) = draw(KEYS, STILL, 1, "training")
    small = resample(PICTURES, affine, (12, 12))
    assert torch.allclose(small, torch.nn.functional.avg_pool2d(PICTURES, 2), atol=1e-5)


@given(st.integers(0, 10**6), st.floats(0, 30), st.floats(0, 90), st.floats(0.3, 1), st.floats(1, 3))
def test_draws_stay_within_the_recipe(seed: int, jitter: float, turn: float, low: float, high: float) -> None:
    recipe = Recipe(size=64, jitter=jitter, turn=turn, zoom=(low, high))
    affine = draw([Key(seed, "a", 0, "positive")], recipe, 50, "training")[:, 0]
    zoom = 1 / affine[:, :, :2].det().sqrt()
    angle = torch.rad2deg(torch.atan2(affine[:, 1, 0], affine[:, 0, 0])).abs()
    assert (affine[:, :, 2].abs() * 32 <= jitter + 1e-3).all()
    assert (zoom >= low - 1e-3).all()
    assert (zoom <= high + 1e-3).all()
    assert (angle <= turn + 1e-2).all()


def test_every_picture_has_draws_of_its_own() -> None:
    table = draw(KEYS, Recipe(), 16, "training")
    assert table.shape == (16, 3, 2, 3)
    assert torch.equal(table[:, 1], draw(KEYS[1:2], Recipe(), 16, "training")[:, 0])
    assert len({tuple(affine.flatten().tolist()) for affine in table.flatten(0, 1)}) == 48


def test_held_out_draws_are_never_trained_on() -> None:
    training, held_out = (draw(KEYS[:1], Recipe(), 64, purpose).flatten(1) for purpose in ("training", "held-out"))
    assert torch.cdist(training, held_out).min() > 1e-4


@given(st.integers(0, 10**6), st.floats(0.05, 0.5), st.floats(0.5, 1))
def test_crops_lie_within_the_picture_and_are_as_large_as_the_recipe_says(seed: int, low: float, high: float) -> None:
    recipe = Recipe(size=64, parameterization="maco", box=(low, high))
    affine = crop([Key(seed, "a", 0, "positive")], recipe, 50, "training")[:, 0]
    side, middle = affine[:, 0, 0], affine[:, :, 2].abs()
    assert torch.equal(affine[:, :, :2], side[:, None, None] * torch.eye(2))
    assert (side >= low - 1e-6).all()
    assert (side <= high + 1e-6).all()
    assert (middle + side[:, None] <= 1 + 1e-6).all()


def test_a_crop_shows_that_part_of_the_picture_and_every_picture_has_its_own() -> None:
    corner = torch.tensor([[0.5, 0.0, -0.5], [0.0, 0.5, 0.5]]).expand(3, 2, 3)
    assert torch.allclose(resample(PICTURES, corner, (12, 12)), PICTURES[..., 12:, :12], atol=1e-5)
    recipe = Recipe.named("maco")
    table = crop(KEYS, recipe, 16, "training")
    assert torch.equal(table[:, 1], crop(KEYS[1:2], recipe, 16, "training")[:, 0])
    assert len({tuple(affine.flatten().tolist()) for affine in table.flatten(0, 1)}) == 48
