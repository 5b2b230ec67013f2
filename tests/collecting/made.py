"""Images made by the tests: good ones in every mode, and bad ones of every kind."""

from __future__ import annotations

import importlib.util
import io
import struct
import tarfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from atlas.collecting.decoding import Pixels


def pixels(seed: int = 0, size: tuple[int, int] = (24, 36)) -> Pixels:
    """A smooth picture uint8 [h,w,3], another one for each seed, with no symmetry."""
    chance = np.random.default_rng(seed)
    small = Image.fromarray(chance.integers(0, 256, (3, 4, 3), dtype=np.uint8))
    return np.array(small.resize(size[::-1], Image.Resampling.BICUBIC))


def encoded(picture: Image.Image | Pixels, kind: str = "PNG", **settings: Any) -> bytes:
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    file = io.BytesIO()
    image.save(file, kind, **settings)
    return file.getvalue()


def bomb(side: int = 30_000) -> bytes:
    """A PNG of `side` x `side` black pixels in a few bytes."""
    header = struct.pack(">IIBBBBB", side, side, 1, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", header) + _chunk(b"IDAT", zlib.compress(bytes(999))) + _chunk(b"IEND")


def _chunk(kind: bytes, data: bytes = b"") -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def good() -> dict[str, bytes]:
    """Small files of every format, mode and depth, all of which hold a picture."""
    picture = Image.fromarray(pixels())
    deep = (pixels()[:, :, 0].astype(np.uint16) * 257).copy()
    files = {kind: encoded(picture, kind) for kind in ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000")}
    files |= {mode: encoded(picture.convert(mode)) for mode in ("1", "L", "LA", "P", "RGBA")}
    files |= {"CMYK": encoded(picture.convert("CMYK"), "JPEG"), "I;16": encoded(Image.fromarray(deep), "TIFF")}
    frames = [Image.fromarray(pixels(seed)) for seed in range(3)]
    files["frames"] = encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    files["one"] = encoded(pixels(size=(1, 1)))
    return files


def write_tar(file: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(file, "w") as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def photographs() -> Path:
    """The folder of foolbox's photographs; the package itself is not imported."""
    spec = importlib.util.find_spec("foolbox")
    assert spec is not None, "pip install foolbox==3.3.4"
    assert spec.origin is not None
    return Path(spec.origin).parent / "data"
