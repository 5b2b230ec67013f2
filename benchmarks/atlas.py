"""Atlases at scale, from images to tiles: made images through a made network of 512 channels, four grids.

    python -m benchmarks.atlas [--samples 1000000] [--workers 2] -> seconds of each stage, peak memory

Images are four squares of colours that lie about 200 middles; the network's layer answers each position with 512 waves
of its colour, and its classes are the middles. Grid 20 is pictured by the recipe `cell`, the others by two steps, since
what a picture costs is known. Everything goes the way of `atlas build`: data set, decoding, crops, Ray, store. Memory
is the most that all processes held together, each page counted once (PSS).
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from atlas.engine.clusters import connect
from atlas.engine.events import Event, LayerDone, ShardDone
from atlas.engine.numerics import numerics_for
from atlas.engine.on_ray import OnRay
from atlas.engine.planning import atlases
from atlas.engine.planning import images as collecting
from atlas.engine.planning.images import ListedImages
from atlas.engine.progress import Progress
from atlas.engine.run import build, describe
from atlas.models import Preprocessing, load_model
from atlas.plans import Plan
from atlas.projection.grid import cells_of
from atlas.recipe import Recipe
from atlas.stages import IMAGES
from atlas.store import Store, verify
from atlas.store.layout import columns_receipt, group_key

COUNT = "ATLAS_BENCHMARK_IMAGES"
"""How many images the data set has, told to every process."""
CROPS, POSITIONS, WIDTH = 8, 8, 64
CHANNELS, CLASSES, MIDDLES = 512, 1000, 200
GRIDS = (20, 40, 80, 160)
LAYER = "waves"


def middles() -> NDArray[np.float64]:
    """The colours [200,3] that the images' lie about."""
    found = np.random.default_rng(1).random((4000, 3))
    kept = [found[0]]
    for colour in found:
        if min(np.linalg.norm(colour - other) for other in kept) > 0.115 and len(kept) < MIDDLES:
            kept.append(colour)
    return np.array(kept)


class Made:
    """Images of 64 x 64 pixels, each another one; `clusters` says which middles its squares lie about."""

    def __init__(self, count: int) -> None:
        self._count, self._middles = count, middles()

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> Image.Image:
        chance = np.random.default_rng([2, index])
        colours = self._middles[chance.integers(0, len(self._middles), (2, 2))]
        colours = colours + 0.02 * chance.standard_normal((2, 2, 3))
        pixels = colours.repeat(32, 0).repeat(32, 1) + 0.02 * chance.standard_normal((64, 64, 3))
        return Image.fromarray((pixels.clip(0, 1) * 255).astype(np.uint8))


def images() -> Made:
    """The data set `benchmarks.atlas:images`."""
    return Made(int(os.environ[COUNT]))


class Waves(nn.Module):
    """512 waves of the colour at each of 8 x 8 positions."""

    def __init__(self) -> None:
        super().__init__()
        self.pool, self.mix = nn.AvgPool2d(4), nn.Conv2d(3, CHANNELS, 1)
        with torch.no_grad():
            self.mix.weight.mul_(0).add_(4.0 * torch.randn(CHANNELS, 3, 1, 1))
            assert self.mix.bias is not None
            self.mix.bias.copy_(2 * torch.pi * torch.rand(CHANNELS))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = (self.mix(self.pool(x)).cos() - 0.3).relu()
        return found


class Network(nn.Module):
    """Waves, and a class for each middle: how much a position points as the middle's does."""

    def __init__(self) -> None:
        super().__init__()
        self.waves, self.head = Waves(), nn.Linear(CHANNELS, CLASSES, bias=False)
        colours = torch.from_numpy(middles()).float()
        with torch.no_grad():
            own = self.waves(colours[:, :, None, None].expand(-1, -1, 4, 4))[:, :, 0, 0]
            self.head.weight.zero_()
            self.head.weight[: len(own)] = nn.functional.normalize(own)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.head(self.waves(x).mean((2, 3)))
        return found


def network() -> tuple[Network, Preprocessing]:
    """The network `benchmarks.atlas:network`."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Network(), Preprocessing(size=(32, 32), resize=32, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def main(samples: int, workers: int, place: str | None) -> None:
    """Build, and say what it took and whether what was planted is found."""
    os.environ[COUNT] = str(-(-samples // (CROPS * POSITIONS)))
    with tempfile.TemporaryDirectory() as folder, Memory() as memory:
        store = run(Path(place or folder) / "made.atlas", workers)
        memory.tell("all")
        check(store)


def run(place: Path, workers: int) -> Store:
    """A store of the atlas; a line a stage."""
    began = time.monotonic()
    model, shown = load_model("benchmarks.atlas:network"), ListedImages.open(["benchmarks.atlas:images"])
    print(f"listed {len(shown.listed):,} images in {time.monotonic() - began:.1f} s", flush=True)
    collection = shown.collection(model, crops=CROPS)
    sampling, numerics = atlases.sampled(collection, POSITIONS), numerics_for("cpu")
    plans = collecting.plans(model.identity, [], collection, numerics, {})
    cheap = Recipe.named("cell", size=80, steps=2, tries=1, draws=1, redirected=0)
    for grids, recipe in ((GRIDS[:1], Recipe.named("cell")), (GRIDS[1:], cheap)):
        made = atlases.plans(
            model.identity, [model.layer(LAYER)], sampling, recipe, numerics, width=WIDTH, grids=grids, known=plans
        )
        plans += [plan for plan in made if plan.names not in {other.names for other in plans}]
    store, times = Store.create(place, model.identity, describe(model)), Times()
    with connect(workers=workers), Progress() as progress:
        times.shown = progress.watch(store, plans)
        report = build(store, model, plans, OnRay(numerics, workers), images=shown, watch=times)
    if report.failed:
        raise RuntimeError(report.failed[0])
    times.tell(store)
    print(f"{sampling.samples:,} samples in {time.monotonic() - began:,.0f} s", flush=True)
    return store


class Times:
    """When each stage was done. Passes events on to `shown`."""

    def __init__(self) -> None:
        self.shown: Callable[[Event], None] = print
        self._last: dict[tuple[str, tuple[str, ...]], float] = {}
        self._began = time.monotonic()

    def __call__(self, event: Event) -> None:
        self.shown(event)
        now = time.monotonic() - self._began
        if isinstance(event, ShardDone):
            self._last[event.shard.stage, event.shard.part] = now
        elif isinstance(event, LayerDone):
            self._last[event.plan.stage, event.plan.part] = now

    def tell(self, store: Store) -> None:
        """A line a stage: seconds that its tasks took, CPU seconds, and when it was done."""
        print(f"{'stage':24}{'seconds':>10}{'CPU':>10}{'done at':>10}")
        for plan in store.plans():
            records = [receipt.record for receipt in store.receipts(plan).values()]
            columns = store.reduced(columns_receipt(plan))
            records += [columns.record] if columns else []
            wall = sum(sum(record.get("seconds", {}).values()) for record in records)
            cpu = sum(record.get("cpu", 0) for record in records)
            done = self._last.get((plan.stage, plan.part), 0.0)
            print(f"{' '.join([plan.stage, *plan.part]):24}{wall:10.1f}{cpu:10.1f}{done:10.1f}")


def check(store: Store) -> None:
    """Every sample in one cell of every grid; labels and clusters as they were planted. Raises where not."""
    plans = {plan.names: plan for plan in store.plans() if plan.stage != IMAGES.name}
    xy = store.read(f"{group_key(plans['layout', LAYER, ('all',)])}/xy")
    quality = store.read(f"{group_key(plans['layout', LAYER, ('all',)])}/quality")
    print(f"trustworthiness {quality[0]:.3f}, agreement of two seeds {quality[1]:.3f}")
    own = nearest_middle(store, plans["activations", LAYER, ()], np.isfinite(xy).all(axis=1))
    for side in GRIDS:
        tell(store, plans["cells", LAYER, ("all", str(side))], cells_of(xy, side), own)
    findings = verify(store).findings
    print(f"verified: {len(findings)} findings")


def nearest_middle(store: Store, plan: Plan, placed: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The middle whose class each placed sample speaks for most; -1 for the others."""
    from atlas.engine.samples import StoredSamples

    found, first = np.full(len(placed), -1), 0
    for block in StoredSamples(store, plan).attributions(0, MIDDLES):
        found[first : first + len(block)] = np.nan_to_num(block, nan=-np.inf).argmax(axis=1)
        first += len(block)
    return np.where(placed, found, -1)


def tell(store: Store, plan: Plan, cell: NDArray[np.int32], own: NDArray[np.int64]) -> None:
    """A grid's figures. Raises `RuntimeError` where a sample is in no cell, or in several."""
    group, placed = group_key(plan), own >= 0
    count = store.read(f"{group}/count")
    members = np.bincount(cell[placed], minlength=len(count))
    if not (np.array_equal(cell >= 0, placed) and np.array_equal(count, members)):
        raise RuntimeError("a sample is in no cell, or in several")
    filled, label = store.read(f"{group}/cell"), store.read(f"{group}/label")[:, 0]
    filled = filled[filled >= 0]
    votes = np.zeros((len(count), MIDDLES), np.int32)
    np.add.at(votes, (cell[placed], own[placed]), 1)
    right = (votes[filled].argmax(axis=1) == label[: len(filled)]).mean()
    pure = votes.max(axis=1).sum() / placed.sum()
    print(
        f"grid {plan.side}: {len(filled):,} of {len(count):,} cells filled; the first label of {right:.1%} is that of "
        f"most samples; {pure:.1%} of the samples lie with their like"
    )


class Memory:
    """The most that this process and all below it held together."""

    def __init__(self) -> None:
        self._most, self._stop = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> Memory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()

    def tell(self, what: str) -> None:
        print(f"{what}: at most {self._most:,.0f} MB over all processes", flush=True)

    def _watch(self) -> None:
        while not self._stop.wait(0.5):
            self._most = max(self._most, sum(map(_held, _below(os.getpid()))))


def _below(process: int) -> set[int]:
    """`process` and all processes below it."""
    children = defaultdict(list)
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            children[int((folder / "stat").read_text().rsplit(")")[-1].split()[1])].append(int(folder.name))
        except OSError:
            continue
    found, new = {process}, [process]
    while new:
        new = [child for parent in new for child in children[parent] if child not in found]
        found |= set(new)
    return found


def _held(process: int) -> float:
    """Megabytes of a process, pages that it shares by their share."""
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return next((int(line.split()[1]) / 1024 for line in lines if line.startswith("Pss:")), 0.0)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=10**6)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--keep", metavar="FOLDER", help="where the store is left; it is deleted unless said")
    given = parser.parse_args()
    main(given.samples, given.workers, given.keep)
