"""Images of a kind that is not read, each said as what it is."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, UnidentifiedImageError, features

from atlas.dataset.decoding import Pixels, decode, is_image
from atlas.dataset.source import Problem
from atlas.units import ImageStatus
from tests.dataset.made import encoded, pixels

pytestmark = pytest.mark.filterwarnings("ignore:::PIL")

SVG = b'<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>'


def tiff(bands: int, bits: int, kind: int = 1, compression: int = 1, order: str = "<", big: bool = False) -> bytes:
    """A whole TIFF of 4 x 4 pixels of `bands`, gray by its own word."""
    pixel = bytes(bands * bits // 8)
    tags = [(256, 4), (257, 4), (258, bits), (259, compression), (262, 1), (273, 0), (277, bands), (278, 4)]
    tags += [(279, 16 * len(pixel)), (339, kind)]
    unit, head = ("Q", 16) if big else ("I", 8)
    values, entries = b"", b""
    for tag, value in tags:
        count = bands if tag in (258, 339) else 1
        shorts = struct.pack(f"{order}{count}H", *[value] * count)
        if count > 1 and len(shorts) > (8 if big else 4):
            field = struct.pack(order + unit, head + len(values))
            values += shorts
        elif count > 1:
            field = shorts.ljust(8 if big else 4, b"\0")
        else:
            field = b""
        entries += struct.pack(f"{order}HH{unit}", tag, 3 if count > 1 else 4, count)
        entries += field or struct.pack(order + unit, value)
    data_at = head + len(values)
    place = entries.index(struct.pack(f"{order}HH{unit}", 273, 4, 1)) + (12 if big else 8)
    entries = entries[:place] + struct.pack(order + unit, data_at) + entries[place + (8 if big else 4) :]
    data = pixel * 16
    mark = b"II" if order == "<" else b"MM"
    start = (
        struct.pack(f"{order}HHHQ", 43, 8, 0, data_at + len(data))
        if big
        else struct.pack(f"{order}HI", 42, data_at + len(data))
    )
    count_of = struct.pack(f"{order}{'Q' if big else 'H'}", len(tags))
    return mark + start + values + data + count_of + entries + bytes(8)


def box(brand: bytes) -> bytes:
    return struct.pack(">I", 20) + b"ftyp" + brand + bytes(4) + b"mif1" + bytes(400)


def twelve_bits() -> bytes:
    data = bytearray(encoded(pixels(), "JPEG"))
    data[data.index(b"\xff\xc0") + 4] = 12
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (SVG, "SVG, a drawing"),
        (b'\xef\xbb\xbf<?xml version="1.0"?>\n<!-- ' + b"x" * 5000 + b" -->\n<!DOCTYPE svg>\n" + SVG, "SVG, a drawing"),
        (b"<svg:svg " + SVG[5:], "SVG, a drawing"),
        (tiff(6, 8), "a TIFF of 6 bands of 8-bit whole numbers"),
        (tiff(6, 8, order=">"), "a TIFF of 6 bands of 8-bit whole numbers"),
        (tiff(13, 16), "a TIFF of 13 bands of 16-bit whole numbers"),
        (tiff(3, 32, 3), "a TIFF of 3 bands of 32-bit floats"),
        (tiff(1, 64, 3), "a TIFF of 1 band of 64-bit floats"),
        (tiff(5, 8, big=True), "a TIFF of 5 bands of 8-bit whole numbers"),
        (tiff(1, 64, 6), "a TIFF of 1 band of 64-bit complex numbers"),
        (tiff(3, 8, compression=34892), "compressed by a method that is not read (number 34892)"),
        (twelve_bits(), "JPEG of a kind that is not read (cannot handle 12-bit layers)"),
        (box(b"heic"), "HEIC is not read"),
        (box(b"mif1"), "HEIF is not read"),
        (b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(99), "JPEG XL is not read"),
        (b"\xff\x0a" + bytes(99), "JPEG XL is not read"),
        (b"8BPS\0\1" + bytes(99), "Photoshop is not read"),
        (b"v/1\1" + bytes(99), "OpenEXR is not read"),
        (b"#?RADIANCE\n" + bytes(99), "Radiance HDR is not read"),
        (bytes(128) + b"DICM" + bytes(99), "DICOM is not read"),
        (encoded(pixels(size=(16, 16)), "ICO"), "icon is not read"),
    ],
)
def test_what_is_not_read_is_said(data: bytes, words: str) -> None:
    found = decode(data)
    assert isinstance(found, Problem)
    assert found.status == ImageStatus.UNSUPPORTED, found
    assert words in found.reason
    assert "\n" not in found.reason


@pytest.mark.parametrize("kind", ["WEBP", "JPEG2000", "AVIF"])
def test_what_pillow_was_built_without_is_said(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = encoded(pixels(size=(64, 64)), kind)
    monkeypatch.setattr(features, "check", lambda _: False)
    monkeypatch.setattr(Image, "open", lambda *_, **__: (_ for _ in ()).throw(UnidentifiedImageError("no")))
    found = decode(data)
    assert found == Problem(ImageStatus.UNSUPPORTED, f"{kind}, which this Pillow was built without")


def test_a_broken_tiff_is_damaged_all_the_same() -> None:
    data = bytearray(encoded(pixels(), "TIFF"))
    data[4:8] = struct.pack("<I", 3)
    found = decode(bytes(data))
    assert isinstance(found, Problem)
    assert found.status == ImageStatus.DAMAGED


def shown(picture: Image.Image, kind: str, **settings: object) -> Pixels:
    file = io.BytesIO()
    picture.save(file, kind, **settings)
    found = decode(file.getvalue())
    assert isinstance(found, np.ndarray), found
    return found


def test_less_usual_kinds_are_shown_right() -> None:
    red = Image.new("RGB", (16, 16), (200, 30, 30))
    black_and_white = Image.fromarray(np.tile([[True, False]], (4, 4)))
    assert shown(black_and_white, "TIFF", compression="group4")[0, :2, 0].tolist() == [255, 0]
    lab = Image.new("LAB", (4, 4), (108, 188, 173))  # red, with its two colours counted from 128
    np.testing.assert_allclose(shown(lab, "TIFF")[0, 0], (200, 30, 30), atol=12)
    np.testing.assert_allclose(shown(red.convert("YCbCr"), "TIFF")[8, 8], (200, 30, 30), atol=3)
    big = Image.fromarray(np.array([[0, 32768, 65535]], ">u2"))
    assert shown(big, "TIFF")[0, :, 0].tolist() == [0, 128, 255]
    frames = [red, Image.new("RGB", (16, 16))]
    np.testing.assert_allclose(shown(red, "MPO", save_all=True, append_images=frames[1:])[8, 8], (200, 30, 30), atol=3)
    palette = red.quantize(4)
    assert shown(palette, "PNG", transparency=bytes([0] * 256)).tolist() == [[[255] * 3] * 16] * 16

    np.testing.assert_allclose(shown(red.convert("RGBX"), "TIFF")[8, 8], (200, 30, 30))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=16))
def test_no_head_of_a_file_is_more_than_is_asked(head: bytes) -> None:
    assert is_image(head) in (True, False)


@pytest.mark.parametrize("head", [bytes(length) for length in range(17)] + [b"\n", b"BM", b"\xff\xd8", b"II*"])
def test_a_file_too_short_for_any_header_is_no_image(head: bytes) -> None:
    assert is_image(head) in (True, False)


@pytest.mark.parametrize("kind", ["PCX", "SGI", "ICO", "XBM", "DDS"])
def test_images_that_pillow_writes_and_nobody_reads_are_told_from_no_images(kind: str) -> None:
    file = io.BytesIO()
    Image.new("1" if kind == "XBM" else "RGB", (8, 8)).save(file, kind)
    found = decode(file.getvalue())
    assert isinstance(found, Problem)
    assert found.status == ImageStatus.UNSUPPORTED, found.reason
    assert "save it as PNG" in found.reason


def test_a_tga_is_known_by_its_end() -> None:
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "TGA")
    found = decode(file.getvalue())
    assert isinstance(found, Problem)
    assert (found.status, found.reason) == (ImageStatus.UNSUPPORTED, "TGA is not read: save it as PNG or JPEG")
