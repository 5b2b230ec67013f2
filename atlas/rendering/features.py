"""Feature visualizations of a layer's units.

    (prepared network, units, recipe, numerics) -> Rendered: pictures uint8 [u,v,h,w,3], status [u,v]

A positive picture maximises its unit's value. A negative one minimises the value *before* the
rectifier, after which it would be zero nearly everywhere and the picture mush.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from atlas.models import Prepared
from atlas.recipe import Numerics, Recipe
from atlas.rendering.batches import Batch, batches
from atlas.rendering.engine import ascend
from atlas.rendering.host import computing
from atlas.units import Status

GREY = 128
"""What is stored where there is no picture."""


@dataclass(frozen=True)
class Rendered:
    """Pictures of some units of a layer, in the order they were asked for."""

    pictures: NDArray[np.uint8]
    """[units, variants, h, w, 3]; plain grey where the status is not `ok`."""
    status: NDArray[np.uint8]
    """[units, variants], of `atlas.units.Status`."""
    seconds: dict[str, float]
    """Wall seconds by phase."""


def render_batches(
    prepared: Prepared, units: Sequence[int], recipe: Recipe, numerics: Numerics
) -> Iterator[tuple[tuple[slice, int], NDArray[np.uint8], NDArray[np.uint8]]]:
    """The pictures of channels `units` of the prepared layer, in all variants of the recipe, as they are finished.

    Yields for each batch of m units its place [rows, variant] among all, its pictures [m,h,w,3] and statuses [m].
    """
    for batch in batches(prepared.layer.name, units, recipe, numerics.batch):
        with computing(numerics):
            pictures, status = _render(prepared, batch, recipe, numerics)
        yield (batch.rows, batch.place), pictures, status


def render_units(prepared: Prepared, units: Sequence[int], recipe: Recipe, numerics: Numerics) -> Rendered:
    """The pictures of channels `units` of the prepared layer, in all variants of the recipe."""
    began = time.perf_counter()
    shape = (len(units), len(recipe.variants))
    pictures = np.full((*shape, recipe.size, recipe.size, 3), GREY, np.uint8)
    status = np.full(shape, Status.ABSENT, np.uint8)
    for place, *found in render_batches(prepared, units, recipe, numerics):
        pictures[place], status[place] = found
    return Rendered(pictures, status, {"render": time.perf_counter() - began})


def _render(
    prepared: Prepared, batch: Batch, recipe: Recipe, numerics: Numerics
) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """The pictures [m,h,w,3] and statuses [m] of the batch's m units."""
    if not batch.exists(prepared):
        nothing = np.full((len(batch), recipe.size, recipe.size, 3), GREY, np.uint8)
        return nothing, np.full(len(batch), Status.RECTIFIED, np.uint8)
    found, states = ascend(prepared, batch.objective, batch.keys(recipe.seed), recipe, numerics)
    pictures = (found * 255).round().to(torch.uint8).permute(0, 2, 3, 1).cpu().numpy()[: len(batch)]
    status = states.cpu().numpy()[: len(batch)]
    pictures[status != Status.OK] = GREY
    return pictures, status
