"""What is white in an image of more than eight bits.

    (picture, its file) -> Depth: which level is black, which white, and a note where that rests on no evidence

Sensors of 10, 12 or 14 bits are often stored in files of 16, unscaled: nearly black, unless the file says how many of
the bits count. What it says is heeded. What it does not say is not guessed: such an image is shown as it is, and noted.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

BITS, MEANING, DESCRIPTION, LARGEST_SAMPLE, KIND, LARGEST_VALUE = 258, 262, 270, 281, 339, 341
"""TIFF's tags."""
WHITE_IS_ZERO = 0
"""What `MEANING` says of a negative, as scanners of films make them; Pillow turns those of eight bits itself."""
SIGNED = 2
"""What `KIND` says of numbers with a sign."""
UNUSED = 4
"""By how much white is above the largest level where a note is due: two bits of each are never used."""


@dataclass(frozen=True)
class Depth:
    """How the levels of a deep image become eight bits."""

    white: float = 0.0
    """What becomes 255, counted from black; 0 for an image of eight bits, which stays as it is."""
    black: float = 0.0
    note: str = ""
    """What is uncertain of it; empty where nothing is."""
    dtype: str = ""
    """What its numbers are, where Pillow takes them for others."""
    negative: bool = False
    """Whether black and white change places."""

    def levels(self, values: NDArray[np.generic]) -> NDArray[np.uint8]:
        """Gray levels as 0 to 255."""
        counted = _as(values, self.dtype).astype(np.float64) - self.black
        levels: NDArray[np.uint8] = np.rint(counted / self.white * 255).astype(np.uint8)
        return 255 - levels if self.negative else levels


def _as(values: NDArray[Any], dtype: str) -> NDArray[Any]:
    return values.view(dtype) if dtype else values


def _dtype(picture: Image.Image) -> str:
    """What the numbers of a picture are where Pillow takes them for others; empty where it does not."""
    if picture.format != "TIFF":
        return ""
    tags = _tags(picture)
    bits, signed = _number(tags.get(BITS)), _number(tags.get(KIND)) == SIGNED
    if picture.mode == "I" and bits == 32 and not signed:
        return "uint32"
    return "int8" if picture.mode == "L" and bits == 8 and signed else ""


@dataclass
class _Range:
    least: float = np.inf
    largest: float = -np.inf
    used: int = 0
    """Every bit that is set in any level."""

    def add(self, values: NDArray[Any]) -> None:
        # Not `min`, which drops what is not a number.
        self.least = float(np.minimum(self.least, values.min()))
        self.largest = float(np.maximum(self.largest, values.max()))
        if values.dtype.kind in "iu":
            self.used |= int(np.bitwise_or.reduce(values, axis=None))


def depth_of(picture: Image.Image, data: bytes, bands: Callable[[Image.Image], Iterator[Image.Image]]) -> Depth:
    """What is black and white in `picture`, whose file is `data` where there is one, read in `bands`.

    White is what the file says; else 65535 of whole numbers (so are Pillow's `I` from PNG and PGM), and of floats the
    least of 1, 255 and 65535 that holds them. What exceeds these or is negative is stretched from its least to its
    largest value. Raises `ValueError` where a value is not finite.
    """
    dtype = _dtype(picture)
    if picture.mode not in ("I", "F") and not picture.mode.startswith("I;16") and not dtype:
        return Depth()
    found = _Range()
    for band in bands(picture):
        found.add(_as(np.asarray(band), dtype))
    if not np.isfinite([found.least, found.largest]).all():
        raise ValueError("values that are not finite")
    negative = picture.format == "TIFF" and picture.mode != "L" and _tags(picture).get(MEANING) == WHITE_IS_ZERO
    said = None if picture.mode == "F" else _said(picture, data, found)
    whites = (1.0, 255.0, 65535.0) if picture.mode == "F" else (said or 65535.0,)
    white = next((white for white in whites if found.largest <= white), None)
    if found.least < 0 or white is None:
        note = f"levels from {found.least:g} to {found.largest:g}: stretched, as no file of them says what is white"
        return Depth(max(found.largest - found.least, np.finfo(float).tiny), found.least, note, dtype, negative)
    unsure = said is None and 0 < found.largest < white / UNUSED
    told = f"no level above {found.largest:g}, and the file does not say what is white: shown as of {white:g}"
    return Depth(white, note=told if unsure else "", dtype=dtype, negative=negative)


def dark(picture: Image.Image, data: bytes | Image.Image, pixels: NDArray[np.uint8]) -> str:
    """A note where colours of 16 bits never use their upper two: Pillow keeps the upper eight alone."""
    if _is_deep(picture, data) and 0 < pixels.max() < 256 // UNUSED:
        return f"16 bits a colour, of which the upper two are never used: shown as of {65535}"
    return ""


def _is_deep(picture: Image.Image, data: bytes | Image.Image) -> bool:
    """Whether a picture of eight bits was made of more."""
    if picture.format == "TIFF":
        return _number(_tags(picture).get(BITS)) > 8
    return picture.format == "PNG" and isinstance(data, bytes) and data[24:25] == b"\x10"


def _said(picture: Image.Image, data: bytes, found: _Range) -> float | None:
    """White, as the file says it; None where it says nothing, or what its levels contradict."""
    if picture.format == "PNG":
        bits = _significant(data, found)
    else:
        tags = _tags(picture)
        ome = re.search(r'SignificantBits="(\d{1,2})"', str(tags.get(DESCRIPTION, "")))
        bits = next(filter(None, [_stored(tags), *_whole(tags), int(ome[1]) if ome else 0]), 0)
    white = 2.0**bits - 1
    return white if 8 < bits < 16 and found.largest <= white else None


def _significant(data: bytes, found: _Range) -> int:
    """The bits that a PNG says to be significant, where they are the lower ones.

    By the book they are the upper ones, the levels scaled to 16 bits: then all of so low levels end in zeros.
    """
    head = data[: data.find(b"IDAT")]
    at = head.find(b"\0\0\0\1sBIT")
    bits = head[at + 8] if 0 <= at < len(head) - 8 else 0
    return bits if 8 < bits < 16 and found.used & (2 ** (16 - bits) - 1) else 0


def _stored(tags: Any) -> int:
    bits = _number(tags.get(BITS))
    return bits if bits < 16 else 0


def _whole(tags: Any) -> list[int]:
    """Bits of the largest level that a TIFF says there can be; no full number of bits is but the largest there is."""
    largest = [_number(tags.get(tag)) for tag in (LARGEST_SAMPLE, LARGEST_VALUE)]
    return [value.bit_length() for value in largest if value & (value + 1) == 0]


def _tags(picture: Image.Image) -> Any:
    return getattr(picture, "tag_v2", {})


def _number(value: Any) -> int:
    """A tag's first number; 0 where it has none."""
    first = value[0] if isinstance(value, tuple) and value else value
    return int(first) if isinstance(first, int | float) and 0 <= first < 2**32 else 0
