"""Which arrays a stage has: their shapes, who writes them, and in which objects they lie.

    Plan -> [Array]

One fact, one place: metadata, writing, reading and verifying all ask here. Sizes come from the plan alone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from math import nan
from typing import Literal

from atlas.plan import SAMPLES, SHARD, Plan, Shard
from atlas.units import ImageStatus, SampleStatus, Status

THUMB = 64
"""Side of a thumbnail of a feature visualization, in pixels."""
THUMBS = 1024
"""Thumbnails a Zarr shard: a wall of pictures takes one index and few requests."""
EXAMPLE = 96
"""Side of an example's picture, in pixels."""
PHOTOGRAPH = 128
"""Side of the square that an image's thumbnail is fitted into, in pixels."""
PHOTOGRAPH_LEVEL = 85
"""JPEG quality of what is cut out of photographs."""

EXTREMES = ("top", "bottom")
STRONGEST = 9
"""Images kept of each extreme of a unit."""
BINS = 289
"""Bins of a histogram; see `atlas.collecting.summary.EDGES`."""
LEVELS = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
"""The quantiles that are kept of a channel."""
QUANTILES = len(LEVELS)
FIELDS = 9 + BINS + len(EXTREMES) * STRONGEST * 4
"""Numbers a shard of images leaves behind of each channel; see `atlas.collecting.summary.FIELDS`."""
GUESSES = 5
"""Classes kept of each image."""
CLASSES = 8
"""Classes kept of each unit, and units of each class and layer."""
NEIGHBOURS = 10
"""Units kept of each unit that answer alike."""
EXCITED = 24
"""Units kept of each image that it excites most."""
SPECTRUM = (3, 65, 65)
"""Shape of a measured spectrum; see `atlas.rendering.spectrum`."""
TEXT = 512
"""Bytes of a name in UTF-8; longer ones keep their end."""
ROWS = 256
"""Units a chunk of those columns that the page reads unit by unit."""

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
TILES = 64
"""Tiles an object."""
CELLS = 1024
"""Cells a chunk of what is long: their directions."""

Writer = Literal["driver", "shard", "reduce", "relations"]


@dataclass(frozen=True)
class Array:
    """One array of a stage."""

    name: str
    shape: tuple[int, ...]
    rows: int
    """Rows (of the first axis) that share an object; of what shards write, those that one shard owns."""
    dtype: str
    fill: float
    by: Writer
    """`driver`: before any task; `shard`: each its rows; `reduce`: whole, when the layer is complete; `relations`:
    whole, when all layers are."""
    level: int | None = None
    """JPEG quality: a chunk is one picture, an object `rows` of them."""
    packed: Literal["gzip", "zstd"] | None = None
    """Compressor; the page reads gzip."""
    inner: int | None = None
    """Rows of a chunk, where an object holds several, each of which can be read by itself."""
    scratch: bool = False
    """Whether it is for the layer's reduce alone: its objects are dropped when that is done and the layer is whole."""

    @property
    def objects(self) -> int:
        return -(-self.shape[0] // self.rows)

    def object(self, index: int) -> str:
        """Key of an object, below the array's own."""
        return "/".join(["c", str(index), *["0"] * (len(self.shape) - 1)])

    def of(self, shard: int) -> slice:
        """The rows that a shard owns."""
        return slice(shard * self.rows, min((shard + 1) * self.rows, self.shape[0]))


def arrays(plan: Plan) -> dict[str, Array]:
    """Every array that `plan` owns, by name."""
    return {array.name: array for array in MADE[plan.stage](plan)}


def written_by(plan: Plan, writer: Writer) -> dict[str, Array]:
    """The arrays of `plan` that `writer` fills."""
    return {name: array for name, array in arrays(plan).items() if array.by == writer}


def shard_objects(plan: Plan, shard: Shard) -> list[str]:
    """Keys, below the plan's group, of the objects that `shard` writes."""
    return [f"{name}/{array.object(shard.index)}" for name, array in written_by(plan, "shard").items()]


def _features(plan: Plan) -> Iterator[Array]:
    recipe = plan.rendering
    grid = (plan.total, len(recipe.variants))
    yield Array("image", (*grid, recipe.size, recipe.size, 3), SHARD, "uint8", 0, "shard", recipe.level)
    thumbs = THUMBS // len(recipe.variants)
    yield Array("thumb", (*grid, THUMB, THUMB, 3), thumbs, "uint8", 0, "reduce", recipe.level)
    for name in ("mean", "peak"):
        yield Array(name, grid, grid[0], "float32", nan, "reduce")
    yield Array("status", grid, grid[0], "uint8", int(Status.ABSENT), "reduce")
    if recipe.tries > 1:
        yield Array("attempt", grid, grid[0], "uint8", 0, "reduce")
    if recipe.agreement:
        yield Array("agreement", grid, grid[0], "float32", nan, "reduce")
    if recipe.measured:
        yield Array("spectrum", SPECTRUM, SPECTRUM[0], "float32", nan, "driver")


def _images(plan: Plan) -> Iterator[Array]:
    count, collection = plan.total, plan.collection
    yield Array("path", (count, TEXT), SAMPLES, "uint8", 0, "driver", packed="gzip")
    yield Array("sha256", (count, 32), SAMPLES, "uint8", 0, "driver")
    yield Array("same_as", (count,), SAMPLES, "int32", -1, "driver")
    yield Array("status", (count,), SAMPLES, "uint8", int(ImageStatus.ABSENT), "shard")
    yield Array("reason", (count, TEXT), SAMPLES, "uint8", 0, "shard", packed="gzip")
    yield Array("size", (count, 2), SAMPLES, "int32", 0, "shard")
    yield Array("class", (count, GUESSES), SAMPLES, "int32", -1, "shard")
    yield Array("probability", (count, GUESSES), SAMPLES, "float32", nan, "shard")
    if collection.photographs:
        shape = (count, PHOTOGRAPH, PHOTOGRAPH, 3)
        yield Array("thumb", shape, SAMPLES, "uint8", 0, "shard", PHOTOGRAPH_LEVEL)
    for name in ("excited_layer", "excited_unit"):
        yield Array(name, (count, EXCITED), SAMPLES, "int32", -1, "relations", packed="gzip")
    yield Array("excited_score", (count, EXCITED), SAMPLES, "float32", nan, "relations", packed="gzip")


def _statistics(plan: Plan) -> Iterator[Array]:
    channels, collection = plan.layer.channels if plan.layer else 0, plan.collection
    shards = len(plan.complete.wanted)
    yield Array("partial", (shards, channels, FIELDS), 1, "float64", 0, "shard", packed="zstd", scratch=True)
    for name in ("maxima", "attribution"):
        rows = (collection.reference, channels)
        yield Array(name, rows, SAMPLES // collection.step, "float32", nan, "shard", packed="zstd")
    yield Array("seen", (2,), 2, "int64", 0, "reduce")
    for name in ("mean", "std", "least", "largest", "active_positions", "active_images"):
        yield Array(name, (channels,), channels, "float32", nan, "reduce")
    yield Array("nan", (channels,), channels, "int64", 0, "reduce")
    yield Array("quantile", (channels, QUANTILES), channels, "float32", nan, "reduce")
    yield Array("histogram", (channels, BINS), SHARD, "int64", 0, "reduce")
    yield Array("edge", (BINS + 1,), BINS + 1, "float32", nan, "reduce")
    strongest = (channels, len(EXTREMES), STRONGEST)
    yield Array("example_value", strongest, channels, "float32", nan, "reduce")
    for name in ("example_image", "example_crop", "example_position"):
        yield Array(name, strongest, channels, "int32", -1, "reduce")
    yield Array("class", (channels, CLASSES), channels, "int32", -1, "reduce")
    yield Array("class_attribution", (channels, CLASSES), channels, "float32", nan, "reduce")
    if collection.classes:
        best = (collection.classes, CLASSES)
        yield Array("unit_of_class", best, collection.classes, "int32", -1, "reduce")
        yield Array("unit_attribution", best, collection.classes, "float32", nan, "reduce")
        yield Array("class_images", best[:1], collection.classes, "int32", 0, "reduce")
    for name in ("neighbour_layer", "neighbour_unit"):
        yield Array(name, (channels, NEIGHBOURS), channels, "int32", -1, "relations")
    yield Array("neighbour_likeness", (channels, NEIGHBOURS), channels, "float32", nan, "relations")


def _examples(plan: Plan) -> Iterator[Array]:
    strongest = (plan.total, len(EXTREMES), STRONGEST)
    if plan.collection.photographs:
        shape = (*strongest, EXAMPLE, EXAMPLE, 3)
        yield Array("picture", shape, SHARD, "uint8", 0, "shard", PHOTOGRAPH_LEVEL)
    yield Array("box", (*strongest, 4), ROWS, "float32", nan, "reduce")


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
        yield Array(name, (cells, channels), min(CELLS, cells), "float32", nan, "reduce")
    yield Array("sample", (cells, REAL), min(CELLS, cells), "int32", -1, "reduce")
    yield Array("cosine", (cells, REAL), min(CELLS, cells), "float32", nan, "reduce")
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
    yield Array("image", (*grid, recipe.size, recipe.size, 3), SHARD, "uint8", 0, "shard", recipe.level)
    yield Array("answer", (cells, plan.on.channels), SHARD, "float32", nan, "shard")
    for name in ("mean", "peak"):
        yield Array(name, grid, cells, "float32", nan, "reduce")
    yield Array("status", grid, cells, "uint8", int(Status.ABSENT), "reduce")
    if recipe.tries > 1:
        yield Array("attempt", grid, cells, "uint8", 0, "reduce")
    yield Array("rank", (cells,), cells, "int32", -1, "reduce")
    yield Array("above", (cells,), cells, "float32", nan, "reduce")


def _tiles(plan: Plan) -> Iterator[Array]:
    edge = plan.side // ACROSS
    yield Array("tile", (edge**2, TILE, TILE, 3), min(TILES, edge**2), "uint8", 0, "reduce", TILE_LEVEL)
    yield Array("mask", (edge**2, ACROSS, ACROSS), edge**2, "uint8", 0, "reduce")
    for level in range(1, plan.charting.below + 1):
        count = max(1, -(-edge // 2**level)) ** 2
        yield Array(f"below-{level}", (count, TILE, TILE, 3), min(TILES, count), "uint8", 0, "reduce", TILE_LEVEL)


MADE: dict[str, Callable[[Plan], Iterator[Array]]] = {
    "features": _features,
    "images": _images,
    "statistics": _statistics,
    "examples": _examples,
    "activations": _activations,
    "layout": _layout,
    "cells": _cells,
    "patches": _patches,
    "icons": _icons,
    "tiles": _tiles,
}
