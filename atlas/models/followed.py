"""Whether a `Preprocessing` does what a library's own transform does, asked of the transform itself.

    (Preprocessing, transform) -> Preprocessing, or ModelError

A library's numbers say little without what it does with them: of two that crop to 224 one pads and the other squeezes.
So both are shown pictures of several shapes, and what comes out differently is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from PIL import Image

from atlas.errors import AtlasError, ModelError
from atlas.models.preprocessing import Preprocessing
from atlas.words import parameter

SHAPES = ((61, 97), (130, 77), (83, 83))
"""Width and height of the pictures that are shown: on its side, upright, square; odd, so that rounding counts."""
TOLERANCE = 1e-3
"""Largest difference between two network inputs: well above rounding, well below one level of a pixel."""


def followed(
    ours: Preprocessing,
    theirs: Callable[[Image.Image], Any],
    name: str,
    *,
    shapes: Sequence[tuple[int, int]] = SHAPES,
    levels: float = 0.0,
) -> Preprocessing:
    """`ours`, which gives the same network input as `theirs`, up to `levels` of 255 in a picture.

    Raises `ModelError` where it does not.
    """
    tolerance = TOLERANCE + levels / 255 * ours.scale / min(ours.std)
    for shape in shapes:
        picture = _picture(shape)
        try:
            wanted = theirs(picture)
        except Exception as error:  # noqa: BLE001  # somebody else's code
            raise ModelError(f"The preprocessing {name} fails on a picture: {' '.join(str(error).split())}.") from None
        found = ours.normalise(ours.image(picture)[None])[0]
        same = isinstance(wanted, torch.Tensor) and wanted.shape == found.shape
        if not same or not torch.allclose(wanted.float(), found, rtol=0, atol=tolerance):
            width, height = shape
            raise ModelError(
                f"The preprocessing {name} cannot be followed: a picture of {width} x {height} comes out otherwise "
                f"than with '{ours.text()}'."
            )
    return ours


def or_why(read: Callable[[], Preprocessing]) -> tuple[Preprocessing | None, str]:
    """The preprocessing that a library's own is read as, or why that cannot be followed and what to do."""
    try:
        return read(), ""
    except AtlasError as error:
        return None, f"{error} Say what is shown: {parameter('preprocessing')}."


def _picture(shape: tuple[int, int]) -> Image.Image:
    """Coarse noise, the same every time: every pixel's place and colour tells."""
    width, height = shape
    noise = np.random.default_rng(0).integers(0, 256, (height // 4 + 1, width // 4 + 1, 3), dtype=np.uint8)
    return Image.fromarray(noise).resize(shape, Image.Resampling.BICUBIC)
