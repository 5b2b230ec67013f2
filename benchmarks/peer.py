"""The peer of `against_lucent`: torch-lucent, driven by lines of JSON.

    {"unit": 40, "steps": 128, "file": "..."} -> its picture uint8 [h,w,3] in the file; CPU and wall seconds

    python -m benchmarks.peer MODEL LAYER SIZE INPUT THREADS DEVICE

Runs in an environment of its own (see `against_lucent`), where `lucent` and its old `kornia` do no harm. Lucent is used
as its README says, with its defaults: Adam(0.05), its standard transforms, one channel at a time. Only what would be
wrong or unfair is said otherwise: each network's own preprocessing in place of torchvision's, and a fresh network a
picture, since lucent never removes its hooks and every call would slow down the next.
"""

from __future__ import annotations

import copy
import json
import sys
import time
import warnings
from typing import Any

import numpy as np
import torch
from torch import nn

from atlas.models import Model, load_model

warnings.simplefilter("ignore")
from lucent.optvis import param, render, transform  # noqa: E402

DEFAULT = 0
"""As INPUT: the network sees what lucent shows it by default."""


def main(spec: str, layer: str, size: int, seen: int, threads: int, device: str) -> None:
    """Answer each line of standard input with one on standard output."""
    torch.set_num_threads(threads)
    model = load_model(spec)
    paint(fresh(model, device), model, layer, 0, size, seen, steps=2)
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        network = fresh(model, device)
        wall, cpu = time.perf_counter(), time.process_time()
        picture = paint(network, model, layer, asked["unit"], size, seen, asked["steps"])
        spent = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
        np.save(asked["file"], (picture * 255).round().astype(np.uint8))
        print(json.dumps(spent), flush=True)


def fresh(model: Model, device: str) -> nn.Module:
    """A network as a user of lucent loads it: no hooks, weights that take gradients."""
    return copy.deepcopy(model.network).requires_grad_(True).to(device)


def paint(
    network: nn.Module, model: Model, layer: str, unit: int, size: int, seen: int, steps: int
) -> np.ndarray[Any, Any]:
    """Lucent's picture of a channel, float [h,w,3] in [0,1]."""
    torch.manual_seed(unit)
    np.random.seed(unit)
    (pictures,) = render.render_vis(
        network,
        f"{layer.replace('.', '_')}:{unit}",
        lambda: param.image(size),
        transforms=[*transform.standard_transforms, model.preprocessing.normalise],
        thresholds=(steps,),
        preprocess=False,
        fixed_image_size=seen or None,
        progress=False,
        show_image=False,
    )
    picture: np.ndarray[Any, Any] = pictures[0]
    return picture


if __name__ == "__main__":
    _, given, place, side, shown, count, where = sys.argv
    main(given, place, int(side), int(shown), int(count), where)
