"""Activation atlases: the plans of all their stages.

(layers, sampling, maps, grids, recipe) -> plans: activations -> layout -> cells -> icons -> tiles
-> patches
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import TYPE_CHECKING

from atlas.errors import AtlasError, UnknownName
from atlas.plans import Identity, Plan
from atlas.recipe import AtlasRecipe, Collection, Numerics, ProjectionRecipe, Recipe, Sampling
from atlas.stages import ACTIVATIONS, CELLS, ICONS, LAYOUT, PATCHES, TILES
from atlas.units import Layer, class_called
from atlas.words import parameter

if TYPE_CHECKING:
    from atlas.models import Model

ALL = "all"
"""The map of all samples."""
KINDS = {"class": "winners", "strongest": "strongest"}
"""What a map of one class is called on the command line, and in a store."""
GRIDS = (20,)
"""Sides of the grids unless said."""
MOST_CELLS = 5120
"""Cells along an edge of a grid at most: 26 million of them, each with a picture."""
WHITENING = 0.0
"""How far cells are set apart from all activations before they are rendered; see `AtlasRecipe.whitening`. Measured on
SqueezeNet: what is set apart wholly is no longer what the cell is (docs/atlases.md)."""
WIDEST = 64
"""Patches measured side by side at most, as examples."""
REDUCED = Numerics(batch=1)
"""Of stages that compute without a network."""


def plans(
    identity: Identity,
    layers: Sequence[Layer],
    sampling: Sampling,
    recipe: Recipe,
    numerics: Numerics,
    *,
    width: int,
    maps: Sequence[str] = (ALL,),
    grids: Sequence[int] = GRIDS,
    layout: Callable[[str], ProjectionRecipe] = ProjectionRecipe.named,
    whitening: float = WHITENING,
    known: Iterable[Plan] = (),
) -> list[Plan]:
    """The plans of every stage of the atlases of `layers`.

    `maps` as a store names them, `recipe` and `numerics` those of the cells' pictures, `width` how many crops are shown
    side by side. `layout` makes the recipe of a preset, which is `standard` for all samples, `class` for those of
    classes. `known` are plans of the store: levels below a grid that has them stay, and a map can face another that is
    among them. Raises `AtlasError` for what cannot be.
    """
    check(layers, sampling, recipe, grids)
    numbers = replace(sampling, photographs=True)  # they are the same without
    made, shown = [], replace(numerics, dtype="float32")  # what the network answers to images is never rounded
    for layer in layers:
        made.append(Plan.of(ACTIVATIONS.name, identity, layer, numbers, replace(shown, batch=width)))
        for name in dict.fromkeys(maps):
            laid = AtlasRecipe(numbers, layout("standard" if name == ALL else "class"))
            _check_facing(layer, laid.layout, known)
            made.append(Plan.of(LAYOUT.name, identity, layer, laid, REDUCED, part=(name,)))
            tiled = [plan for plan in known if (*plan.names[:2], plan.part[:1]) == (TILES.name, layer.name, (name,))]
            _check_nested({*grids, *(plan.side for plan in tiled)})
            below = _levels_below(grids, tiled)
            for side in sorted(set(grids)):
                grid = replace(laid, side=side)
                part, patched = (name, str(side)), replace(grid, sampling=sampling)
                narrow = replace(shown, batch=min(width, WIDEST))
                made += [
                    Plan.of(CELLS.name, identity, layer, replace(grid, whitening=whitening), REDUCED, part=part),
                    Plan.of(PATCHES.name, identity, layer, patched, narrow, part=part),
                    Plan.of(ICONS.name, identity, layer, recipe, numerics, part=part),
                    Plan.of(TILES.name, identity, layer, replace(grid, below=below[side]), REDUCED, part=part),
                ]
    return made


def _check_facing(layer: Layer, laid: ProjectionRecipe, known: Iterable[Plan]) -> None:
    """Raise `AtlasError` where a map is to face one that is not in the store."""
    there = [plan.layer_name for plan in known if plan.stage == LAYOUT.name and plan.part == (ALL,)]
    if laid.align_to not in ("", layer.name, *there):
        raise AtlasError(
            f"{parameter('projection_settings', f'align_to={laid.align_to}')}: the store has no map of that layer. "
            f"Build it first, by itself: {parameter('atlas', laid.align_to)}"
        )


def _check_nested(sides: Iterable[int]) -> None:
    """Raise `AtlasError` where the grids of a map, those that are there included, are not each twice the one before."""
    rising = sorted(sides)
    for side, finer in pairwise(rising):
        if finer != 2 * side:
            raise AtlasError(
                f"{parameter('grids', rising)}: each grid is twice the one before, so that its cells are parts of its "
                "own."
            )


def _levels_below(grids: Sequence[int], known: Sequence[Plan]) -> dict[int, int]:
    """How many levels of tiles lie below each grid: below the first one all down to a single tile."""
    from atlas.projection.pyramid import levels_below

    there = {plan.side: plan.charting.below for plan in known}
    first = min([*grids, *there])
    return {side: there.get(side, levels_below(side) if side == first else 0) for side in grids}


def check(layers: Sequence[Layer], sampling: Sampling, recipe: Recipe, grids: Sequence[int]) -> None:
    """Raise `AtlasError` for what no atlas can be made of."""
    from atlas.dataset.vectors import inner_positions

    if not grids:
        raise AtlasError(f"{parameter('grids')} names no grid: give their sides, as 20,40.")
    for side in grids:
        if side < 5 or side % 5:
            raise AtlasError(f"{parameter('grids', side)}: a grid's side is a multiple of 5 (cells of a tile), as 20.")
        if side > MOST_CELLS:
            raise AtlasError(f"{parameter('grids', side)}: a grid's side has at most {MOST_CELLS:,} cells.")
    for layer in layers:
        there = inner_positions(layer)
        if 0 < there < sampling.positions:
            few = f"has {there} position{'' if there == 1 else 's'} to draw from in a crop"
            raise AtlasError(f"{layer.name} {few}: {parameter('positions', sampling.positions)} are too many.")
    if recipe.variants != ("positive",) or recipe.agreement or recipe.measured:
        raise AtlasError(
            f"{parameter('atlas_recipe')}: a cell has one picture, `positive`, without agreement and without a "
            "measured spectrum."
        )


def sampled(collection: Collection, positions: int, *, relaxed: bool = False) -> Sampling:
    """What `collection` shows, and how much of it is kept."""
    return Sampling(**collection.to_dict(), positions=positions, relaxed=relaxed)


def maps(model: Model, texts: Sequence[str]) -> list[str]:
    """What a store calls the maps that `texts` name: `all`, `class=LABEL`, `strongest=LABEL`, `pair=A,B`.

    Raises `UnknownName` for a class that is not there, `AtlasError` for what names no map.
    """
    return [_map(model, text) for text in texts] or [ALL]


def _map(model: Model, text: str) -> str:
    said, (kind, mark, label) = parameter("maps", text), text.partition("=")
    if text == ALL:
        return ALL
    if not mark or kind not in (*KINDS, "pair"):
        raise AtlasError(f"{said}: there are all, class=LABEL, strongest=LABEL and pair=LABEL,LABEL.")
    if not model.classes:
        raise AtlasError(
            f"{said}: {model.spec} answers with no classes. Leave {parameter('maps')} out for a map of all."
        )
    if kind in KINDS:
        return f"{KINDS[kind]}-{_class(model, label)}"
    return _pair(model, text, label)


def _pair(model: Model, text: str, labels: str) -> str:
    """A pair's name; labels may hold commas themselves."""
    words, error = labels.split(","), None
    for cut in range(1, len(words)):
        try:
            one, other = (_class(model, ",".join(part).strip()) for part in (words[:cut], words[cut:]))
        except UnknownName as unknown:
            error = error or unknown
            continue
        if one == other:
            raise AtlasError(f"{parameter('maps', text)}: two different classes make a pair.")
        return f"pair-{one}-{other}"
    raise error or AtlasError(f"{parameter('maps', text)}: a pair is two classes, as pair=LABEL,LABEL.")


def _class(model: Model, label: str) -> int:
    """The number of a class, by its label or its number."""
    labels = list(model.labels or ())
    found = class_called(label, labels)
    if found is not None:
        return found
    if label.isdigit() and int(label) < model.classes:
        return int(label)
    hint = f"{model.spec} has the classes 0 to {model.classes - 1}."
    raise UnknownName.among("class", label, labels, hint=hint)
