"""A network ready to look into.

ModelSource, {key: Tensor} -> Model
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor, nn

from atlas.errors import UnknownName
from atlas.models.checkpoints import load_weights
from atlas.models.families import find
from atlas.models.outputs import items
from atlas.models.preprocessing import Preprocessing
from atlas.models.probe import discover, dry_input
from atlas.models.select import chosen
from atlas.plan import Identity
from atlas.units import Layer


@dataclass(frozen=True)
class ModelSource:
    """What a worker needs, besides the weights, to build the model again: no file, no hub, no pickled module."""

    spec: str
    preprocessing: Preprocessing
    labels: tuple[str, ...] | None = None
    random: bool = False
    title: str = ""

    def build(self, state: dict[str, Tensor]) -> Model:
        """The model with the weights `state`."""
        network = find(self.spec, trained=False).network
        load_weights(network, state, f"the state of {self.spec}")
        return Model(network, self)


class Model:
    """A network in evaluation mode and frozen, with its preprocessing, labels and layers."""

    def __init__(self, network: nn.Module, source: ModelSource) -> None:
        self.network = network.eval().requires_grad_(False)
        self.source = source

    def __repr__(self) -> str:
        return f"Model({self.spec!r})"

    @property
    def spec(self) -> str:
        """How the user named it: `torchvision:resnet50`."""
        return self.source.spec

    @property
    def title(self) -> str:
        """Its name for people."""
        return self.source.title or self.spec

    @property
    def random(self) -> bool:
        """Its weights are untrained."""
        return self.source.random

    @property
    def preprocessing(self) -> Preprocessing:
        return self.source.preprocessing

    @property
    def labels(self) -> tuple[str, ...] | None:
        """Names of the classes, or None where nobody said."""
        return self.source.labels

    @property
    def state(self) -> dict[str, Tensor]:
        """The weights, as `ModelSource.build` takes them."""
        return {key: value for key, value in self.network.state_dict().items() if isinstance(value, Tensor)}

    @cached_property
    def weights_hash(self) -> str:
        """sha256 of the state dict in the order of its keys: name, dtype, shape, bytes of each."""
        digest = hashlib.sha256()
        for key, value in sorted(self.state.items()):
            digest.update(f"{key} {str(value.dtype).removeprefix('torch.')} {list(value.shape)}\n".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
        return digest.hexdigest()

    @property
    def identity(self) -> Identity:
        return Identity(self.spec, self.weights_hash, self.preprocessing.to_dict())

    @cached_property
    def layers(self) -> list[Layer]:
        """Every activation, in order of execution. Raises `DryRunError` where the network fails on noise."""
        return discover(self.network, self.preprocessing, self.spec)

    @cached_property
    def classes(self) -> int:
        """How many logits it answers with; 0 where it is no classifier."""
        with torch.no_grad():
            logits = self.logits(dry_input(self.preprocessing))
        return 0 if logits is None else logits.shape[1]

    def layer(self, name: str) -> Layer:
        """The layer called `name`. Raises `UnknownName` with the nearest names."""
        for layer in self.layers:
            if layer.name == name:
                return layer
        names = [layer.name for layer in self.layers]
        raise UnknownName.among("layer", name, names, hint=f"List them: atlas layers {self.spec}")

    def select(self, patterns: Iterable[str]) -> list[Layer]:
        """The layers that any of `patterns` names, in order of execution.

        A pattern is a name, a glob, `auto` (outputs of blocks) or `all`. Raises `UnknownName` for one that finds none.
        """
        names = chosen(self.network, self.layers, patterns, self.spec)
        return [layer for layer in self.layers if layer.name in names]

    def logits(self, x: Tensor, preprocessing: Preprocessing | None = None) -> Tensor | None:
        """What the whole network answers to `x` [n,3,h,w] in [0,1]: [n,k], or None where it is no classifier."""
        output = self.network((preprocessing or self.preprocessing).normalise(x))
        return next((value for _, value in items(output) if value.dim() == 2), None)
