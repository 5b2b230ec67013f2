"""What of an image the network is shown.

    (picture, preprocessing, seed) -> [Crop]: Tensor[3,h,w] in [0,1], and its box on the picture

Crop 0 is the model's own evaluation preprocessing. The others are drawn as in training: a box of a random area, shape
and place, half of them mirrored. A crop's chance depends on the seed, the image's content and its own number alone.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from atlas.dataset.decoding import Pixels
from atlas.models.preprocessing import INTERPOLATIONS, MOST_RESIZED, Box, Preprocessing

AREA = (0.2, 1.0)
"""Share of the image that a drawn crop covers, where its shape allows."""
SHAPE = (3 / 4, 4 / 3)
"""Width over height of a drawn crop, relative to that of the network's input."""

Size = tuple[int, int]
"""Width and height."""


@dataclass(frozen=True)
class Cut:
    """Where a crop is taken."""

    box: Box
    """In pixels of the upright picture, beyond its edges where evaluation fills up what it leaves free."""
    mirrored: bool = False


@dataclass(frozen=True, eq=False)
class Crop:
    """What the network is shown, and where on the picture it is."""

    x: Tensor
    """[3,h,w] float32 in [0,1], not yet normalised."""
    cut: Cut


def crops(
    picture: Pixels, preprocessing: Preprocessing, count: int, *, seed: int, sha256: bytes, size: Size | None = None
) -> list[Crop]:
    """The first `count` crops of `picture` [h,w,3], whose content's hash is `sha256`.

    `size` is that of the image itself, where `picture` is smaller; boxes are in its pixels.
    """
    image = Image.fromarray(picture)
    where = cuts(size or image.size, preprocessing, count, seed=seed, sha256=sha256)
    return [_crop(image, preprocessing, number, cut, size) for number, cut in enumerate(where)]


def crop(
    picture: Pixels, preprocessing: Preprocessing, number: int, *, seed: int, sha256: bytes, size: Size | None = None
) -> Crop:
    """Crop `number` alone of those that `crops` gives."""
    image = Image.fromarray(picture)
    cut = cuts(size or image.size, preprocessing, number + 1, seed=seed, sha256=sha256)[number]
    return _crop(image, preprocessing, number, cut, size)


def on_picture(box: Sequence[float], picture: Size, size: Size) -> Box:
    """A box in pixels of an image of `size`, in those of a `picture` of it that may be smaller."""
    (across, down), (x0, y0, x1, y1) = (have / whole for have, whole in zip(picture, size, strict=True)), box
    return float(x0 * across), float(y0 * down), float(x1 * across), float(y1 * down)


def _crop(image: Image.Image, preprocessing: Preprocessing, number: int, cut: Cut, size: Size | None) -> Crop:
    if not number:
        # A strip of 1 x 50,000 pixels would be resized to 256 x 12,800,000 before its centre is cut out.
        return Crop(preprocessing.image(image, most=MOST_RESIZED), cut)
    return Crop(
        _drawn(image, preprocessing, replace(cut, box=on_picture(cut.box, image.size, size or image.size))), cut
    )


def cuts(size: Size, preprocessing: Preprocessing, count: int, *, seed: int, sha256: bytes) -> list[Cut]:
    """Where the first `count` crops of a picture of `size` (width, height) are taken."""
    drawn = [_draw(size, preprocessing, chances(f"{seed}/{sha256.hex()}/{number}")) for number in range(1, count)]
    return [Cut(preprocessing.box(size)), *drawn][:count]


def chances(key: str) -> list[float]:
    """Eight numbers in [0,1): straight from a hash, so that no library's generator can ever change them."""
    digest = hashlib.sha512(key.encode()).digest()
    return [int.from_bytes(digest[start : start + 8], "little") / 2**64 for start in range(0, 64, 8)]


def _draw(size: Size, preprocessing: Preprocessing, chance: list[float]) -> Cut:
    width, height = size
    area = width * height * (AREA[0] + chance[0] * (AREA[1] - AREA[0]))
    shape = preprocessing.size[1] / preprocessing.size[0] * SHAPE[0] * (SHAPE[1] / SHAPE[0]) ** chance[1]
    wide, high = math.sqrt(area * shape), math.sqrt(area / shape)
    fits = min(1.0, width / wide, height / high)
    wide, high = (min(float(whole), max(1.0, side * fits)) for side, whole in ((wide, width), (high, height)))
    x0, y0 = chance[2] * (width - wide), chance[3] * (height - high)
    return Cut((x0, y0, min(x0 + wide, width), min(y0 + high, height)), chance[4] < 0.5)


def _drawn(image: Image.Image, preprocessing: Preprocessing, cut: Cut) -> Tensor:
    height, width = preprocessing.size
    part = image.resize((width, height), INTERPOLATIONS[preprocessing.interpolation], box=cut.box)
    x = torch.from_numpy(np.array(part)).permute(2, 0, 1).float().div(255)
    return x.flip(2) if cut.mirrored else x
