"""Images of more than eight bits: white is what the file says, and what it does not say is said."""

from __future__ import annotations

import struct
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image, TiffImagePlugin

from atlas.dataset.decoding import Picture, read_picture
from tests.dataset.made import encoded

TWELVE = np.array([[0, 5, 1024, 2048, 4095]], np.uint16)
SCALED = [0, 0, 64, 128, 255]


def read(data: bytes | Image.Image) -> Picture:
    found = read_picture(data)
    assert isinstance(found, Picture), found
    return found


def tiff(levels: np.ndarray[Any, Any], **tags: Any) -> bytes:
    """A TIFF with tags of these numbers, as `t258=12`."""
    directory = TiffImagePlugin.ImageFileDirectory_v2()
    for name, value in tags.items():
        directory[int(name[1:])] = value
    return encoded(Image.fromarray(levels), "TIFF", tiffinfo=directory)


def packed(levels: np.ndarray[Any, Any]) -> bytes:
    """A TIFF of 12 bits a level, two of them in three bytes."""
    row = [int(level) for level in levels[0]]
    bits = "".join(f"{level:012b}" for level in row)
    data = int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big")
    tags = [(256, 4, len(row)), (257, 4, 1), (258, 3, 12), (259, 3, 1), (262, 3, 1), (273, 4, 8), (277, 3, 1)]
    tags += [(278, 4, 1), (279, 4, len(data))]
    entries = b"".join(struct.pack("<HHI", tag, kind, 1) + struct.pack("<I", value) for tag, kind, value in tags)
    held = data.ljust(len(data) + len(data) % 2, b"\0")
    return struct.pack("<2sHI", b"II", 42, 8 + len(held)) + held + struct.pack("<H", len(tags)) + entries + bytes(4)


def png(levels: np.ndarray[Any, Any], significant: int) -> bytes:
    """A gray PNG that says how many of its bits are significant."""
    data = encoded(Image.fromarray(levels))
    chunk = b"sBIT" + bytes([significant])
    return data[:33] + struct.pack(">I", 1) + chunk + struct.pack(">I", zlib.crc32(chunk)) + data[33:]


@pytest.mark.parametrize(
    "data",
    [
        packed(TWELVE),
        tiff(TWELVE, t281=4095),
        tiff(TWELVE, t270='<OME><Pixels SignificantBits="12"/></OME>'),
        tiff(TWELVE.astype(">u2"), t281=4095),
        png(TWELVE, 12),
    ],
    ids=["12 bits a sample", "largest sample", "OME", "largest sample, big end first", "significant bits"],
)
def test_twelve_bits_are_scaled_where_the_file_says_that_there_are_twelve(data: bytes) -> None:
    found = read(data)
    assert found.pixels[0, :, 0].tolist() == SCALED
    assert not found.note


@pytest.mark.parametrize(
    "data",
    [
        encoded(Image.fromarray(TWELVE)),
        encoded(Image.fromarray(TWELVE), "TIFF"),
        Image.fromarray(TWELVE),
        Image.fromarray(TWELVE.astype(np.int32)),
        tiff(TWELVE, t281=4000),
        tiff(TWELVE, t281=1023),
        png(TWELVE // 16 * 16, 12),
        png(TWELVE, 16),
    ],
    ids=["png", "tiff", "picture", "whole numbers", "no full number", "contradicted", "by the book", "all"],
)
def test_twelve_bits_of_which_no_file_speaks_stay_dark_and_are_noted(data: bytes | Image.Image) -> None:
    found = read(data)
    assert found.pixels.max() <= 16
    assert "the file does not say what is white: shown as of 65535" in found.note


def test_colours_of_twelve_bits_are_noted_too() -> None:
    colours = np.zeros((2, 3, 3), np.uint16)
    colours[0, 0], colours[1, 2] = (4095, 100, 9), (17, 4000, 300)
    header = struct.pack(">IIBBBBB", 3, 2, 16, 2, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in colours)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    chunks = [struct.pack(">I", len(p)) + k + p + struct.pack(">I", zlib.crc32(k + p)) for k, p in parts]
    found = read(b"\x89PNG\r\n\x1a\n" + b"".join(chunks))
    assert found.pixels[0, 0].tolist() == [15, 0, 0]
    assert found.note.startswith("16 bits a colour, of which the upper two are never used")


@pytest.mark.parametrize(
    ("levels", "note"),
    [
        ([0.0, 0.5, 1.0], ""),
        ([0.0, 0.1, 0.2], "no level above 0.2"),
        ([0.0, 3.0, 12.5], "no level above 12.5"),
        ([-1.0, 0.0, 1.0], "levels from -1 to 1: stretched"),
        ([0.0, 5e4, 1e5], "levels from 0 to 100000: stretched"),
        ([0.0, 0.0, 0.0], ""),
    ],
)
def test_what_is_white_in_floats_is_noted_where_it_is_not_plain(levels: list[float], note: str) -> None:
    found = read(encoded(Image.fromarray(np.array([levels], np.float32)), "TIFF"))
    assert found.note.startswith(note)
    assert bool(found.note) == bool(note)


def test_what_uses_all_bits_is_not_noted() -> None:
    full = np.array([[0, 30_000, 65_535]], np.uint16)
    for data in (encoded(Image.fromarray(full)), encoded(Image.fromarray(full), "TIFF"), Image.fromarray(full)):
        assert not read(data).note
    assert not read(encoded(np.full((4, 4, 3), 9, np.uint8))).note
    assert not read(encoded(Image.fromarray(full), "JPEG2000")).note


def plain_tiff(levels: np.ndarray[Any, Any], meaning: int, kind: int = 1) -> bytes:
    """An uncompressed TIFF of one strip; `meaning` 0 says that white is zero, `kind` 2 that numbers have a sign."""
    data, (height, width) = levels.tobytes(), levels.shape
    bits, whole = 8 * levels.itemsize, len(data)
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, meaning), (273, 134), (277, 1)]
    tags += [(278, height), (279, whole), (339, kind)]
    told = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    return b"II*\0" + struct.pack("<IH", 8, len(tags)) + told + struct.pack("<I", 0) + data


RAMP = np.tile(np.arange(256, dtype=np.uint8), (16, 1))
"""Every level, dark on the left."""


@pytest.mark.parametrize(
    ("data", "noted"),
    [
        (plain_tiff(((255 - RAMP.astype(int)) * 257).astype("<u2"), 0), False),
        (plain_tiff(255 - RAMP, 0), False),
        (plain_tiff((RAMP.astype(np.int64) * 16843009).astype("<u4"), 1), True),
        (plain_tiff((RAMP.astype(np.int64) * 257).astype("<u4"), 1), False),
        (plain_tiff((RAMP.astype(int) - 128).astype("i1"), 1, 2), True),
        (plain_tiff(1 - RAMP.astype("<f4") / 255, 0, 3), False),
    ],
    ids=["negative-16", "negative-8", "unsigned-32", "unsigned-32-low", "signed-8", "negative-float"],
)
def test_what_pillow_takes_for_other_numbers_is_shown_as_it_is(data: bytes, noted: bool) -> None:
    found = read(data)
    assert np.abs(found.pixels[..., 0].astype(int) - RAMP).max() <= 1
    assert bool(found.note) == noted


@pytest.mark.parametrize("depth", [1, 257])
def test_what_a_gray_png_says_is_transparent_is_white(depth: int) -> None:
    levels = RAMP if depth == 1 else RAMP.astype(np.uint16) * depth
    found = read(encoded(Image.fromarray(levels), transparency=3 * depth))
    assert found.pixels[0, :5, 0].tolist() == [0, 1, 2, 255, 4]
