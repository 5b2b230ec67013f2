"""Where the classes of a network are.

Model -> the Layer whose channels are its classes
"""

from __future__ import annotations

from collections.abc import Collection

import torch

from atlas.errors import ModelError, UnknownName
from atlas.models.model import Model
from atlas.models.observe import stop_at
from atlas.models.prepare import arranged
from atlas.models.probe import dry_input
from atlas.units import Layer, class_called
from atlas.words import parameter


def class_layer(model: Model) -> Layer:
    """The layer whose channels, averaged over their positions, are the logits that `model` answers with.

    A class is then a channel like any other, and the prefix of its layer the whole network: `fc` of a ResNet, the
    last pooling of SqueezeNet. Raises `UnknownName` where the network gives no logits, or none of its modules does.
    """
    x = dry_input(model.preprocessing)
    with torch.no_grad():
        logits, x = model.logits(x), model.preprocessing.normalise(x)
        candidates = [] if logits is None else [one for one in model.layers if one.channels == logits.shape[1]]
        for layer in reversed(candidates):
            value = arranged(stop_at(model.network, layer.name, x, whole=True), layer)
            value = value.flatten(2).mean(2) if value.dim() > 2 else value
            if logits is not None and torch.allclose(value, logits, rtol=1e-4, atol=1e-5):
                return layer
    raise UnknownName(f"{model.spec} has no layer of classes. Name a layer and a channel: atlas layers {model.spec}")


def class_index(model: Model, name: int | str) -> int:
    """The index of the class `name`: an index, or a label in full. Raises `UnknownName`, offering the nearest."""
    count, labels = class_layer(model).channels, model.labels or ()
    if isinstance(name, int) and 0 <= name < count:
        return name
    found = class_called(name, labels) if isinstance(name, str) else None
    if found is not None:
        return found
    raise UnknownName.among("class", str(name), labels, hint=f"{model.spec} has the classes 0 to {count - 1}.")


def require_classes(model: Model) -> None:
    """Raise `ModelError` where `model` has not as many labels as classes, or no such output as was said to be them."""
    if model.source.logits is None and model.labels is None:
        return
    counts = {model.classes} if model.classes else set(model.answer.sizes)
    given = model.labels
    if given is not None and counts and len(given) not in counts:
        raise unfitting(model, len(given), counts)


def unfitting(model: Model, labels: int, counts: Collection[int]) -> ModelError:
    """What is said of labels that are not as many as the classes, which are one of `counts`."""
    given = "is 1 label" if labels == 1 else f"are {labels} labels"
    answers = " or ".join(map(str, sorted(counts))) + (" class" if set(counts) == {1} else " classes")
    others = " or ".join(parameter("logits", name) for name, size in model.answer.flat if size == labels)
    hint = f" Where they are those of another output: {others}." if others else ""
    return ModelError(
        f"There {given}, but {model.spec} answers with {answers}. Name every class, in the order of the outputs.{hint}"
    )
