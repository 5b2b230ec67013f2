"""What grows with a plan, measured where it can be and carried on from there: the figures of docs/scale.md.

    python -m benchmarks.scale [--layers 25,100,400] [--units 8192,16384]

Requests of a shard, by kind; metadata and index by layers; similar units, which grow with the square of the units.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from atlas.catalogue import similarity, write_index
from atlas.engine.executors import InProcess
from atlas.models import load_model
from atlas.plans import SHARD
from atlas.store import MemoryBackend, Store
from tests.builds import HASTY, build_in, tiny_plans
from tests.stores import IDENTITY, made_layers, plan_of

COUNTED = ("get", "range", "put", "put_new", "put_if", "delete", "list")


class Counting(MemoryBackend):
    """Counts what is asked of it."""

    def __init__(self) -> None:
        super().__init__()
        self.asked = Counter[str]()

    def __getattribute__(self, name: str) -> Any:
        if name in COUNTED:
            self.asked[name] += 1
        return super().__getattribute__(name)


def requests() -> Counter[str]:
    """What one more shard of pictures asks of a store: what a build of two layers asks beyond one of one shard less."""
    model, counts = load_model("tests.networks:tiny"), []
    for units in ("second.1:0-31", "second.1:0-63"):
        backend = Counting()
        build_in(backend, model, tiny_plans(model, units, recipe=HASTY), InProcess())
        counts.append(backend.asked)
    return counts[1] - counts[0]


def metadata(layers: int) -> tuple[float, float, float]:
    """Seconds of writing the metadata of `layers` layers of 512 units, and MB of the root's and of the index."""
    backend = MemoryBackend()
    store = Store.create(backend, IDENTITY, {"title": "made", "random": False, "input": [64, 64], "labels": None})
    made = made_layers({f"layer.{number}": 512 for number in range(layers)})
    began = time.process_time()
    store.prepare([plan_of(layer) for layer in made])
    spent = time.process_time() - began
    write_index(store)
    return spent, len(backend.get("zarr.json") or b"") / 1e6, len(backend.get("catalogue.json") or b"") / 1e6


def similar(units: int) -> float:
    """CPU-seconds of finding the similar units of all of `units`, on one thread."""
    vectors = similarity.vectors(np.random.default_rng(0).normal(size=(similarity.IMAGES, units)).astype(np.float32))
    began = time.process_time()
    with threadpool_limits(1):
        for _ in similarity.nearest(vectors, vectors, 10, first=0):
            pass
    return time.process_time() - began


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--layers", default="25,100,400")
    parser.add_argument("--units", default="8192,16384")
    given = parser.parse_args()
    asked = requests()
    print(f"a shard of {SHARD} units: {sum(asked.values())} requests: {dict(asked)}")
    for layers in map(int, given.layers.split(",")):
        spent, root, index = metadata(layers)
        print(f"{layers:>5} layers: metadata {spent:.2f} CPU-s, zarr.json {root:.2f} MB, catalogue.json {index:.3f} MB")
    for units in map(int, given.units.split(",")):
        spent = similar(units)
        print(f"{units:>6} units: similar units {spent:.1f} CPU-s, {1e9 * spent / units**2:.1f} s per 10^9 pairs")


if __name__ == "__main__":
    main()
