"""Networks as their authors left them: wrapped, compiled, exported, with code that does what it likes.

Factories for the command line, as `tests.foreign:scripted`; each gives (network, preprocessing).
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from atlas.models import Preprocessing

SMALL = Preprocessing(size=(32, 32), resize=32, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
Made = tuple[nn.Module, Preprocessing]


def net(channels: int = 3) -> nn.Sequential:
    """A small network with a batch normalisation."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(
            nn.Conv2d(channels, 8, 3, padding=1),
            nn.BatchNorm2d(8),
            nn.ReLU(),
            nn.Conv2d(8, 8, 3),
            nn.ReLU(),
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(8, 4),
        ).eval()


def plain() -> Made:
    return net(), SMALL


# Networks that are no plain modules any more


def scripted() -> Made:
    return torch.jit.script(net()), SMALL


def traced() -> Made:
    return torch.jit.trace(net(), torch.rand(2, 3, 32, 32)), SMALL  # type: ignore[no-untyped-call]


def partly_scripted() -> Made:
    return nn.Sequential(torch.jit.script(net()[:4]), net()[4:]), SMALL


def exported() -> Made:
    return torch.export.export(net(), (torch.rand(2, 3, 32, 32),)).module(), SMALL


def unflattened() -> Made:
    return torch.export.unflatten(torch.export.export(net(), (torch.rand(2, 3, 32, 32),))), SMALL


def quantised() -> Made:
    return torch.ao.quantization.quantize_dynamic(net(), {nn.Linear}, dtype=torch.qint8), SMALL  # type: ignore[no-untyped-call]


def lazy() -> Made:
    return nn.Sequential(nn.LazyConv2d(8, 3), nn.ReLU()), SMALL


def on_meta() -> Made:
    return net().to("meta"), SMALL


def graph() -> Made:
    return torch.fx.symbolic_trace(net()), SMALL


def parallel() -> Made:
    return nn.DataParallel(net()), SMALL


def partly_parallel() -> Made:
    """The features alone in parallel, as ImageNet's example trains AlexNet and VGG."""
    return nn.Sequential(nn.DataParallel(net()[:5]), net()[5:]), SMALL


def compiled() -> Made:
    return torch.compile(net(), backend="eager"), SMALL  # type: ignore[return-value]


def partly_compiled() -> Made:
    return nn.Sequential(torch.compile(net()[:5], backend="eager"), net()[5:]), SMALL  # type: ignore[call-overload]


def compiled_in_place() -> Made:
    network = net()
    network.compile(backend="eager")
    network(torch.rand(2, 3, 32, 32))  # hooks that come after the first pass are not called in what it compiled
    return network, SMALL


class Decorated(nn.Module):
    """Its forward pass is compiled, and was called before anybody looked."""

    def __init__(self) -> None:
        super().__init__()
        self.body = net()

    @torch.compile(backend="eager")
    def forward(self, x: Tensor) -> Any:
        return self.body(x)


def decorated() -> Made:
    network = Decorated().eval()
    network(torch.rand(2, 3, 32, 32))
    return network, SMALL


# Code that does what it likes


class Wilful(nn.Module):
    """Does `deed` where `where` says."""

    def __init__(self, where: str, deed: Callable[[], Any]) -> None:
        super().__init__()
        self.where, self.deed = where, deed
        self.body = net()

    def _at(self, where: str) -> None:
        if where == self.where:
            self.deed()

    def train(self, mode: bool = True) -> Any:
        self._at("train")
        super().train(mode)

    def forward(self, x: Tensor) -> Any:
        self._at("forward")
        return self.body(x)

    def state_dict(self, *args: Any, **kwargs: Any) -> Any:
        self._at("state_dict")
        return super().state_dict(*args, **kwargs)

    def named_modules(self, *args: Any, **kwargs: Any) -> Any:
        self._at("named_modules")
        return super().named_modules(*args, **kwargs)


class Severe(BaseException):
    """What no `except Exception` catches."""


class Mute(Exception):
    """Fails even to say what it is."""

    def __str__(self) -> str:
        raise ValueError("no words")


def leave() -> None:
    sys.exit(3)


def severe() -> None:
    raise Severe("of all things")


def mute() -> None:
    raise Mute


def wilful(where: str, deed: Callable[[], Any]) -> Callable[[], Made]:
    return lambda: (Wilful(where, deed), SMALL)


leaves_in_train = wilful("train", leave)
severe_in_train = wilful("train", severe)
mute_in_train = wilful("train", mute)
leaves_in_forward = wilful("forward", leave)
severe_in_forward = wilful("forward", severe)
mute_in_forward = wilful("forward", mute)
leaves_in_state = wilful("state_dict", leave)
mute_in_state = wilful("state_dict", mute)
leaves_in_modules = wilful("named_modules", leave)
returns_nothing_from_train = wilful("nowhere", leave)


def leaves() -> Made:
    sys.exit("give --config")


def severe_itself() -> Made:
    raise Severe("of all things")


class Watchful:
    """A preprocessing whose attributes raise."""

    @property
    def resize_size(self) -> int:
        raise KeyError("no size")


def odd_preprocessing() -> tuple[nn.Module, Watchful]:
    return net(), Watchful()


class Stubborn(nn.Module):
    """Never leaves the training mode, by its own code."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.drop = net(), nn.Dropout(0.5)

    def train(self, mode: bool = True) -> Any:
        return super().train(mode or True)

    def forward(self, x: Tensor) -> Any:
        return self.drop(self.body(x))


def stubborn() -> Made:
    return Stubborn(), SMALL


# Other channels, other precisions


def grey() -> Made:
    return net(1), SMALL


def six() -> Made:
    return net(6), SMALL


def grey_wrapped() -> Made:
    from torchvision.transforms import Grayscale

    return nn.Sequential(Grayscale(), net(1)), SMALL


def half() -> Made:
    return net().half(), SMALL


def brain() -> Made:
    return net().bfloat16(), SMALL


def double() -> Made:
    return net().double(), SMALL


class Casting(nn.Module):
    """Casts what it is given to its own precision by name, so that it runs in no other."""

    def __init__(self) -> None:
        super().__init__()
        self.body = net().bfloat16()

    def forward(self, x: Tensor) -> Any:
        return self.body(x.bfloat16())


def casting() -> Made:
    return Casting(), SMALL


def grey_half() -> Made:
    return net(1).half(), SMALL
