"""How long a catalogue of a million units makes its reader wait.

    python -m benchmarks.catalogue [--units 1000000] [--alike 100000] -> a table of medians

A made store: layers of 2,048 channels with all their numbers, the first of them with statistics over 1,024 images. Its
pictures are left out, and the numbers in its shards' receipts: nothing that is timed here reads them.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np

import atlas
from atlas.catalogue import Catalogue, write_index
from atlas.catalogue.tables import write_tables
from atlas.engine.planning.images import plans as plans_of_images
from atlas.plans import Plan
from atlas.recipe import Collection
from atlas.stages import FEATURES, IMAGES, STATISTICS
from atlas.store import Data, Receipt, Store, digest_of
from atlas.store.bundles import stored
from atlas.store.layout import columns_receipt, manifest_key
from atlas.store.receipts import fold
from atlas.units import Layer
from tests.collected import _measure, _show
from tests.stores import IDENTITY, NUMERICS, made_layer, plan_of

CHANNELS = 2048
IMAGES_SHOWN = 1024


def make(place: Path, units: int, alike: int) -> Store:
    """A store of `units` units, of which `alike` have statistics."""
    store = Store.create(place, IDENTITY, {"title": "Made", "random": False, "input": [64, 64], "labels": None})
    layers = [made_layer(f"block.{n // 8}.conv{n % 8}", CHANNELS, flops=n) for n in range(-(-units // CHANNELS))]
    chance = np.random.default_rng(0)
    for layer in layers:
        _pictured(store, plan_of(layer, size=128), chance)
    _collected(store, layers[: -(-alike // CHANNELS)], chance)
    write_index(store)
    return store


def _pictured(store: Store, plan: Plan, chance: np.random.Generator) -> None:
    """The numbers of a layer's pictures."""
    (plan,) = store.prepare([plan])
    shards = [Receipt(plan.id, shard.index, (shard.start, shard.stop), ()) for shard in plan.shards]
    store.backend.put(manifest_key(plan), fold(shards))
    mean = chance.gamma(2.0, 50.0, (CHANNELS, 2)).astype(np.float32)
    status = (chance.random((CHANNELS, 2)) < 0.02).astype(np.uint8)
    data: Data = {"mean": mean, "peak": 3 * mean, "status": status}
    objects = dict[str, bytes]()
    for name, values in data.items():
        objects |= store._packed(f"layers/{plan.on.key}/features/{name}", slice(0, CHANNELS), CHANNELS, values)
    receipt = Receipt(digest_of(shards), 0, (0, CHANNELS), stored(objects))
    store.commit_reduced(columns_receipt(plan), objects, receipt, lambda: True)


def _collected(store: Store, layers: Sequence[Layer], chance: np.random.Generator) -> None:
    """What images leave of some layers: all but the examples' boxes."""
    collection = Collection("ab" * 32, IMAGES_SHOWN, 10, 1, photographs=False)
    made = [plan for plan in plans_of_images(IDENTITY, layers, collection, NUMERICS, {}) if plan.stage != "examples"]
    for plan in store.prepare(made):
        {IMAGES.name: _show, STATISTICS.name: _measure}[plan.stage](store, plan, chance)


def timed(what: str, calls: Sequence[Callable[[], object]], *, most: float) -> None:
    """Print the median of `calls` in milliseconds beside what is promised; the first one apart."""
    seconds = []
    for call in calls:
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    warm = 1e3 * median(seconds[1:])
    print(f"{what:44} first {1e3 * seconds[0]:9.1f} ms   median {warm:8.2f} ms   (at most {most:g} ms)")


def measure(place: Path, cat: Catalogue) -> None:
    """Print the table."""
    draw = random.Random(0)
    names = list(cat.layers)
    some = [f"{draw.choice(names)}:{draw.randrange(CHANNELS)}" for _ in range(300)]
    timed("atlas.open", [partial(atlas.open, place)] * 8, most=1000)
    timed("cat[unit], its objective, peak and status", [partial(_look, cat, name) for name in some], most=5)
    layers = draw.choices(names, k=30)
    timed(
        "find(layer, status, order, top=20)",
        [partial(cat.find, name, "ok", "objective_peak desc", 20) for name in layers],
        most=50,
    )
    timed(
        "find(order over all layers, top=20)",
        [lambda: cat.find(status="ok", order="objective_peak desc", top=20)] * 12,
        most=50,
    )
    timed("find(a range over all layers, top=20)", [lambda: cat.find(objective=(400, None), top=20)] * 12, most=50)
    known = [view.name for view in cat if view.answers.there]
    units = [f"{draw.choice(known)}:{draw.randrange(1, 1000)}" for _ in range(30)]
    timed(f"similar over {len(known) * CHANNELS:,} units", [partial(cat.similar, name) for name in units], most=50)


def _look(cat: Catalogue, name: str) -> tuple[float, float, str]:
    unit = cat.unit(name)
    return unit.objective, unit.objective_peak, unit.status


def main() -> None:
    """Make the store, write its tables, time its reader."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--units", type=int, default=1_000_000)
    parser.add_argument("--alike", type=int, default=100_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        store = make(Path(folder) / "made.atlas", given.units, given.alike)
        print(f"made {given.units:,} units in {time.perf_counter() - began:.0f} s")
        began = time.perf_counter()
        write_tables(store)
        print(f"tables written in {time.perf_counter() - began:.1f} s")
        measure(Path(folder) / "made.atlas", atlas.open(Path(folder) / "made.atlas"))


if __name__ == "__main__":
    assert FEATURES.shard * 64 == CHANNELS
    main()
