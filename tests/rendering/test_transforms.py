from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F  # noqa: N812
from hypothesis import given
from hypothesis import strategies as st

from atlas.recipe import Recipe
from atlas.rendering import Key, crop
from atlas.rendering.transforms import draw, inverse, resample

pytestmark = pytest.mark.builder

KEYS = [Key(0, "features.11", unit, "positive") for unit in range(3)]
STILL = Recipe(size=24, jitter=0.0, scale=(1.0, 1.0), rotation=0.0)
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


AFFINES = draw(KEYS, Recipe(size=24, jitter=3.0, scale=(0.8, 1.2), rotation=20.0), 4, "training")
ROOM = torch.zeros(3, 3, 24, 24)
ROOM[..., 8:16, 8:16] = 1
"""The middle of a picture, which no reflection of its edges reaches."""


def pulled(affine: torch.Tensor, gradient: torch.Tensor, size: tuple[int, int] = (24, 24)) -> torch.Tensor:
    """What a gradient on resampled pictures asks of the pictures."""
    leaf = PICTURES.clone().requires_grad_()
    (found,) = torch.autograd.grad(resample(leaf, affine, size), leaf, gradient)
    return found


def exact(affine: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """The same by torch, where nothing lies outside the picture."""
    leaf = PICTURES.clone().requires_grad_()
    grid = F.affine_grid(affine, [3, 3, 24, 24], align_corners=False)
    moved = F.grid_sample(leaf, grid, padding_mode="zeros", align_corners=False)
    (found,) = torch.autograd.grad(moved, leaf, gradient)
    return found


@pytest.mark.parametrize("affine", AFFINES)
def test_values_are_torchs(affine: torch.Tensor) -> None:
    grid = F.affine_grid(affine, [3, 3, 24, 24], align_corners=False)
    wanted = F.grid_sample(PICTURES, grid, padding_mode="reflection", align_corners=False)
    assert torch.allclose(resample(PICTURES, affine, (24, 24)), wanted, atol=1e-5)


def test_the_gradient_of_a_shift_is_the_exact_one() -> None:
    """Of any fraction of a pixel, for any gradient at all."""
    noise = torch.randn(3, 3, 24, 24, generator=torch.Generator().manual_seed(1))
    shift = torch.tensor([[1.0, 0.0, 0.11], [0.0, 1.0, -0.2]]).expand(3, 2, 3)
    assert torch.allclose((pulled(shift, noise) * ROOM), exact(shift, noise) * ROOM, atol=1e-4)


@pytest.mark.parametrize("affine", AFFINES)
def test_the_gradient_of_a_turn_and_a_zoom_is_the_exact_ones_smooth_counterpart(affine: torch.Tensor) -> None:
    """They add up to the same, and agree where the gradient is smooth."""
    row = torch.linspace(0, 6, 24)
    smooth = (row.sin()[:, None] + row.cos()[None]).expand(3, 3, 24, 24)
    found, wanted = (way(affine, smooth) for way in (pulled, exact))
    assert (found * ROOM).sum() == pytest.approx(float((wanted * ROOM).sum()), rel=0.03)
    assert ((found - wanted) * ROOM).square().mean().sqrt() < 0.1 * (wanted * ROOM).square().mean().sqrt()


def test_a_network_of_another_size_pulls_as_much_at_the_picture() -> None:
    (affine,) = draw(KEYS, STILL, 1, "training")
    assert torch.allclose(pulled(affine, torch.ones(3, 3, 12, 12), (12, 12)) * ROOM, ROOM / 4)


def test_an_enlarged_picture_hears_all_of_the_gradient() -> None:
    """Of a gradient that changes from pixel to pixel what adds up to nothing within one of the picture's pixels."""
    corner = torch.tensor([[0.5, 0.0, 0.0], [0.0, 0.5, 0.0]]).expand(3, 2, 3)
    stripes = torch.tensor([1.0, -1.0]).repeat(12).expand(3, 3, 24, 24)
    leaf = PICTURES.clone().requires_grad_()
    (found,) = torch.autograd.grad(resample(leaf, corner, (24, 24), share=0.5), leaf, stripes)
    assert (found * ROOM).abs().max() < 1e-4
    (small,) = torch.autograd.grad(resample(leaf, corner, (24, 24), share=0.5), leaf, torch.ones(3, 3, 24, 24))
    assert torch.allclose(small * ROOM, 4 * ROOM, atol=1e-4)


@given(st.integers(0, 10**6), st.floats(0.3, 3), st.floats(0, 180))
def test_an_inverse_undoes_its_affine(seed: int, zoom: float, turn: float) -> None:
    recipe = Recipe(size=64, scale=(zoom, zoom), rotation=turn)
    (affine,) = draw([Key(seed, "a", unit, "positive") for unit in range(4)], recipe, 1, "training")
    back, area = inverse(affine)
    assert torch.allclose(back[:, :, :2] @ affine[:, :, :2], torch.eye(2).expand(4, 2, 2), atol=1e-4)
    assert torch.allclose(back[:, :, :2] @ affine[:, :, 2:], -back[:, :, 2:], atol=1e-4)
    assert area.tolist() == pytest.approx([1 / zoom**2] * 4, rel=1e-3)


@given(st.integers(0, 10**6), st.floats(0, 30), st.floats(0, 90), st.floats(0.3, 1), st.floats(1, 3))
def test_draws_stay_within_the_recipe(seed: int, jitter: float, turn: float, low: float, high: float) -> None:
    recipe = Recipe(size=64, jitter=jitter, rotation=turn, scale=(low, high))
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
    recipe = Recipe(size=64, parameterization="maco", crop_scale=(low, high))
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
