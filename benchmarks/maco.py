"""MACO beside the Fourier parameterization: ten units of SqueezeNet 1.1, made with both, on one sheet.

    python -m benchmarks.maco docs/maco.jpg

Rows: the recipe `standard`; `maco` under the natural spectrum; `maco` under the spectrum of the demo's twenty
photographs. Prints what each picture reaches on held-out draws (the same for all), how much of its power lies above a
quarter of a cycle a pixel, where natural images have little, and CPU-seconds a picture.
"""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from atlas.engine import spectra
from atlas.models import Model, load_model, prepare
from atlas.models.packaged import photographs
from atlas.recipe import Numerics, Recipe
from atlas.rendering import Spectrum, render_units, score_pictures
from atlas.store import as_stored

UNITS = {"features.11": [1, 40, 77, 90, 150, 300, 400], "classifier.3": [207, 985, 417]}
"""Seven channels of the last but one fire, and three classes: golden retriever, daisy, balloon."""
SIDE, GAP = 160, 6


@dataclass(frozen=True)
class Row:
    """One way of making pictures, and what came of it."""

    name: str
    pictures: NDArray[np.uint8]
    """[n,h,w,3], as stored."""
    mean: NDArray[np.float32]
    """[n]: what each reaches on held-out draws."""
    seconds: float
    """CPU-seconds a picture."""

    @property
    def fine(self) -> float:
        """The share of the pictures' power (the mean left out) above a quarter of a cycle a pixel."""
        size = self.pictures.shape[1]
        power = np.abs(np.fft.fft2(self.pictures.mean(-1))) ** 2
        frequency = np.hypot(np.fft.fftfreq(size)[:, None], np.fft.fftfreq(size)[None, :])
        return float((power[:, frequency > 0.25].sum(1) / power[:, frequency > 0].sum(1)).mean())


def main(place: Path) -> None:
    """Render, print, draw."""
    torch.set_num_threads(1)
    model, spectrum = load_model("squeezenet"), spectra.measure(photographs())
    standard, natural = (replace(Recipe.named(name), variants=("positive",)) for name in ("standard", "maco"))
    rows = [
        made(model, "fourier: standard", standard, None),
        made(model, "maco, natural spectrum", natural, None),
        made(model, "maco, spectrum of 20 photographs", replace(natural, spectrum=spectrum.hash), spectrum),
    ]
    for row in rows:
        scores = " ".join(f"{value:6.0f}" for value in row.mean)
        print(f"{row.name:34} {scores}   fine power {row.fine:.2%}   {row.seconds:.2f} CPU-s a picture")
    sheet([row.pictures for row in rows]).save(place, quality=80)


def made(model: Model, name: str, recipe: Recipe, spectrum: Spectrum | None) -> Row:
    """The ten units by one recipe."""
    numerics, pictures, means, seconds = Numerics(), [], [], 0.0
    for layer, units in UNITS.items():
        prepared = prepare(model, layer)
        began = time.process_time()
        found = render_units(prepared, units, recipe, numerics, spectrum)
        seconds += time.process_time() - began
        stored = as_stored(found.pictures, recipe.jpeg_quality)
        means.append(score_pictures(prepared, stored, units, recipe, numerics)[0][:, 0])
        pictures.append(stored[:, 0])
    joined = np.concatenate(pictures)
    return Row(name, joined, np.concatenate(means), seconds / len(joined))


def sheet(rows: list[NDArray[np.uint8]]) -> Image.Image:
    """Pictures [n,h,w,3] of any size, a row each."""
    pitch = SIDE + GAP
    canvas = Image.new("RGB", (len(rows[0]) * pitch - GAP, len(rows) * pitch - GAP), "white")
    for down, pictures in enumerate(rows):
        for across, picture in enumerate(pictures):
            small = Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.LANCZOS)
            canvas.paste(small, (across * pitch, down * pitch))
    return canvas


if __name__ == "__main__":
    main(Path(sys.argv[1]))
