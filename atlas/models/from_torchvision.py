"""torchvision's networks, with the preprocessing and the labels that its weights carry.

NAME, WEIGHTS -> Found
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from types import ModuleType
from typing import Any

from torch import nn

from atlas.errors import ModelError, UnknownName
from atlas.models.checkpoints import fetched
from atlas.models.found import Found
from atlas.models.preprocessing import Preprocessing

AS_TRAINED: dict[str, dict[str, Any]] = {
    name: {"transform_input": True, "aux_logits": False, "init_weights": False}
    for name in ("googlenet", "inception_v3")
}
"""What torchvision changes in a network's structure when it loads trained weights, besides the number of classes."""


def find_torchvision(name: str, variant: str = "", *, trained: bool) -> Found:
    """The network `name` with its default weights or those called `variant`; untrained, it has the same structure.

    Raises `UnknownName` with the nearest names, `WeightsError` where the weights cannot be fetched.
    """
    from torchvision import models

    known = torchvision_names()
    if name not in known:
        raise UnknownName.among("torchvision model", name, known)
    weights = _weights(models, name, "" if variant == "random" else variant)
    builder = models.get_model_builder(name)
    network = _trained(builder, name, weights) if trained else builder(**_untrained(builder, name, weights))
    preprocessing = preprocessing_of(weights.transforms())
    labels, origin = tuple(weights.meta["categories"]), f"torchvision's {weights.name}"
    return Found(network, preprocessing, labels, f"{name} (torchvision)", origin)


def torchvision_names() -> list[str]:
    """Its networks that take single images and answer with tensors."""
    from torchvision import models

    return [name for module in (models, models.segmentation) for name in models.list_models(module=module)]


def _weights(models: ModuleType, name: str, variant: str) -> Any:
    """The weights called `variant`, or the default ones."""
    every = models.get_model_weights(name)
    if variant and variant not in every.__members__:
        hint = f"There are: {', '.join(every.__members__)}."
        raise UnknownName.among(f"set of weights of torchvision:{name}", variant, every.__members__, hint=hint)
    return every[variant] if variant else every.DEFAULT


def _trained(builder: Callable[..., nn.Module], name: str, weights: Any) -> nn.Module:
    """What torchvision's own builder makes: it knows older names of keys, and which heads only training needs."""
    with fetched(f"torchvision:{name}", f"{weights.name} ({weights.url.rpartition('/')[2]})"):
        return builder(weights=weights, progress=False)


def _untrained(builder: Callable[..., nn.Module], name: str, weights: Any) -> dict[str, Any]:
    """Arguments that give the structure `weights` have, without reading them."""
    arguments = {"weights": None, "num_classes": len(weights.meta["categories"])} | AS_TRAINED.get(name, {})
    named = inspect.signature(builder).parameters
    arguments |= {key: value for key, value in (("weights_backbone", None), ("aux_loss", True)) if key in named}
    if name.startswith("vit_"):
        arguments["image_size"] = weights.meta["min_size"][0]
    if name.startswith("maxvit"):
        arguments["input_size"] = weights.meta["min_size"]
    return arguments


def preprocessing_of(transforms: Any) -> Preprocessing:
    """What one of torchvision's `weights.transforms()` does. Raises `ModelError` for a kind without mean and std."""
    if not all(hasattr(transforms, field) for field in ("resize_size", "mean", "std", "interpolation")):
        raise ModelError(f"The preprocessing {type(transforms).__name__} is not that of single images, resized.")
    resize = transforms.resize_size[0]
    size = getattr(transforms, "crop_size", [resize])
    return Preprocessing(
        size=(size[0], size[-1]),
        resize=resize,
        interpolation=transforms.interpolation.value,
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
    )
