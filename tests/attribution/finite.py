"""Attributions by plain means: the layer's value moved a little forth and back, and the logits compared.

(model, layer, network input, images, positions) -> [m,k] float64, by central differences

A moved value is written into the tensor that the module gave, so that whatever else holds it sees the move.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from atlas.models import Model
from atlas.models.outputs import Place, items
from atlas.models.prepare import arranged
from atlas.models.probe import module_by_module
from atlas.units import Layer


@torch.no_grad()
def differences(
    model: Model, layer: Layer, network_input: Tensor, images: Tensor, positions: Tensor, *, step: float = 1e-6
) -> Tensor:
    """h . d logit / d h at each position: [m,k]. The model must compute in float64."""
    rows = []
    for image, position in zip(images.tolist(), positions.tolist(), strict=True):
        forth, back = (_moved(model, layer, network_input[image : image + 1], position, way * step) for way in (1, -1))
        rows.append((forth - back) / (2 * step))
    return torch.cat(rows)


def vectors(model: Model, layer: Layer, network_input: Tensor, images: Tensor, positions: Tensor) -> Tensor:
    """The layer's value at each position, [m,c]."""
    found: list[Tensor] = []
    with torch.no_grad():
        _run(model, layer, network_input, lambda value: found.append(arranged(value, layer).clone()))
    flat = found[0].reshape(*found[0].shape[:2], -1)
    return flat[images, :, positions]


def _moved(model: Model, layer: Layer, x: Tensor, position: int, step: float) -> Tensor:
    def move(value: Tensor) -> None:
        spot = arranged(value, layer)
        places = np.unravel_index(position, spot.shape[2:]) if spot.dim() > 2 else ()
        for place in places:
            spot = spot[:, :, int(place)]
        spot *= 1 + step

    return _run(model, layer, x, move)


def _run(model: Model, layer: Layer, x: Tensor, change: Callable[[Tensor], Any]) -> Tensor:
    place, calls = Place.parse(layer.name), Counter[str]()

    def leave(_: nn.Module, __: Any, output: Any) -> None:
        calls[layer.name] += 1
        if calls[layer.name] == place.call:
            change(dict(items(output))[place.item])

    handle = model.network.get_submodule(place.path).register_forward_hook(leave)
    try:
        with module_by_module():
            return next(value for _, value in items(model.network(x)) if value.dim() == 2)
    finally:
        handle.remove()
