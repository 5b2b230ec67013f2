"""Feature visualizations of a layer's units.

    (prepared network, units, recipe, numerics) -> Rendered: pictures uint8 [u,v,h,w,3], status [u,v]

A positive picture maximises its unit's value. A negative one minimises the value *before* the
rectifier, after which it would be zero nearly everywhere and the picture mush.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace

from atlas.models import Prepared
from atlas.recipe import Numerics, Recipe
from atlas.rendering.agreement import agreement
from atlas.rendering.batches import Directions, PictureBatch, batches
from atlas.rendering.compute import computing
from atlas.rendering.maco import made_by
from atlas.rendering.restarts import Cell, Rendered, best
from atlas.rendering.spectrum import Spectrum
from atlas.store import as_stored
from atlas.units import Status


def render_batches(
    prepared: Prepared,
    units: Sequence[int],
    recipe: Recipe,
    numerics: Numerics,
    spectrum: Spectrum | None = None,
    aims: Directions | None = None,
) -> Iterator[tuple[Cell, Rendered]]:
    """The pictures of `units` of the prepared layer, in all variants of the recipe, as they are finished.

    They are its channels, or where there are `aims` those of these directions.

    Yields for each batch of m units and v variants its place [rows, variants] among all, and its pictures.
    `spectrum` is the one that the recipe names, where it names a measured one; raises `AtlasError` for another.
    """
    for batch in batches(prepared.layer.name, units, recipe, numerics.batch, aims):
        with computing(numerics):
            found = _render(prepared, batch, recipe, numerics, spectrum)
        yield batch.cell, found


def render_units(
    prepared: Prepared, units: Sequence[int], recipe: Recipe, numerics: Numerics, spectrum: Spectrum | None = None
) -> Rendered:
    """The pictures of channels `units` of the prepared layer, in all variants of the recipe."""
    rendered = Rendered.nothing(len(units), recipe)
    for cell, found in render_batches(prepared, units, recipe, numerics, spectrum):
        rendered.put(cell, found)
    return rendered


def _render(
    prepared: Prepared, batch: PictureBatch, recipe: Recipe, numerics: Numerics, spectrum: Spectrum | None
) -> Rendered:
    """The pictures of the batch, and how far those of the next seed agree with them, where the recipe asks for it."""
    way = made_by(recipe, spectrum)
    one = best(prepared, batch, recipe, numerics, way)
    if recipe.agreement and (one.status == Status.OK).any():
        other = best(prepared, batch, replace(recipe, seed=recipe.seed + 1), numerics, way)
        mine, theirs = (as_stored(each.pictures, recipe.jpeg_quality) for each in (one, other))
        both = (one.status == Status.OK) & (other.status == Status.OK)
        one.agreement[both] = agreement(prepared, mine, theirs, batch, recipe, numerics)[both]
    return one
