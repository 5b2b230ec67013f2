"""The plans of feature visualizations: which units of which layers.

(layers, recipe) -> plans
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from atlas.errors import UnknownName
from atlas.plans import Identity, Plan
from atlas.recipe import Numerics, Recipe
from atlas.stages import FEATURES
from atlas.units import Layer, decode

if TYPE_CHECKING:
    from atlas.models import Model


def plan(
    identity: Identity, layers: Iterable[Layer], recipe: Recipe, numerics: Numerics, units: dict[str, list[int]]
) -> list[Plan]:
    """A plan a layer. `units` names the channels wanted of a layer; a layer it leaves out is wanted whole."""
    return [Plan.of(FEATURES.name, identity, layer, recipe, numerics, units.get(layer.name, ())) for layer in layers]


def wanted(model: Model, texts: Sequence[str]) -> tuple[list[Layer], dict[str, list[int]]]:
    """The layers that `texts` name, in the network's order, and the units of those named with units.

    A text is what `Model.select` takes, with `:7` or `:0-63` behind it where not all units are wanted; a name may be
    percent-encoded, as addresses are. Raises `UnknownName` for a layer or unit that is not there.
    """
    units: dict[str, set[int]] = {}
    whole: set[str] = set()
    for text in texts:
        pattern, span = parts(model, text)
        for layer in model.select([pattern]):
            if span:
                units.setdefault(layer.name, set()).update(_span(layer, text, span))
            else:
                whole.add(layer.name)
    layers = [layer for layer in model.layers if layer.name in whole | units.keys()]
    return layers, {name: sorted(some) for name, some in units.items() if name not in whole}


def parts(model: Model, text: str) -> tuple[str, str]:
    """The pattern of layers in `text`, and the units behind it, "" for all.

    Names may hold colons and percent signs: a text that names layers as it is has no units behind it.
    """
    names = {layer.name for layer in model.layers}
    if any(name == text or fnmatchcase(name, text) for name in names):
        return text, ""
    pattern, mark, span = text.rpartition(":") if ":" in text else (text, "", "")
    return pattern if pattern in names else decode(pattern), span or mark


def _span(layer: Layer, text: str, span: str) -> range:
    """The units that `span` (`7`, `0-63`) names of `layer`."""
    match = re.fullmatch(r"([0-9]+)(?:-([0-9]+))?", span)
    if match is None:
        raise UnknownName(f"{text!r} names no units: write LAYER:FIRST-LAST, as in features.11:0-63.")
    found = range(int(match[1]), int(match[2] or match[1]) + 1)
    if not found or found[-1] >= layer.channels:
        raise UnknownName(f"{text!r} names no units: {layer.name} has the units 0 to {layer.channels - 1}.")
    return found
