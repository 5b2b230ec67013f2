"""A network made ready to be asked for one layer, many times.

    Model, Layer -> Prepared        Tensor[n,3,h,w] in [0,1] -> Activation

The prefix of the network up to the layer runs, and nothing after it: a hook on the layer's module stops the forward
pass. Weights are frozen, batch normalisations above the layer are folded, 1x1 convolutions take a CPU's quick path,
images are channels-last in memory. All of this is given up, one thing after the other, where the value of the layer is
not that of the network as it is for images that nothing was prepared with.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from atlas.models.fold import Consumers, fold
from atlas.models.foreign import Bounded, Endless
from atlas.models.kept import as_it_was
from atlas.models.model import Model
from atlas.models.observe import stop_at
from atlas.models.pointwise import quicken
from atlas.models.preprocessing import Preprocessing
from atlas.models.rectify import Rectifiers
from atlas.models.twin import close, copied, inputs, made, rebuilt, stay
from atlas.units import Layer


@dataclass(frozen=True)
class Activation:
    """The value of a layer for a batch: [n,c,h,w] for maps, [n,c,t] for patch tokens, [n,c] for linear layers."""

    value: Tensor
    before: Tensor | None
    """The value before the rectifier, in the same layout; None where there is none or it was not asked for."""
    rectified: bool
    """The value cannot be below zero."""


@dataclass(eq=False, repr=False)
class Prepared:
    """The prefix of a network up to one layer. Made by `prepare`."""

    layer: Layer
    preprocessing: Preprocessing
    network: nn.Module
    """The prepared network: only its prefix ever runs, unless it is run `whole`."""
    rectified: bool
    """The layer's value cannot be below zero."""
    rectifiers: frozenset[int]
    """The rectifiers, by the order they are called in, that what came before the layer's own is had from."""
    whole: bool
    """Every pass runs to its end: one that is stopped leaves something behind that the next would take."""
    redirect: bool = False
    """Rectifiers pass gradients on by the rule of Lucid's redirected ReLU."""

    def __post_init__(self) -> None:
        self._accepted: dict[tuple[int, int], bool] = {}
        self._narrow = any(weights.dtype is not torch.float32 for weights in self.network.parameters())

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
        before = before and self.has_before
        only = self.rectifiers if before else ()
        rectifiers = Rectifiers(redirect=self.redirect, only=only) if self.redirect or before else None
        with rectifiers or nullcontext():
            raw = self._run(network_input)
        raw_before = rectifiers.before(raw) if rectifiers and before else None
        kind = torch.float32 if self._narrow else x.dtype  # whatever the network computes in on its way
        unrectified = None if raw_before is None else arranged(raw_before.to(kind), self.layer)
        return Activation(arranged(raw.to(kind), self.layer), unrectified, self.rectified)

    def accepts(self, size: tuple[int, int]) -> bool:
        """Whether pictures of this height and width reach the layer; some networks take one size only."""
        if size not in self._accepted:
            self._accepted[size] = self._tried(size)
        return self._accepted[size]

    def _tried(self, size: tuple[int, int]) -> bool:
        device = next(self.network.parameters(), torch.empty(0)).device
        own = Bounded()
        try:
            with torch.no_grad(), as_it_was(self.network):
                with own:
                    self.activations(torch.zeros(2, 3, *self.preprocessing.size, device=device), before=False)
                with Bounded(own):
                    value = self.activations(torch.zeros(2, 3, *size, device=device), before=False).value
        except (torch.OutOfMemoryError, MemoryError):
            raise  # says nothing about the size
        except (Exception, Endless):  # noqa: BLE001 - a foreign network may raise anything
            return False
        return value.shape[:2] == (2, self.layer.channels)

    def _run(self, network_input: Tensor) -> Tensor:
        return stop_at(self.network, self.layer.name, network_input, whole=self.whole)


def arranged(value: Tensor, layer: Layer) -> Tensor:
    """`value` as the module gave it -> [n,c,h,w], [n,c,t] without the prefix tokens, or [n,c]; a view of it."""
    wanted = {"conv": "nchw", "tokens": "nct", "linear": "nc"}[layer.kind]
    if layer.layout != wanted:
        value = value.permute([layer.layout.index(axis) for axis in wanted])
    return value[:, :, layer.prefix :] if layer.prefix else value


def prepare(model: Model, layer: Layer | str, *, device: str = "cpu", folded: bool = True) -> Prepared:
    """`model` made ready to be asked for `layer`; the model itself stays as it is.

    The value equals that of the original network within 1e-4 of the layer's largest value, for other images than those
    it was prepared with. Where nothing else does, the original network itself is asked; `ModelError` is raised where
    that cannot be on `device`.
    """
    layer = model.layer(layer) if isinstance(layer, str) else layer
    first, second = inputs(model.preprocessing)
    with torch.no_grad():
        stop_at(model.network, layer.name, first, whole=True)  # what an earlier pass left behind is gone after it
        wanted = stop_at(model.network, layer.name, second, whole=True)
    for network, fold_it, whole in _attempts(model, layer, first, folded=folded):
        try:
            prepared = _prepared(model, layer, network, device=device, folded=fold_it, whole=whole)
            with torch.no_grad():
                if close(stop_at(network, layer.name, second, whole=whole), wanted):
                    return _on(prepared, model, device)
        except (torch.OutOfMemoryError, MemoryError):
            raise
        except Exception:  # noqa: BLE001 - of the user's network changed; the next attempt changes less
            continue
    # It answers otherwise each time it is asked, so that nothing can be proven; the dry run says so.
    return _on(_prepared(model, layer, model.network, device=device, folded=False, whole=False), model, device)


def _attempts(model: Model, layer: Layer, first: Tensor, *, folded: bool) -> Iterator[tuple[nn.Module, bool, bool]]:
    """Networks to prepare, whether to fold them, whether to run them whole: the quickest first.

    Before each the network is shown its `first` input: what is stale in a copy is of that, and so cannot look right.
    """
    for whole in (False, True):
        for make in (copied, rebuilt):
            for fold_it in (True, False) if folded and not whole else (False,):
                with torch.no_grad():
                    stop_at(model.network, layer.name, first, whole=True)
                network = made(make, model)
                if network is None:
                    break
                yield network, fold_it, whole
        yield model.network, False, whole


def _prepared(model: Model, layer: Layer, network: nn.Module, *, device: str, folded: bool, whole: bool) -> Prepared:
    first, _ = inputs(model.preprocessing)
    with torch.no_grad(), Consumers() as consumers, Rectifiers() as rectifiers:
        value = stop_at(network, layer.name, first, whole=whole)
    rectified = rectifiers.rectified(value)
    rectifiers.before(value)
    if folded:
        fold(network, consumers.pairs(network, value))
        if torch.device(device).type == "cpu":
            quicken(network)
    return Prepared(layer, model.preprocessing, network, rectified, frozenset(rectifiers.used), whole)


def _on(prepared: Prepared, model: Model, device: str) -> Prepared:
    """`prepared` on `device`, channels-last in memory; the original network stays where and as it is."""
    if prepared.network is not model.network:
        prepared.network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    else:
        stay(model, device)
    return prepared
