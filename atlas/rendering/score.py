"""The numbers of pictures, measured on what is stored.

(prepared network, pictures uint8 [u,v,h,w,3], units, recipe, numerics) -> mean, peak float32 [u,v]
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from atlas.models import Prepared
from atlas.recipe import Numerics, Recipe
from atlas.rendering.batches import Batch, batches
from atlas.rendering.engine import View
from atlas.rendering.host import computing
from atlas.rendering.objectives import responses
from atlas.rendering.transforms import draw

Numbers = NDArray[np.float32]


def score_pictures(
    prepared: Prepared,
    pictures: NDArray[np.uint8],
    units: Sequence[int],
    recipe: Recipe,
    numerics: Numerics,
) -> tuple[Numbers, Numbers]:
    """`mean` and `peak` of pictures uint8 [u,v,h,w,3] as they are stored, float32 [u,v] each.

    Both are averages over the recipe's held-out transform draws, none of which the picture was trained on:
    `mean` of the objective, `peak` of the strongest position. For a negative picture they are of the value
    before the rectifier, with its sign, so that lower is better and `peak` the lowest position.
    NaN where the network answers with NaN, and for negatives that do not exist.
    """
    mean = np.full((len(units), len(recipe.variants)), np.nan, np.float32)
    peak = mean.copy()
    with computing(numerics), torch.no_grad():
        for batch in batches(prepared.layer.name, units, recipe, numerics.batch):
            if not batch.exists(prepared):
                continue
            cell = (batch.rows, batch.place)
            answers = _answers(prepared, pictures[cell], batch, recipe, numerics)
            strongest = answers.amin(2) if batch.before else answers.amax(2)
            mean[cell] = answers.mean(2).mean(0).cpu().numpy()[: len(batch)]
            peak[cell] = strongest.mean(0).cpu().numpy()[: len(batch)]
    return mean, peak


def _answers(
    prepared: Prepared, pictures: NDArray[np.uint8], batch: Batch, recipe: Recipe, numerics: Numerics
) -> Tensor:
    """What the n units answer to their pictures at each position p under each held-out draw d: Tensor[d,n,p].

    A short batch keeps its padding, so that sums are taken in the same order for any number of pictures.
    """
    padding = len(batch.units) - len(pictures)
    padded = np.concatenate([pictures, pictures[-1:].repeat(padding, axis=0)])
    seen = torch.from_numpy(padded).to(numerics.device).permute(0, 3, 1, 2).float() / 255
    affines = draw(batch.keys(recipe.seed), recipe, recipe.draws, "held-out").to(numerics.device)
    respond = responses(batch.layer, batch.units, before=batch.before)
    # View by view: the activations of all draws at once would take several times the memory of a step.
    return torch.stack(
        [respond(View.through(prepared, seen, affine, before=batch.before)).float() for affine in affines]
    )
