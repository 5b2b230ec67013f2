"""Rectifiers: what a value was before one, and gradients through those that block everything.

    with Rectifiers() as rectifiers: y = network(x)        rectifiers.before(y) -> Tensor | None

A rectified value is zero almost everywhere it is low, so what lowers a unit is searched for before its rectifier. A
network may rectify by module or by function, in place or not, and pool or join afterwards: all of them are calls of
torch functions, so one function mode sees them all.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Container, Iterable, MutableMapping
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode
from torch.utils.weak import WeakTensorKeyDictionary

JOINS = {"cat", "concat", "concatenate"}
COMMUTING = {
    *("flatten", "view", "reshape", "permute", "transpose", "contiguous", "squeeze", "unsqueeze", "clone"),
    *("chunk", "split", "unbind", "getitem", "movedim", "narrow", "dropout", "feature_dropout"),
    *("max_pool2d", "adaptive_max_pool2d"),
}
"""Functions of one tensor that give the same before a rectifier as after it; dropout is the identity in evaluation."""
AVERAGES = {"avg_pool2d", "adaptive_avg_pool2d", "mean", "sum", "amax", "pad"}
"""Functions that keep a value from falling below zero, but do not commute with the rectifier."""
SUMS = {"add", "iadd", "radd", "mul", "imul", "rmul", "maximum"}
"""Functions of two values that are never below zero where both of them are not."""
POSITIVE = {"sigmoid", "softmax", "exp", "square"}
"""Functions whose values are above zero, so that they keep a rectified factor rectified."""

Bounds = tuple[float, float]
Deferred = Callable[[], Tensor]


class Rectifiers(TorchFunctionMode):
    """Watches one forward pass; with `redirect`, rectifiers in it pass gradients on by Lucid's rule.

    With `only`, what came before is kept of the rectifiers of these numbers alone (from 1, as they are called), so that
    no others that work in place cost a copy.
    """

    def __init__(self, *, redirect: bool = False, only: Container[int] | None = None) -> None:
        super().__init__()
        self.redirect = redirect
        self.used: set[int] = set()
        """Numbers of the rectifiers that what `before` gave came from."""
        self._only = only
        self._called = 0
        self._before: MutableMapping[Tensor, Deferred] = WeakTensorKeyDictionary()
        self._floored: MutableMapping[Tensor, bool] = WeakTensorKeyDictionary()
        # Holds what cannot be below zero: True where a rectifier cut it off there, False where it is just positive.

    def before(self, value: Tensor) -> Tensor | None:
        """What `value` was before its rectifier, with its gradient; None where it did not come out of one."""
        deferred = self._before.get(value)
        return deferred() if deferred else None

    def rectified(self, value: Tensor) -> bool:
        """Whether a rectifier keeps `value` from being below zero, by itself or before an average, a sum, ..."""
        return self._floored.get(value) is True

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        name = func.__name__.strip("_")
        if bounds := _bounds(name, args[1:], kwargs):
            self._called += 1
            kept = self._only is None or self._called in self._only
            if kept or self.redirect:
                return self._rectify(func, bounds, args, kwargs, kept=kept)
        result = func(*args, **kwargs)
        if isinstance(result, Tensor):
            self._follow(result, self._carried(func, name, args, kwargs), self._floor(name, args))
        elif isinstance(result, tuple | list) and (whole := self._carried(func, name, args, kwargs)):
            for index, piece in enumerate(result):  # of what was cut
                if isinstance(piece, Tensor):
                    self._follow(piece, partial(_piece, whole, index), True)
        return result

    def _rectify(
        self, func: Callable[..., Any], bounds: Bounds, args: tuple[Any, ...], kwargs: dict[str, Any], *, kept: bool
    ) -> Any:
        x = args[0]
        in_place = func.__name__.endswith("_") or kwargs.get("inplace", args[-1] is True)
        before = x.clone() if in_place and kept else x
        result = redirected(x, *bounds, in_place=in_place) if self.redirect else func(*args, **kwargs)
        self._follow(result, partial(self._give, self._called, before) if kept else None, True)
        return result

    def _give(self, number: int, before: Tensor) -> Tensor:
        self.used.add(number)
        return before

    def _follow(self, result: Tensor, before: Deferred | None, floored: bool | None) -> None:
        """Remember what is known of `result`, and forget what was known before it was changed in place."""
        self._before.pop(result, None)
        self._floored.pop(result, None)
        if before is not None:
            self._before[result] = before
        if floored is not None:
            self._floored[result] = floored

    def _carried(
        self, func: Callable[..., Any], name: str, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Callable[[], Any] | None:
        """How to get what came before the rectifier of a result; put off, as it is rarely asked for."""
        if not args:
            return None
        if name in JOINS and any(part in self._before for part in args[0]):
            parts = [self._before.get(part, _constant(part)) for part in args[0]]
            return lambda: func([part() for part in parts], *args[1:], **kwargs)
        if name in COMMUTING and isinstance(args[0], Tensor) and args[0] in self._before:
            before = self._before[args[0]]
            return lambda: func(before(), *args[1:], **kwargs)
        return None

    def _floor(self, name: str, args: tuple[Any, ...]) -> bool | None:
        """Whether a result is rectified, or just never below zero (False), by what is known of the arguments."""
        if name in POSITIVE:
            return False
        if name in SUMS:
            return self._joint_floor(args[:2])
        if name in JOINS:
            return self._joint_floor(args[0])
        if name in COMMUTING | AVERAGES and args and isinstance(args[0], Tensor):
            return self._floored.get(args[0])
        return None

    def _joint_floor(self, values: Iterable[Any]) -> bool | None:
        """As `_floor`, for a sum, a product or a row of values: known only where it is known of each."""
        floors = [self._floored.get(value) if isinstance(value, Tensor) else _sign(value) for value in values]
        known = [floor for floor in floors if floor is not None]
        return any(known) if len(known) == len(floors) else None


def _sign(value: Any) -> bool | None:
    """False for a number that is not below zero."""
    return False if isinstance(value, int | float) and value >= 0 else None


def _piece(whole: Callable[[], Any], index: int) -> Tensor:
    piece: Tensor = whole()[index]
    return piece


def _constant(value: Tensor) -> Deferred:
    return lambda: value


def _bounds(name: str, rest: tuple[Any, ...], kwargs: dict[str, Any]) -> Bounds | None:
    """The lowest and highest value a call lets through where it rectifies at zero, else None."""
    match name:
        case "relu":
            return 0.0, math.inf
        case "relu6":
            return 0.0, 6.0
        case "hardtanh":
            low, high = _given(rest, kwargs, min_val=-1.0, max_val=1.0)
        case "clamp" | "clip" | "clamp_min":
            low, high = _given(rest, kwargs, min=None, max=None)
        case "threshold":
            threshold, low = _given(rest, kwargs, threshold=None, value=None)
            low, high = (low, None) if threshold == low else (None, None)
        case _:
            return None
    if not isinstance(low, int | float) or low != 0 or isinstance(high, Tensor):
        return None
    return 0.0, math.inf if high is None else float(high)


def _given(rest: tuple[Any, ...], kwargs: dict[str, Any], **defaults: Any) -> list[Any]:
    """The arguments called `defaults`, given by place or by name."""
    named = dict(zip(defaults, rest, strict=False)) | kwargs
    return [named.get(name, default) for name, default in defaults.items()]


def redirected(x: Tensor, low: float = 0.0, high: float = math.inf, *, in_place: bool = False) -> Tensor:
    """`x` between `low` and `high`, with the gradient of Lucid's redirected ReLU.

    Gradients are those of a loss to be lowered. Where a rectifier blocks the whole gradient of a batch entry, that
    entry gets the incoming gradient instead, except where following it would push `x` still further out of bounds. An
    entry through which any gradient passes keeps the ordinary one. (`lucid/misc/redirected_relu_grad.py`)
    """
    if in_place and x._is_view():  # a custom function may not write into a piece of something
        return x.copy_(redirected(x.clone(), low, high))
    result: Tensor = _Redirected.apply(x, low, high, in_place)
    return result


class _Redirected(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, low: float, high: float, in_place: bool) -> Tensor:
        result = x.clamp_(low, high) if in_place else x.clamp(low, high)
        if in_place:
            ctx.mark_dirty(x)
        ctx.save_for_backward(result)
        ctx.bounds = low, high
        return result

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None, None]:
        (x,), (low, high), gradient = ctx.saved_tensors, ctx.bounds, gradients[0]
        if math.isinf(high):
            ordinary = torch.ops.aten.threshold_backward(gradient, x, low)
        else:
            ordinary = torch.ops.aten.hardtanh_backward(gradient, x, low, high)
        entry = tuple(range(1, x.dim()))
        blocked = (ordinary.amax(entry, keepdim=True) == 0) & (ordinary.amin(entry, keepdim=True) == 0)
        # Asked of no entry, so that no step waits for an answer; multiplied, since a choice takes twice the time.
        return ordinary.addcmul_(blocked.to(x.dtype), _inwards(gradient, x, low, high)), None, None, None


def _inwards(gradient: Tensor, x: Tensor, low: float, high: float) -> Tensor:
    """`gradient` but where following it would push a value that lies at a bound still further out.

    Asked for where a rectifier blocks everything: there `gradient` is 0 within the bounds.
    """
    if math.isinf(high):
        return gradient.clamp(max=0)
    away = gradient * (x - (low + high) / 2)
    inwards: Tensor = torch.ops.aten.threshold_backward(gradient, away, 0.0)
    return inwards
