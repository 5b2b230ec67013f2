"""The engine on a GPU: pictures a second at each width, what of the device it uses, and a whole network's minutes.

    python -m benchmarks.gpu [--device cuda] [--size 224] [--out FOLDER]    -> tables, FOLDER/gpu.json

Needs torch, torchvision and this project's reader (zarr, numpy, Pillow), and no Ray. Speeds are of GoogLeNet, whose
weights may be random: no kernel is faster for what it multiplies.

    limit     the most floating point operations a second that this device's own convolutions reach, of several shapes
    width     pictures of inception4c a second, side by side at each width, in float32 and bfloat16
    waiting   that a step asks the device nothing (torch raises where one does)
    repeats   that the same pictures made twice are the same bytes
    network   seconds of all channels from conv1 to inception5b: on CUDA all are made and measured; on a CPU, where that
              takes hours, a batch of each layer, times its channels
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from atlas.models import Model, Prepared, load_model, prepare
from atlas.recipe import Numerics, Recipe
from atlas.rendering import Key, channel, render_units, score_pictures
from atlas.rendering.calibration import clock, cost
from atlas.rendering.compute import computing
from atlas.rendering.engine import Ascent
from atlas.rendering.parameterization import fourier
from atlas.rendering.transforms import draw
from atlas.store import as_stored
from atlas.units import Layer

MODEL, LAYER, LAST = "torchvision:googlenet@random", "inception4c", "inception5b"
WIDTHS = {"cuda": (32, 64, 128, 256, 512), "cpu": (2, 4)}
DTYPES = {"cuda": ("float32", "bfloat16"), "cpu": ("float32",)}
SHAPES = ((64, 256, 28, 3), (128, 512, 14, 3), (256, 1024, 14, 1))
"""Images, channels, side and kernel of the convolutions that show what the device can do; images tenfold on CUDA."""


def limit(device: str, dtype: str) -> float:
    """The most operations a second of a convolution forward and back to its input."""
    return max(_convolving(device, dtype, *shape) for shape in SHAPES)


def _convolving(device: str, dtype: str, images: int, channels: int, side: int, kernel: int) -> float:
    images, repeats = (10 * images, 20) if device == "cuda" else (2, 2)
    kind, layout = getattr(torch, dtype), torch.channels_last
    net = nn.Conv2d(channels, channels, kernel, padding=kernel // 2, bias=False).to(device, kind)
    net = net.to(memory_format=layout).requires_grad_(False)
    x = torch.randn(images, channels, side, side, device=device, dtype=kind).contiguous(memory_format=layout)
    x.requires_grad_()
    numerics = Numerics(device=device)
    with computing(numerics):
        for counted in (3, repeats):  # the first ones are not counted
            began = clock(numerics)
            for _ in range(counted):
                torch.autograd.grad(net(x).sum(), x)
            took = clock(numerics) - began
    return repeats * 2 * 2 * images * side**2 * channels**2 * kernel**2 / took


def widths(model: Model, recipe: Recipe, device: str) -> Iterator[dict[str, Any]]:
    """Seconds of a step of a picture, and operations a second, at each width and dtype."""
    layer = model.layer(LAYER)
    prepared = prepare(model, layer, device=device)
    for dtype in DTYPES[device]:
        top = limit(device, dtype)
        for width in WIDTHS[device]:
            numerics = replace(Numerics(batch=width, device=device), dtype=dtype)
            try:
                found = cost(prepared, recipe, numerics)
            except torch.OutOfMemoryError:
                yield {"dtype": dtype, "width": width, "memory": "out of it"}
                break
            rate = 2 * layer.flops * (recipe.size / model.preprocessing.size[0]) ** 2 / found.step
            row = {"dtype": dtype, "width": width, "pictures/s": round(1 / found.of(recipe), 2)}
            yield row | {"TFLOP/s": round(rate / 1e12, 3), "limit": round(top / 1e12, 3), "share": round(rate / top, 3)}


def waiting(prepared: Prepared, recipe: Recipe, numerics: Numerics) -> str:
    """Whether a step waits for the device: torch raises at the first thing that does."""
    if numerics.device != "cuda":
        return "not on the CPU"
    keys = [Key(0, prepared.layer.name, unit, "positive") for unit in range(numerics.batch)]
    objective = channel(prepared.layer.name, range(numerics.batch))
    ascent = Ascent(prepared, objective, fourier(keys, recipe), recipe, numerics)
    affines, pace = draw(keys, recipe, 4, "training").to(numerics.device), torch.ones(2, device=numerics.device)
    ascent.turn(affines[0], pace)
    ascent.step()  # what is set up once may wait
    torch.cuda.synchronize()
    torch.cuda.set_sync_debug_mode("error")
    try:
        for affine in affines:
            ascent.turn(affine, pace)
            ascent.step()
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return "never"


def repeats(prepared: Prepared, recipe: Recipe, numerics: Numerics) -> bool:
    """Whether pictures made twice are the same bytes."""
    units = range(numerics.batch)
    one, two = (render_units(prepared, units, replace(recipe, steps=16), numerics).pictures for _ in range(2))
    return np.array_equal(one, two)


def network(model: Model, recipe: Recipe, numerics: Numerics) -> Iterator[tuple[Layer, float]]:
    """Every layer from the first to the last block, and the seconds of its channels, a picture each."""
    for layer in blocks(model):
        prepared = prepare(model, layer, device=numerics.device)
        if numerics.device == "cuda":
            yield layer, every(prepared, recipe, numerics)
        else:
            yield layer, layer.channels * cost(prepared, recipe, numerics).of(recipe)


def every(prepared: Prepared, recipe: Recipe, numerics: Numerics) -> float:
    """Seconds of making and measuring pictures of all channels of a layer, as a build does but for the writing."""
    units, began = range(prepared.layer.channels), clock(numerics)
    found = render_units(prepared, units, recipe, numerics)
    score_pictures(prepared, as_stored(found.pictures, recipe.jpeg_quality), units, recipe, numerics)
    return clock(numerics) - began


def blocks(model: Model) -> Sequence[Layer]:
    """The convolutions before the inception blocks, and the blocks."""
    names = ("conv1", "conv2", "conv3", *(f"inception{name}" for name in ("3a", "3b", "4a", "4b", "4c", "4d", "4e")))
    return [model.layer(name) for name in (*names, "inception5a", LAST)]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=list(WIDTHS))
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--recipe", default="quick")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    recipe = Recipe.named(given.recipe, size=given.size, variants=("positive",))
    model = load_model(MODEL)
    found: dict[str, Any] = {"torch": torch.__version__, "recipe": recipe.to_dict(), "widths": []}
    found["device"] = torch.cuda.get_device_name() if given.device == "cuda" else "cpu"
    for row in widths(model, recipe, given.device):
        print("  ".join(f"{name} {value}" for name, value in row.items()), flush=True)
        found["widths"].append(row)
    best = max((row for row in found["widths"] if "share" in row), key=lambda row: row["pictures/s"])
    numerics = replace(Numerics(batch=best["width"], device=given.device), dtype=best["dtype"])
    prepared = prepare(model, model.layer(LAYER), device=given.device)
    found["waits"] = waiting(prepared, recipe, numerics)
    found["repeats"] = repeats(prepared, recipe, numerics)
    print(f"waits for the device: {found['waits']}; the same bytes twice: {found['repeats']}", flush=True)
    seconds, channels = 0.0, 0
    for layer, took in network(model, recipe, numerics):
        seconds, channels = seconds + took, channels + layer.channels
        print(f"{layer.name:14}{layer.channels:6}{layer.channels / took:10.1f} pictures/s", flush=True)
    found |= {"channels": channels, "minutes": seconds / 60}
    print(f"all {channels:,} channels, one picture each: {seconds / 60:.1f} minutes")
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
        (given.out / "gpu.json").write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
