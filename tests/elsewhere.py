"""A pretended GPU: tensors that say `cuda`, hold their values on the CPU and may not meet tensors of the CPU.

An operator that a GPU refuses, since one of its tensors was left on the CPU, is refused here too. All others give the
values of the CPU, so that a stage can be compared. Kernels, streams, graphs and memory of a GPU are not shown by it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode, return_and_correct_aliasing
from torch.utils._pytree import tree_flatten, tree_map

CUDA = torch.device("cuda", 0)
CROSSING = {
    torch.ops.aten._to_copy.default,
    torch.ops.aten.copy_.default,
    torch.ops.aten.index.Tensor,  # indices may lie on the CPU
    torch.ops.aten.index_put.default,
    torch.ops.aten.index_put_.default,
}
"""What takes tensors of both."""


class Elsewhere(Tensor):
    """A tensor that says that it is on `cuda`."""

    held: Tensor

    @staticmethod
    def __new__(cls, held: Tensor) -> Elsewhere:
        shape = torch.empty_strided(held.size(), held.stride(), dtype=held.dtype, device="meta")
        made: Elsewhere = torch.Tensor._make_subclass(cls, shape, False, device_for_backend_keys=CUDA)
        made.held = held
        return made

    @property
    def device(self) -> torch.device:  # type: ignore[override]
        """Where it says that it is."""
        return CUDA

    @classmethod
    def __torch_dispatch__(cls, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:  # type: ignore[override]
        return computed(func, args, kwargs or {})


class _Mode(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Tensors are made there as well."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return computed(func, args, kwargs or {})


def computed(func: Any, args: Any, kwargs: dict[str, Any]) -> Any:
    """The result of an operator, on the device that it belongs to."""
    if func is torch.ops.aten._efficientzerotensor.default:
        func = torch.ops.aten.zeros.default  # what stands for zeros has no memory, which wrappers need
    tensors = [value for value in tree_flatten((args, kwargs))[0] if isinstance(value, Tensor)]
    there = [value for value in tensors if isinstance(value, Elsewhere)]
    device = kwargs.get("device")
    if device is not None:
        kwargs = {**kwargs, "device": torch.device("cpu")}
    left = [value for value in tensors if value.dim() and not isinstance(value, Elsewhere)]
    if there and left and func not in CROSSING:
        raise RuntimeError(f"{func}: tensors on cuda and on the CPU meet: {[tuple(each.shape) for each in tensors]}")
    found = func(*tree_map(_held, args), **tree_map(_held, kwargs))
    goes = torch.device(device).type != "cpu" if device is not None else bool(there) and _first(tensors, func)
    if not goes:
        return found
    wrapped = tree_map(lambda value: Elsewhere(value) if isinstance(value, Tensor) else value, found)
    if not there:
        return wrapped
    return return_and_correct_aliasing(func, args, kwargs, wrapped)  # type: ignore[no-untyped-call]


def _first(tensors: list[Tensor], func: Any) -> bool:
    """Whether the result is there: what is copied into decides, or whichever is."""
    return func not in CROSSING or isinstance(tensors[0], Elsewhere)


def _held(value: Any) -> Any:
    return value.held if isinstance(value, Elsewhere) else value


@contextmanager
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Within it `cuda` is pretended to be there."""
    monkeypatch.setattr(torch.cuda, "_lazy_init", lambda: None)
    monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda: True)
    monkeypatch.setattr("torch.cuda.amp.common.amp_definitely_not_available", lambda: False)
    monkeypatch.setattr("atlas.rendering.engine.Replayed", _plain)
    torch._C._ensureCUDADeviceGuardSet()  # a guard that does nothing, where no driver is
    torch._C._set_only_lift_cpu_tensors(True)  # torch.tensor(..., device="cuda") makes it here, then moves it
    torch.__future__.set_overwrite_module_params_on_conversion(True)  # parameters become these tensors
    try:
        with torch.backends.cudnn.flags(enabled=False), _Mode():  # type: ignore[no-untyped-call]
            yield
    finally:
        torch._C._set_only_lift_cpu_tensors(False)
        torch.__future__.set_overwrite_module_params_on_conversion(False)


def _plain(step: Callable[[], None], device: str) -> Callable[[], None]:
    """Nothing is recorded here."""
    return step
