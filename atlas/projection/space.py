"""The space in which samples are neighbours.

    a sample of vectors [s,c], ProjectionRecipe -> Space : vectors [n,c] -> points [n,d]
                                            -> Plane : vectors [n,c] -> positions [n,2]

Under `cosine` points have length one, so that their distance is a matter of their angle alone; under `euclidean` they
are what they are. Before that they are made as wide in every direction (`whiten`), after it reduced to their first
principal components (`pca`), as the recipe says.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from atlas.projection.rows import BLOCK, Floats, Wide
from atlas.projection.whiten import Moment
from atlas.recipe import ProjectionRecipe


@dataclass(frozen=True, eq=False)
class Space:
    """From vectors to points: `unit((h - origin) / size) matrix`, the first and then again under `cosine` alone."""

    origin: Floats
    """[c]; zeros under `cosine`."""
    size: float
    """Of the vectors about the origin; 1 under `cosine`. It keeps squares of large values within float32."""
    matrix: Floats | None
    """[c,d]; None where it would change nothing."""
    cosine: bool

    @classmethod
    def of(cls, sample: Floats, recipe: ProjectionRecipe) -> Space:
        """The space that the finite rows of `sample` [s,c] span, by `recipe`."""
        space = cls._plain(sample, recipe.metric == "cosine")
        if recipe.whiten:
            space = replace(space, matrix=_moment(space(sample)).inverse(-0.5))
        if recipe.pca is not None and recipe.pca < sample.shape[1]:
            first = principal(_moment(space(sample)), recipe.pca)
            space = replace(space, matrix=first if space.matrix is None else space.matrix @ first)
        return space

    @classmethod
    def _plain(cls, sample: Floats, cosine: bool) -> Space:
        if cosine:
            return cls(np.zeros(sample.shape[1], np.float32), 1.0, None, cosine)
        origin = sample.mean(axis=0, dtype=np.float64).astype(np.float32)
        size = float(np.sqrt(np.square(sample - origin, dtype=np.float64).mean()))
        return cls(origin, size or 1.0, None, cosine)

    def __call__(self, vectors: Floats) -> Floats:
        """Points [n,d] of finite vectors [n,c]; under `cosine` zeros stay zeros."""
        points = unit(vectors) if self.cosine else (vectors - self.origin) / np.float32(self.size)
        if self.matrix is not None:
            points = _product(points, self.matrix)
            points = unit(points) if self.cosine else points
        return points


def unit(vectors: Floats) -> Floats:
    """Vectors [n,c] at length one; zeros stay zeros."""
    length = np.sqrt(np.einsum("nc,nc->n", vectors, vectors, dtype=np.float64))[:, None]
    found: Floats = (vectors / np.where(length > 0, length, 1)).astype(np.float32)
    return found


def _product(points: Floats, matrix: Floats) -> Floats:
    """`points @ matrix`, block by block of one size: so a row's result is the same whichever rows are beside it."""
    found = np.empty((len(points), matrix.shape[1]), np.float32)
    block = np.zeros((BLOCK, len(matrix)), np.float32)
    for start in range(0, len(points), BLOCK):
        part = points[start : start + BLOCK]
        block[: len(part)] = part
        found[start : start + BLOCK] = (block @ matrix)[: len(part)]
    return found


def principal(moment: Moment, count: int) -> Floats:
    """The directions [c,count] in which a moment is largest, the largest first."""
    _, vectors = np.linalg.eigh(moment.mean)
    return vectors[:, ::-1][:, :count].astype(np.float32)


@dataclass(frozen=True, eq=False)
class Plane:
    """The plane in which a layer's vectors differ most.

    Without whitening, under which no plane is wider than another. A layout begins here and is turned to face as this
    does, so that the way it faces rests on the layer's own data. Each axis points to where fewer samples lie further
    out: there the third moment is positive.
    """

    space: Space
    middle: Floats
    """[c]"""
    axes: Floats
    """[c,2], or [c,1] of a single channel."""

    @classmethod
    def of(cls, sample: Floats, recipe: ProjectionRecipe) -> Plane:
        """That of the finite rows of `sample` [s,c]."""
        space = Space.of(sample, replace(recipe, whiten=False, pca=None))
        points = space(sample)
        middle = points.mean(axis=0, dtype=np.float64).astype(np.float32)
        axes = principal(_moment(points - middle), 2)
        skew = (((points - middle).astype(np.float64) @ axes) ** 3).sum(axis=0)
        return cls(space, middle, np.where(skew < 0, -axes, axes))

    def __call__(self, vectors: Floats) -> Wide:
        """Where finite vectors [n,c] lie in it, [n,2]."""
        found = np.zeros((len(vectors), 2))
        found[:, : self.axes.shape[1]] = (self.space(vectors) - self.middle).astype(np.float64) @ self.axes
        return found


def _moment(points: Floats) -> Moment:
    moment = Moment(points.shape[1])
    for start in range(0, len(points), BLOCK):
        moment.add(points[start : start + BLOCK])
    return moment
