"""Transforms that a picture should survive.

    (keys, draws) -> table Tensor[draws,n,4]                    drawn up front, from each picture's own key
    (pictures, table[i]) -> Tensor[n,3,H,W]                     one resampling for shift, zoom and turn together

Every picture gets its own draw each step. What lies outside the picture is its reflection.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from atlas.recipe import Recipe
from atlas.rendering.chance import Key


def draw(keys: Sequence[Key], recipe: Recipe, count: int, purpose: str) -> Tensor:
    """`count` draws for each picture, Tensor[count,n,2,3]: output to input, in coordinates from -1 to 1.

    `purpose` is `training` or `held-out`; the draws of the two have nothing in common.
    """
    uniform = torch.stack([torch.rand(count, 4, generator=key.generator(purpose)) for key in keys], 1) * 2 - 1
    across, down, zoom, turn = uniform.unbind(-1)
    low, high = recipe.zoom
    angle = torch.deg2rad(turn * recipe.turn)
    shrink = 2 / (low + high + zoom * (high - low))
    cosine, sine = angle.cos() * shrink, angle.sin() * shrink
    reach = 2 * recipe.jitter / recipe.size
    rows = [cosine, -sine, across * reach, sine, cosine, down * reach]
    return torch.stack(rows, -1).reshape(count, len(keys), 2, 3)


def resample(pictures: Tensor, affine: Tensor, size: tuple[int, int]) -> Tensor:
    """Each picture under its own affine: Tensor[n,3,h,w], Tensor[n,2,3] -> Tensor[n,3,*size].

    On CUDA its backward adds in no fixed order: pictures made there are equal only in distribution.
    """
    grid = F.affine_grid(affine, [len(pictures), 3, *size], align_corners=False)
    return F.grid_sample(pictures, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
