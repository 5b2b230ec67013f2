"""Where networks come from, by the spec that names them.

spec -> Found

torchvision:NAME[@WEIGHTS]   timm:NAME   package.module:factory   squeezenet   efficientnet-lite0
`@random` behind any of them: the same network, untrained
"""

from __future__ import annotations

import torch

from atlas.errors import UnknownName
from atlas.models.found import Found
from atlas.models.packaged import PACKAGED


def split(spec: str) -> tuple[str, str, str]:
    """Family, name and variant: `torchvision:resnet50@IMAGENET1K_V2` -> (torchvision, resnet50, IMAGENET1K_V2)."""
    family, _, rest = spec.rpartition(":")
    name, _, variant = rest.partition("@")
    return family, name, variant


def is_random(spec: str) -> bool:
    """Whether the spec asks for untrained weights."""
    return split(spec)[2] == "random"


def find(spec: str, *, trained: bool) -> Found:
    """The network that `spec` names, with its trained weights or, always alike, with fresh ones.

    Raises `UnknownName` with the nearest names, `ModelError` or `WeightsError` where it cannot be had.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return _find(spec, trained=trained)


def _find(spec: str, *, trained: bool) -> Found:
    _, name, variant = split(spec)
    if name in PACKAGED and variant in ("", "random"):
        return PACKAGED[name](trained=trained)
    raise UnknownName.among("model", spec, PACKAGED)
