"""How strong each frequency of a natural image is: the magnitudes under which MACO moves phases.

    images uint8 [h,w,3] -> Spectrum: magnitude float32 [3,65,65] -> magnitudes of pictures of any size

Measured where pictures are painted, before their sigmoid and along its three axes of colour, so that a picture with
these magnitudes has the contrast and the colours of the images. ("Unlocking Feature Visualization for Deeper Networks
with MAgnitude Constrained Optimization", Fel et al., NeurIPS 2023, section 3.)
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from atlas.errors import AtlasError, ImagesError
from atlas.recipe import NATURAL, Recipe
from atlas.rendering.parameterization import CORRELATION
from atlas.stages.features import SPECTRUM

SIDE = 128
"""Pixels that the middle square of an image is scaled to before it is measured."""
SHAPE = SPECTRUM
"""Axes of colour, frequencies down and across, from 0 to half a cycle a pixel; 51 KB."""
LEVEL, SLOPE = 0.16, 1.2
"""Magnitude of the natural spectrum at one cycle a pixel, and the power of 1/f by which it rises below: fitted to the
twenty photographs of the demo, and within the 0.8 to 1.5 that are reported for natural images."""


@dataclass(frozen=True, eq=False)
class Spectrum:
    """Mean magnitudes of images, in the unit of an orthonormal Fourier transform."""

    magnitude: NDArray[np.float32]
    """[3,65,65]: axis of colour, frequency down, frequency across; of the two signs of a frequency the mean."""

    def __post_init__(self) -> None:
        if self.magnitude.shape != SHAPE or self.magnitude.dtype != np.float32:
            raise AtlasError(f"A spectrum is float32 {SHAPE}, not {self.magnitude.dtype} {self.magnitude.shape}.")
        if not (np.isfinite(self.magnitude).all() and (self.magnitude >= 0).all()):
            raise AtlasError("A spectrum holds magnitudes: finite numbers from 0 up.")

    @property
    def hash(self) -> str:
        """sha256 of its bytes: what a recipe and a store know it by."""
        return hashlib.sha256(np.ascontiguousarray(self.magnitude, "<f4").tobytes()).hexdigest()

    def sized(self, size: int) -> Tensor:
        """The magnitudes of pictures of `size` pixels, Tensor[3,size,size//2+1].

        Cycles a pixel stay what they are. What is interpolated is magnitude times frequency, which is nearly flat;
        below the lowest frequency that was measured it stays as it is there. So does the mean of the pixels.
        """
        down, across = np.abs(np.fft.fftfreq(size))[:, None] * SIDE, np.fft.rfftfreq(size)[None, :] * SIDE
        flat = self.magnitude * _frequency(np.arange(SHAPE[1])[:, None], np.arange(SHAPE[2])[None, :], 1)
        flat[:, 0, 0] = (flat[:, 0, 1] + flat[:, 1, 0]) / 2
        magnitude = _between(flat, down, across) / _frequency(down, across, SIDE / size)
        magnitude[:, 0, 0] = self.magnitude[:, 0, 0] * (size / SIDE)
        return torch.from_numpy(magnitude).float()


def measured(images: Iterable[NDArray[np.uint8]]) -> Spectrum:
    """The mean spectrum of `images`, uint8 [h,w,3] each: of the middle square of each, at 128 pixels.

    Reckoned in float64 and rounded at the end, so that its hash does not hang on the machine. Raises `ImagesError`
    where there are none.
    """
    total, count = np.zeros((3, SIDE, SIDE // 2 + 1)), 0
    for image in images:
        total += np.abs(_periodic(_unpainted(image)))
        count += 1
    if not count:
        raise ImagesError("No images to measure a spectrum on.")
    rows = np.arange(SHAPE[1])
    return Spectrum(((total[:, rows] + total[:, -rows]) / (2 * count)).astype(np.float32))


def natural(size: int) -> Tensor:
    """What is taken for the spectrum of natural images where none were given, Tensor[3,size,size//2+1]."""
    down, across = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None, :]
    magnitude: NDArray[np.float64] = LEVEL / _frequency(down, across, 1 / size) ** SLOPE
    return torch.from_numpy(magnitude).float().expand(3, -1, -1).clone()


def check(recipe: Recipe, spectrum: Spectrum | None) -> None:
    """Raise `AtlasError` where `spectrum` is not the one that `recipe` names."""
    asked, given = recipe.spectrum, NATURAL if spectrum is None else spectrum.hash
    if recipe.parameterization == "maco" and asked != given:
        raise AtlasError(f"The recipe's spectrum is {asked[:12]}, but {given[:12]} was given. Measure the same images.")


def _unpainted(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    """What a picture's sigmoid is taken of, along its axes of colour, [3,128,128]: its middle square, scaled."""
    height, width = image.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    middle = Image.fromarray(image[top : top + side, left : left + side])
    # Black and white have no logit: values stop within a fiftieth of them.
    seen = np.clip(np.asarray(middle.resize((SIDE, SIDE), Image.Resampling.BOX)) / 255, 0.02, 0.98)
    colours = np.array(CORRELATION)
    mixing = np.linalg.inv(colours / np.linalg.norm(colours, axis=0).max())
    painted: NDArray[np.float64] = np.einsum("cr,hwr->chw", mixing, np.log(seen / (1 - seen)))
    return painted


def _periodic(pixels: NDArray[np.float64]) -> NDArray[Any]:
    """The spectrum [3,128,65] of pixels [3,128,128] without the jumps between opposite edges.

    A Fourier transform takes an image for a tile of an endless plane. Where its edges do not fit, that makes a cross of
    strong frequencies that is no part of the image, and MACO would weave it into every picture. What is taken away is
    smooth: "Periodic Plus Smooth Image Decomposition", Moisan, Journal of Mathematical Imaging and Vision 2011.
    """
    jumps = np.zeros_like(pixels)
    for axis in (1, 2):
        first, last = np.take(pixels, 0, axis), np.take(pixels, -1, axis)
        edges = np.moveaxis(jumps, axis, 0)
        edges[0] += last - first
        edges[-1] += first - last
    turns = (2 * np.pi * np.fft.fftfreq(SIDE)[:, None], 2 * np.pi * np.fft.rfftfreq(SIDE)[None, :])
    laplacian = 2 * np.cos(turns[0]) + 2 * np.cos(turns[1]) - 4
    laplacian[0, 0] = np.inf
    spectrum: NDArray[Any] = np.fft.rfft2(pixels, norm="ortho") - np.fft.rfft2(jumps, norm="ortho") / laplacian
    return spectrum


def _frequency(down: NDArray[Any], across: NDArray[Any], least: float) -> NDArray[np.float64]:
    """Lengths of the frequencies (down, across), the mean of a picture as if it were `least`."""
    length: NDArray[np.float64] = np.maximum(np.hypot(down, across), least)
    return length


def _between(table: NDArray[np.float64], down: NDArray[Any], across: NDArray[Any]) -> NDArray[np.float64]:
    """`table` [3,65,65] at fractional rows and columns, linear between its entries."""
    rows, columns = (np.minimum(at.astype(int), SIDE // 2 - 1) for at in (down, across))
    below, right = down - rows, across - columns
    upper = table[:, rows, columns] * (1 - right) + table[:, rows, columns + 1] * right
    lower = table[:, rows + 1, columns] * (1 - right) + table[:, rows + 1, columns + 1] * right
    found: NDArray[np.float64] = upper * (1 - below) + lower * below
    return found
