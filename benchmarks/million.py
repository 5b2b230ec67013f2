"""Memory does not grow with the number of images: a million made ones through a small network, beside ten thousand.

    python -m benchmarks.million [--counts 10000,1000000] -> seconds and peak memory of each

The whole of `atlas build --no-pictures --no-photographs` in one process: listing, decoding, forward pass, statistics,
examples, relations, tables.
"""

from __future__ import annotations

import argparse
import os
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

SIDE = 32
COUNT = "ATLAS_MILLION_COUNT"
"""How many images the data set has, told to the process that is measured."""
HEADER = struct.pack("<2sIHHI", b"BM", 54 + 3 * SIDE * SIDE, 0, 0, 54) + struct.pack(
    "<IiiHHIIiiII", 40, SIDE, SIDE, 1, 24, 0, 3 * SIDE * SIDE, 2835, 2835, 0, 0
)


class Made:
    """Images of 32 x 32 pixels, each another one, as BMP files."""

    def __init__(self, count: int) -> None:
        self._count = count

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> bytes:
        seed = (index * 2654435761 + 12345) % 2**32
        row = struct.pack("<I", seed) * (3 * SIDE // 4)
        return HEADER + b"".join(row[line % 64 :] + row[: line % 64] for line in range(SIDE))


def images() -> Made:
    """The data set that `--images benchmarks.million:images` names."""
    return Made(int(os.environ[COUNT]))


def measure(count: int) -> tuple[float, float]:
    """Seconds and peak memory in MB of collecting `count` images."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "atlas", "build", "tests.networks:tiny", "--layers", "first.1,second.1,head"]
        command += ["--images", "benchmarks.million:images", "--crops", "1", "--no-pictures"]
        command += ["--no-photographs", "--local", "--store", str(Path(folder) / "made.atlas")]
        began = time.perf_counter()
        process = subprocess.Popen(command, env=os.environ | {COUNT: str(count)})
        _, status, used = os.wait4(process.pid, 0)
        if status:
            raise SystemExit(f"{' '.join(command)} failed")
        return time.perf_counter() - began, used.ru_maxrss / 1024


def main() -> None:
    """Print a row a count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--counts", default="10000,1000000")
    rows = [(count, *measure(count)) for count in map(int, parser.parse_args().counts.split(","))]
    print(f"{'images':>10} {'seconds':>9} {'images/s':>9} {'peak MB':>9}")
    for count, seconds, peak in rows:
        print(f"{count:>10,} {seconds:>9.1f} {count / seconds:>9.0f} {peak:>9.0f}")
    print(f"the last takes {rows[-1][2] / rows[0][2]:.2f} times the memory of the first")


if __name__ == "__main__":
    main()
