"""One forward pass in which every wanted layer shows its value.

    with watch(model, layers, take) as forward: logits = forward(network_input)
                                                  take(layer, value, before), layer by layer

A value is taken at the moment it is computed: a later operation may overwrite it. What goes wrong with one layer is
its own: with `Failures` the others go on.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

from atlas.errors import DryRunError
from atlas.models import Model
from atlas.models.answers import Answer, logits_of
from atlas.models.observe import never_reached, stop_at, through
from atlas.models.prepare import arranged
from atlas.models.probe import dry_input
from atlas.models.rectify import Rectifiers
from atlas.models.twin import Seen, inputs, stay, twin
from atlas.units import Layer

SHOWN = 2
"""Images of such a pass: as many each time, so that what is left behind is not too short for the next."""
STOPS = 4
"""Places where passes are stopped, to see whether the next one is as it would have been."""
Take = Callable[[Layer, Tensor, Tensor | None], None]
"""(layer, its value, the value before its rectifier or None): [n,c,h,w], [n,c,t] patch tokens or [n,c]."""
Arrive = Callable[[Layer, Tensor], None]
"""(layer, its value as its module gave it)."""
Forward = Callable[[Tensor], Tensor | None]
"""network input [n,3,h,w] -> logits [n,k], or None where there are none or the pass ended before them."""


@dataclass(frozen=True)
class Failure:
    """Why a layer could not be had of a pass over images."""

    reason: str
    trace: str


class Failures(dict[str, Failure]):
    """Layers that failed, by their names, while others went on."""

    @contextmanager
    def of(self, layer: Layer) -> Iterator[None]:
        """What is done for one layer alone. Where memory ends it is no layer's own: half the width may do."""
        try:
            yield
        except (torch.OutOfMemoryError, MemoryError):
            raise
        except Exception as error:  # noqa: BLE001 (whatever a layer does to us, the others go on)
            self.fail(layer.name, error)

    def fail(self, name: str, error: Exception) -> None:
        """Note why a layer failed; the first reason stays."""
        trace = "".join(traceback.format_exception(error))
        self.setdefault(name, Failure(f"{type(error).__name__}: {error}", trace))


@contextmanager
def watch(
    model: Model,
    layers: Sequence[Layer],
    take: Take,
    *,
    before: bool = True,
    whole: bool = True,
    failures: Failures | None = None,
) -> Iterator[Forward]:
    """A forward pass of `model` that hands each of `layers` to `take` when it is there.

    Without `whole` nothing after the last of the layers is computed; see `leaves_behind`. `take` must leave the value
    as it is and keep no view of it. What comes `before` a rectifier is had only by watching every function the network
    calls; where it is not asked for, or there is no such layer, nothing is watched but the layers' modules. With
    `failures` what goes wrong with a layer is noted there, and the layer is not taken again; without, it is raised.
    """
    only = _rectifiers_of(model, layers, failures, whole) if before else frozenset[int]()
    answer = model.answer if whole else Answer()

    def forward(network_input: Tensor) -> Tensor | None:
        mode, width = Rectifiers(only=only) if only else None, len(network_input)

        def arrive(layer: Layer, raw: Tensor) -> None:
            with torch._C.DisableTorchFunction():  # what is done with a value is no call of the network's
                unrectified = mode.before(raw) if mode else None
                value = checked(raw, layer, width).float()
                take(layer, value, None if unrectified is None else checked(unrectified, layer, width).float())

        with mode or nullcontext():
            return passed(model.network, network_input, layers, arrive, whole=whole, answer=answer, failures=failures)

    yield forward


def checked(raw: Tensor, layer: Layer, width: int) -> Tensor:
    """`raw` as its module gave it for `width` images -> [n,c,...]. Raises `DryRunError` where it has other axes."""
    value = arranged(raw, layer)
    if value.dim() < 2 or value.shape[:2] != (width, layer.channels):
        raise DryRunError(
            f"Layer {layer.name!r} gave {list(raw.shape)} for {width} images: there is no "
            f"[{width},{layer.channels},...] in it. Leave it out."
        )
    return value


def passed(
    network: nn.Module,
    network_input: Tensor,
    layers: Sequence[Layer],
    arrive: Arrive,
    *,
    whole: bool = True,
    answer: Answer,
    failures: Failures | None = None,
) -> Tensor | None:
    """The logits of one pass as `watch` makes it, with the layers' values as their modules give them.

    `answer` says which output is the logits.
    """
    by_name = {layer.name: layer for layer in layers}

    def take(name: str, value: Tensor) -> None:
        if failures is None:
            arrive(by_name[name], value)
        elif name not in failures:
            with failures.of(by_name[name]):
                arrive(by_name[name], value)

    forward = partial(logits_of, network, network_input, answer)
    logits, missing = through(network, by_name, take, forward, whole=whole)
    for name in sorted(missing):
        if failures is None:
            raise never_reached(name)
        failures.fail(name, never_reached(name))
    return logits


def on_device(model: Model, device: str) -> Model:
    """`model` on `device`, channels-last in memory: another one, made once as long as `model` lives.

    It is `model` itself where its network cannot be had twice; `ModelError` is raised where that cannot be on `device`.
    """
    copies = _copies.setdefault(model, {})
    if device not in copies:
        copies[device] = _copied_to(model, device)
        leaves_behind(copies[device] or model)
    return copies[device] or model


def _copied_to(model: Model, device: str) -> Model | None:
    network = twin(model)
    if network is None:
        stay(model, device)
        return None
    moved = Model(network, model.source)
    moved.network.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    return moved


def leaves_behind(model: Model) -> bool:
    """Whether a pass that is stopped leaves something behind that the next takes; tried once as long as `model` lives.

    `on_device` tries it, so that a pass over images shows the network nothing else.
    """
    if model not in _leaving:
        _leaving[model] = _differs_after_stops(model)
    return _leaving[model]


@torch.no_grad()
def _differs_after_stops(model: Model) -> bool:
    """By passes stopped at modules that are spread over the network, each followed by one that is not."""
    device = next(model.network.parameters(), torch.empty(0)).device
    first, second = (x[:SHOWN].to(device) for x in inputs(model.preprocessing))
    Seen(model.network, first)  # what an earlier pass left behind is gone after it
    clean = Seen(model.network, second).values
    names = list(clean)
    for name in (
        dict.fromkeys(names[(number + 1) * len(names) // STOPS - 1] for number in range(STOPS)) if names else ()
    ):
        stop_at(model.network, name, first)
        values = Seen(model.network, second).values
        if not all(name in values and values[name].like(value) for name, value in clean.items()):
            Seen(model.network, first)
            return True
    return False


@torch.no_grad()
def _rectifiers_of(model: Model, layers: Sequence[Layer], failures: Failures | None, whole: bool) -> frozenset[int]:
    """Numbers of the rectifiers that stand before `layers`, found by one dry run as long as `model` lives."""
    known, names = _before.setdefault(model, {}), tuple(layer.name for layer in layers)
    if names not in known:
        device = next(model.network.parameters(), torch.empty(0)).device
        with Rectifiers() as mode:

            def arrive(_: Layer, raw: Tensor) -> None:
                with torch._C.DisableTorchFunction():
                    mode.before(raw)

            network_input = model.preprocessing.normalise(dry_input(model.preprocessing).to(device))
            passed(model.network, network_input, layers, arrive, whole=whole, answer=Answer(), failures=failures)
        known[names] = frozenset(mode.used)
    return known[names]


_copies: WeakKeyDictionary[Model, dict[str, Model | None]] = WeakKeyDictionary()
_leaving: WeakKeyDictionary[Model, bool] = WeakKeyDictionary()
_before: WeakKeyDictionary[Model, dict[tuple[str, ...], frozenset[int]]] = WeakKeyDictionary()
