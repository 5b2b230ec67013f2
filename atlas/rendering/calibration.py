"""What rendering costs on the device at hand, measured by rendering a little.

    (prepared, recipe, numerics) -> Cost: seconds a picture, of any number of steps
    (prepared, recipe, numerics, widths) -> the width at which a picture costs least

A picture of s steps costs `fixed + s * step`, and the first steps, in which rectifiers let gradients pass, something
of their own. Both come from ascents of two lengths, so that what an ascent costs to begin is in neither. On the CPU
seconds are those that this process computed: what else the machine does meanwhile does not count.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import torch

from atlas.cost import Cost
from atlas.models import Prepared
from atlas.recipe import Numerics, Recipe
from atlas.rendering.features import render_units
from atlas.rendering.score import score_pictures
from atlas.rendering.spectrum import Spectrum

SHORT, LONG = 6, 18
"""Steps of the two ascents; CUDA has recorded its step after the first few."""
ROUNDS = 3
"""Times each is measured; the least counts, since nothing makes a computation cheaper than it is."""
CLOSE = 0.97
"""A narrower batch that is nearly as good is better: the last one loses less, and it needs less memory."""


def cost(prepared: Prepared, recipe: Recipe, numerics: Numerics, spectrum: Spectrum | None = None) -> Cost:
    """What a picture of the prepared layer costs, in batches as wide as `numerics` says."""
    units = [unit % prepared.layer.channels for unit in range(numerics.batch)]
    pictures = len(units) * len(recipe.variants)
    plain = replace(recipe, restarts=1, agreement=False)
    runs = {
        "short": replace(plain, steps=SHORT, relu_redirect_steps=0),
        "long": replace(plain, steps=LONG, relu_redirect_steps=0),
        "watched": replace(plain, steps=LONG, relu_redirect_steps=LONG - 1),
    }
    render_units(prepared, units, runs["short"], numerics, spectrum)
    best = dict.fromkeys((*runs, "score"), float("inf"))
    for _ in range(ROUNDS):
        for name, run in runs.items():
            began = clock(numerics)
            found = render_units(prepared, units, run, numerics, spectrum)
            best[name] = min(best[name], clock(numerics) - began)
        began = clock(numerics)
        score_pictures(prepared, found.pictures, units, plain, numerics)
        best["score"] = min(best["score"], clock(numerics) - began)
    step = max(best["long"] - best["short"], 0.0) / (LONG - SHORT)
    redirected = max(step + (best["watched"] - best["long"]) / (LONG - 1), 0.0)
    fixed = max(best["short"] - SHORT * step, 0.0) + best["score"]
    return Cost(*(float(f"{seconds / pictures:.4g}") for seconds in (fixed, step, redirected)))


def width(
    prepared: Prepared,
    recipe: Recipe,
    numerics: Numerics,
    widths: Sequence[int],
    spectrum: Spectrum | None = None,
) -> int:
    """Of rising `widths` the one at which a step of a picture costs least, as far as the device's memory goes."""
    found: list[tuple[float, int]] = []
    for batch in widths:
        try:
            found.append((cost(prepared, recipe, replace(numerics, batch=batch), spectrum).step, batch))
        except torch.OutOfMemoryError:
            break
    if not found:
        return widths[0]
    least = min(step for step, _ in found)
    return next(batch for step, batch in found if step * CLOSE <= least)


def clock(numerics: Numerics) -> float:
    """Seconds: of the CPU those that this process computed, of a GPU those that passed until it was done."""
    if numerics.device == "cpu":
        return time.process_time()
    torch.cuda.synchronize()
    return time.perf_counter()
