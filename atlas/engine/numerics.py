"""The numerics of a plan made on this machine.

(device, batch, dtype) -> Numerics
"""

from __future__ import annotations

import torch

from atlas.errors import AtlasError
from atlas.recipe import Numerics
from atlas.words import parameter

WIDTH = {"cpu": 8, "cuda": 64}
"""Pictures side by side: a CPU gains little beyond 4 and hardly anything beyond 8, a GPU wants to be filled."""

WIDTHS_OF_COLLECTING = {"cpu": 8, "cuda": 256}
"""Crops shown side by side: nothing is kept of them for a backward pass, so that more fit."""

WIDTHS_OF_SAMPLING = {"cpu": 8, "cuda": 64}
"""Crops shown, and positions attributed, side by side: a forward-mode derivative takes as much memory again."""


def numerics_for(device: str = "auto", batch: int | None = None, dtype: str = "float32") -> Numerics:
    """Numerics for `device` (auto, cpu or cuda). Raises `AtlasError` where it, or the dtype, is not there."""
    if device not in {"auto", *WIDTH}:
        raise AtlasError(f"{parameter('device', device)}: there are auto, cpu and cuda.")
    if device == "cuda" and not torch.cuda.is_available():
        raise AtlasError(
            f"{parameter('device', device)}: torch sees no CUDA device here. Leave {parameter('device')} out to use "
            "the CPU."
        )
    kind = device if device != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
    version = ".".join(torch.__version__.split(".")[:2])
    return Numerics(batch=batch or WIDTH[kind], device=kind, torch=version, dtype=dtype)
