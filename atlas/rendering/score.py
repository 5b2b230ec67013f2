"""The numbers of pictures, measured on what is stored.

(prepared network, pictures uint8 [u,v,h,w,3], units, recipe, numerics) -> mean, peak float32 [u,v]
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from atlas.models import Prepared
from atlas.recipe import Numerics, Recipe
from atlas.rendering.batches import Directions, PictureBatch, batches
from atlas.rendering.compute import computing
from atlas.rendering.engine import View
from atlas.rendering.objectives import at_centre
from atlas.rendering.transforms import draw

Numbers = NDArray[np.float32]
Pictures = NDArray[np.uint8]


def score_pictures(
    prepared: Prepared,
    pictures: Pictures,
    units: Sequence[int],
    recipe: Recipe,
    numerics: Numerics,
    aims: Directions | None = None,
) -> tuple[Numbers, Numbers]:
    """`mean` and `peak` of pictures uint8 [u,v,h,w,3] as they are stored, float32 [u,v] each.

    Both are averages over the recipe's held-out transform draws, none of which the picture was trained on: `mean` of
    the unit's value (at the centre position for `neuron` and for `aims`, over all positions else), `peak` of the
    strongest position.
    Every picture is seen whole, under the same shifts, zooms and turns, whatever it was trained under. For a negative
    picture they are of the value before the rectifier, with its sign, so that lower is better and `peak` the lowest
    position. NaN where the network answers with NaN, and for negatives that do not exist.
    """
    mean = np.full((len(units), len(recipe.variants)), np.nan, np.float32)
    peak = mean.copy()
    with computing(numerics):
        for batch in batches(prepared.layer.name, units, recipe, numerics.batch, aims):
            if batch.exists(prepared):
                mean[batch.cell], peak[batch.cell] = score_batch(
                    prepared, pictures[batch.cell], batch, recipe, numerics
                )
    return mean, peak


def score_batch(
    prepared: Prepared, pictures: Pictures, batch: PictureBatch, recipe: Recipe, numerics: Numerics
) -> tuple[Numbers, Numbers]:
    """As `score_pictures`, of the pictures [m,v,h,w,3] of one batch."""
    value, respond = batch.value, batch.respond
    values, peaks = [], []
    for view in held_out(prepared, pictures, batch, recipe, numerics, before=batch.before):
        answers = respond(view).float()
        values.append(value(view).float())
        peaks.append(answers.amin(1) if batch.before else answers.amax(1))
    mean, peak = (mean_of(rows).cpu().numpy()[: len(batch)].reshape(batch.shape) for rows in (values, peaks))
    return mean, peak


def mean_of(rows: Sequence[Tensor]) -> Tensor:
    """The mean of tensors of one shape, added one after the other: the same bits wherever a number stands in them."""
    total = torch.zeros_like(rows[0])
    for row in rows:
        total += row
    return total / len(rows)


@torch.no_grad()
def held_out(
    prepared: Prepared, pictures: Pictures, batch: PictureBatch, recipe: Recipe, numerics: Numerics, *, before: bool
) -> Iterator[View]:
    """What the network sees in stored pictures [m,v,h,w,3] of a batch under each of the recipe's held-out draws.

    View by view: the activations of all draws at once would take several times the memory of a step. A short batch
    keeps its padding, so that sums are taken in the same order for any number of pictures.
    """
    short = len(batch.units) - len(pictures)
    padded = np.concatenate([pictures, pictures[-1:].repeat(short, axis=0)])
    flat = torch.from_numpy(padded.reshape(-1, *pictures.shape[2:])).to(numerics.device)
    seen = flat.permute(0, 3, 1, 2).float() / 255
    for affine in draw(batch.keys(recipe.seed), recipe, recipe.eval_draws, "held-out").to(numerics.device):
        yield View.through(prepared, seen, affine, before=before)


def answers(prepared: Prepared, pictures: Pictures, numerics: Numerics) -> Numbers:
    """The layer's value at its centre for stored pictures uint8 [u,h,w,3], each seen as it is: float32 [u,c]."""
    found = np.zeros((0, prepared.layer.channels), np.float32)
    still = torch.eye(2, 3).repeat(numerics.batch, 1, 1).to(numerics.device)
    with torch.no_grad(), computing(numerics):
        for start in range(0, len(pictures), numerics.batch):
            block = pictures[start : start + numerics.batch]
            padded = np.concatenate([block, block[-1:].repeat(numerics.batch - len(block), axis=0)])
            seen = torch.from_numpy(padded).to(numerics.device).permute(0, 3, 1, 2).float() / 255
            value = at_centre(View.through(prepared, seen, still, before=False)(prepared.layer.name))
            found = np.concatenate([found, value.float().cpu().numpy()[: len(block)]])
    return found
