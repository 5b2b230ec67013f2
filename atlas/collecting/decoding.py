"""Any image file as what evaluation code expects: eight-bit red, green and blue, the right way up.

    bytes | PIL image -> uint8 [h,w,3], or Problem

The content decides what a file is, never its suffix. An animation is its first frame. Nothing here raises: whatever a
decoder stumbles over becomes a reason.
"""

from __future__ import annotations

import io
import re
import warnings
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from atlas.collecting.source import Problem
from atlas.units import ImageStatus

Pixels = NDArray[np.uint8]
FORMATS = ("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "QOI", "TIFF", "WEBP")
"""What is read, where Pillow was built with it. Others are left out: EPS runs a program, and formats known by no first
bytes (TGA, PCX) see pictures in noise."""
MOST_PIXELS = 64 * 2**20
"""Pixels of the largest image that is decoded; 200 MB once it is."""
ORIENTATION = 0x0112
"""The EXIF tag."""
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
MAGIC = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n": "PNG",
    b"GIF8": "GIF",
    b"RIFF": "WEBP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
}

# Pillow warns of every odd tag; among millions of images from the web that buries everything else.
warnings.filterwarnings("ignore", module=r"PIL\.")


def decode(data: bytes | Image.Image, *, most: int = MOST_PIXELS) -> Pixels | Problem:
    """The picture in `data`, uint8 [h,w,3], or why there is none.

    Refused before it is decoded where it has more than `most` pixels (Pillow's own `MAX_IMAGE_PIXELS` holds too).
    """
    if not isinstance(data, Image.Image) and not data:
        return Problem(ImageStatus.NOT_AN_IMAGE, "empty")
    try:
        picture = data if isinstance(data, Image.Image) else Image.open(io.BytesIO(data), formats=_formats())
        if picture.width * picture.height > most:
            return _too_large(f"{picture.width} x {picture.height} pixels; at most {most / 1e6:.0f} million")
        if 0 in picture.size:
            return Problem(ImageStatus.NOT_AN_IMAGE, "no pixels")
        picture.load()
        return _pixels(_upright(picture))
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        return _too_large(_bomb(error, most))
    except MemoryError:
        return _too_large("more than the memory holds")
    except Exception as error:  # noqa: BLE001  # decoders raise anything at all on damaged files
        return _problem(data if isinstance(data, bytes) else b"", error)


def _bomb(error: Exception, most: int) -> str:
    """Pillow refuses by itself what is several times larger still, in words of its own."""
    found = re.search(r"\((\d+) pixels\)", str(error))
    pixels = f"{int(found[1]) / 1e6:,.0f} million pixels" if found else "far too many pixels"
    return f"{pixels}; at most {most / 1e6:.0f} million"


@cache
def _formats() -> tuple[str, ...]:
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def _too_large(reason: str) -> Problem:
    return Problem(ImageStatus.TOO_LARGE, reason)


def _text(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__


def _problem(data: bytes, error: Exception) -> Problem:
    """What an error of a decoder says about the file."""
    kind = next((name for magic, name in MAGIC.items() if data.startswith(magic)), None)
    if isinstance(error, UnidentifiedImageError) and kind is None:
        return Problem(ImageStatus.NOT_AN_IMAGE, f"no image of a format that is read ({', '.join(_formats())})")
    if _is_cut(data, kind) or "truncated" in str(error).lower() or isinstance(error, EOFError):
        return Problem(ImageStatus.TRUNCATED, f"cut short after {len(data)} bytes")
    unread = isinstance(error, UnidentifiedImageError)
    return Problem(ImageStatus.DAMAGED, f"damaged {kind or 'image'} ({'its header' if unread else _text(error)})")


def _is_cut(data: bytes, kind: str | None) -> bool:
    """Whether the file lacks the mark that its format ends with."""
    if kind == "WEBP":
        return int.from_bytes(data[4:8], "little") + 8 > len(data)
    marks = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}
    return not data.endswith(b";") if kind == "GIF" else kind in marks and marks[kind] not in data[-64:]


def _upright(picture: Image.Image) -> Image.Image:
    """`picture` as its EXIF says it is to be held; asked after decoding, since Pillow turns TIFFs by itself."""
    try:
        orientation = picture.getexif().get(ORIENTATION)
    except Exception:  # noqa: BLE001  # a broken EXIF block says nothing; the picture is there all the same
        return picture
    turn = UPRIGHT.get(orientation) if isinstance(orientation, int) else None
    return picture if turn is None else picture.transpose(turn)


def _pixels(picture: Image.Image) -> Pixels:
    """`picture` in eight-bit RGB: deep ones scaled, transparent ones on white."""
    if picture.mode in ("I", "F") or picture.mode.startswith("I;16"):
        picture = Image.fromarray(_eight_bits(np.asarray(picture), picture.mode))
    if picture.has_transparency_data:
        picture = _on_white(picture)
    return np.array(picture.convert("RGB"))


def _eight_bits(values: NDArray[np.generic], mode: str) -> Pixels:
    """Deep gray levels as 0 to 255: by what is white in their format, and never clipped.

    16-bit white is 65535 (so are Pillow's `I` from PNG and PGM); that of floats is the least of 1, 255 and 65535 that
    holds them; what exceeds these or is negative is stretched from its least to its largest value. Raises `ValueError`
    where a value is not finite.
    """
    levels = values.astype(np.float64)
    least, largest = float(levels.min()), float(levels.max())
    if not np.isfinite([least, largest]).all():
        raise ValueError("values that are not finite")
    whites = (1.0, 255.0, 65535.0) if mode == "F" else (65535.0,)
    white = next((white for white in whites if largest <= white), None)
    if least < 0 or white is None:
        levels, white = levels - least, max(largest - least, np.finfo(float).tiny)
    return np.rint(levels / white * 255).astype(np.uint8)


def _on_white(picture: Image.Image) -> Image.Image:
    """On white, the paper that cut-out pictures are shown on; what lies under transparent pixels is often noise."""
    seen = picture.convert("RGBA")
    white = Image.new("RGBA", seen.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, seen)
