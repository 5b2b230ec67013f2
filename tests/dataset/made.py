"""Images made by the tests: good ones in every mode, and bad ones of every kind."""

from __future__ import annotations

import importlib.util
import io
import struct
import tarfile
import zlib
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from atlas.dataset import ImageList, ImageSource, Looked, list_images, look
from atlas.dataset.decoding import MOST_PIXELS, Pixels
from atlas.units import ImageStatus, summary


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


class Row(NamedTuple):
    name: str
    status: ImageStatus
    reason: str


@dataclass
class Index:
    """Everything that listing and looking say of a source's images."""

    listed: ImageList
    looked: list[Looked]

    @property
    def names(self) -> list[str]:
        return self.listed.names

    @property
    def hash(self) -> str:
        return self.listed.hash

    @property
    def status(self) -> list[ImageStatus]:
        return [one.status for one in self.looked]

    @property
    def reasons(self) -> dict[int, str]:
        return {number: one.reason for number, one in enumerate(self.looked) if one.reason}

    @property
    def usable(self) -> list[int]:
        return [number for number, one in enumerate(self.looked) if one.status == ImageStatus.OK]

    def sha256(self, number: int) -> bytes:
        return bytes(self.listed.sha256[number])

    def __getitem__(self, number: int) -> Row:
        looked = self.looked[number]
        return Row(self.names[number], looked.status, looked.reason)

    def summary(self) -> str:
        return summary(Counter(status.name.lower() for status in self.status))

    def __len__(self) -> int:
        return len(self.looked)


def index(source: ImageSource, *, workers: int | None = None, most: int = MOST_PIXELS) -> Index:
    """List the images of `source` and look at each, as the stages do."""
    listed = list_images(source, workers=workers)
    looked = [
        look(
            source,
            entry,
            listed.sha256[number].tobytes(),
            same_as=None if listed.same_as[number] < 0 else listed.names[listed.same_as[number]],
            most=most,
        )
        for number, entry in enumerate(source.entries)
    ]
    return Index(listed, looked)
