"""What it costs to look on: throughput of vectors, statistics and classes against the network's bare forward pass.

    python -m benchmarks.collecting [MODEL ...] [--images 64] [--width 8] [--rounds 7]

Decoded crops wait in memory. Each round does everything once, one after the other on one core, so that whatever else
runs on the machine slows all of it alike; printed are medians of CPU seconds, and ratios of throughput.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Sequence
from statistics import median

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from atlas.dataset.collect import Collected, Shown, collect
from atlas.dataset.crops import crops
from atlas.dataset.shown import batches
from atlas.dataset.watch import on_device
from atlas.models import Model, load_model
from atlas.recipe import Numerics
from atlas.rendering.compute import computing
from tests.dataset.made import photographs
from tests.dataset.sampling import sample

MODELS = ["squeezenet", "efficientnet-lite0", "torchvision:resnet18@random"]


def main() -> None:
    """Measure each model and print its lines."""
    parser = argparse.ArgumentParser()
    parser.add_argument("models", nargs="*", default=MODELS)
    for option, default in (("images", 64), ("width", 8), ("rounds", 7)):
        parser.add_argument(f"--{option}", type=int, default=default)
    given = parser.parse_args()
    with computing(Numerics(threads=1)):
        for spec in given.models:
            measure(load_model(spec), given.images, given.width, given.rounds)


def measure(model: Model, images: int, width: int, rounds: int) -> None:
    """Print what each way of looking on costs."""
    shown = decoded(model, images)
    ready = network_inputs(model, shown, width)
    layers = model.select(["auto"])
    network = on_device(model, "cpu").network

    def bare() -> None:
        with torch.no_grad():
            for network_input in ready:
                network(network_input)

    ways: dict[str, Callable[[], Collected | object]] = {
        "bare forward": bare,
        f"vectors of {layers[-1].name}": lambda: sample(model, layers[-1:], shown, width=width, seed=0),
        f"statistics of {len(layers)} layers": lambda: collect(model, layers, shown, width=width, classes=False),
        "statistics and classes": lambda: collect(model, layers, shown, width=width),
    }
    taken, split = interleaved(ways, rounds)
    values = sum(layer.channels * max(1, int(np.prod(layer.size))) for layer in layers)
    print(f"{model.title}: {images} images, width {width}, {values / 1e6:.2f} M values an image in auto layers")
    for name, seconds in taken.items():
        ratio = taken["bare forward"] / seconds
        print(f"  {name:28} {seconds / images * 1e3:7.2f} ms an image   {ratio:6.1%} of the bare throughput")
    print(f"  split: {', '.join(f'{phase} {seconds / images * 1e3:.2f} ms' for phase, seconds in split.items())}")


def interleaved(
    ways: dict[str, Callable[[], Collected | object]], rounds: int
) -> tuple[dict[str, float], dict[str, float]]:
    """Median CPU seconds of each way, and the wall seconds by phase of the last one's fastest round."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    splits: list[dict[str, float]] = []
    for number in range(rounds + 1):
        for name, way in ways.items():
            began = time.process_time()
            found = way()
            if number:  # the first round compiles
                taken[name].append(time.process_time() - began)
        if number and isinstance(found, Collected):
            splits.append(found.seconds)
    return {name: median(seconds) for name, seconds in taken.items()}, min(
        splits, key=lambda split: sum(split.values())
    )


def decoded(model: Model, images: int) -> list[Shown]:
    """Photographs, and drawn crops of them as images of their own."""
    files = sorted(photographs().glob("imagenet_*.jpg"))
    found: list[Tensor] = []
    for number in range(-(-images // len(files))):
        for file in files:
            with Image.open(file) as picture:
                pixels = np.array(picture.convert("RGB"))
            drawn = crops(pixels, model.preprocessing, number + 1, seed=0, sha256=file.name.encode())
            found.append(drawn[number].x)
    return [Shown(number, x[None], number.to_bytes(4)) for number, x in enumerate(found[:images])]


def network_inputs(model: Model, shown: Sequence[Shown], width: int) -> list[Tensor]:
    return [
        model.preprocessing.normalise(batch.x).contiguous(memory_format=torch.channels_last)
        for batch in batches(shown, width)
    ]


if __name__ == "__main__":
    main()
