"""What holding pictures to a contrast does: how many values burn in early layers, and how deep pictures look.

    python -m benchmarks.contrast docs/contrast.jpg

Prints, of all units of two early layers under `quick` without a limit and with its own, the shares of values at 0 or
255; then what units of two deep layers score under `standard` at falling limits, relative to none. The sheet shows the
latter, a row a limit.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from atlas.recipe import Numerics, Recipe
from atlas.rendering import render_units
from atlas.rendering.compute import computing
from atlas.store import as_stored
from benchmarks.judge import judge
from benchmarks.study import cut, network, spread

EARLY = ("features.3", "features.4")
DEEP = (("squeezenet", "features.12"), ("efficientnet-lite0", "_blocks.8"))
LIMITS = (0.0, 2.0, 1.5, 1.0)
UNITS = 5
"""Of each deep layer."""


def burnt(layer: str, contrast: float) -> str:
    """Shares of values and pixels at 0 or 255 in the pictures, as stored, of all units of a layer of SqueezeNet."""
    prepared, recipe = cut("squeezenet", layer), Recipe.named("quick", contrast=contrast)
    found = render_units(prepared, range(prepared.layer.channels), recipe, Numerics())
    pictures = as_stored(found.pictures, recipe.jpeg_quality)
    rows = []
    for variant in range(2):
        ends = pictures[found.status[:, variant] == 0, variant]
        ends = (ends == 0) | (ends == 255)
        pixels = ends.any(-1).mean((1, 2))
        most = ends.mean((1, 2, 3)).max()
        rows.append(f"most {most:.1%}, pixels {pixels.mean():.1%}, under 10% in {(pixels < 0.1).mean():.0%}")
    return "; ".join(rows)


def deep(name: str, layer: str) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    """Pictures of some units, a row a limit; prints their scores beside those without a limit."""
    units, free = spread(name, layer, UNITS), np.ones(UNITS)
    rows: list[np.ndarray[tuple[int, ...], np.dtype[np.uint8]]] = []
    for contrast in LIMITS:
        recipe = Recipe.named("standard", variants=("positive",), contrast=contrast)
        pictures = render_units(cut(name, layer), units, recipe, Numerics()).pictures[:, 0]
        with computing(Numerics()):
            score = judge(network(name), layer, units, pictures).moved
        free = free if rows else score
        gain = np.expm1(np.log(score / free).mean())
        print(f"{name} {layer}, contrast {contrast:g}: {gain:+.1%}, deviation {pictures.std():.0f} of 255", flush=True)
        rows.append(np.concatenate(list(pictures), 1))
    return np.concatenate(rows)


def main(place: Path) -> None:
    torch.set_num_threads(1)
    Image.fromarray(np.concatenate([deep(*case) for case in DEEP], 1)).save(place, quality=80)
    for layer in EARLY:
        for contrast in (0.0, Recipe.named("quick").contrast):
            print(f"{layer}, contrast {contrast:g}: {burnt(layer, contrast)}", flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
