"""One forward pass of a network, watched.

network, input -> every module's activations, in order of execution
"""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from atlas.factories import told
from atlas.models.foreign import Endless, run
from atlas.models.outputs import Place, items

INPUT = "<input>"
"""What the network's input is called where an activation comes from it."""


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
    """Follows one forward pass as modules are called."""

    def __init__(self, take: Callable[[Arrival], None], network_input: Tensor) -> None:
        self._take = take
        self._calls: Counter[str] = Counter()
        self._entered: list[tuple[str, nn.Module]] = []
        self._inputs: list[tuple[Tensor, int] | None] = []
        self._names: dict[int, tuple[weakref.ref[Tensor], str]] = {}
        """By the identity of a tensor that lives: which activation it is."""
        self._names[id(network_input)] = weakref.ref(network_input), INPUT

    def watching(self, network: nn.Module) -> ExitStack:
        """A context in which the calls of the network's modules are noted."""
        stack = ExitStack()
        for path, module in network.named_modules():
            if path:
                stack.enter_context(module.register_forward_pre_hook(self._enter(path)))
                stack.enter_context(module.register_forward_hook(self._leave(path)))
        return stack

    @property
    def where(self) -> str:
        """The module that is running."""
        if not self._entered:
            return "outside of any module"
        path, module = self._entered[-1]
        return f"in layer {path!r} ({type(module).__name__})"

    def _enter(self, path: str) -> Callable[[nn.Module, Any], None]:
        def enter(module: nn.Module, args: Any) -> None:
            self._entered.append((path, module))
            first = args[0] if args and isinstance(args[0], Tensor) else None
            # Tensors of inference mode do not say whether they were written to.
            self._inputs.append(None if first is None or first.is_inference() else (first, first._version))

        return enter

    def _leave(self, path: str) -> Callable[[nn.Module, Any, Any], None]:
        def leave(module: nn.Module, _: Any, output: Any) -> None:
            self._entered.pop()
            given = self._inputs.pop()
            self._calls[path] += 1
            untouched = given is not None and output is given[0] and given[0]._version == given[1]
            source = self._known(given[0]) if given else ""
            if type(module) is not nn.Sequential and not (untouched and source):
                for item, value in items(output):
                    self._arrive(str(Place(path, self._calls[path], item)), module, value, source)

        return leave

    def _arrive(self, name: str, module: nn.Module, value: Tensor, source: str) -> None:
        self._take(Arrival(name, module, value, source, self._known(value)))
        self._names[id(value)] = weakref.ref(value), name

    def _known(self, value: Tensor) -> str:
        """The activation that `value` is; identities of tensors that are gone are used again."""
        reference, name = self._names.get(id(value), (None, ""))
        return name if reference is not None and reference() is value else ""
