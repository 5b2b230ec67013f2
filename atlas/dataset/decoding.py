"""Any image file as what evaluation code expects: eight-bit red, green and blue, the right way up.

    bytes | PIL image -> Picture (uint8 [h,w,3], the image's own size, what is uncertain of it), or Problem

The content decides what a file is, never its suffix. An animation is its first frame, a file of several pages its
first page; colour profiles are left aside, as the libraries that networks were trained with leave them. Nothing here
raises: whatever a decoder stumbles over becomes a reason.

Memory is what a decoder itself takes and the picture that comes of it: in between, an image is turned into that
picture band by band. One of more than 34 million pixels is halved on the way, far above what any network is shown.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from threading import Lock

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from atlas.dataset.depths import Depth, dark, depth_of
from atlas.dataset.foreign import CANNOT, unread
from atlas.dataset.source import Problem
from atlas.units import ImageStatus

Pixels = NDArray[np.uint8]
FORMATS = ("AVIF", "BMP", "DIB", "GIF", "JPEG", "JPEG2000", "MPO", "PNG", "PPM", "QOI", "TIFF", "WEBP")
"""What is read, where Pillow was built with it. Others are left out: EPS runs a program, and formats known by no first
bytes (TGA, PCX) see pictures in noise."""
MOST_PIXELS = 64 * 2**20
"""Pixels of the largest image that is decoded."""
HEAVY = ("AVIF", "JPEG2000", "WEBP")
"""Formats whose decoders hold an image several times over: of these, half as many pixels are decoded."""
ROOM = 2**25
"""Pixels from which on an image is halved, and images are decoded one at a time in a process."""
FINE = 4096
"""Pixels that the shorter side of an image has at least that is halved: what is left is far above a network's input."""
BAND = 2**20
"""Pixels, about, that are converted at once."""
MOST_SCANS = 2**31
"""Pixels times scans of a progressive JPEG: each scan goes through all of them again."""
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
SIDEWAYS = {UPRIGHT[orientation] for orientation in (5, 6, 7, 8)}
ROWS_TURNED = {UPRIGHT[orientation] for orientation in (3, 4, 6, 7)}
COLUMNS_TURNED = {UPRIGHT[orientation] for orientation in (2, 3, 7, 8)}
MAGIC = {
    b"\xff\xd8\xff": "JPEG",
    b"\x89PNG\r\n": "PNG",
    b"GIF8": "GIF",
    b"RIFF": "WEBP",
    b"II*\0": "TIFF",
    b"MM\0*": "TIFF",
    b"II+\0": "TIFF",
    b"MM\0+": "TIFF",
    b"\0\0\0\x0cjP": "JPEG2000",
}
_ONE_LARGE = Lock()
"""Held while a large image is decoded: threads that each hold one would need memory by their number."""

# Pillow warns of every odd tag; among millions of images from the web that buries everything else.
warnings.filterwarnings("ignore", module=r"PIL\.")


@dataclass(frozen=True, eq=False)
class Picture:
    """An image that can be shown."""

    pixels: Pixels
    """[h,w,3], upright; of an image of more than `ROOM` pixels at half its size."""
    size: tuple[int, int]
    """Width and height of the image itself, upright."""
    note: str = ""
    """What is uncertain of it, in a line; empty where nothing is."""


def decode(data: bytes | Image.Image, *, most: int = MOST_PIXELS) -> Pixels | Problem:
    """The picture in `data`, uint8 [h,w,3], or why there is none; see `read_picture`."""
    found = read_picture(data, most=most)
    return found if isinstance(found, Problem) else found.pixels


def read_picture(data: bytes | Image.Image, *, most: int = MOST_PIXELS) -> Picture | Problem:
    """The picture in `data`, or why there is none.

    Refused before it is decoded where it has more than `most` pixels (Pillow's own `MAX_IMAGE_PIXELS` holds too).
    """
    if not isinstance(data, Image.Image) and not data:
        return Problem(ImageStatus.NOT_AN_IMAGE, "empty")
    try:
        picture = data if isinstance(data, Image.Image) else Image.open(io.BytesIO(data), formats=_formats())
        return _refused(picture, data, most) or _read(picture, data)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        return _too_large(_bomb(error, most))
    except MemoryError:
        return _too_large("more than the memory holds")
    except Exception as error:  # noqa: BLE001  # decoders raise anything at all on damaged files
        return _problem(data if isinstance(data, bytes) else b"", error)


def is_image(head: bytes) -> bool:
    """Whether a file that begins with `head`, 16 bytes, is of a format that is read."""
    accepts = (Image.OPEN[name][1] for name in _formats())
    return bool(head) and any(accept is not None and _accepted(accept, head) for accept in accepts)


def _accepted(accept: Callable[[bytes], object], head: bytes) -> bool:
    """Whether a format takes a file for its own; of one that is too short for its header some raise."""
    try:
        return accept(head) is True
    except Exception:  # noqa: BLE001  # whatever it stumbles over
        return False


def _refused(picture: Image.Image, data: bytes | Image.Image, most: int) -> Problem | None:
    """What is not decoded, as its header says."""
    pixels = picture.width * picture.height
    most = most // 2 if picture.format in HEAVY else most
    if pixels > most:
        return _too_large(f"{picture.width} x {picture.height} pixels; at most {most / 1e6:.0f} million")
    if not pixels:
        return Problem(ImageStatus.NOT_AN_IMAGE, "no pixels")
    if picture.format in ("JPEG", "MPO") and isinstance(data, bytes):
        scans = data.count(b"\xff\xda")
        if scans * pixels > max(MOST_SCANS, 64 * pixels):
            return _too_large(f"{scans:,} scans of {pixels / 1e6:,.1f} million pixels each")
    return None


def _read(picture: Image.Image, data: bytes | Image.Image) -> Picture:
    size = picture.size
    half = size[0] * size[1] > ROOM and min(size) >= FINE
    with _ONE_LARGE if size[0] * size[1] > ROOM else nullcontext():
        if half and isinstance(data, bytes):  # the picture that a data set holds stays as it is
            picture.draft(None, (size[0] // 2, size[1] // 2))  # which JPEG's decoder does on the way
        drafted = picture.size != size
        picture.load()
        if not drafted:
            size = picture.size  # Pillow turns TIFFs by itself
        turn = _turn(picture)
        depth = depth_of(picture, data if isinstance(data, bytes) else b"", _bands)
        pixels = _pixels(picture, depth, turn, half=half and not drafted)
    return Picture(pixels, size[::-1] if turn in SIDEWAYS else size, depth.note or dark(picture, data, pixels))


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
    if isinstance(error, UnidentifiedImageError):
        if reason := unread(data, kind):
            return Problem(ImageStatus.UNSUPPORTED, reason)
        if kind is None:
            return Problem(ImageStatus.NOT_AN_IMAGE, f"no image of a format that is read ({', '.join(_formats())})")
    if _is_cut(data, kind) or "truncated" in str(error).lower() or isinstance(error, EOFError):
        return Problem(ImageStatus.TRUNCATED, f"cut short after {len(data)} bytes")
    if "MAX_TEXT_CHUNK" in str(error) or "MAX_TEXT_MEMORY" in str(error):
        return Problem(ImageStatus.UNSUPPORTED, "a PNG with more text in it than is read: save it without its comments")
    if CANNOT.search(str(error)):
        return Problem(ImageStatus.UNSUPPORTED, f"{kind or 'an image'} of a kind that is not read ({_text(error)})")
    broken = isinstance(error, UnidentifiedImageError)
    return Problem(ImageStatus.DAMAGED, f"damaged {kind or 'image'} ({'its header' if broken else _text(error)})")


def _is_cut(data: bytes, kind: str | None) -> bool:
    """Whether the file lacks the mark that its format ends with."""
    if kind == "WEBP":
        return int.from_bytes(data[4:8], "little") + 8 > len(data)
    marks = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}
    return not data.endswith(b";") if kind == "GIF" else kind in marks and marks[kind] not in data[-64:]


def _turn(picture: Image.Image) -> Image.Transpose | None:
    """How `picture` is to be held as its EXIF says; asked after decoding, since Pillow turns TIFFs by itself."""
    try:
        orientation = picture.getexif().get(ORIENTATION)
    except Exception:  # noqa: BLE001  # a broken EXIF block says nothing; the picture is there all the same
        return None
    return UPRIGHT.get(orientation) if isinstance(orientation, int) else None


def _bands(picture: Image.Image) -> Iterator[Image.Image]:
    """`picture` from top to bottom, an even number of rows at a time."""
    rows = max(2, BAND // picture.width // 2 * 2)
    if rows >= picture.height:
        yield picture
        return
    for top in range(0, picture.height, rows):
        yield picture.crop((0, top, picture.width, min(top + rows, picture.height)))


def _pixels(picture: Image.Image, depth: Depth, turn: Image.Transpose | None, *, half: bool) -> Pixels:
    """`picture` in eight-bit RGB, upright: deep ones scaled, transparent ones on white; at half its size if asked."""
    width, height = (-(-side // (2 if half else 1)) for side in picture.size)
    upright = np.empty((width, height, 3) if turn in SIDEWAYS else (height, width, 3), np.uint8)
    stored, top = _as_stored(upright, turn), 0
    for band in _bands(picture):
        shown = _shown(band, depth)
        rows = np.asarray(shown.reduce(2) if half else shown)
        stored[top : top + len(rows)] = rows
        top += len(rows)
    return upright


def _as_stored(upright: Pixels, turn: Image.Transpose | None) -> Pixels:
    """An upright picture in the order of the file's own rows: a view, so that turning takes no memory."""
    stored = upright.swapaxes(0, 1) if turn in SIDEWAYS else upright
    stored = stored[::-1] if turn in ROWS_TURNED else stored
    return stored[:, ::-1] if turn in COLUMNS_TURNED else stored


def _shown(picture: Image.Image, depth: Depth) -> Image.Image:
    """`picture` in eight-bit RGB."""
    if depth.white:
        picture = Image.fromarray(_on_paper(depth.levels(values := np.asarray(picture)), values, picture))
    if picture.has_transparency_data:
        picture = _on_white(picture)
    return picture.convert("RGB")


def _on_paper(levels: Pixels, values: NDArray[np.generic], picture: Image.Image) -> Pixels:
    """Gray `levels`, white where the file says that what has one value is transparent."""
    clear = picture.info.get("transparency")
    return np.where(values == clear, np.uint8(255), levels) if isinstance(clear, int) else levels


def _on_white(picture: Image.Image) -> Image.Image:
    """On white, the paper that cut-out pictures are shown on; what lies under transparent pixels is often noise."""
    seen = picture.convert("RGBA")
    white = Image.new("RGBA", seen.size, (255, 255, 255, 255))
    return Image.alpha_composite(white, seen)
