"""Where the classes of a network are.

Model -> the Layer whose channels are its classes
"""

from __future__ import annotations

import torch
from torch import Tensor

from atlas.errors import UnknownName
from atlas.models.model import Model
from atlas.models.prepare import arranged, stop_at
from atlas.models.probe import dry_input
from atlas.units import Layer


def class_layer(model: Model) -> Layer:
    """The layer whose channels, averaged over their positions, are the logits that `model` answers with.

    A class is then a channel like any other, and the prefix of its layer the whole network: `fc` of a ResNet, the
    last pooling of SqueezeNet. Raises `UnknownName` where the network gives no logits, or none of its modules does.
    """
    x = dry_input(model.preprocessing)
    with torch.no_grad():
        logits = model.logits(x)
        candidates = [] if logits is None else [one for one in model.layers if one.channels == logits.shape[1]]
        for layer in reversed(candidates):
            value = arranged(stop_at(model.network, layer.name, model.preprocessing.normalise(x)), layer)
            if logits is not None and _same(value.flatten(2).mean(2) if value.dim() > 2 else value, logits):
                return layer
    raise UnknownName(f"{model.spec} has no layer of classes. Name a layer and a channel: atlas layers {model.spec}")


def class_index(model: Model, name: int | str) -> int:
    """The index of the class `name`: an index, or a label in full. Raises `UnknownName`, offering the nearest."""
    count, labels = class_layer(model).channels, model.labels or ()
    if isinstance(name, int) and 0 <= name < count:
        return name
    if name in labels:
        return labels.index(str(name))
    raise UnknownName.among("class", str(name), labels, hint=f"{model.spec} has the classes 0 to {count - 1}.")


def _same(one: Tensor, other: Tensor) -> bool:
    return torch.allclose(one, other, rtol=1e-4, atol=1e-5)
