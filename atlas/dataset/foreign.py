"""Files that are images, but of a kind that is not read: said as what they are.

    (file, its format by its first bytes) -> one line, or None where nothing is known of it

Told apart from damaged ones, which may be mended by copying them again; these have to be converted.
"""

from __future__ import annotations

import io
import re
from contextlib import suppress
from typing import Any

from PIL import Image, TiffImagePlugin, features

CANNOT = re.compile(
    "unsupported|not supported|cannot handle|unknown (?:pixel mode|compression)|unable to determine|not implemented",
    re.IGNORECASE,
)
"""How Pillow's decoders say that they do not know a kind of their own format."""
NEEDED = {"WEBP": "webp", "AVIF": "avif", "JPEG2000": "jpg_2000"}
"""What Pillow must have been built with."""
BRANDS = {
    b"heic": "HEIC",
    b"heix": "HEIC",
    b"heim": "HEIC",
    b"heis": "HEIC",
    b"hevc": "HEIC",
    b"hevx": "HEIC",
    b"mif1": "HEIF",
    b"msf1": "HEIF",
    b"avif": "AVIF",
    b"avis": "AVIF",
    b"crx ": "camera raw (CR3)",
}
FIRST = {
    b"\xff\x0a": "JPEG XL",
    b"\0\0\0\x0cJXL ": "JPEG XL",
    b"8BPS": "Photoshop",
    b"\0\0\1\0": "icon",
    b"icns": "icon",
    b"v/1\1": "OpenEXR",
    b"#?RADIANCE": "Radiance HDR",
    b"#?RGBE": "Radiance HDR",
    b"DDS ": "DDS",
    b"SIMPLE  =": "FITS",
    b"FUJIFILMCCD-RAW": "camera raw (RAF)",
    b"\x01\0\0\0\x58\0\0\0": "EMF",
    b"AT&TFORM": "DjVu",
    b"\xd7\xcd\xc6\x9a": "WMF",
    b"II\xbc": "JPEG XR",
    b"\x59\xa6\x6a\x95": "Sun raster",
    b"gimp xcf": "GIMP",
    b"/* XPM */": "XPM",
    b"farbfeld": "farbfeld",
    b"P7\n": "PAM",
    b"PF\n": "PFM",
    b"\x8aMNG": "MNG",
    b"#define ": "XBM",
    b"BPG\xfb": "BPG",
    **{b"\x0a" + bytes([version, 1]): "PCX" for version in (0, 2, 3, 4, 5)},
    **{b"\x01\xda" + bytes([packed, depth]): "SGI" for packed in (0, 1) for depth in (1, 2)},
}
LAST = {b"TRUEVISION-XFILE.\0": "TGA"}
"""Of a format without a word of its own at the beginning: how its files end."""
HEAD = 2**16
"""Bytes in which an SVG must begin, after its comments."""
WIDTH, HEIGHT, BITS, COMPRESSION, BANDS, STRIPS, TILES, KIND = 256, 257, 258, 259, 277, 273, 324, 339
"""TIFF's tags."""
KINDS = {1: "whole numbers", 2: "signed whole numbers", 3: "floats", 5: "complex whole numbers", 6: "complex numbers"}


def unread(data: bytes, kind: str | None) -> str | None:
    """What `data` is, which Pillow does not know though its first bytes may say `kind`."""
    brand = BRANDS.get(data[8:12]) if data[4:8] == b"ftyp" else None
    kind = kind or brand
    if kind in NEEDED and not features.check(NEEDED[kind]):
        return f"{kind}, which this Pillow was built without"
    if kind == "TIFF":
        return _tiff(data)
    if kind in Image.OPEN and (words := _own_words(kind, data)) and CANNOT.search(words):
        return f"{kind} of a kind that is not read ({words})"
    if _is_svg(data):
        return "SVG, a drawing and no pixels: save it as PNG"
    other = brand or next((name for magic, name in FIRST.items() if data.startswith(magic)), None)
    other = other or next((name for magic, name in LAST.items() if data.endswith(magic)), None)
    if other in ("AVIF", None):
        return "DICOM is not read: save it as PNG or JPEG" if data[128:132] == b"DICM" else None
    return f"{other} is not read: save it as PNG or JPEG"


def _is_svg(data: bytes) -> bool:
    head = data[:HEAD].removeprefix(b"\xef\xbb\xbf").lstrip()
    return head.startswith(b"<") and b"<svg" in head and b"http://www.w3.org/2000/svg" in head


def _own_words(kind: str, data: bytes) -> str:
    """Why the decoder of a format refuses a file, which Pillow keeps to itself."""
    try:
        Image.OPEN[kind][0](io.BytesIO(data), "")
    except Exception as error:  # noqa: BLE001  # decoders raise anything at all
        return " ".join(str(error).split())[:200]
    return ""


def _tiff(data: bytes) -> str | None:
    """What a TIFF consists of that has a size and pixels, but bands or a compression that Pillow does not know."""
    tags: dict[int, Any] = {}
    with suppress(Exception):  # what cannot be read even here is damaged
        directory = TiffImagePlugin.ImageFileDirectory_v2(data[:16] if data[2:4].strip(b"\0") == b"+" else data[:8])
        file = io.BytesIO(data)
        file.seek(directory.next)
        directory.load(file)
        tags = dict(directory)
    if not (tags.get(WIDTH) and tags.get(HEIGHT) and (tags.get(STRIPS) or tags.get(TILES))):
        return None
    method = tags.get(COMPRESSION, 1)
    if method not in TiffImagePlugin.COMPRESSION_INFO:
        return f"a TIFF compressed by a method that is not read (number {method})"
    bits, kinds = (tags.get(tag, (1,)) for tag in (BITS, KIND))
    bands, bit, kind = tags.get(BANDS, 1), *(value[0] if isinstance(value, tuple) else value for value in (bits, kinds))
    told = f"{bands} band{'' if bands == 1 else 's'} of {bit}-bit {KINDS.get(kind, 'numbers of an unknown kind')}"
    return f"a TIFF of {told}, which is not read: save the bands that are red, green and blue as 8 bits"
