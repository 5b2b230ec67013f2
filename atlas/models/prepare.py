"""A network made ready to be asked for one layer, many times.

    Model, Layer -> Prepared        Tensor[n,3,h,w] in [0,1] -> Activation

The prefix of the network up to the layer runs, and nothing after it: a hook on the layer's module stops the forward
pass. Weights are frozen, batch normalisations above the layer are folded, 1x1 convolutions take a CPU's quick path,
images are channels-last in memory.
"""

from __future__ import annotations

import copy
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from atlas.errors import DryRunError, UnknownName
from atlas.models.fold import Consumers, fold
from atlas.models.model import Model
from atlas.models.outputs import Place, items
from atlas.models.pointwise import quicken
from atlas.models.probe import dry_input, module_by_module
from atlas.models.rectify import Rectifiers
from atlas.units import Layer

TOLERANCE = 1e-4
"""Largest difference that folding may make, as a part of the layer's largest value."""


@dataclass(frozen=True)
class Activation:
    """The value of a layer for a batch: [n,c,h,w] for maps, [n,c,t] for patch tokens, [n,c] for linear layers."""

    value: Tensor
    before: Tensor | None
    """The value before the rectifier, in the same layout; None where there is none or it was not asked for."""
    rectified: bool
    """The value cannot be below zero."""


class _Reached(BaseException):
    """The layer's value is known. No `Exception`, so that no network swallows it."""


def stop_at(network: nn.Module, name: str, x: Tensor) -> Tensor:
    """The activation `name` of `network` for the input `x`, as the module gives it; nothing after it is computed.

    Raises `UnknownName` where there is no such module, `DryRunError` where the pass ends without coming there.
    """
    place = Place.parse(name)
    found: list[Tensor] = []
    calls = 0

    def arrive(_: nn.Module, __: Any, output: Any) -> None:
        nonlocal calls
        calls += 1
        if calls == place.call:
            found.extend(value for item, value in items(output) if item == place.item)
            raise _Reached

    with module_by_module(), _module(network, place.path).register_forward_hook(arrive), suppress(_Reached):
        network(x)
    if not found:
        raise DryRunError(f"The forward pass never came to layer {name!r}.")
    return found[0]


def _module(network: nn.Module, path: str) -> nn.Module:
    modules: dict[str, nn.Module] = dict(network.named_modules())
    if path not in modules:
        raise UnknownName.among("layer", path, modules)
    return modules[path]


class Prepared:
    """The prefix of a network up to one layer. Made by `prepare`."""

    redirect: bool = False
    """Rectifiers pass gradients on by the rule of Lucid's redirected ReLU."""

    def __init__(
        self, model: Model, layer: Layer, network: nn.Module, *, rectified: bool, rectifiers: frozenset[int]
    ) -> None:
        self.layer = layer
        self.preprocessing = model.preprocessing
        self.rectified = rectified
        """The layer's value cannot be below zero."""
        self.rectifiers = rectifiers
        """The rectifiers, by the order they are called in, that what came before the layer's own is had from."""
        self.network = network
        """The prepared copy of the model's network; only its prefix ever runs."""
        self._accepted: dict[tuple[int, int], bool] = {}

    @property
    def has_before(self) -> bool:
        """What came before the layer's rectifier can be had."""
        return bool(self.rectifiers)

    def activations(self, x: Tensor, *, before: bool = True) -> Activation:
        """The layer's value for pictures `x` [n,3,h,w] in [0,1], with gradient where `x` has one.

        With `before`, also the value before the rectifier, where there is one. This and `redirect` watch every
        function the network calls; a pass with neither costs nothing beyond the network.
        """
        network_input = self.preprocessing.normalise(x).contiguous(memory_format=torch.channels_last)
        if not self.redirect and not (before and self.has_before):
            return Activation(self._arranged(self._run(network_input)), None, self.rectified)
        only = self.rectifiers if before else ()
        with Rectifiers(redirect=self.redirect, only=only) as rectifiers:
            raw = self._run(network_input)
        raw_before = rectifiers.before(raw) if before else None
        return Activation(
            self._arranged(raw), None if raw_before is None else self._arranged(raw_before), self.rectified
        )

    def accepts(self, size: tuple[int, int]) -> bool:
        """Whether pictures of this height and width reach the layer; some networks take one size only."""
        if size not in self._accepted:
            self._accepted[size] = self._tried(size)
        return self._accepted[size]

    def _tried(self, size: tuple[int, int]) -> bool:
        device = next(self.network.parameters(), torch.empty(0)).device
        try:
            with torch.no_grad():
                value = self.activations(torch.zeros(2, 3, *size, device=device), before=False).value
        except (torch.OutOfMemoryError, MemoryError):
            raise  # says nothing about the size
        except Exception:  # noqa: BLE001 - a foreign network may raise anything
            return False
        return value.shape[:2] == (2, self.layer.channels)

    def _run(self, network_input: Tensor) -> Tensor:
        return stop_at(self.network, self.layer.name, network_input)

    def _arranged(self, value: Tensor) -> Tensor:
        return arranged(value, self.layer)


def arranged(value: Tensor, layer: Layer) -> Tensor:
    """`value` as the module gave it -> [n,c,h,w], [n,c,t] without the prefix tokens, or [n,c]."""
    if layer.kind == "tokens":
        return value[:, layer.prefix :].transpose(1, 2)
    return value.permute(0, 3, 1, 2) if layer.channels_last else value


def prepare(model: Model, layer: Layer | str, *, device: str = "cpu", folded: bool = True) -> Prepared:
    """`model` made ready to be asked for `layer`; the model itself stays as it is.

    The value equals that of the original network within 1e-4 of the layer's largest value.
    """
    layer = model.layer(layer) if isinstance(layer, str) else layer
    network = copy.deepcopy(model.network)
    network_input = model.preprocessing.normalise(dry_input(model.preprocessing))
    with torch.no_grad(), Consumers() as consumers, Rectifiers() as rectifiers:
        value = stop_at(network, layer.name, network_input)
    rectified = rectifiers.rectified(value)
    rectifiers.before(value)
    used = frozenset(rectifiers.used)
    if folded:
        fold(network, consumers.pairs(network, value))
        if torch.device(device).type == "cpu":
            quicken(network)
        with torch.no_grad():
            same = _close(stop_at(network, layer.name, network_input), value)
        network = network if same else copy.deepcopy(model.network)
    network = network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return Prepared(model, layer, network, rectified=rectified, rectifiers=used)


def _close(one: Tensor, other: Tensor) -> bool:
    """Whether two values differ by less than `TOLERANCE` of the largest, wherever they are finite."""
    finite = other.isfinite()
    if not finite.any():
        return True
    one, other = one[finite], other[finite]
    return bool((one - other).abs().max() <= TOLERANCE * other.abs().max().clamp_min(1e-12))
