"""A feature visualization of every channel."""

from __future__ import annotations

from collections.abc import Iterator
from math import nan
from typing import Any

from atlas.arrays import Array
from atlas.plans import ENGINE, SHARD, Plan, Stage, codes
from atlas.recipe import Recipe
from atlas.units import Status

THUMB = 64
"""Side of a thumbnail of a feature visualization, in pixels."""
THUMBS = 1024
"""Thumbnails a Zarr shard: a wall of pictures takes one index and few requests."""
SPECTRUM = (3, 65, 65)
"""Shape of a measured spectrum; see `atlas.rendering.spectrum`."""


def _arrays(plan: Plan) -> Iterator[Array]:
    recipe = plan.rendering
    grid = (plan.total, len(recipe.variants))
    yield Array("image", (*grid, recipe.size, recipe.size, 3), SHARD, "uint8", 0, "shard", recipe.jpeg_quality)
    thumbs = THUMBS // len(recipe.variants)
    yield Array("thumb", (*grid, THUMB, THUMB, 3), thumbs, "uint8", 0, "reduce", recipe.jpeg_quality)
    yield from numbers(recipe, grid)
    if recipe.agreement:
        yield Array("agreement", grid, grid[0], "float32", nan, "reduce")
    if recipe.measured:
        yield Array("spectrum", SPECTRUM, SPECTRUM[0], "float32", nan, "driver")


def numbers(recipe: Recipe, grid: tuple[int, int]) -> Iterator[Array]:
    """What is measured of pictures, a number for each of a grid [n,variants] of them."""
    for name in ("mean", "peak"):
        yield Array(name, grid, grid[0], "float32", nan, "reduce")
    yield Array("status", grid, grid[0], "uint8", int(Status.ABSENT), "reduce")
    if recipe.restarts > 1:
        yield Array("attempt", grid, grid[0], "uint8", 0, "reduce")


def pictures(plan: Plan) -> int:
    """Pictures of a unit."""
    return len(plan.rendering.variants)


def _attributes(plan: Plan) -> dict[str, Any]:
    return {"variants": list(plan.rendering.variants), "statuses": codes(Status)}


FEATURES = Stage(
    name="features",
    over="units",
    engine=ENGINE,
    recipe=Recipe,
    divisible=True,
    renders=True,
    arrays=_arrays,
    attributes=_attributes,
    statuses=Status,
    work="rendering",
    items="pictures",
    done="{} pictures",
    each=pictures,
    results=pictures,
)
"""A picture of what each unit looks for."""
