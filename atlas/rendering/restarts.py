"""Several tries at the same pictures, and the best of them.

    (prepared network, batch, recipe, numerics) -> Rendered: pictures uint8 [m,v,h,w,3], status, attempt [m,v]

A try is another start and other training draws, from the picture's own key; which is best is decided picture by
picture on the held-out draws, so that it hangs on no neighbour. Diverse pictures of a unit were made to differ from
each other: they are kept or dropped together. After "Activation Atlas", Carter et al., Distill 2019, which keeps the
best of four.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from atlas.models import Prepared
from atlas.recipe import Numerics, Recipe
from atlas.rendering.batches import PictureBatch
from atlas.rendering.engine import Parameterization, Transforms, View, ascend
from atlas.rendering.score import score_batch
from atlas.rendering.transforms import draw
from atlas.store import as_stored
from atlas.units import Status

Cell = tuple[slice, list[int]]
"""Units and variants: an index of numpy's."""
GREY = 128
"""What is stored where there is no picture."""


@dataclass(frozen=True)
class Rendered:
    """Pictures of some units of a layer, in the order they were asked for."""

    pictures: NDArray[np.uint8]
    """[units, variants, h, w, 3]; plain grey where the status is not `ok`."""
    status: NDArray[np.uint8]
    """[units, variants], of `atlas.units.Status`."""
    attempt: NDArray[np.uint8]
    """[units, variants]: which of the recipe's tries was kept, from 0."""
    agreement: NDArray[np.float32]
    """[units, variants]: how alike the next seed's picture is to the network, -1 to 1; NaN where the recipe does not
    ask for it, or either is no picture."""

    @classmethod
    def nothing(cls, units: int, recipe: Recipe) -> Rendered:
        """Room for the pictures of so many units: grey, and absent."""
        shape = (units, len(recipe.variants))
        return cls(
            np.full((*shape, recipe.size, recipe.size, 3), GREY, np.uint8),
            np.full(shape, Status.ABSENT, np.uint8),
            np.zeros(shape, np.uint8),
            np.full(shape, np.nan, np.float32),
        )

    def put(self, cell: Cell, part: Rendered) -> None:
        """Write the pictures of `part` at `cell`."""
        self.pictures[cell], self.status[cell] = part.pictures, part.status
        self.attempt[cell], self.agreement[cell] = part.attempt, part.agreement


def best(
    prepared: Prepared,
    batch: PictureBatch,
    recipe: Recipe,
    numerics: Numerics,
    made_by: tuple[Parameterization, Transforms],
) -> Rendered:
    """The pictures of `batch` that score best on held-out draws among the recipe's tries; of equals the first."""
    if not batch.exists(prepared):
        none = Rendered.nothing(batch.shape[0], replace(recipe, variants=batch.variants))
        none.status[:] = Status.RECTIFIED
        return none
    tries = [_try(prepared, batch, recipe, numerics, made_by, attempt) for attempt in range(recipe.restarts)]
    if len(tries) == 1:
        return tries[0]
    worth = np.stack([_worth(prepared, batch, recipe, numerics, one) for one in tries])
    choice = worth.argmax(0)
    rows, places = np.indices(choice.shape)
    columns = (np.stack([getattr(one, field.name) for one in tries]) for field in fields(Rendered))
    return Rendered(*(column[choice, rows, places] for column in columns))


def _try(
    prepared: Prepared,
    batch: PictureBatch,
    recipe: Recipe,
    numerics: Numerics,
    made_by: tuple[Parameterization, Transforms],
    attempt: int,
) -> Rendered:
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
    tries, agreement = np.full(batch.shape, attempt, np.uint8), np.full(batch.shape, np.nan, np.float32)
    return Rendered(shaped, status.reshape(batch.shape), tries, agreement)


def _moves(prepared: Prepared, batch: PictureBatch, found: Tensor, recipe: Recipe, numerics: Numerics) -> Tensor:
    """Whether each unit's own value has a gradient at its picture, bool Tensor[n]: diversity has one in any case."""
    pictures = found.detach().requires_grad_()
    (affine,) = draw(batch.keys(recipe.seed), recipe, 1, "held-out").to(numerics.device)
    value = batch.value(View.through(prepared, pictures, affine, before=False))
    (gradient,) = torch.autograd.grad(value.sum(), pictures, materialize_grads=True)
    return gradient.flatten(1).abs().amax(1) > 0


def _worth(
    prepared: Prepared, batch: PictureBatch, recipe: Recipe, numerics: Numerics, tried: Rendered
) -> NDArray[np.float32]:
    """How good each picture is, [m,v]: its mean as stored, the lower the better for negatives; pictures that were made
    together share the sum of theirs. What is no picture is worse than any.
    """
    mean, _ = score_batch(prepared, as_stored(tried.pictures, recipe.jpeg_quality), batch, recipe, numerics)
    worth = -mean if batch.before else mean
    worth[(tried.status != Status.OK) | ~np.isfinite(worth)] = -np.inf
    return np.broadcast_to(worth.sum(axis=1, keepdims=True), worth.shape)
