"""Where networks come from, by the spec that names them.

    spec -> Found

    torchvision:NAME[@WEIGHTS]   timm:NAME[.TAG]   package.module:factory   squeezenet   efficientnet-lite0

`@random` behind any of them but a factory, which decides itself, means untrained weights, always the same ones.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch

from atlas.errors import ModelError, UnknownName
from atlas.factories import guarded
from atlas.models.foreign import plain
from atlas.models.found import MEMORY, Found
from atlas.models.from_factory import find_factory
from atlas.models.from_timm import find_timm
from atlas.models.from_torchvision import find_torchvision, torchvision_names
from atlas.models.packaged import PACKAGED
from atlas.words import parameter

SHAPES = "torchvision:NAME, timm:NAME, package.module:factory, " + ", ".join(PACKAGED)


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
    with torch.random.fork_rng(devices=[]), guarded(f"{spec}: the network cannot be built", ModelError):
        torch.manual_seed(0)
        found = _find(*split(spec), spec=spec, trained=trained)
    return replace(found, network=plain(found.network, spec))


def _find(family: str, name: str, variant: str, *, spec: str, trained: bool) -> Found:
    if spec.startswith(MEMORY):
        raise ModelError(f"{spec} was a network in memory: give the network itself, in Python.")
    if family == "torchvision":
        return find_torchvision(name, variant, trained=trained)
    if variant not in ("", "random"):
        raise UnknownName(f"There are no weights {variant!r} of {name}; only torchvision's have names, and @random.")
    if family == "timm":
        return find_timm(name, trained=trained)
    if family and variant:
        raise ModelError(
            f"{spec}: a factory decides its own weights. Leave @random out; give others as {parameter('weights')}."
        )
    if family:
        return find_factory(family, name)
    if name in PACKAGED:
        return PACKAGED[name](trained=trained)
    if Path(spec).suffix or "/" in spec:
        raise ModelError(f"There is no file and no store {spec!r}, and no model of that name. One of: {SHAPES}.")
    known = [*PACKAGED, *(f"torchvision:{name}" for name in torchvision_names())]
    raise UnknownName.among("model", spec, known, hint=f"A model is one of: {SHAPES}.")
