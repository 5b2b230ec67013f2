"""What the network says of images, and what in each layer made it say so.

    logits [n,k] -> the likeliest classes       crops [n,3,h,w] -> attribution {layer: [n,c]}

An attribution is the sum over positions of activation x gradient: how much of the logit of the image's highest class
the channel accounts for, were everything after it linear.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch
from torch import Tensor
from torch.autograd.graph import GradientEdge, get_gradient_edge

from atlas.dataset.summary import Floats, Integers
from atlas.dataset.watch import Failures, checked, passed
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


def attribute(
    model: Model, layers: Sequence[Layer], network_input: Tensor, failures: Failures | None = None
) -> dict[str, Tensor]:
    """The attribution {layer name: [n,c]} of every layer for a network input [n,3,h,w]: one forward, one backward.

    NaN where the network has no logits, or computes the layer without a gradient. With `failures` a layer for which
    this fails is noted there and left out; where all fail together each is tried alone.
    """
    if failures is None:
        return _attributed(model, layers, network_input)
    left = [layer for layer in layers if layer.name not in failures]
    try:
        return _attributed(model, left, network_input)
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except Exception:  # noqa: BLE001 (which layer it was is known when each is tried alone)
        found: dict[str, Tensor] = {}
        for layer in left:
            with failures.of(layer):
                found |= _attributed(model, [layer], network_input)
        return found


def _attributed(model: Model, layers: Sequence[Layer], network_input: Tensor) -> dict[str, Tensor]:
    values: dict[str, Tensor] = {}
    edges: dict[str, GradientEdge] = {}

    def arrive(layer: Layer, raw: Tensor) -> None:
        values[layer.name] = raw.detach().clone()
        if raw.requires_grad:
            # The edge stays that of the value as it is now, whatever works on it in place afterwards.
            edges[layer.name] = get_gradient_edge(raw)

    with torch.enable_grad():
        x = network_input.detach().requires_grad_()
        logits = passed(model.network, x, layers, arrive, answer=model.answer)
    gradients: dict[str, Tensor | None] = {}
    if logits is not None and logits.requires_grad and edges:
        found = torch.autograd.grad(logits.amax(1).sum(), list(edges.values()), allow_unused=True)
        gradients = dict(zip(edges, found, strict=True))
    arrived = {layer: checked(values[layer.name], layer, len(network_input)) for layer in layers}
    return {layer.name: _attribution(layer, value, gradients) for layer, value in arrived.items()}


def _attribution(layer: Layer, value: Tensor, gradients: Mapping[str, Tensor | None]) -> Tensor:
    """[n,c] from a value [n,c,...]; where nothing flows back to it, nothing is its part."""
    if layer.name not in gradients:
        return torch.full(value.shape[:2], torch.nan, device=value.device)
    gradient = gradients[layer.name]
    if gradient is None:
        return torch.zeros(value.shape[:2], device=value.device)
    product = value * arranged(gradient, layer)
    return product.reshape(*product.shape[:2], -1).sum(2).float()
