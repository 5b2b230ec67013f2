"""torchvision's networks, with the preprocessing and the labels that its weights carry.

NAME, WEIGHTS -> Found
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import replace
from types import ModuleType
from typing import Any

from torch import nn

from atlas.errors import ModelError, UnknownName
from atlas.models.checkpoints import fetched
from atlas.models.composed import is_compose, preprocessing_of_compose
from atlas.models.followed import followed, or_why
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
        _refuse_others(name)
        raise UnknownName.among("torchvision model", name, known)
    weights = _weights(models, name, "" if variant == "random" else variant)
    builder = models.get_model_builder(name)
    network = _trained(builder, name, weights) if trained else builder(**_untrained(builder, name, weights))
    preprocessing, why = or_why(lambda: preprocessing_of(weights.transforms()))
    labels, origin = tuple(weights.meta["categories"]), f"torchvision's {weights.name}"
    return Found(network, preprocessing, labels, f"{name} (torchvision)", origin, why)


OTHERS = {
    "detection": "is a detector: it takes a list of images and answers with boxes. To see its backbone write a "
    "factory that returns NETWORK.backbone and its preprocessing (package.module:factory)",
    "optical_flow": "compares two images. To see one part of it write a factory that returns that part, as "
    "NETWORK.feature_encoder, and its preprocessing (package.module:factory)",
    "quantization": "is quantised: it has no gradients. Take the network it was made from, without `quantized_`",
    "video": "takes films, not images. To see it on single frames write a factory that wraps it "
    "(package.module:factory)",
}
"""Kinds of networks of torchvision that atlas cannot show as they are, and what to do."""


def _refuse_others(name: str) -> None:
    """Raise `ModelError` where torchvision has `name`, and it is of another kind."""
    from torchvision import models

    for kind, why in OTHERS.items():
        if name in models.list_models(module=getattr(models, kind)):
            raise ModelError(f"torchvision:{name} {why}.")


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
    """What a Compose or one of torchvision's `weights.transforms()` does, tried on pictures.

    Raises `ModelError` for others.
    """
    if is_compose(transforms):
        return preprocessing_of_compose(transforms)
    name = type(transforms).__name__
    if not all(hasattr(transforms, field) for field in ("resize_size", "mean", "std", "interpolation")):
        raise ModelError(
            f"The preprocessing {name} is not that of single images, resized, which torchvision's weights have and a "
            "Compose of Resize, CenterCrop, ToTensor and Normalize."
        )
    resize = (transforms.resize_size or [None])[0]
    size = getattr(transforms, "crop_size", [resize])
    if None in size:
        raise ModelError(f"The preprocessing {name} says no size of images.")
    ours = Preprocessing(
        size=(size[0], size[-1]),
        resize=resize,
        interpolation=transforms.interpolation.value,
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
        fill=(0, 0, 0) if resize < max(size) else None,  # torchvision pads what is smaller than its crop
    )
    if not hasattr(transforms, "crop_size"):
        middle, squeezed = ours.text(), replace(ours, resize=None).text()
        raise ModelError(
            f"The preprocessing {name} keeps the shape of each image, and here all have one size: '{middle}' shows the "
            f"square in the middle, '{squeezed}' the whole image, squeezed."
        )
    return followed(ours, transforms, name)
