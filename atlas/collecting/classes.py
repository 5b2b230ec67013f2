"""What the network says of images, and what in each layer made it say so.

    logits [n,k] -> the likeliest classes       crops [n,3,h,w] -> attribution {layer: [n,c]}

An attribution is the sum over positions of activation x gradient: how much of the logit of the image's highest class
the channel accounts for, were everything after it linear.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from atlas.collecting.summary import Floats, Integers
from atlas.collecting.watch import passes
from atlas.models import Model
from atlas.models.check import probabilities
from atlas.models.prepare import arranged
from atlas.units import Layer

LIKELIEST = 5
"""Classes kept of an image."""


def guesses(logits: Tensor | None, images: int) -> tuple[Integers, Floats]:
    """The likeliest classes int32 [n,5] of logits [n,k] and their probabilities [n,5], the likeliest first.

    -1 and NaN where there are fewer classes, no logits or no finite ones. Equal ones by their number.
    """
    classes = np.full((images, LIKELIEST), -1, np.int32)
    chances = np.full((images, LIKELIEST), np.nan, np.float32)
    if logits is not None:
        ranked = probabilities(logits.float()).sort(dim=1, descending=True, stable=True)
        kept = min(LIKELIEST, logits.shape[1])
        known = logits.isfinite().all(1).cpu().numpy()
        classes[known, :kept] = ranked.indices[:, :kept].cpu().numpy()[known]
        chances[known, :kept] = ranked.values[:, :kept].cpu().numpy()[known]
    return classes, chances


def attribute(model: Model, layers: Sequence[Layer], network_input: Tensor) -> dict[str, Tensor]:
    """The attribution {layer name: [n,c]} of every layer for a network input [n,3,h,w]: one forward, one backward.

    NaN where the network has no logits, or computes the layer without a gradient.
    """
    found: dict[str, Tensor] = {}

    def arrive(layer: Layer, raw: Tensor) -> None:
        value = arranged(raw.detach(), layer)
        found[layer.name] = torch.zeros(value.shape[:2], device=value.device)
        if raw.requires_grad:
            # A hook stays with the value as it is now, whatever works on it in place afterwards.
            raw.register_hook(  # type: ignore[no-untyped-call]
                _product(found, layer, value.clone())
            )
        else:
            found[layer.name] += torch.nan

    network_input = network_input.detach().requires_grad_()
    with torch.enable_grad(), passes(model.network, layers, arrive) as forward:
        logits = forward(network_input)
        if logits is None or not logits.requires_grad:
            return {name: torch.full_like(zeros, torch.nan) for name, zeros in found.items()}
        torch.autograd.grad(logits.amax(1).sum(), network_input)
    return found


def _product(found: dict[str, Tensor], layer: Layer, value: Tensor) -> Callable[[Tensor], None]:
    def note(gradient: Tensor) -> None:
        product = value.double() * arranged(gradient, layer)
        found[layer.name] = product.reshape(*product.shape[:2], -1).sum(2).float()

    return note
