"""Something added to the value of a layer, on its way to the rest of the network.

    network, layer's name, (value -> Tensor of its shape) -> context

What is added may be zero in value and yet carry a derivative: so everything after the layer is differentiated by it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from atlas.errors import DryRunError, UnknownName
from atlas.models.outputs import Place, items


@contextmanager
def adding(network: nn.Module, name: str, addend: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """Within it, one forward pass of `network` goes on from the layer `name` with its value plus `addend(value)`.

    Raises `UnknownName` where there is no such module, `DryRunError` where the pass did not come there.
    """
    place = Place.parse(name)
    modules = dict(network.named_modules())
    if place.path not in modules:
        raise UnknownName.among("layer", place.path, modules)
    calls = 0
    arrived = False

    def leave(_: nn.Module, args: tuple[Any, ...], output: Any) -> Any:
        nonlocal calls, arrived
        calls += 1
        value = dict(items(output)).get(place.item) if calls == place.call else None
        if value is None:
            return None
        arrived = True
        if any(value is given for given in args):
            # It worked in place; whoever holds its argument goes on with that, and may throw the output away.
            value.add_(addend(value))
            return None
        return _with(output, place.item, value + addend(value))

    handle = modules[place.path].register_forward_hook(leave)
    try:
        yield
    finally:
        handle.remove()
    if not arrived:
        raise DryRunError(f"The forward pass never came to layer {name!r}.")


def _with(output: Any, item: str, value: Tensor) -> Any:
    """A module's `output` with `value` as its `item`."""
    if isinstance(output, Tensor):
        return value
    if isinstance(output, Mapping):
        changed = dict(output)
        changed[next(key for key in output if str(key) == item)] = value
        return type(output)(**changed) if hasattr(output, "to_tuple") else changed
    if dataclasses.is_dataclass(output) and not isinstance(output, type):
        return dataclasses.replace(output, **{item: value})
    parts = [value if str(index) == item else part for index, part in enumerate(output)]
    return type(output)(*parts) if hasattr(output, "_fields") else type(output)(parts)
