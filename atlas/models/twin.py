"""A second network like that of a model, to be changed or moved without harm to the first.

Model -> networks, each to be proven before it is used

A copy costs little, but may answer with what is stale: hooks and closures in it still point at the network that it
was copied from. So whoever takes one asks it what neither was asked before, and goes on to the next where the answers
differ.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Set
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.autograd.graph import GradientEdge, get_gradient_edge

from atlas.errors import ModelError
from atlas.factories import guarded
from atlas.models.foreign import run
from atlas.models.kept import as_it_was
from atlas.models.model import Model
from atlas.models.observe import activations, module_by_module
from atlas.models.preprocessing import Preprocessing
from atlas.models.probe import dry_input, noise
from atlas.words import parameter

TOLERANCE = 1e-4
"""Largest difference that may be, as a part of a value's largest."""
PART = 4096
"""Numbers that are compared of an image's value of a layer."""
IMAGES = 3
"""Images of the second input: another number than the dry run's, so that a batch size that was kept shows too."""


def copied(model: Model) -> nn.Module:
    """A copy of the model's network."""
    network: nn.Module = copy.deepcopy(model.network)
    return network


def rebuilt(model: Model) -> nn.Module:
    """The model's network built anew, as a worker does."""
    return model.source.build(model.state, model.own).network


def made(make: Callable[[Model], nn.Module], model: Model) -> nn.Module | None:
    """What `make` makes of `model`; None where the author's code does not bear it."""
    try:
        with guarded(f"{model.spec}: a second network cannot be made", ModelError):
            return make(model)
    except ModelError as error:
        if isinstance(error.__cause__, torch.OutOfMemoryError | MemoryError):
            raise error.__cause__ from None
        return None


@torch.no_grad()
def twin(model: Model) -> nn.Module | None:
    """A second network that answers as that of `model` does; None where only the network itself does."""
    first, second = inputs(model.preprocessing)
    for make in (copied, rebuilt):
        with as_it_was(model.network):
            run(model.network, first)  # what is stale in a copy is of this, and so cannot look right
            network = made(make, model)
            if network is not None and _answers_alike(network, model.network, second):
                return network
    return None


def _answers_alike(network: nn.Module, original: nn.Module, network_input: Tensor) -> bool:
    """Asked of the other network first, so that nothing of the original's answer can be in its own."""
    try:
        found = Seen(network, network_input).values
    except (torch.OutOfMemoryError, MemoryError):
        raise
    except Exception:  # noqa: BLE001 - a copy may lack what its author's code looks for
        return False
    wanted = Seen(original, network_input).values
    return found.keys() == wanted.keys() and all(found[name].like(value) for name, value in wanted.items())


def stay(model: Model, device: str) -> None:
    """Raises `ModelError` where `device` is not the one that the network itself is on."""
    if torch.device(device).type != "cpu":
        raise ModelError(
            f"{model.spec}: the network can neither be copied nor built anew so that it gives the same values, so it "
            f"cannot move to a GPU. Build with {parameter('device', 'cpu')}."
        )


def inputs(preprocessing: Preprocessing) -> tuple[Tensor, Tensor]:
    """What a network is prepared with, and what is asked of it then: two network inputs.

    The second is unlike the first: other noise, darker, and another number of pictures.
    """
    first, second = dry_input(preprocessing), noise(IMAGES, preprocessing.size, 1) ** 2
    return preprocessing.normalise(first), preprocessing.normalise(second)


class Value(NamedTuple):
    """What is kept of a layer's value: `part` [n,...] of it, since all layers' values together may be gigabytes."""

    shape: torch.Size
    dtype: torch.dtype
    part: Tensor

    @classmethod
    def of(cls, raw: Tensor) -> Value:
        rows = raw.detach().flatten(1) if raw.dim() > 1 else raw.detach().reshape(-1, 1)
        step = max(1, rows.shape[1] // PART) | 1  # odd, so that it does not keep to a column of a map
        return cls(raw.shape, raw.dtype, rows[:, ::step].clone())

    @property
    def ends(self) -> Value:
        """That of the first and the last image of a batch."""
        return Value(torch.Size((2, *self.shape[1:])), self.dtype, self.part[[0, -1]])

    def like(self, other: Value) -> bool:
        """Whether both are of the same shape and, in what is kept, the same."""
        return self.shape == other.shape and close(self.part, other.part)


class Seen:
    """One whole pass: values as they were when they were computed, and where their gradients begin, by their names.

    Those of all modules, or of `names` alone.
    """

    def __init__(self, network: nn.Module, network_input: Tensor, names: Set[str] | None = None) -> None:
        self.values: dict[str, Value] = {}
        self.edges: dict[str, GradientEdge] = {}
        with module_by_module(), activations(dict(network.named_modules()), self._take, names):
            run(network, network_input)

    def _take(self, name: str, value: Tensor) -> None:
        if value.is_floating_point():
            self.values[name] = Value.of(value)
            if value.requires_grad:
                self.edges[name] = get_gradient_edge(value)


def close(one: Tensor, other: Tensor, part: float = TOLERANCE) -> bool:
    """Whether two values differ by less than `part` of the largest, wherever the other is finite."""
    if one.shape != other.shape:
        return False
    finite = other.isfinite()
    if not finite.any():
        return True
    one, other = one[finite], other[finite]
    return bool((one - other).abs().max() <= part * other.abs().max().clamp_min(1e-12))
