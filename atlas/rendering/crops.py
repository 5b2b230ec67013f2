"""Crops of a picture, as MACO trains it: another part of it each step, each large enough to show the unit.

    (keys, recipe, count, purpose) -> affines Tensor[count,n,2,3]

"Unlocking Feature Visualization for Deeper Networks with MAgnitude Constrained Optimization", Fel et al., NeurIPS
2023, section 3, where centres are normal around the middle and a transparency hides the borders they leave out. Ours
has no transparency, so that crops lie anywhere within the picture; nor does it add noise to what the network sees.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from atlas.recipe import Recipe
from atlas.rendering.rng import Key


def crop(keys: Sequence[Key], recipe: Recipe, count: int, purpose: str) -> Tensor:
    """`count` crops for each picture, Tensor[count,n,2,3]: output to input, in coordinates from -1 to 1.

    A crop is a square within the picture. Its side is a share of the picture's, between the two of `recipe.crop_scale`.
    """
    uniform = torch.stack([torch.rand(count, 3, generator=key.generator(purpose)) for key in keys], 1)
    low, high = recipe.crop_scale
    side = low + (high - low) * uniform[..., 0]
    across, down = ((uniform[..., 1:] * 2 - 1) * (1 - side)[..., None]).unbind(-1)
    nought = torch.zeros_like(side)
    return torch.stack([side, nought, across, nought, side, down], -1).reshape(count, len(keys), 2, 3)
