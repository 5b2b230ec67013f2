"""Several tries at the same pictures, and the best of them.

    (prepared network, batch, recipe, numerics) -> Tried: pictures uint8 [m,v,h,w,3], status, attempt [m,v]

A try is another start and other training draws, from the picture's own key; which is best is decided picture by
picture on the held-out draws, so that it hangs on no neighbour. Diverse pictures of a unit were made to differ from
each other: they are kept or dropped together. After "Activation Atlas", Carter et al., Distill 2019, which keeps the
best of four.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from atlas.models import Prepared
from atlas.recipe import Numerics, Recipe
from atlas.rendering.batches import Batch
from atlas.rendering.engine import Parameterization, Transforms, View, ascend
from atlas.rendering.score import score_batch
from atlas.rendering.transforms import draw
from atlas.store import as_stored
from atlas.units import Status

GREY = 128
"""What is stored where there is no picture."""


@dataclass(frozen=True)
class Tried:
    """The pictures of a batch of m units in v variants."""

    pictures: NDArray[np.uint8]
    """[m,v,h,w,3]; plain grey where the status is not `ok`."""
    status: NDArray[np.uint8]
    """[m,v], of `atlas.units.Status`."""
    attempt: NDArray[np.uint8]
    """[m,v]: which try each picture is of, from 0."""


def best(
    prepared: Prepared, batch: Batch, recipe: Recipe, numerics: Numerics, made_by: tuple[Parameterization, Transforms]
) -> Tried:
    """The pictures of `batch` that score best on held-out draws among the recipe's tries; of equals the first."""
    if not batch.exists(prepared):
        grey = np.full((*batch.shape, recipe.size, recipe.size, 3), GREY, np.uint8)
        return Tried(grey, np.full(batch.shape, Status.RECTIFIED, np.uint8), np.zeros(batch.shape, np.uint8))
    tries = [_try(prepared, batch, recipe, numerics, made_by, attempt) for attempt in range(recipe.restarts)]
    if len(tries) == 1:
        return tries[0]
    worth = np.stack([_worth(prepared, batch, recipe, numerics, one) for one in tries])
    choice = worth.argmax(0)
    rows, places = np.indices(choice.shape)
    pictures, status, attempt = (
        np.stack([getattr(one, name) for one in tries])[choice, rows, places]
        for name in ("pictures", "status", "attempt")
    )
    return Tried(pictures, status, attempt)


def _try(
    prepared: Prepared,
    batch: Batch,
    recipe: Recipe,
    numerics: Numerics,
    made_by: tuple[Parameterization, Transforms],
    attempt: int,
) -> Tried:
    parameterization, transforms = made_by
    found, states = ascend(
        prepared,
        batch.objective,
        batch.keys(recipe.seed, attempt),
        recipe,
        numerics,
        parameterization=parameterization,
        transforms=transforms,
    )
    if batch.joint:
        states[(states == Status.OK) & ~_moves(prepared, batch, found, recipe, numerics)] = Status.UNSTARTED
    pictures = (found * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()[: len(batch)]
    status = states.cpu().numpy()[: len(batch)]
    pictures[status != Status.OK] = GREY
    shaped = pictures.reshape(*batch.shape, *pictures.shape[1:])
    return Tried(shaped, status.reshape(batch.shape), np.full(batch.shape, attempt, np.uint8))


def _moves(prepared: Prepared, batch: Batch, found: Tensor, recipe: Recipe, numerics: Numerics) -> Tensor:
    """Whether each unit's own value has a gradient at its picture, bool Tensor[n]: diversity has one in any case."""
    pictures = found.detach().requires_grad_()
    (affine,) = draw(batch.keys(recipe.seed), recipe, 1, "held-out").to(numerics.device)
    value = batch.value(View.through(prepared, pictures, affine, before=False))
    (gradient,) = torch.autograd.grad(value.sum(), pictures, materialize_grads=True)
    return gradient.flatten(1).abs().amax(1) > 0


def _worth(prepared: Prepared, batch: Batch, recipe: Recipe, numerics: Numerics, tried: Tried) -> NDArray[np.float32]:
    """How good each picture is, [m,v]: its mean as stored, the lower the better for negatives; pictures that were made
    together share the sum of theirs. What is no picture is worse than any.
    """
    mean, _ = score_batch(prepared, as_stored(tried.pictures, recipe.jpeg_quality), batch, recipe, numerics)
    worth = -mean if batch.before else mean
    worth[(tried.status != Status.OK) | ~np.isfinite(worth)] = -np.inf
    return np.broadcast_to(worth.sum(axis=1, keepdims=True), worth.shape)
