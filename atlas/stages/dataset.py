"""What images leave behind: what each of them is, what channels answer to them, what units saw of them."""

from __future__ import annotations

from collections.abc import Iterator
from math import nan
from typing import Any

from atlas.arrays import Array
from atlas.plans import SAMPLES, SHARD, Plan, Stage, codes
from atlas.recipe import Collection
from atlas.units import ImageStatus

TEXT = 512
"""Bytes of a name in UTF-8; longer ones keep their end."""
PHOTOGRAPH = 128
"""Side of the square that an image's thumbnail is fitted into, in pixels."""
PHOTOGRAPH_LEVEL = 85
"""JPEG quality of what is cut out of photographs."""
EXAMPLE = 96
"""Side of an example's picture, in pixels."""
EXTREMES = ("top", "bottom")
STRONGEST = 9
"""Images kept of each extreme of a unit."""
BINS = 289
"""Bins of a histogram; see `atlas.dataset.summary.EDGES`."""
LEVELS = (0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99)
"""The quantiles that are kept of a channel."""
QUANTILES = len(LEVELS)
FIELDS = 9 + BINS + len(EXTREMES) * STRONGEST * 4
"""Numbers a shard of images leaves behind of each channel; see `atlas.dataset.summary.FIELDS`."""
GUESSES = 5
"""Classes kept of each image."""
CLASSES = 8
"""Classes kept of each unit, and units of each class and layer."""
NEIGHBOURS = 10
"""Units kept of each unit that answer alike."""
EXCITED = 24
"""Units kept of each image that it excites most."""
ROWS = 256
"""Units a chunk of those columns that the page reads unit by unit."""


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
    shards = plan.count
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


def _of_images(_: Plan) -> dict[str, Any]:
    return {"statuses": codes(ImageStatus)}


def _of_extremes(plan: Plan) -> dict[str, Any]:
    return {"extremes": list(EXTREMES), "step": plan.collection.step, "reference": plan.collection.reference}


IMAGES = Stage(
    name="images",
    over="images",
    shard=SAMPLES,
    recipe=Collection,
    arrays=_images,
    attributes=_of_images,
    statuses=ImageStatus,
    work="collecting",
    items="images",
    done="{} images",
)
"""What each image is: whether it can be shown, its thumbnail, its classes."""
STATISTICS = Stage(
    name="statistics",
    over="images",
    shard=SAMPLES,
    recipe=Collection,
    arrays=_statistics,
    attributes=_of_extremes,
    work="collecting",
    items="images",
    done="statistics of {} images",
)
"""What a layer's channels answered to the images."""
EXAMPLES = Stage(
    name="examples",
    over="units",
    divisible=True,
    after="statistics",
    recipe=Collection,
    arrays=_examples,
    attributes=_of_extremes,
    work="examples",
    items="examples",
    done="examples of {} units",
    each=lambda _: len(EXTREMES) * STRONGEST,
)
"""What the units saw of the images that drive them most."""
