"""What it costs that images lie in an object store: crops a core and second beside the same images on the disk.

    python -m benchmarks.buckets [--images 512] [--crops 8] [--rounds 5] [--endpoint URL --bucket s3://BUCKET]

JPEGs of 500 x 375 are read, decoded and cut as a build does it, by one thread of decoding. Each round does all ways one
after the other, so that whatever else runs on the machine slows all of it alike; printed are medians. Without
`--endpoint` a SeaweedFS server runs beside it and takes its share of the cores: seconds of this process's own
processor are given too.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import NamedTuple

import numpy as np
from PIL import Image

from atlas.dataset import Copies
from atlas.engine.numerics import numerics_for
from atlas.engine.passes import ShardImages
from atlas.engine.planning import images as collecting
from atlas.engine.planning.images import ListedImages
from atlas.engine.run import describe
from atlas.models import Model, load_model
from atlas.store import MemoryBackend, Store, backend_at
from tests.dataset.made import encoded, pixels
from tests.object_stores import environment, seaweed

SIZE = 375, 500
MODEL = "torchvision:resnet18@random"
"""Its crops are of 224 pixels."""


class Took(NamedTuple):
    """What showing all images takes."""

    wall: float
    processor: float


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser()
    for option, default in (("images", 512), ("crops", 8), ("rounds", 5)):
        parser.add_argument(f"--{option}", type=int, default=default)
    parser.add_argument("--endpoint")
    parser.add_argument("--bucket")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as name, serving(Path(name), given.endpoint, given.bucket) as address:
        work = Path(name)
        place = f"{address}/benchmark"
        whole = fill(work / "images", place, given.images)
        print(f"{given.images} JPEGs of {SIZE[1]} x {SIZE[0]}, {whole / given.images / 1e3:.0f} kB each on average")
        compare(work, place, given.crops, given.rounds)


@contextmanager
def serving(work: Path, endpoint: str | None, bucket: str | None) -> Iterator[str]:
    """The address of a bucket: that of a running server, or of one of its own."""
    if endpoint and bucket:
        with environment(AWS_ENDPOINT_URL=endpoint):
            yield bucket
        return
    (work / "seaweed").mkdir()
    with seaweed(work / "seaweed") as server, server.reached():
        yield server.bucket


def fill(folder: Path, place: str, count: int) -> int:
    """The same photographs, as far as a decoder can tell, in a folder and in a bucket; says how many bytes."""
    folder.mkdir()
    backend, whole = backend_at(place), 0
    for number in range(count):
        chance = np.random.default_rng(number)
        grain = chance.normal(0, 9, (*SIZE, 1))
        picture = (pixels(number, SIZE) + grain).clip(0, 255).astype(np.uint8)
        data = encoded(Image.fromarray(picture), "JPEG", quality=90)
        (folder / f"{number:06d}.jpg").write_bytes(data)
        backend.put(f"{number:06d}.jpg", data)
        whole += len(data)
    return whole


def compare(work: Path, place: str, count: int, rounds: int) -> None:
    """Print what listing and showing takes from each place."""
    model = load_model(MODEL)
    ways: dict[str, tuple[str, Callable[[], Copies]]] = {
        "disk": (str(work / "images"), lambda: Copies(str(work / "none"), 0)),
        "S3": (place, lambda: Copies(str(work / "none"), 0)),
        "S3, copied while listed": (place, lambda: Copies(str(work / "kept"), 10)),
    }
    shown = {}
    for name, (given, copies) in ways.items():
        shutil.rmtree(work / "none", ignore_errors=True)
        began = time.perf_counter()
        found = ListedImages.open([given], copies=copies())
        first = time.perf_counter() - began
        began = time.perf_counter()
        ListedImages.open([given], copies=copies())
        print(f"{name}: listed in {first:.2f} s, again in {time.perf_counter() - began:.2f} s")
        shown[name] = found
    took: dict[str, list[Took]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, found in shown.items():
            took[name].append(show(model, found, count))
    crops = len(shown["disk"].listed) * count
    disk = took["disk"]
    for name, several in took.items():
        rate = median(crops / one.wall for one in several)
        ratio = median(near.wall / far.wall for near, far in zip(disk, several, strict=True))
        own = median(near.processor / far.processor for near, far in zip(disk, several, strict=True))
        each = median(crops / one.processor for one in several)
        print(
            f"{name}: {rate:,.0f} crops/s ({ratio:.0%} of disk), "
            f"{each:,.0f} crops a second of a core ({own:.0%} of disk)"
        )


def show(model: Model, found: ListedImages, crops: int) -> Took:
    """Read, decode and cut all images, as a pass over them does."""
    collection = found.collection(model, crops=crops)
    plans = collecting.plans(model.identity, [], collection, numerics_for("cpu"), {})
    store = Store.create(MemoryBackend(), model.identity, describe(model))
    store.prepare(plans)
    found.write(store, plans)
    began, processor = time.perf_counter(), time.process_time()
    for index in range(len(plans[0].shards)):
        for _ in ShardImages(store, found.source, plans[0], index, model.preprocessing).shown():
            pass
    return Took(time.perf_counter() - began, time.process_time() - processor)


if __name__ == "__main__":
    main()
