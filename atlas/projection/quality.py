"""How far a map can be trusted, in a few figures.

    vectors, Map -> trustworthiness, agreement of two seeds
    answers to cells' pictures, directions -> how each stands among the others

Whatever costs the square of the number of samples is asked of at most 10,000 of them, chosen by the recipe's seed.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas.projection.neighbours import nearest
from atlas.projection.place import paired, turn
from atlas.projection.project import Map, fit
from atlas.projection.rng import drawn, some
from atlas.projection.rows import Floats, Integers, Rows, gathered
from atlas.projection.space import Space, unit
from atlas.recipe import ProjectionRecipe
from atlas.units import SampleStatus

JUDGED = 10_000
"""Samples that a figure of quality rests on at most."""
NEAR = 15
"""Neighbours on the map that are asked whether they are neighbours in the layer."""
OTHERS = 8
"""Other cells' pictures that a cell's own is held against."""
ROWS = 256
"""Samples that are compared with all others at a time."""


def trustworthiness(points: Floats, xy: NDArray[Any], *, near: int = NEAR) -> float:
    """How much neighbours on a map are neighbours in the layer, from 0 to 1; NaN for too few samples to tell.

    points [s,d] as `Space` makes them, xy [s,2], all finite. A neighbour on the map that is only the r-th in the layer
    counts r - `near` against it. (Venna and Kaski, "Neighborhood preservation in nonlinear projection methods", 2001.)
    """
    count = len(points)
    if count < 2 * near + 2:
        return float("nan")
    close, _ = nearest(np.asarray(xy, np.float32), np.asarray(xy, np.float32), near + 1)
    half = np.square(points, dtype=np.float64).sum(axis=1) / 2
    penalty = 0.0
    for start in range(0, count, ROWS):
        rows = np.arange(start, min(start + ROWS, count))
        apart = half - points[rows].astype(np.float64) @ points.T.astype(np.float64)
        apart[np.arange(len(rows)), rows] = -np.inf
        here = _others(close[rows], rows)
        reach = np.take_along_axis(apart, here, axis=1)
        for place in range(near):
            rank = (apart < reach[:, place, None]).sum(axis=1)
            penalty += float(np.maximum(rank - near, 0).sum())
    return 1 - 2 * penalty / (count * near * (2 * count - 3 * near - 1))


def _others(close: NDArray[np.int32], rows: NDArray[np.int64]) -> NDArray[np.int32]:
    """The neighbours [n,k] of `close` [n,k+1] without each row itself, which need not come first among equals."""
    own = close == rows[:, None]
    own[~own.any(axis=1), -1] = True
    others: NDArray[np.int32] = close[~own].reshape(len(close), -1)
    return others


def agreement(one: NDArray[Any], other: NDArray[Any]) -> float:
    """How much of one layout of some samples is the other after moving, turning and scaling it: from 0 to 1.

    1 less the disparity of Procrustes analysis; NaN where either has no extent. Symmetric.
    """
    here, there = paired(one, other)
    sizes = np.square(here).sum() * np.square(there).sum()
    if sizes == 0:
        return float("nan")
    return float(((here @ turn(here, there)) * there).sum() ** 2 / sizes)


def trusted(vectors: Rows, found: Map, recipe: ProjectionRecipe, *, dims: int = 2) -> tuple[float, float]:
    """The trustworthiness of a map that was laid out in `dims` dimensions, and the agreement of two seeds."""
    chosen = some(recipe.seed, "judged", np.flatnonzero(found.status == SampleStatus.OK), JUDGED)
    sample = gathered(vectors, chosen)
    whole = replace(recipe, pca=None)
    one, other = (fit(sample, replace(recipe, seed=recipe.seed + step), dims=dims) for step in (0, 1))
    points = Space.of(sample, whole)(sample)
    return trustworthiness(points, found.xy[chosen]), agreement(one.raw[one.anchor], other.raw[other.anchor])


def beaten(answers: Floats, directions: Floats, seed: int) -> Floats:
    """The share of 8 other cells' pictures, chosen by chance, that point less near to each cell's direction, [n].

    Of all the others where there are fewer; 1 where there is none. As `own_ranks` otherwise.
    """
    found = np.ones(len(answers), np.float32)
    known = np.logical_and.reduce(np.isfinite(answers), axis=1)
    pictures, aims = unit(np.where(known[:, None], answers, 0)), unit(directions)
    every = np.arange(len(answers))
    for row in every[: len(answers) if len(answers) > 1 else 0]:
        draws = drawn(seed, f"others {row}", every)
        draws[row] = np.iinfo(np.uint64).max
        others = np.argsort(draws, kind="stable")[: min(OTHERS, len(every) - 1)]
        cosine = (pictures[[row, *others]] * aims[row]).sum(axis=1, dtype=np.float64)
        found[row] = (cosine[1:] < cosine[0]).mean() if known[row] else 0
    return found


def own_ranks(answers: Floats, directions: Floats) -> Integers:
    """How many other cells' pictures point no less near to each cell's direction than its own does, [n]: 0 is best.

    answers [n,c]: what the layer answers to the cells' pictures; directions [n,c]. One that is not finite ranks last.
    """
    found = np.full(len(answers), len(answers) - 1, np.int32)
    known = np.logical_and.reduce(np.isfinite(answers), axis=1)
    pictures = unit(np.where(known[:, None], answers, 0))
    for start in range(0, len(answers), ROWS):
        cosine = unit(directions[start : start + ROWS]) @ pictures.T
        rows = np.arange(len(cosine))
        own = cosine[rows, start + rows]
        ranks = (cosine >= own[:, None]).sum(axis=1) - 1
        found[start : start + ROWS] = np.where(known[start + rows], ranks, len(answers) - 1)
    return found
