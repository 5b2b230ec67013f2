"""timm's networks, with the preprocessing and the labels that its pretrained configurations carry.

NAME[.TAG] -> Found
"""

from __future__ import annotations

import re
from typing import Any

from torch import nn

from atlas.errors import ModelError, UnknownName
from atlas.models.checkpoints import fetched
from atlas.models.found import Found
from atlas.models.preprocessing import Preprocessing

SUBSETS = {"in1k": "imagenet-1k", "in12k": "imagenet-12k", "in21k": "imagenet-21k-goog", "in22k": "imagenet-22k"}
"""What the tags of timm's weights call ImageNet's sets of classes."""


def find_timm(name: str, *, trained: bool) -> Found:
    """The network `name`, with its default weights or those of its tag; untrained, it has the same structure.

    Raises `UnknownName` with the nearest names, `ModelError` where timm is not installed, `WeightsError` where the
    weights cannot be fetched.
    """
    try:
        import timm
    except ImportError:
        raise ModelError(f"timm:{name}: the package timm is not installed. Run: pip install timm") from None
    if not timm.is_model(name):
        raise UnknownName.among("timm model", name, timm.list_models())
    tag = name.partition(".")[2]
    tagged = timm.list_pretrained(f"{name.partition('.')[0]}.*")
    if tag and name not in tagged:
        raise UnknownName.among("set of weights in timm", name, tagged)
    network = _trained(timm, name) if trained else timm.create_model(name, pretrained=False)
    config = vars(network)["pretrained_cfg"]
    origin = f"timm's {config.get('tag') or 'default weights'}"
    return Found(network, _preprocessing(timm, network), _labels(config), f"{name} (timm)", origin)


def _trained(timm: Any, name: str) -> nn.Module:
    """Its weights are safetensors, a file of torch's, or arrays that numpy reads; numpy runs no code by itself."""
    with fetched(f"timm:{name}"):
        network: nn.Module = timm.create_model(name, pretrained=True)
    return network


def _preprocessing(timm: Any, network: nn.Module) -> Preprocessing:
    config = timm.data.resolve_model_data_config(network)
    height, width = config["input_size"][1:]
    squeezed = config["crop_mode"] == "squash"
    interpolation = "bilinear" if config["interpolation"] == "random" else config["interpolation"]
    return Preprocessing(
        size=(height, width),
        resize=None if squeezed else int(min(height, width) / config["crop_pct"]),
        interpolation=interpolation,
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
    )


def _labels(config: dict[str, Any]) -> tuple[str, ...] | None:
    """ImageNet's class names where the configuration's own tag says so, as in `resnet50.a1_in1k`; else None."""
    from timm.data.imagenet_info import ImageNetInfo

    if config.get("label_names"):
        return tuple(config["label_names"])
    sets = re.findall(r"in\d+k", config.get("tag") or "")
    subset = SUBSETS.get(sets[-1]) if sets else None
    names = tuple(ImageNetInfo(subset).label_descriptions()) if subset else ()
    return names if names and len(names) == config.get("num_classes") else None
