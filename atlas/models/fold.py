"""Batch normalisations folded into the convolutions before them.

network, forward pass -> pairs -> the same values with fewer operations
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torch.overrides import TorchFunctionMode

Pair = tuple[str, str]
"""A convolution whose output feeds exactly one thing, and that batch normalisation: their paths."""


class Consumers(TorchFunctionMode):
    """Watches one forward pass for which functions take which tensors.

    It sees functions, not modules, so a convolution's output that is also used by a plain `+` counts as used twice.
    """

    def __init__(self) -> None:
        super().__init__()
        self._uses: Counter[int] = Counter()
        self._weights: Counter[int] = Counter()
        self._convolved: dict[int, Tensor] = {}
        self._normed: list[tuple[Tensor, Tensor]] = []
        self._kept: list[Any] = []

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        result = func(*args, **kwargs)
        if not isinstance(result, Tensor | tuple | list):
            return result
        # Kept until the end: an id is only worth something while its tensor lives.
        self._kept.append((args, kwargs, result))
        tensors = list(_tensors((*args, *kwargs.values())))
        self._uses.update({id(tensor) for tensor in tensors})
        if func.__name__ == "conv2d" and len(tensors) >= 2:
            self._weights[id(tensors[1])] += 1
            self._convolved[id(result)] = tensors[1]
        elif func.__name__ == "batch_norm" and len(tensors) >= 3:
            self._weights[id(tensors[1])] += 1
            self._normed.append((tensors[0], tensors[1]))
        return result

    def pairs(self, network: nn.Module, target: Tensor) -> list[Pair]:
        """What may be folded in `network` without changing `target`, the value wanted."""
        owners = {
            id(tensor): name
            for name, module in network.named_modules()
            for tensor in (module._parameters.get("weight"), module._buffers.get("running_mean"))
            if tensor is not None
        }
        found = []
        for convolved, mean in self._normed:
            weight = self._convolved.get(id(convolved))
            once = weight is not None and self._weights[id(weight)] == self._weights[id(mean)] == 1
            if once and self._uses[id(convolved)] == 1 and convolved is not target:
                found.append((owners.get(id(weight)), owners.get(id(mean))))
        return [(convolution, norm) for convolution, norm in found if convolution and norm]


def _tensors(values: Any) -> Any:
    for value in values:
        if isinstance(value, Tensor):
            yield value
        elif isinstance(value, tuple | list):
            yield from _tensors(value)


def fold(network: nn.Module, pairs: list[Pair]) -> None:
    """Fold each pair in place; a normalisation becomes what it did besides normalising (nothing, or an activation)."""
    for first, second in pairs:
        convolution, norm = network.get_submodule(first), network.get_submodule(second)
        rest = _without_norm(norm)
        if isinstance(convolution, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d) and rest is not None:
            _fold(convolution, norm)
            parent, _, name = second.rpartition(".")
            setattr(network.get_submodule(parent), name, rest)


def _fold(convolution: nn.Conv2d, norm: nn.BatchNorm2d) -> None:
    mean, variance = norm.running_mean, norm.running_var
    if mean is None or variance is None:
        return
    with torch.no_grad():
        weight, bias = fuse_conv_bn_weights(
            convolution.weight, convolution.bias, mean, variance, norm.eps, norm.weight, norm.bias
        )
    convolution.weight = nn.Parameter(weight.detach(), requires_grad=False)
    convolution.bias = nn.Parameter(bias.detach(), requires_grad=False)


class _DropAndActivate(nn.Module):
    """What is left of timm's `BatchNormAct2d`, under the same names."""

    def __init__(self, drop: nn.Module, act: nn.Module) -> None:
        super().__init__()
        self.drop, self.act = drop, act

    def forward(self, x: Tensor) -> Any:
        return self.act(self.drop(x))


def _without_norm(norm: nn.Module) -> nn.Module | None:
    """What a folded normalisation still has to do; None where it is of a kind we do not know."""
    if type(norm) is nn.BatchNorm2d:
        return nn.Identity()
    if type(norm).__name__ == "BatchNormAct2d" and set(norm._modules) == {"drop", "act"}:
        return _DropAndActivate(norm.get_submodule("drop"), norm.get_submodule("act"))
    return None
