"""Maps of what matters to a class, and of what parts two.

    attributions, class -> numbers of samples        vectors and attributions of a pair -> Map

A class's map is made of the samples whose strongest attribution is to it (`winners`: little else is on it, but what it
shares with others is missing), or of those that speak most for it (`strongest`: also what it shares, and what merely
occurs beside it). The article names this choice; both are there. ("Activation Atlas", Carter et al., Distill 2019.)
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from atlas.errors import AtlasError
from atlas.projection.project import Map, project
from atlas.projection.rows import Floats, Numbers, Rows, blocks
from atlas.projection.strengths import Columns
from atlas.recipe import ProjectionRecipe

MOST = 2000
"""Samples that speak most for a class, as many as the article's."""
FAR = 99.0
"""Percentile of the differences of a pair at which its map ends."""


def winners(read: Columns, classes: int, label: int) -> Numbers:
    """The samples whose highest attribution is to the class `label`, rising; of equal ones the first class is it."""
    _known(label, classes)
    found = [np.zeros(0, np.int64)]
    for first, block in blocks(read(0, classes), size=max(64, min(4096, 2**24 // classes))):
        known = np.logical_and.reduce(np.isfinite(block), axis=1)
        highest = np.where(known[:, None], block, -np.inf).argmax(axis=1)
        found.append(first + np.flatnonzero(known & (highest == label)))
    return np.concatenate(found)


def strongest(read: Columns, classes: int, label: int, count: int = MOST) -> Numbers:
    """The `count` samples with the highest attribution to the class `label`, if above 0; rising by number."""
    _known(label, classes)
    attribution = _column(read, label)
    order = np.argsort(-np.nan_to_num(attribution), kind="stable")[:count]
    return np.sort(order[np.nan_to_num(attribution[order]) > 0])


def pair(vectors: Rows, towards: Floats, against: Floats, recipe: ProjectionRecipe) -> Map:
    """The map of the samples of a pair of classes.

    Along x by `towards` less `against`, their attributions [s] to the two classes: one class at the left, the other at
    the right, 0.5 where they say as much for both. Along y by a layout of their vectors in one dimension.
    """
    difference = np.asarray(towards, np.float64) - against
    found = project(vectors, recipe, dims=1)
    y = found.xy[:, 0]
    if len(difference) != len(y):
        raise AtlasError(f"A pair of classes: {len(difference)} attributions of {len(y)} samples.")
    size = np.abs(difference[np.isfinite(difference)])
    far = float(np.percentile(size, FAR)) if len(size) else 0.0
    x = 0.5 + 0.5 * np.clip(difference / far, -1, 1) if far > 0 else np.where(np.isfinite(difference), 0.5, np.nan)
    xy = np.stack([x, y], axis=1).astype(np.float32)
    xy[~np.isfinite(xy).all(axis=1)] = np.nan
    return replace(found, xy=xy)


def _column(read: Columns, label: int) -> Floats:
    return np.concatenate([np.zeros(0, np.float32), *(block[:, 0] for _, block in blocks(read(label, label + 1)))])


def _known(label: int, classes: int) -> None:
    if not 0 <= label < classes:
        raise AtlasError(f"There is no class {label}: the network has {classes}, from 0 on.")
