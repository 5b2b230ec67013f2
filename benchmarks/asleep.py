"""Units that do not fire at the start, for the study.

(prepared network, recipe) -> units
"""

from __future__ import annotations

import torch

from atlas.models import Prepared
from atlas.recipe import Numerics, Recipe
from atlas.rendering import Key, channel
from atlas.rendering.compute import computing
from atlas.rendering.engine import View
from atlas.rendering.parameterization import fourier
from atlas.rendering.transforms import draw

ABREAST = 8


@torch.no_grad()
def asleep(prepared: Prepared, recipe: Recipe, count: int = 8) -> list[int]:
    """The first `count` units of the layer that answer with nothing to the picture they begin with."""
    name, found = prepared.layer.name, list[int]()
    with computing(Numerics()):
        for first in range(0, prepared.layer.channels - ABREAST + 1, ABREAST):
            units = list(range(first, first + ABREAST))
            keys = [Key(recipe.seed, name, unit, "positive") for unit in units]
            leaf, paint = fourier(keys, recipe)
            (affine,) = draw(keys, recipe, 1, "training")
            value = channel(name, units)(View.through(prepared, paint(leaf), affine, before=False))
            found += [unit for unit, score in zip(units, value, strict=True) if score == 0]
    return found[:count]
