"""The forward passes of a network, watched as its modules are called.

    with activations(modules, take, names): run(network, x)        take(name, value) of each, in order of execution

All that is ever had of the inside of a pass comes by `calls`: forward hooks that count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, MutableMapping
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn
from torch.utils.weak import WeakTensorKeyDictionary

from atlas.errors import DryRunError, UnknownName
from atlas.factories import told
from atlas.models.foreign import Endless, Enough, run
from atlas.models.outputs import Place, items

INPUT = "<input>"
"""What the network's input is called where an activation comes from it."""

Result = TypeVar("Result")
Left = Callable[[Place, nn.Module, Any], None]
"""(which call of which module it is, the module, what it answers)."""
Entered = Callable[[str, nn.Module, Any], None]
"""(path of a module, the module, what it is given)."""
Take = Callable[[str, Tensor], None]
"""(name of an activation, its value). Only now is it so: later modules may write into it."""


@contextmanager
def calls(modules: Mapping[str, nn.Module], left: Left, entered: Entered | None = None) -> Iterator[None]:
    """Inside, `left` hears of each call of `modules`, known by their paths, as it ends, and `entered` as it begins."""
    counts: Counter[str] = Counter()

    def leave(path: str, module: nn.Module, _: Any, output: Any) -> None:
        counts[path] += 1
        left(Place(path, counts[path]), module, output)

    with ExitStack() as hooks:
        for path, module in modules.items():
            if entered:
                hooks.enter_context(module.register_forward_pre_hook(partial(entered, path)))
            hooks.enter_context(module.register_forward_hook(partial(leave, path)))
        yield


def activations(
    modules: Mapping[str, nn.Module], take: Take, names: Iterable[str] | None = None
) -> AbstractContextManager[None]:
    """Inside, `take` hears of each activation, or of those called `names`, at the moment when its module gives it."""
    wanted = None if names is None else {Place.parse(name): name for name in names}

    def left(place: Place, _: nn.Module, output: Any) -> None:
        for item, value in items(output):
            found = replace(place, item=item)
            if wanted is None or found in wanted:
                take(str(found) if wanted is None else wanted[found], value)

    if wanted is not None:
        paths = {place.path for place in wanted}
        modules = {path: module for path, module in modules.items() if path in paths}
    return calls(modules, left)


def stop_at(network: nn.Module, name: str, x: Tensor, *, whole: bool = False) -> Tensor:
    """The activation `name` of `network` for the input `x`, as the module gives it.

    Nothing after it is computed, but with `whole`; then it is a copy, which nothing after it changes in place. Raises
    `UnknownName` where there is no such module, `DryRunError` where the pass ends without coming there.
    """
    found: list[Tensor] = []

    def take(_: str, value: Tensor) -> None:
        found.append(value.clone() if whole else value)

    _, missing = through(network, [name], take, partial(run, network, x), whole=whole)
    if missing:
        raise never_reached(name)
    return found[0]


def through(
    network: nn.Module, names: Collection[str], take: Take, forward: Callable[[], Result], *, whole: bool
) -> tuple[Result | None, set[str]]:
    """What a `forward` pass gives in which `take` hears of each of `names`, and those of them that it never came to.

    Without `whole` it ends after the last of them and gives None. Raises `UnknownName` where a name is of no module.
    """
    missing, modules = set(names), dict(network.named_modules())
    for path in (Place.parse(name).path for name in names):
        if path not in modules:
            raise UnknownName.among("layer", path, modules)

    def heard(name: str, value: Tensor) -> None:
        missing.discard(name)
        take(name, value)
        if not (whole or missing):
            raise Enough

    with module_by_module(), activations(modules, heard, names), suppress(Enough):
        return forward(), missing
    return None, missing


def never_reached(name: str) -> DryRunError:
    """What is said of an activation that a pass ended without."""
    return DryRunError(f"The forward pass never came to layer {name!r}.")


@dataclass(frozen=True)
class Arrival:
    """One activation, at the moment when its module gives it."""

    name: str
    module: nn.Module
    value: Tensor
    """Only now what it is: later modules may write into it."""
    source: str
    """The activation that its module was given, where that is one too."""
    untouched: bool
    """Whether nothing was written into that one since its own module gave it."""
    given: tuple[int, ...]
    """The shape of what its module was given; () where that is no tensor."""
    same: str
    """The activation whose very tensor it is: a container hands on what its last member gave."""
    same_untouched: bool
    """Whether nothing was written into that one since."""
    came: Tensor | None = None
    """What its module was given, where that is a tensor."""


class Failed(Exception):
    """The network's own error, with the place where it happened."""


@contextmanager
def module_by_module() -> Iterator[None]:
    """Without the fused path of torch's transformers, which runs past the modules inside them."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def observe(network: nn.Module, network_input: Tensor, take: Callable[[Arrival], None]) -> None:
    """Run `network`, giving `take` every tensor that its modules answer with, in order.

    Plain containers repeat their last member and are left out, as are modules that hand their input through, unless no
    other module gave it. Raises `Failed`.
    """
    watch = _Watch(take, network_input)
    try:
        inner = {path: module for path, module in network.named_modules() if path}
        with torch.no_grad(), module_by_module(), calls(inner, watch.leave, watch.enter):
            run(network, network_input)
    except (Exception, Endless) as error:
        raise Failed(f"failed {watch.where}: {told(error)}") from error


class _Watch:
    """Follows one forward pass: which module runs, and which activation it was given."""

    def __init__(self, take: Callable[[Arrival], None], network_input: Tensor) -> None:
        self._take = take
        self._entered: list[tuple[str, nn.Module, Tensor | None, tuple[int, ...], _Known | None, int]] = []
        self._names: MutableMapping[Tensor, _Known] = WeakTensorKeyDictionary()
        """Which activation a tensor is that lives."""
        self._names[network_input] = _Known(INPUT, _written(network_input))

    @property
    def where(self) -> str:
        """The module that is running."""
        if not self._entered:
            return "outside of any module"
        path, module, *_ = self._entered[-1]
        return f"in layer {path!r} ({type(module).__name__})"

    def enter(self, path: str, module: nn.Module, args: Any) -> None:
        first = args[0] if args and isinstance(args[0], Tensor) else None
        if first is None:
            self._entered.append((path, module, None, (), None, -1))
        else:
            self._entered.append((path, module, first, tuple(first.shape), self._names.get(first), _written(first)))

    def leave(self, place: Place, module: nn.Module, output: Any) -> None:
        *_, came, shape, source, written = self._entered.pop()
        handed_on = came is not None and source is not None and output is came and 0 <= written == _written(came)
        if type(module) is not nn.Sequential and not handed_on:
            for item, value in items(output):
                name, same = str(replace(place, item=item)), self._names.get(value)
                arrival = Arrival(
                    *(name, module, value),
                    source=source.name if source else "",
                    untouched=source is not None and 0 <= written == source.written,
                    given=shape,
                    same=same.name if same else "",
                    same_untouched=same is not None and 0 <= same.written == _written(value),
                    came=came,
                )
                self._take(arrival)
                self._names[value] = _Known(name, _written(value))


class _Known(NamedTuple):
    """An activation, and how often its tensor had been written into when its module gave it."""

    name: str
    written: int


def _written(value: Tensor) -> int:
    """How often a tensor was written into; tensors of inference mode do not say: -1."""
    return -1 if value.is_inference() else value._version
