"""Images of many pixels, and files that would become so: little memory, and what is shown stays where it was."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from atlas.dataset import decoding
from atlas.dataset.decoding import UPRIGHT, Picture, decode, read_picture
from atlas.dataset.source import Problem
from atlas.units import ImageStatus
from tests.dataset.made import encoded, good, pixels

pytestmark = pytest.mark.filterwarnings("ignore:::PIL")

PEAK = """
import sys
from pathlib import Path
from atlas.dataset.decoding import read_picture
def peak():
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0])
data = Path(sys.argv[1]).read_bytes()
before = peak()
found = read_picture(data)
print(peak() - before, found.size if hasattr(found, "size") else found.reason)
"""


def memory(file: Path) -> tuple[int, str]:
    """By how many kB a process grows that reads a picture, and what it finds."""
    ran = subprocess.run([sys.executable, "-c", PEAK, str(file)], capture_output=True, text=True, check=True)
    grown, _, found = ran.stdout.strip().partition(" ")
    return int(grown), found


def gray_png(width: int, height: int, depth: int) -> bytes:
    """A PNG of zeros in a few bytes, whose rows are never held together."""
    packer, row = zlib.compressobj(), bytes(1 + width * depth // 8)
    data = b"".join(packer.compress(row) for _ in range(height)) + packer.flush()
    parts = [(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0)), (b"IDAT", data), (b"IEND", b"")]
    chunks = [struct.pack(">I", len(p)) + k + p + struct.pack(">I", zlib.crc32(k + p)) for k, p in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


def test_sixty_seven_megapixels_of_sixteen_bits_take_a_quarter_of_a_gigabyte(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(gray_png(8191, 8191, 16))
    assert (tmp_path / "a.png").stat().st_size < 200_000
    grown, found = memory(tmp_path / "a.png")
    assert found == "(8191, 8191)"
    assert grown < 256 * 2**10


@pytest.mark.parametrize("name", good())
@pytest.mark.parametrize("orientation", [1, 3, 5, 6, 7, 8])
def test_bands_give_the_same_bytes(name: str, orientation: int, monkeypatch: pytest.MonkeyPatch) -> None:
    picture = Image.open(io.BytesIO(good()[name]))
    picture.load()
    picture.getexif()[0x0112] = orientation
    whole = decode(picture)
    monkeypatch.setattr(decoding, "BAND", 40)
    assert isinstance(whole, np.ndarray)
    np.testing.assert_array_equal(decode(picture), whole)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "TIFF"])
def test_a_large_image_is_halved_and_keeps_its_size(
    orientation: int, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    smooth = Image.fromarray(pixels(size=(62, 90))).resize((90, 62), Image.Resampling.BICUBIC)
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(smooth, kind, exif=exif.tobytes(), **({"quality": 95} if kind == "JPEG" else {}))
    whole = read_picture(data)
    monkeypatch.setattr(decoding, "ROOM", 4000)
    monkeypatch.setattr(decoding, "FINE", 62)
    monkeypatch.setattr(decoding, "BAND", 400)
    half = read_picture(data)
    assert isinstance(whole, Picture)
    assert isinstance(half, Picture)
    assert half.size == whole.size == (whole.pixels.shape[1], whole.pixels.shape[0])
    upright = Image.fromarray(whole.pixels)
    if UPRIGHT.get(orientation) is not None:
        upright = upright.transpose(next(back for back in UPRIGHT.values() if _undoes(back, UPRIGHT[orientation])))
    expected = upright.reduce(2)
    if UPRIGHT.get(orientation) is not None:
        expected = expected.transpose(UPRIGHT[orientation])
    assert half.pixels.shape == np.array(expected).shape
    assert np.abs(half.pixels.astype(int) - np.array(expected)).mean() < 1.5
    monkeypatch.setattr(decoding, "FINE", 63)
    assert read_picture(data).pixels.shape == whole.pixels.shape  # type: ignore[union-attr]


def _undoes(back: Image.Transpose, turn: Image.Transpose) -> bool:
    sample = Image.fromarray(pixels(size=(3, 4)))
    return np.array_equal(np.array(sample.transpose(turn).transpose(back)), np.array(sample))


def test_a_picture_of_a_data_set_is_not_changed_by_being_halved(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(decoding, "ROOM", 100)
    monkeypatch.setattr(decoding, "FINE", 2)
    picture = Image.open(io.BytesIO(encoded(pixels(), "JPEG")))
    first = decode(picture)
    assert isinstance(first, np.ndarray)
    assert first.shape == (12, 18, 3)
    assert picture.size == (36, 24)
    np.testing.assert_array_equal(decode(picture), first)


def scans(count: int) -> bytes:
    """A progressive JPEG of a megapixel whose last scan comes `count` times more."""
    data = encoded(Image.new("L", (1024, 1024)), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:-2] + data[last:-2] * count + data[-2:]


def test_a_jpeg_of_endless_scans_is_refused() -> None:
    few, many = decode(scans(10)), decode(scans(20_000))
    assert isinstance(few, np.ndarray)
    assert isinstance(many, Problem)
    assert many.status == ImageStatus.TOO_LARGE
    assert many.reason == "20,006 scans of 1.0 million pixels each"


def headers() -> dict[str, bytes]:
    """Files of a few bytes that claim to be enormous."""
    gif = b"GIF89a" + struct.pack("<HH", 65535, 65535) + b"\x80\0\0" + bytes(6) + b","
    webp = b"VP8X" + struct.pack("<I", 10) + bytes(4) + (16383).to_bytes(3, "little") * 2
    webp += b"VP8L" + struct.pack("<I", 10) + b"\x2f" + (16383 | 16383 << 14).to_bytes(4, "little") + bytes(5)
    bmp = b"BM" + struct.pack("<IHHIIiiHHIIiiII", 54, 0, 0, 54, 40, 60000, 60000, 1, 24, 0, 0, 0, 0, 0, 0)
    tiff = bytearray(encoded(pixels(), "TIFF"))
    for tag in (256, 257):
        at = next(at for kind in (3, 4) if (at := tiff.find(struct.pack("<HHI", tag, kind, 1))) >= 0)
        tiff[at : at + 12] = struct.pack("<HHII", tag, 4, 1, 60000)
    jpeg = bytearray(encoded(pixels(), "JPEG"))
    frame = jpeg.index(b"\xff\xc0")
    jpeg[frame + 5 : frame + 9] = struct.pack(">HH", 65500, 65500)
    jpeg2000 = bytearray(encoded(pixels(), "JPEG2000"))
    where = jpeg2000.index(b"ihdr")
    jpeg2000[where + 4 : where + 12] = struct.pack(">II", 60000, 60000)
    return {
        "gif": gif + bytes(8) + b";",
        "webp": b"RIFF" + struct.pack("<I", 4 + len(webp)) + b"WEBP" + webp,
        "bmp": bmp,
        "tiff": bytes(tiff),
        "jpeg": bytes(jpeg),
        "jpeg2000": bytes(jpeg2000),
        "png": gray_png(60000, 1, 16)[:16] + struct.pack(">II", 60000, 60000) + gray_png(60000, 1, 16)[24:],
        "ppm": b"P5\n60000 60000\n255\n",
        "qoi": b"qoif" + struct.pack(">II", 60000, 60000) + b"\3\0",
    }


@pytest.mark.parametrize("name", headers())
def test_an_enormous_header_is_a_reason_in_little_memory(name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(headers()[name])
    found = decode(headers()[name])
    assert isinstance(found, Problem)
    grown, reason = memory(tmp_path / "file")
    assert reason == found.reason
    assert grown < 64 * 2**10


@pytest.mark.parametrize("kind", ["WEBP", "AVIF", "JPEG2000"])
def test_formats_whose_decoders_take_more_may_have_half_as_many_pixels(kind: str) -> None:
    data = encoded(pixels(size=(10, 20)), kind)
    assert isinstance(decode(data, most=400), np.ndarray)
    found = decode(data, most=399)
    assert isinstance(found, Problem)
    assert found.status == ImageStatus.TOO_LARGE


def text_bomb(kind: bytes) -> bytes:
    """A PNG with a compressed text or profile of 200 MB."""
    packer = zlib.compressobj()
    data = b"".join(packer.compress(bytes(2**20)) for _ in range(200)) + packer.flush()
    before = {b"zTXt": b"a\0\0", b"iTXt": b"a\0\1\0\0\0", b"iCCP": b"a\0\0"}[kind]
    picture = encoded(pixels())
    chunk = kind + before + data
    return (
        picture[:33] + struct.pack(">I", len(chunk) - 4) + chunk + struct.pack(">I", zlib.crc32(chunk)) + picture[33:]
    )


@pytest.mark.parametrize("kind", [b"zTXt", b"iTXt", b"iCCP"])
def test_a_bomb_in_a_text_or_profile_takes_little_memory(kind: bytes, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(text_bomb(kind))
    grown, _ = memory(tmp_path / "file")
    assert grown < 64 * 2**10
