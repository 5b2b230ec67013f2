"""Rendering by hand: one call from a model to pictures.

    (model, units) -> pictures uint8 [u,v,h,w,3]

>>> pictures = render(load_model("squeezenet"), "features.11:300")       # doctest: +SKIP
>>> Image.fromarray(pictures[0, 0])                                       # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from atlas.errors import ModelError, UnknownName
from atlas.models import Model, Preprocessing, load_model, prepare
from atlas.recipe import Numerics, Recipe
from atlas.rendering.features import render_units
from atlas.rendering.spectrum import Spectrum
from atlas.units import Unit


def render(
    model: Model | str | nn.Module,
    units: str | Unit | Iterable[str | Unit],
    recipe: str | Recipe = "standard",
    *,
    preprocessing: Preprocessing | str | None = None,
    spectrum: Spectrum | None = None,
    threads: int = 1,
    **changes: Any,
) -> NDArray[np.uint8]:
    """The pictures of `units`, uint8 [u,v,h,w,3]: in the order given, in the recipe's variants.

    `model` is a loaded model, a spec such as `torchvision:resnet50` or a network itself, whose `preprocessing` is said
    as `load_model` takes it; a unit reads `features.11:300`. `changes` are settings of the recipe: `render(model,
    units, "quick", size=160)`; `spectrum` is one that was measured on images, for the recipe `maco`. More `threads` are
    quicker on a machine that does nothing else, and many times slower on one that does; the pictures are the same. A
    unit that gives no picture is plain grey.
    Raises `UnknownName` for a layer, unit, recipe or setting that does not exist, `ModelError` as `load_model`.
    """
    if not isinstance(model, Model):
        model = load_model(model, preprocessing=preprocessing)
    elif preprocessing is not None:
        raise ModelError(f"{model.spec} is loaded, with its preprocessing: say another to load_model.")
    if spectrum is not None:
        changes["spectrum"] = spectrum.hash
    knobs = Recipe.named(recipe, **changes) if isinstance(recipe, str) else replace(recipe, **changes)
    several = [units] if isinstance(units, str | Unit) else units
    asked = [unit if isinstance(unit, Unit) else Unit.parse(unit) for unit in several]
    pictures = np.empty((len(asked), len(knobs.variants), knobs.size, knobs.size, 3), np.uint8)
    for name in dict.fromkeys(unit.layer for unit in asked):
        rows = [row for row, unit in enumerate(asked) if unit.layer == name]
        pictures[rows] = _layer(model, name, [asked[row].index for row in rows], knobs, threads, spectrum)
    return pictures


def _layer(
    model: Model, name: str, indices: list[int], recipe: Recipe, threads: int, spectrum: Spectrum | None
) -> NDArray[np.uint8]:
    layer = model.layer(name)
    beyond = [index for index in indices if index >= layer.channels]
    if beyond:
        raise UnknownName(f"There is no unit {name}:{beyond[0]}: the layer has units 0 to {layer.channels - 1}.")
    prepared = prepare(model, layer)
    return render_units(prepared, indices, recipe, Numerics(threads=threads), spectrum).pictures
