"""The numerics of a plan: what it says of them, and what there is to compute on.

(device, batch, dtype), Hardware -> Numerics
"""

from __future__ import annotations

from dataclasses import dataclass

from atlas.errors import AtlasError
from atlas.recipe import Numerics
from atlas.words import parameter

WIDTH = {"cpu": 8, "cuda": 64}
"""Pictures side by side: a CPU gains little beyond 4 and hardly anything beyond 8, a GPU wants to be filled."""

WIDTHS_OF_COLLECTING = {"cpu": 8, "cuda": 256}
"""Crops shown side by side: nothing is kept of them for a backward pass, so that more fit."""

WIDTHS_OF_SAMPLING = {"cpu": 8, "cuda": 64}
"""Crops shown, and positions attributed, side by side: a forward-mode derivative takes as much memory again."""


@dataclass(frozen=True)
class Hardware:
    """What shards are computed on."""

    cuda: bool
    """Whether torch sees a CUDA device there."""
    torch: str
    """torch's version there, to the minor: it moves bits."""
    where: str = "here"
    """As a message says it."""
    slots: int | None = None
    """How many tasks a cluster runs side by side; None of this machine."""


def here() -> Hardware:
    """What this process computes on."""
    import torch

    return Hardware(torch.cuda.is_available(), ".".join(torch.__version__.split(".")[:2]))


def checked(device: str) -> str:
    """A `device` that there is: auto, cpu or cuda. Raises `AtlasError` for another."""
    if device not in {"auto", *WIDTH}:
        raise AtlasError(f"{parameter('device', device)}: there are auto, cpu and cuda.")
    return device


def numerics_for(
    device: str = "auto", batch: int | None = None, dtype: str = "float32", hardware: Hardware | None = None
) -> Numerics:
    """Numerics for `device` (auto, cpu or cuda) on `hardware`, this process's unless said.

    Raises `AtlasError` where the device, or the dtype, is not there.
    """
    device, on = checked(device), hardware or here()
    if device == "cuda" and not on.cuda:
        raise AtlasError(
            f"{parameter('device', device)}: torch sees no CUDA device {on.where}. Leave {parameter('device')} out to "
            "use the CPU."
        )
    kind = device if device != "auto" else "cuda" if on.cuda else "cpu"
    return Numerics(batch=batch or WIDTH[kind], device=kind, torch=on.torch, dtype=dtype)
