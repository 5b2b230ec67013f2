"""Transforms that a picture should survive.

    (keys, draws) -> table Tensor[draws,n,4]                    drawn up front, from each picture's own key
    (pictures, table[i]) -> Tensor[n,3,H,W]                     one resampling for shift, zoom and turn together

Every picture gets its own draw each step. What lies outside the picture is its reflection.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from atlas.recipe import Recipe
from atlas.rendering.rng import Key


def draw(keys: Sequence[Key], recipe: Recipe, count: int, purpose: str) -> Tensor:
    """`count` draws for each picture, Tensor[count,n,2,3]: output to input, in coordinates from -1 to 1.

    `purpose` is `training` or `held-out`; the draws of the two have nothing in common.
    """
    uniform = torch.stack([torch.rand(count, 4, generator=key.generator(purpose)) for key in keys], 1) * 2 - 1
    across, down, zoom, turn = uniform.unbind(-1)
    low, high = recipe.scale
    angle = torch.deg2rad(turn * recipe.rotation)
    shrink = 2 / (low + high + zoom * (high - low))
    cosine, sine = angle.cos() * shrink, angle.sin() * shrink
    reach = 2 * recipe.jitter / recipe.size
    rows = [cosine, -sine, across * reach, sine, cosine, down * reach]
    return torch.stack(rows, -1).reshape(count, len(keys), 2, 3)


def resample(pictures: Tensor, affine: Tensor, size: tuple[int, int], share: float = 1.0) -> Tensor:
    """Each picture under its own affine: Tensor[n,3,h,w], Tensor[n,2,3] -> Tensor[n,3,*size].

    Its gradient is a resampling too, by the inverse affine: where an output pixel lies in the picture, the gradient
    there is what the output's is. Of a shift this is the exact gradient; under a zoom or a turn it is the exact one's
    smooth counterpart, which adds up the same. What the reflections outside the picture ask for is left out. So nothing
    is scattered: it takes half the time, and nothing comes in an order of its own on CUDA.

    `share` is the smallest part of a picture's side that any affine shows. Where the picture is enlarged, each of its
    pixels is asked for at several points, or what lies between them would go unheard.
    """
    enlarged = max(seen / side for seen, side in zip(size, pictures.shape[-2:], strict=True)) / share
    moved: Tensor = _Resampled.apply(pictures, affine, size, math.ceil(enlarged))
    return moved


class _Resampled(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, pictures: Tensor, affine: Tensor, size: tuple[int, int], points: int) -> Tensor:
        ctx.save_for_backward(affine)
        ctx.size, ctx.points = pictures.shape[-2:], points
        return _sample(pictures, _grid(affine, size), padding="reflection")

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (affine,), (gradient,), (height, width) = ctx.saved_tensors, gradients, ctx.size
        back, area = inverse(affine)
        grid = _grid(back, (height * ctx.points, width * ctx.points))
        found = _sample(gradient.contiguous(), grid, padding="zeros")
        if ctx.points > 1:  # torch would take the mean of single points too, for a twentieth of a step
            found = F.avg_pool2d(found, ctx.points)
        density = gradient.shape[-2] * gradient.shape[-1] / (height * width)
        return found * (density / area)[:, None, None, None], None, None, None


def inverse(affine: Tensor) -> tuple[Tensor, Tensor]:
    """The affines Tensor[n,2,3] that undo `affine`, and the factors Tensor[n] by which `affine` enlarges areas.

    In closed form: torch's own inverse asks the device whether it went well, and waits for the answer.
    """
    a, b, x, c, d, y = affine.flatten(1).unbind(1)
    area = a * d - b * c
    rows = [d, -b, b * y - d * x, -c, a, c * x - a * y]
    return torch.stack(rows, 1).reshape(-1, 2, 3) / area[:, None, None], area.abs()


def _grid(affine: Tensor, size: tuple[int, int]) -> Tensor:
    """Where each output pixel lies in the input, Tensor[n,h,w,2]: torch's `affine_grid`, ten times as fast."""
    down, across = ((torch.arange(side, device=affine.device) * 2 + 1) / side - 1 for side in size)
    columns = affine[:, :, 0, None] * across
    rows = affine[:, :, 1, None] * down + affine[:, :, 2, None]
    return (rows[:, :, :, None] + columns[:, :, None, :]).permute(0, 2, 3, 1)


def _sample(pictures: Tensor, grid: Tensor, *, padding: str) -> Tensor:
    return F.grid_sample(pictures, grid, mode="bilinear", padding_mode=padding, align_corners=False)
