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


def quantile(level: float) -> str:
    """The name of the column of a quantile: `q05`."""
    return f"q{round(level * 100):02d}"


def _guesses() -> list[Column]:
    columns = []
    for rank in range(1, GUESSES + 1):
        columns.append(Column(f"class_{rank}", "INTEGER", f"predicted class, rank {rank} by probability"))
        columns.append(Column(f"label_{rank}", "VARCHAR", "that class's name"))
        columns.append(Column(f"probability_{rank}", "FLOAT", "that class's probability"))
    return columns


def ranked(name: str, rank: int) -> str:
    """The name of a column of the `rank`-th label of a cell, from 1: `label`, `label_2`."""
    return name if rank == 1 else f"{name}_{rank}"


def _labelled() -> list[Column]:
    columns = []
    for rank in range(1, LABELS + 1):
        which = "highest" if rank == 1 else f"number {rank}"
        columns.append(Column(ranked("class", rank), "INTEGER", f"class by mean attribution: {which}"))
        columns.append(Column(ranked("label", rank), "VARCHAR", "that class's name"))
        columns.append(Column(ranked("attribution", rank), "FLOAT", "its mean attribution to that class, in logits"))
        columns.append(Column(ranked("stability", rank), "FLOAT", "share of resamplings in which it ranks as high"))
    return columns


UNITS = [
    UNIT,
    LAYER,
    INDEX,
    Column("basis", "VARCHAR", "what the units of the layer are: channel"),
    Column("kind", "VARCHAR", "the layer's kind: conv, tokens, linear"),
    Column("status", "VARCHAR", "ok, unstarted, nan, rectified, absent; dead where it never fired on the images"),
    Column("dead", "BOOLEAN", "whether it never fired on the images"),
    Column("objective", "FLOAT", "mean objective of its picture on held-out transforms"),
    Column("objective_peak", "FLOAT", "the same at the picture's strongest position"),
    Column("ratio", "FLOAT", "objective_peak over its strongest activation on a real image"),
    Column("agreement", "FLOAT", "cosine of the layer's mean activations on this and a second seed's picture"),
    Column("negative_status", "VARCHAR", "status of the picture that lowers it"),
    Column("negative_objective", "FLOAT", "mean objective of that picture, before the rectifier"),
    Column("negative_objective_peak", "FLOAT", "the same at its lowest position"),
    Column("negative_ratio", "FLOAT", "negative_objective_peak over its lowest activation on a real image"),
    Column("images", "BIGINT", "images that the next columns are measured on"),
    Column("activation_mean", "FLOAT", "mean activation over all positions of the images"),
    Column("activation_std", "FLOAT", "standard deviation of the activations"),
    Column("activation_min", "FLOAT", "lowest activation"),
    Column("activation_max", "FLOAT", "highest activation"),
    Column("active_positions", "FLOAT", "share of the positions above zero"),
    Column("active_images", "FLOAT", "share of the images with a position above zero"),
    *(Column(quantile(level), "FLOAT", f"{level:.0%} of its activations lie below") for level in LEVELS),
    Column("class", "INTEGER", "class with the highest attribution: mean activation x gradient"),
    Column("label", "VARCHAR", "that class's name"),
    Column("attribution", "FLOAT", "that attribution, in logits"),
    Column("most_similar", "VARCHAR", "the most similar unit of any layer"),
    Column("similarity", "FLOAT", "of the two: cosine of their standardised activations on the reference set"),
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
    Column("value", "FLOAT", "the unit's activation there; for bottom, its value before the rectifier"),
    *(
        Column(side, "FLOAT", f"{of} edge of the part of the image that the unit saw, in pixels")
        for side, of in (("x0", "left"), ("y0", "top"), ("x1", "right"), ("y1", "bottom"))
    ),
]

CLASSES = [
    UNIT,
    LAYER,
    INDEX,
    Column("class", "INTEGER", "the class's number; classes that the network predicts for no image have no row"),
    Column("label", "VARCHAR", "its name"),
    Column("attribution", "FLOAT", "mean activation x gradient of the unit to it, in logits"),
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
        "whether it was used and is in the reference set: attribution uses that set, similarity at most 1,024 of it",
    ),
]

CELLS = [
    LAYER,
    Column("map", "VARCHAR", "which of its atlases: all, class-207, strongest-207, pair-207-208"),
    Column("side", "INTEGER", "of the grid: cells along each edge"),
    Column("cell", "INTEGER", "its number on the grid, row by row from the top left"),
    Column("x", "FLOAT", "its middle on the map, 0 to 1 from the left"),
    Column("y", "FLOAT", "and from the top"),
    Column("count", "INTEGER", "samples in it"),
    *_labelled(),
    Column(
        "label_reliable",
        "BOOLEAN",
        "whether it has 5 samples or more, and its first label a stability of 0.8 or more",
    ),
    Column("unit", "VARCHAR", "the unit with the largest component of its direction"),
    Column("value", "FLOAT", "that unit's mean activation over its samples"),
    Column("image", "INTEGER", "number of the image whose sample is nearest to its direction"),
    Column("path", "VARCHAR", "that image's name"),
    Column("cosine", "FLOAT", "cosine of that sample and the direction"),
    Column("status", "VARCHAR", "status of its picture: ok, unstarted, nan, absent"),
    Column("objective", "FLOAT", "mean objective of its picture on held-out transforms"),
    Column("rank", "INTEGER", "how many other cells' pictures match its direction at least as well as its own"),
    Column("win_rate", "FLOAT", "share of eight other cells' pictures that its own beats"),
    Column("picture_reliable", "BOOLEAN", "whether its picture is ok, and of rank within the top 2% of the grid"),
]

TABLES = {"units": UNITS, "examples": EXAMPLES, "classes": CLASSES, "images": IMAGES, "atlas_cells": CELLS}
"""Every table, by name."""
