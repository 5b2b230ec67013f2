"""The forward passes of a network, watched as its modules are called.

    with activations(network, take, names): run(network, x)        take(name, value) of each, in order of execution

All that is ever had of the inside of a pass comes by `calls`: forward hooks that count.
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Container, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from atlas.errors import DryRunError, UnknownName
from atlas.factories import told
from atlas.models.foreign import Endless, Enough, run
from atlas.models.outputs import Place, items

INPUT = "<input>"
"""What the network's input is called where an activation comes from it."""

Left = Callable[[Place, nn.Module, Any], None]
"""(which call of which module it is, the module, what it answers)."""
Take = Callable[[str, Tensor], None]
"""(name of an activation, its value). Only now is it so: later modules may write into it."""


@contextmanager
def calls(network: nn.Module, left: Left, paths: Container[str] | None = None) -> Iterator[None]:
    """Inside, `left` hears of each call of the network's modules, or of those at `paths`, as it ends."""
    counts: Counter[str] = Counter()

    def leave(path: str, module: nn.Module, _: Any, output: Any) -> None:
        counts[path] += 1
        left(Place(path, counts[path]), module, output)

    with ExitStack() as hooks:
        for path, module in network.named_modules():
            if paths is None or path in paths:
                hooks.enter_context(module.register_forward_hook(partial(leave, path)))
        yield


@contextmanager
def activations(network: nn.Module, take: Take, names: Iterable[str] | None = None) -> Iterator[None]:
    """Inside, `take` hears of each activation, or of those called `names`, at the moment when its module gives it."""
    wanted = None if names is None else {Place.parse(name): name for name in names}

    def left(place: Place, _: nn.Module, output: Any) -> None:
        for item, value in items(output):
            found = replace(place, item=item)
            if wanted is None or found in wanted:
                take(str(found) if wanted is None else wanted[found], value)

    with calls(network, left, None if wanted is None else {place.path for place in wanted}):
        yield


def stop_at(network: nn.Module, name: str, x: Tensor, *, whole: bool = False) -> Tensor:
    """The activation `name` of `network` for the input `x`, as the module gives it.

    Nothing after it is computed, but with `whole`; then it is a copy, which nothing after it changes in place. Raises
    `UnknownName` where there is no such module, `DryRunError` where the pass ends without coming there.
    """
    found: list[Tensor] = []

    def take(_: str, value: Tensor) -> None:
        found.append(value.clone() if whole else value)
        if not whole:
            raise Enough

    require_modules(network, [name])
    with module_by_module(), activations(network, take, [name]), suppress(Enough):
        run(network, x)
    if not found:
        raise never_reached(name)
    return found[0]


def require_modules(network: nn.Module, names: Iterable[str]) -> None:
    """Raise `UnknownName` where the network lacks the module that an activation of `names` is of."""
    modules = dict(network.named_modules())
    for path in (Place.parse(name).path for name in names):
        if path not in modules:
            raise UnknownName.among("layer", path, modules)


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
    same: str
    """The activation whose very tensor it is: a container hands on what its last member gave."""


class Failed(Exception):
    """The network's own error, with the place where it happened."""

    def __init__(self, where: str, error: BaseException) -> None:
        self.where, self.error = where, error
        super().__init__(f"failed {where}: {told(error)}")


@contextmanager
def module_by_module() -> Iterator[None]:
    """Without the fused path of torch's transformers, which runs past the modules inside them."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


def observe(
    network: nn.Module,
    network_input: Tensor,
    take: Callable[[Arrival], None],
    beside: AbstractContextManager[Any] | None = None,
) -> None:
    """Run `network`, giving `take` every tensor that its modules answer with, in order.

    Plain containers repeat their last member and are left out, as are modules that hand their input through, unless no
    other module gave it. `beside` is entered around the pass. Raises `Failed`.
    """
    watch = _Watch(take, network_input)
    try:
        with torch.no_grad(), module_by_module(), watch.watching(network), beside or nullcontext():
            run(network, network_input)
    except (Exception, Endless) as error:
        raise Failed(watch.where, error) from error


class _Watch:
    """Follows one forward pass: which module runs, and which activation it was given."""

    def __init__(self, take: Callable[[Arrival], None], network_input: Tensor) -> None:
        self._take = take
        self._entered: list[tuple[str, nn.Module]] = []
        self._inputs: list[tuple[Tensor, int] | None] = []
        self._names: dict[int, tuple[weakref.ref[Tensor], str]] = {}
        """By the identity of a tensor that lives: which activation it is."""
        self._names[id(network_input)] = weakref.ref(network_input), INPUT

    def watching(self, network: nn.Module) -> ExitStack:
        """A context in which the calls of the network's modules are noted."""
        stack, inner = ExitStack(), {path: module for path, module in network.named_modules() if path}
        for path, module in inner.items():
            stack.enter_context(module.register_forward_pre_hook(partial(self._enter, path)))
        stack.enter_context(calls(network, self._leave, inner))
        return stack

    @property
    def where(self) -> str:
        """The module that is running."""
        if not self._entered:
            return "outside of any module"
        path, module = self._entered[-1]
        return f"in layer {path!r} ({type(module).__name__})"

    def _enter(self, path: str, module: nn.Module, args: Any) -> None:
        self._entered.append((path, module))
        first = args[0] if args and isinstance(args[0], Tensor) else None
        # Tensors of inference mode do not say whether they were written to.
        self._inputs.append(None if first is None or first.is_inference() else (first, first._version))

    def _leave(self, place: Place, module: nn.Module, output: Any) -> None:
        self._entered.pop()
        given = self._inputs.pop()
        untouched = given is not None and output is given[0] and given[0]._version == given[1]
        source = self._known(given[0]) if given else ""
        if type(module) is not nn.Sequential and not (untouched and source):
            for item, value in items(output):
                self._arrive(str(replace(place, item=item)), module, value, source)

    def _arrive(self, name: str, module: nn.Module, value: Tensor, source: str) -> None:
        self._take(Arrival(name, module, value, source, self._known(value)))
        self._names[id(value)] = weakref.ref(value), name

    def _known(self, value: Tensor) -> str:
        """The activation that `value` is; identities of tensors that are gone are used again."""
        reference, name = self._names.get(id(value), (None, ""))
        return name if reference is not None and reference() is value else ""
