"""One forward pass in which every wanted layer shows its value.

    with watch(model, layers, take) as forward: logits = forward(network_input)
                                                  take(layer, value, before), layer by layer

A value is taken at the moment it is computed: a later operation may overwrite it.
"""

from __future__ import annotations

import copy
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from typing import Any
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from atlas.errors import DryRunError, UnknownName
from atlas.models import Model
from atlas.models.outputs import Place, items
from atlas.models.prepare import arranged
from atlas.models.probe import dry_input, module_by_module
from atlas.models.rectify import Rectifiers
from atlas.units import Layer

Take = Callable[[Layer, Tensor, Tensor | None], None]
"""(layer, its value, the value before its rectifier or None): [n,c,h,w], [n,c,t] patch tokens or [n,c]."""
Arrive = Callable[[Layer, Tensor], None]
"""(layer, its value as its module gave it)."""
Forward = Callable[[Tensor], Tensor | None]
"""network input [n,3,h,w] -> logits [n,k], or None where there are none or the pass ended before them."""


class _Enough(BaseException):
    """All layers have been seen. No `Exception`, so that no network swallows it."""


@contextmanager
def watch(
    model: Model, layers: Sequence[Layer], take: Take, *, before: bool = True, whole: bool = True
) -> Iterator[Forward]:
    """A forward pass of `model` that hands each of `layers` to `take` when it is there.

    Without `whole` nothing after the last of the layers is computed. `take` must leave the value as it is and keep no
    view of it. What comes `before` a rectifier is had only by watching every function the network calls; where it is
    not asked for, or there is no such layer, nothing is watched but the layers' modules.
    """
    only = _rectifiers_of(model, layers) if before else frozenset[int]()
    mode: Rectifiers | None = None

    def arrive(layer: Layer, raw: Tensor) -> None:
        with torch._C.DisableTorchFunction():  # what is done with a value is no call of the network's
            unrectified = mode.before(raw) if mode else None
            take(layer, arranged(raw, layer), None if unrectified is None else arranged(unrectified, layer))

    def forward(network_input: Tensor) -> Tensor | None:
        nonlocal mode
        mode = Rectifiers(only=only) if only else None
        with mode or nullcontext():
            return passing(network_input)

    with passes(model.network, layers, arrive, whole=whole) as passing:
        yield forward


@contextmanager
def passes(network: nn.Module, layers: Sequence[Layer], arrive: Arrive, *, whole: bool = True) -> Iterator[Forward]:
    """As `watch`, with the layers' values as their modules give them."""
    passing = _Passing(network, layers, arrive, whole)
    modules = dict(network.named_modules())
    with ExitStack() as stack:
        for path in passing.wanted:
            if path not in modules:
                raise UnknownName.among("layer", path, modules)
            stack.enter_context(modules[path].register_forward_hook(passing.hook(path)))
        yield passing.forward


class _Passing:
    """One forward pass after another, with hooks on the modules whose values are wanted."""

    def __init__(self, network: nn.Module, layers: Sequence[Layer], arrive: Arrive, whole: bool) -> None:
        self._network, self._arrive, self._whole = network, arrive, whole
        self._names = {layer.name for layer in layers}
        self.wanted: dict[str, dict[tuple[int, str], Layer]] = defaultdict(dict)
        """Path of a module -> (call, item) -> layer."""
        for layer in layers:
            place = Place.parse(layer.name)
            self.wanted[place.path][place.call, place.item] = layer
        self._calls: Counter[str] = Counter()
        self._missing: set[str] = set()

    def hook(self, path: str) -> Callable[[nn.Module, Any, Any], None]:
        wanted = self.wanted[path]

        def leave(_: nn.Module, __: Any, output: Any) -> None:
            self._calls[path] += 1
            for item, value in items(output):
                if layer := wanted.get((self._calls[path], item)):
                    self._missing.discard(layer.name)
                    self._arrive(layer, value)
            if not (self._whole or self._missing):
                raise _Enough

        return leave

    def forward(self, network_input: Tensor) -> Tensor | None:
        self._calls.clear()
        self._missing = set(self._names)
        output = None
        with module_by_module(), suppress(_Enough):
            output = self._network(network_input)
        if self._missing:
            raise DryRunError(f"The forward pass never came to layer {min(self._missing)!r}.")
        return next((value for _, value in items(output) if value.dim() == 2), None)


def on_device(model: Model, device: str) -> Model:
    """`model` on `device`, channels-last in memory: a copy, made once as long as `model` lives."""
    copies = _copies.setdefault(model, {})
    if device not in copies:
        network = copy.deepcopy(model.network)
        network = network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        copies[device] = Model(network, model.source)
    return copies[device]


def _rectifiers_of(model: Model, layers: Sequence[Layer]) -> frozenset[int]:
    """Numbers of the rectifiers that stand before `layers`, found by one dry run as long as `model` lives."""
    known = _before.setdefault(model, {})
    names = tuple(layer.name for layer in layers)
    if names not in known:
        known[names] = _tried(model, layers)
    return known[names]


@torch.no_grad()
def _tried(model: Model, layers: Sequence[Layer]) -> frozenset[int]:
    device = next(model.network.parameters(), torch.empty(0)).device
    with Rectifiers() as mode:

        def arrive(_: Layer, raw: Tensor) -> None:
            with torch._C.DisableTorchFunction():
                mode.before(raw)

        with passes(model.network, layers, arrive, whole=False) as forward:
            forward(model.preprocessing.normalise(dry_input(model.preprocessing).to(device)))
    return frozenset(mode.used)


_copies: WeakKeyDictionary[Model, dict[str, Model]] = WeakKeyDictionary()
_before: WeakKeyDictionary[Model, dict[tuple[str, ...], frozenset[int]]] = WeakKeyDictionary()
