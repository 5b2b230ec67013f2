"""Memory of a process that takes an image of 67 million pixels, of every format, from bytes to crops and thumbnail.

    python -m benchmarks.decoding [NAME ...]

Each image is made, then looked at and cut in a process of its own; the table says how large its file is and by how
much the resident memory of that process rose above what it was before, and how long it took.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

SIDE = 8191


def _plain(mode: str) -> Image.Image:
    """A picture whose file is small."""
    ramp = np.linspace(0, 255, SIDE, dtype=np.uint8)
    return Image.fromarray(np.tile(ramp, (SIDE, 1))).convert(mode)


def _deep(dtype: type) -> Image.Image:
    return Image.fromarray(np.tile(np.linspace(0, 65535, SIDE).astype(dtype), (SIDE, 1)))


def _palette() -> Image.Image:
    picture = _plain("P")
    picture.info["transparency"] = 0
    return picture


MADE: dict[str, Callable[[Path], None]] = {
    "png 16 bit": lambda file: _deep(np.uint16).save(file, "PNG"),
    "png gray": lambda file: _plain("L").save(file, "PNG"),
    "png rgb": lambda file: _plain("RGB").save(file, "PNG"),
    "png rgba": lambda file: _plain("RGBA").save(file, "PNG"),
    "png palette": lambda file: _palette().save(file, "PNG"),
    "jpeg": lambda file: _plain("RGB").save(file, "JPEG"),
    "jpeg progressive": lambda file: _plain("RGB").save(file, "JPEG", progressive=True, subsampling=0),
    "jpeg cmyk": lambda file: _plain("CMYK").save(file, "JPEG"),
    "tiff float": lambda file: _deep(np.float32).save(file, "TIFF", compression="tiff_lzw"),
    "tiff rgb": lambda file: _plain("RGB").save(file, "TIFF", compression="tiff_lzw"),
    "gif": lambda file: _plain("P").save(file, "GIF"),
    "webp": lambda file: _plain("RGB").save(file, "WEBP", lossless=True, method=0),
    "jpeg2000": lambda file: _plain("RGB").save(file, "JPEG2000"),
    "avif": lambda file: _plain("RGB").save(file, "AVIF", speed=10),
}


def peak() -> float:
    """The largest resident memory of this process so far, in MB.

    Not `ru_maxrss`: a process inherits that of the one that started it.
    """
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1e3


def look_at(file: Path) -> str:
    """A file through everything that a shard of images does with it."""
    from atlas.dataset import list_images, look, open_images
    from atlas.dataset.crops import crops
    from atlas.engine.passes import thumbnail
    from atlas.models import Preprocessing

    source = open_images(file)
    sha256 = list_images(source).sha256[0].tobytes()
    before, began = peak(), time.perf_counter()
    looked = look(source, source.entries[0], sha256)
    decoded = peak()
    if looked.picture is None:
        return f"{looked.status.words}: {looked.reason} | {decoded - before:,.0f} MB"
    crops(looked.picture, Preprocessing((224, 224), resize=256), 8, seed=0, sha256=sha256)
    thumbnail(looked.picture)
    took = time.perf_counter() - began
    return f"{decoded - before:,.0f} MB to decode | {peak() - before:,.0f} MB in all | {took:.1f} s"


def main(names: list[str]) -> None:
    if names[:1] == ["--file"]:
        print(look_at(Path(names[1])))
        return
    with tempfile.TemporaryDirectory() as folder:
        for name in names or MADE:
            file = Path(folder) / "image"
            MADE[name](file)
            command = [sys.executable, "-m", "benchmarks.decoding", "--file", str(file)]
            ran = subprocess.run(command, capture_output=True, text=True, check=False)
            told = ran.stdout.strip() or f"{ran.returncode} {ran.stderr[-200:]}"
            print(f"| {name} | {file.stat().st_size / 1e3:,.0f} kB | {told} |", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
