"""The tables of a catalogue, and what each of their columns means.

    name -> [Column]

Where something is not there (no images, no picture, no class) a column holds NULL; so it does for what is no number.
"""

from __future__ import annotations

from dataclasses import dataclass

from atlas.stages.atlas import LABELS
from atlas.stages.dataset import GUESSES, LEVELS


@dataclass(frozen=True)
class Column:
    """One column of a table."""

    name: str
    type: str
    """As SQL has it."""
    meaning: str


UNIT = Column("unit", "VARCHAR", "its address: features.11:300")
LAYER = Column("layer", "VARCHAR", "the layer's name")
INDEX = Column("index", "INTEGER", "which channel of the layer")


def _quantiles() -> list[Column]:
    return [Column(quantile(level), "FLOAT", f"{level:.0%} of its values lie below") for level in LEVELS]


def quantile(level: float) -> str:
    """The name of the column of a quantile: `q05`."""
    return f"q{round(level * 100):02d}"


def _guesses() -> list[Column]:
    columns = []
    for rank in range(1, GUESSES + 1):
        columns.append(Column(f"class_{rank}", "INTEGER", f"the network's class number {rank} of it"))
        columns.append(Column(f"label_{rank}", "VARCHAR", "that class's name"))
        columns.append(Column(f"probability_{rank}", "FLOAT", "and its probability"))
    return columns


def ranked(name: str, rank: int) -> str:
    """The name of a column of the `rank`-th label of a cell, from 1: `label`, `label_2`."""
    return name if rank == 1 else f"{name}_{rank}"


def _labelled() -> list[Column]:
    columns = []
    for rank in range(1, LABELS + 1):
        which = "it speaks for most" if rank == 1 else f"number {rank} of those"
        columns.append(Column(ranked("class", rank), "INTEGER", f"the class {which}"))
        columns.append(Column(ranked("label", rank), "VARCHAR", "that class's name"))
        columns.append(Column(ranked("strength", rank), "FLOAT", "how much, in logits: mean attribution"))
        columns.append(Column(ranked("frequency", rank), "FLOAT", "how often it holds when samples are drawn again"))
    return columns


UNITS = [
    UNIT,
    LAYER,
    INDEX,
    Column("basis", "VARCHAR", "what the units of the layer are: channel"),
    Column("kind", "VARCHAR", "the layer's kind: conv, tokens, linear"),
    Column("status", "VARCHAR", "ok, unstarted, nan, rectified, absent; silent where it never fired on the images"),
    Column("silent", "BOOLEAN", "whether it never fired on the images"),
    Column("mean", "FLOAT", "what its picture reaches: the objective on held-out transforms"),
    Column("peak", "FLOAT", "and the strongest position"),
    Column("ratio", "FLOAT", "peak over the strongest answer to a real image"),
    Column("agreement", "FLOAT", "how alike a second seed's picture is to the network: cosine, 1 for the same"),
    Column("negative_status", "VARCHAR", "of the picture that lowers it"),
    Column("negative_mean", "FLOAT", "of that picture, before the rectifier"),
    Column("negative_peak", "FLOAT", "and its lowest position"),
    Column("negative_ratio", "FLOAT", "peak over the lowest answer to a real image"),
    Column("images", "BIGINT", "images that what follows rests on"),
    Column("activation_mean", "FLOAT", "mean of its values over all positions of the images"),
    Column("activation_std", "FLOAT", "and their standard deviation"),
    Column("least", "FLOAT", "the least of them"),
    Column("largest", "FLOAT", "the largest"),
    Column("active_positions", "FLOAT", "share of the positions above zero"),
    Column("active_images", "FLOAT", "share of the images with a position above zero"),
    *_quantiles(),
    Column("class", "INTEGER", "the class it speaks for most, by activation x gradient"),
    Column("label", "VARCHAR", "that class's name"),
    Column("attribution", "FLOAT", "how much it does, in logits"),
    Column("nearest", "VARCHAR", "the unit that answers most alike"),
    Column("likeness", "FLOAT", "how much alike: cosine, 1 for the same"),
]

EXAMPLES = [
    UNIT,
    LAYER,
    INDEX,
    Column("extreme", "VARCHAR", "top or bottom"),
    Column("rank", "INTEGER", "1 for the first of nine"),
    Column("image", "INTEGER", "the image's number"),
    Column("path", "VARCHAR", "the image's name"),
    Column("crop", "INTEGER", "which crop of it; 0 is the network's own"),
    Column("position", "INTEGER", "where on the layer's grid, row by row"),
    Column("value", "FLOAT", "what the unit answered there; at the bottom before the rectifier"),
    *(
        Column(side, "FLOAT", f"what it saw, in pixels of the image: {of}")
        for side, of in (("x0", "left"), ("y0", "top"))
    ),
    *(Column(side, "FLOAT", of) for side, of in (("x1", "right"), ("y1", "bottom"))),
]

CLASSES = [
    UNIT,
    LAYER,
    INDEX,
    Column("class", "INTEGER", "the class's number; of classes that no image was taken for there is no row"),
    Column("label", "VARCHAR", "its name"),
    Column("attribution", "FLOAT", "how much the unit speaks for it, in logits, by activation x gradient"),
    Column("rank_in_unit", "INTEGER", "1 for the unit's strongest class; NULL below its eighth"),
    Column("rank_in_class", "INTEGER", "1 for the class's strongest unit of the layer; NULL below its eighth"),
]

IMAGES = [
    Column("number", "INTEGER", "its place in the list of images"),
    Column("path", "VARCHAR", "its name"),
    Column("sha256", "VARCHAR", "of its content"),
    Column("width", "INTEGER", "in pixels"),
    Column("height", "INTEGER", "in pixels"),
    Column("status", "VARCHAR", "ok, or why it was not shown to the network"),
    Column("reason", "VARCHAR", "the same, for people"),
    *_guesses(),
    Column(
        "in_reference",
        "BOOLEAN",
        "whether it was shown and is of the reference set: classes rest on it, likeness on at most 1,024 of it",
    ),
]

CELLS = [
    LAYER,
    Column("map", "VARCHAR", "which of its atlases: all, winners-207, strongest-207, pair-207-208"),
    Column("side", "INTEGER", "of the grid: cells along each edge"),
    Column("cell", "INTEGER", "its number on the grid, row by row from the top left"),
    Column("x", "FLOAT", "its middle on the map, 0 to 1 from the left"),
    Column("y", "FLOAT", "and from the top"),
    Column("count", "INTEGER", "samples in it"),
    *_labelled(),
    Column("sure", "BOOLEAN", "whether the first label can be relied on: 5 samples or more, and it holds in 80%"),
    Column("unit", "VARCHAR", "the unit that its direction is largest in"),
    Column("value", "FLOAT", "that unit's mean over its samples"),
    Column("image", "INTEGER", "the number of the image whose sample is nearest to its direction"),
    Column("path", "VARCHAR", "that image's name"),
    Column("cosine", "FLOAT", "how near"),
    Column("status", "VARCHAR", "of its picture: ok, unstarted, nan, absent"),
    Column("mean", "FLOAT", "what its picture reaches: the objective on held-out transforms"),
    Column("rank", "INTEGER", "how many other cells' pictures point no less near to its direction than its own"),
    Column("above", "FLOAT", "share of eight other cells' pictures that its own beats"),
    Column("apt", "BOOLEAN", "whether its picture can be relied on: ok, and of rank within the top 2%"),
]

TABLES = {"units": UNITS, "examples": EXAMPLES, "classes": CLASSES, "images": IMAGES, "atlas_cells": CELLS}
"""Every table, by name."""
