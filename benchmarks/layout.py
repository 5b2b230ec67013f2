"""Made samples through layout, cells of four grids, labels and tiles: seconds and peak memory of each step.

    python -m benchmarks.layout [--samples 1000000] [--channels 512] [--classes 1000] [--most 100000]

Samples are waves of three hidden numbers, which are cut into 500 classes. They are made in chunks into float16 files of
a temporary folder and read again from there chunk by chunk: never are all of them in memory. Memory is the most that
this process held at once in a step.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas.projection.grid import Cells, cells_of, fill
from atlas.projection.project import Map, project
from atlas.projection.pyramid import CELL, Pixels, Tile, smaller, tiles
from atlas.projection.quality import trusted
from atlas.projection.rows import Rows
from atlas.projection.strengths import Labels, Strongest, labels, strengths
from atlas.recipe import ProjectionRecipe

CHUNK = 8192
"""Rows that are made, and read, at a time."""
HIDDEN = 3
"""Numbers behind each sample's vector: as many directions as neighbours can differ in."""
SIDES = (20, 40, 80, 160)
"""The article's grids."""
CLUSTERS = 500
"""Not more than there are classes: each speaks for one."""


@dataclass(frozen=True)
class Filed:
    """Rows of a file, or some of their columns, as `atlas.projection` reads them."""

    file: Path
    columns: int
    start: int = 0
    stop: int | None = None

    def __iter__(self) -> Iterator[NDArray[Any]]:
        rows = self.file.stat().st_size // (2 * self.columns)
        for first in range(0, rows, CHUNK):
            count = min(CHUNK, rows - first)
            chunk = np.fromfile(self.file, np.float16, count * self.columns, offset=2 * first * self.columns)
            yield chunk.reshape(count, self.columns)[:, self.start : self.stop]


def main(samples: int, channels: int, classes: int, most: int) -> None:
    """Make, lay out, cut, label, tile, judge; a line each."""
    print(f"{samples:,} samples, {channels} channels, {classes} classes, at most {most:,} fitted")
    print(f"{'step':24}{'seconds':>10}{'CPU':>10}{'peak MB':>10}")
    recipe = ProjectionRecipe(max_samples=most)
    with tempfile.TemporaryDirectory() as folder:
        vectors, attributions = Filed(Path(folder, "vectors"), channels), Path(folder, "attributions")
        with step("make"):
            cluster = make(vectors.file, attributions, samples, channels, classes)
        with step("layout"):
            found = project(vectors, recipe)
        grids = [cut(vectors, attributions, classes, found, side) for side in SIDES]
        with step("quality"):
            trustworthiness, agreement = trusted(vectors, found, recipe)
    print(f"{trustworthiness=:.3f} {agreement=:.3f}")
    for grid in grids:
        share = right(grid, found, cluster)
        print(f"grid {grid[0].side}: the first label of {share:.1%} of the filled cells is that of most of its samples")


def make(vectors: Path, attributions: Path, samples: int, channels: int, classes: int) -> NDArray[np.int64]:
    """Write the samples; each speaks for the class of its cluster's number. Which cluster each is of, [m]."""
    rng = np.random.default_rng(0)
    waves, phase = 0.7 * rng.standard_normal((HIDDEN, channels)), 2 * np.pi * rng.random(channels)
    middles = rng.random((CLUSTERS, HIDDEN))
    cluster = np.empty(samples, np.int64)
    with vectors.open("wb") as points, attributions.open("wb") as strength:
        for first in range(0, samples, CHUNK):
            hidden = rng.random((min(CHUNK, samples - first), HIDDEN))
            of = ((middles**2).sum(axis=1) - 2 * hidden @ middles.T).argmin(axis=1)
            cluster[first : first + CHUNK] = of
            clean = np.cos(2 * np.pi * hidden @ waves + phase) - 0.3
            np.maximum(clean + 0.2 * rng.standard_normal(clean.shape), 0).astype(np.float16).tofile(points)
            chunk = 0.3 * rng.standard_normal((len(of), classes), dtype=np.float32)
            chunk[np.arange(len(of)), of] += 1
            chunk.astype(np.float16).tofile(strength)
    return cluster


def cut(vectors: Rows, attributions: Path, classes: int, found: Map, side: int) -> tuple[Cells, Labels]:
    """The cells of one grid, their labels and tiles, and the levels below the first grid."""

    def read(start: int, stop: int) -> Rows:
        return Filed(attributions, classes, start, stop)

    with step(f"grid {side}: cells"):
        cell = cells_of(found.xy, side)
        cells = fill(vectors, cell, side)
    if not ((cell >= 0) == (found.status == 0)).all() or cells.count.sum() != (cell >= 0).sum():
        raise RuntimeError("a sample is in no cell, or in several")
    with step(f"grid {side}: labels"):
        best = Strongest(len(cells))
        for start, block in strengths(read, classes, cell, cells):
            best.add(start, block)
        named = labels(read, classes, cell, cells, best, seed=0)
    with step(f"grid {side}: tiles"):
        icons = dict(zip(cells.cells.tolist(), cells.direction, strict=True))
        made = 0
        level: list[Tile] = []
        for tile in tiles(side, lambda number: icon(icons.get(number))):
            made += 1
            if side == SIDES[0]:
                level.append(tile)
        while len(level) > 1:
            level = list(smaller(level))
            made += len(level)
    print(f"    {len(cells):,} of {side * side:,} cells filled, {made:,} tiles")
    return cells, named


def icon(direction: NDArray[np.float32] | None) -> Pixels | None:
    """A picture that costs nothing: three of the direction's numbers as a colour."""
    if direction is None:
        return None
    colour = np.clip(direction[:3] / max(float(direction.max()), 1e-9) * 255, 0, 255)
    return np.broadcast_to(colour.astype(np.uint8), (CELL, CELL, 3))


def right(grid: tuple[Cells, Labels], found: Map, cluster: NDArray[np.int64]) -> float:
    """The share of cells whose first label is the class of most of its samples."""
    cells, named = grid
    cell = cells_of(found.xy, cells.side)
    members = np.argsort(cell, kind="stable")
    starts = np.searchsorted(cell[members], np.stack([cells.cells, cells.cells + 1]))
    usual = [np.bincount(cluster[members[start:stop]]).argmax() for start, stop in starts.T]
    return float((named.classes[:, 0] == usual).mean())


@contextmanager
def step(name: str) -> Iterator[None]:
    """Print what the step took: wall and CPU seconds, and the most memory that was held."""
    Path("/proc/self/clear_refs").write_text("5")  # forget the highest so far
    wall, cpu = time.monotonic(), time.process_time()
    yield
    held = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    seconds, busy = time.monotonic() - wall, time.process_time() - cpu
    print(f"{name:24}{seconds:10.1f}{busy:10.1f}{int(held.split()[1]) / 1024:10.0f}", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    for option, usual in {"samples": 10**6, "channels": 512, "classes": 1000, "most": 100_000}.items():
        parser.add_argument(f"--{option}", type=int, default=usual)
    main(**vars(parser.parse_args()))
