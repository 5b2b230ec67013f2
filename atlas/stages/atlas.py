"""An activation atlas: samples of a layer, a map of them, grids on it, and pictures of their cells."""

from __future__ import annotations

from collections.abc import Iterator
from math import nan
from typing import Any

from atlas.arrays import Array
from atlas.plans import ENGINE, SAMPLES, SHARD, Plan, Stage, codes
from atlas.recipe import AtlasRecipe, Recipe, Sampling
from atlas.stages.dataset import EXAMPLE, PHOTOGRAPH_LEVEL
from atlas.stages.features import numbers
from atlas.units import SampleStatus, Status
from atlas.words import count

LISTED = 2000
"""Classes of which every sample's attribution is kept; of more, only the strongest of each sign."""
EXTREME_CLASSES = 128
"""Those that are kept of more: half of each sign."""
REAL = 9
"""Real samples kept of each cell of an atlas."""
PATCHED = 4
"""Those of which a picture is cut out."""
LABELS = 5
"""Classes kept of each cell."""
TILE = 400
"""Side of a tile, in pixels."""
ACROSS = 5
"""Cells along the edge of a tile."""
TILE_LEVEL = 90
"""JPEG quality of a tile."""
TILE_ROWS = 64
"""Tiles an object."""
CELL_ROWS = 1024
"""Cells a chunk of what is long: their directions."""


def _activations(plan: Plan) -> Iterator[Array]:
    sampling, channels = plan.sampling, plan.on.channels
    samples, rows = sampling.samples, SAMPLES * sampling.each
    yield Array("vector", (samples, channels), rows, "float16", nan, "shard", packed="zstd", inner=SAMPLES)
    yield Array("scale", (samples,), rows, "float32", nan, "shard")
    for name in ("image", "crop", "position"):
        yield Array(name, (samples,), rows, "int32", -1, "shard")
    yield Array("status", (samples,), rows, "uint8", int(SampleStatus.ABSENT), "shard")
    if sampling.classes:
        kept = min(sampling.classes, EXTREME_CLASSES if sampling.classes > LISTED else LISTED)
        yield Array("logit", (samples, kept), rows, "float16", nan, "shard", packed="zstd", inner=SAMPLES)
        yield Array("logit_scale", (samples,), rows, "float32", nan, "shard")
        if sampling.classes > LISTED:
            yield Array("logit_class", (samples, kept), rows, "int32", -1, "shard", packed="zstd", inner=SAMPLES)


def _layout(plan: Plan) -> Iterator[Array]:
    samples = plan.sampling.samples
    yield Array("xy", (samples, 2), samples, "float32", nan, "reduce")
    yield Array("status", (samples,), samples, "uint8", int(SampleStatus.ABSENT), "reduce")
    yield Array("fitted", (samples,), samples, "uint8", 0, "reduce")
    yield Array("quality", (2,), 2, "float32", nan, "reduce")


def _cells(plan: Plan) -> Iterator[Array]:
    cells, channels = plan.side**2, plan.on.channels
    yield Array("count", (cells,), cells, "int32", 0, "reduce")
    yield Array("cell", (cells,), cells, "int32", -1, "reduce")
    for name in ("direction", "aim"):
        yield Array(name, (cells, channels), min(CELL_ROWS, cells), "float32", nan, "reduce")
    yield Array("sample", (cells, REAL), min(CELL_ROWS, cells), "int32", -1, "reduce")
    yield Array("cosine", (cells, REAL), min(CELL_ROWS, cells), "float32", nan, "reduce")
    yield Array("label", (cells, LABELS), cells, "int32", -1, "reduce")
    for name in ("label_strength", "label_frequency"):
        yield Array(name, (cells, LABELS), cells, "float32", nan, "reduce")
    if plan.sampling.classes:
        yield Array("strength", (plan.sampling.classes, cells), 1, "float32", nan, "reduce", packed="gzip")


def _patches(plan: Plan) -> Iterator[Array]:
    shown = (plan.total, PATCHED)
    if plan.sampling.photographs:
        yield Array("picture", (*shown, EXAMPLE, EXAMPLE, 3), SHARD, "uint8", 0, "shard", PHOTOGRAPH_LEVEL)
    yield Array("box", (*shown, 4), plan.total, "float32", nan, "reduce")


def _icons(plan: Plan) -> Iterator[Array]:
    recipe, cells = plan.rendering, plan.total
    grid = (cells, len(recipe.variants))
    yield Array("image", (*grid, recipe.size, recipe.size, 3), SHARD, "uint8", 0, "shard", recipe.jpeg_quality)
    yield Array("answer", (cells, plan.on.channels), SHARD, "float32", nan, "shard")
    yield from numbers(recipe, grid)
    yield Array("rank", (cells,), cells, "int32", -1, "reduce")
    yield Array("above", (cells,), cells, "float32", nan, "reduce")


def _tiles(plan: Plan) -> Iterator[Array]:
    edge = plan.side // ACROSS
    yield Array("tile", (edge**2, TILE, TILE, 3), min(TILE_ROWS, edge**2), "uint8", 0, "reduce", TILE_LEVEL)
    yield Array("mask", (edge**2, ACROSS, ACROSS), edge**2, "uint8", 0, "reduce")
    for level in range(1, plan.charting.below + 1):
        count = max(1, -(-edge // 2**level)) ** 2
        yield Array(f"below-{level}", (count, TILE, TILE, 3), min(TILE_ROWS, count), "uint8", 0, "reduce", TILE_LEVEL)


def _place(plan: Plan) -> dict[str, Any]:
    """Which map its group is of, and which grid."""
    return {"map": plan.part[0]} | ({"side": plan.side} if plan.part[1:] else {})


def _approximate(plan: Plan) -> dict[str, Any]:
    if plan.sampling.classes <= LISTED:
        return {}
    return {"approximate": "of every sample only the strongest classes of each sign are kept, the others read as 0"}


def _of_samples(plan: Plan) -> dict[str, Any]:
    place = _place(plan) if plan.part else {}
    return place | {"statuses": codes(SampleStatus)} | _approximate(plan)


def _of_grid(plan: Plan) -> dict[str, Any]:
    return _place(plan) | _approximate(plan)


def _of_icons(plan: Plan) -> dict[str, Any]:
    return _place(plan) | {"variants": list(plan.rendering.variants), "statuses": codes(Status)}


def _sampled(plan: Plan) -> str:
    sampling = plan.sampling
    told = f"{sampling.samples:,} activations, {sampling.crops} crops x {sampling.positions} of each image"
    told += f", attributed to {sampling.classes:,} classes" if sampling.classes else ", no classes known"
    size = sampling.samples * 2 * (plan.on.channels + min(sampling.classes, LISTED))
    return f"{told}; about {size / 1e6:,.0f} MB"


def _laid_out(plan: Plan) -> str:
    laid = plan.charting.layout
    return f"laid out by `{laid.name}`, fitted on at most {laid.max_samples:,} of them"


def _pictured(plan: Plan) -> str:
    cells, recipe = plan.side**2, plan.rendering
    height, width = plan.identity.preprocessing["size"]
    times = recipe.steps * recipe.restarts
    flops = times * 3 * plan.on.flops * cells * recipe.size**2 // (height * width)
    how = f"{recipe.size} px in {recipe.restarts} x {recipe.steps} steps"
    return f"at most {cells:,} cells, {how}: at most {count(flops)}FLOP"


ACTIVATIONS = Stage(
    name="activations",
    over="images",
    shard=SAMPLES,
    recipe=Sampling,
    arrays=_activations,
    attributes=_of_samples,
    work="sampling",
    items="images",
    done="{} activations",
    results=lambda plan: plan.sampling.each,
    priced=_sampled,
)
"""Vectors at random positions of a layer, and what each says for every class."""
LAYOUT = Stage(
    name="layout",
    over="whole",
    after="activations",
    parts=1,
    recipe=AtlasRecipe,
    arrays=_layout,
    attributes=_of_samples,
    folder="",
    done="places of {} activations",
    priced=_laid_out,
)
"""Where they lie on a map."""
CELLS = Stage(
    name="cells",
    over="whole",
    after="layout",
    parts=2,
    recipe=AtlasRecipe,
    arrays=_cells,
    attributes=_of_grid,
    folder="",
    done="{} filled cells",
    told="filled",
)
"""A grid on the map: what lies in each of its cells."""
PATCHES = Stage(
    name="patches",
    over="cells",
    after="cells",
    parts=2,
    recipe=AtlasRecipe,
    arrays=_patches,
    attributes=_of_grid,
    work="patches",
    items="patches",
    done="patches of {} cells",
    each=lambda _: PATCHED,
    told="patched",
)
"""What the real samples nearest to each cell saw."""
ICONS = Stage(
    name="icons",
    over="cells",
    engine=ENGINE,
    after="cells",
    parts=2,
    recipe=Recipe,
    renders=True,
    arrays=_icons,
    attributes=_of_icons,
    statuses=Status,
    work="cells",
    items="pictures",
    done="pictures of {} cells",
    priced=_pictured,
    told="pictured",
)
"""A picture of what each cell's direction looks for."""
TILES = Stage(
    name="tiles",
    over="whole",
    after="icons",
    parts=2,
    recipe=AtlasRecipe,
    arrays=_tiles,
    attributes=_of_grid,
    done="{} tiles",
    told="tiled",
)
"""The pictures of a grid, joined."""
