"""timm's networks, with the preprocessing and the labels that its pretrained configurations carry.

NAME[.TAG] -> Found
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from contextlib import nullcontext
from math import floor
from typing import Any

from atlas.errors import ModelError, UnknownName
from atlas.factories import guarded
from atlas.models.checkpoints import fetched
from atlas.models.followed import followed, or_why
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
    from timm.data.config import resolve_model_data_config

    # Weights are safetensors, a file of torch's, or arrays that numpy reads; numpy runs no code by itself.
    with fetched(f"timm:{name}") if trained else nullcontext():
        network = timm.create_model(name, pretrained=trained)
    config = vars(network)["pretrained_cfg"]
    origin = f"timm's {config.get('tag') or 'default weights'}"
    preprocessing, why = or_why(lambda: preprocessing_of(resolve_model_data_config(network)))  # type: ignore[no-untyped-call]
    return Found(network, preprocessing, _labels(config), f"{name} (timm)", origin, why)


def configured(config: Mapping[str, Any]) -> Preprocessing:
    """What timm makes of a configuration that somebody else wrote down, as a network's `pretrained_cfg`.

    timm fills in what it does not say; here that is refused. Raises `ModelError`, also for what cannot be followed.
    """
    if lacking := [name for name in ("input_size", "mean", "std", "interpolation", "crop_pct") if not config.get(name)]:
        raise ModelError(f"The configuration of timm says no {lacking[0]}.")
    try:
        from timm.data.config import resolve_data_config
    except ImportError:
        raise ModelError("The configuration is timm's, and the package timm is not installed.") from None
    with guarded("The configuration of timm cannot be read", ModelError):
        return preprocessing_of(resolve_data_config(pretrained_cfg=dict(config)))  # type: ignore[no-untyped-call]


def preprocessing_of(config: dict[str, Any]) -> Preprocessing:
    """What timm makes of a resolved data configuration, tried on pictures. Raises `ModelError` where it is another.

    `crop_mode` squash resizes both sides, border puts the whole picture before the mean colour, and center crops; a
    `crop_pct` above 1 leaves a black margin.
    """
    from timm.data.transforms_factory import create_transform

    mode, share = config["crop_mode"], config["crop_pct"]
    height, width = config["input_size"][1:]
    scaled = floor(height / share), floor(width / share)
    resize: int | tuple[int, int] | None = min(scaled)
    if mode == "squash":
        resize = None if scaled == (height, width) else scaled
    fill = tuple(round(255 * mean) for mean in config["mean"]) if mode == "border" else (0, 0, 0) if share > 1 else None
    ours = Preprocessing(
        size=(height, width),
        resize=resize,
        interpolation=config["interpolation"],
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
        side="longer" if mode == "border" else "shorter",
        fill=fill,
    )
    return followed(ours, create_transform(**config), f"of timm ({mode}, {share:g})")


def _labels(config: dict[str, Any]) -> tuple[str, ...] | None:
    """ImageNet's class names where the configuration's own tag says so, as in `resnet50.a1_in1k`; else None."""
    from timm.data.imagenet_info import ImageNetInfo

    if config.get("label_names"):
        return tuple(config["label_names"])
    sets = re.findall(r"in\d+k", config.get("tag") or "")
    subset = SUBSETS.get(sets[-1]) if sets else None
    names = tuple(ImageNetInfo(subset).label_descriptions()) if subset else ()
    return names if names and len(names) == config.get("num_classes") else None
