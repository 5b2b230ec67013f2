"""Networks whose passes change something: themselves, generators of random numbers, the process."""

from __future__ import annotations

import os
import random
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.foreign import SMALL, Made


class Stem(nn.Module):
    """A convolution, what `between` makes of its map, and a head."""

    def __init__(self, between: Callable[[Stem, Tensor], Tensor]) -> None:
        super().__init__()
        self.conv, self.more, self.down = nn.Conv2d(3, 8, 4, 4), nn.Conv2d(8, 8, 1), nn.Conv2d(8, 8, 3, 2, 1)
        self.hook, self.head = nn.Identity(), nn.Linear(8, 3)
        self.place = nn.Parameter(torch.randn(1, 8, 8, 8))
        self.grid: Tensor
        self.register_buffer("grid", torch.linspace(0, 1, 8))
        self.mean: Tensor
        self.register_buffer("mean", torch.zeros(8))
        self.most, self.grids, self.seen = 0, dict[int, Tensor](), list[int]()
        self.chance = torch.Generator().manual_seed(0)
        self.between = between

    def forward(self, x: Tensor) -> Any:
        return self.head(self.between(self, self.conv(x)).mean((2, 3)))


def resampled(self: Stem, x: Tensor) -> Tensor:
    if x.shape[2:] != self.place.shape[2:]:
        self.place.data = functional.interpolate(self.place.data, x.shape[2:], mode="bilinear", antialias=True)
    return self.more(x + self.place)  # type: ignore[no-any-return]


def replaced(self: Stem, x: Tensor) -> Tensor:
    if x.shape[2:] != self.place.shape[2:]:
        self.place = nn.Parameter(functional.interpolate(self.place.data, x.shape[2:]))
    return x + self.place


def registered_again(self: Stem, x: Tensor) -> Tensor:
    if x.shape[3] != len(self.grid):
        self.register_buffer("grid", torch.linspace(0, 2, x.shape[3]))
    return x + self.grid


def counted(self: Stem, x: Tensor) -> Tensor:
    self.most = max(self.most, x.shape[3])
    self.seen.append(x.shape[3])
    self.grids.setdefault(x.shape[3], torch.linspace(0, 1, self.most))
    return x + self.grids[x.shape[3]]


def written(self: Stem, x: Tensor) -> Tensor:
    if x.shape[3] != 8:
        self.place.data.mul_(2)
    return x * self.place.mean()


def drifting(self: Stem, x: Tensor) -> Tensor:
    with torch.no_grad():
        self.mean.lerp_(x.mean((0, 2, 3)), 2e-4)
    return self.hook(x - self.mean.view(1, -1, 1, 1))  # type: ignore[no-any-return]


def dropped_by_python(self: Stem, x: Tensor) -> Tensor:
    return x + self.more(x) if random.random() > 0.1 else x


def dropped_by_numpy(self: Stem, x: Tensor) -> Tensor:
    return x + self.more(x) if np.random.rand() < 0.98 else x


def dropped_by_its_own(self: Stem, x: Tensor) -> Tensor:
    return x + self.more(x) if torch.rand(1, generator=self.chance).item() > 0.02 else x


def halved_by_modules(self: Stem, x: Tensor) -> Tensor:
    while x.shape[-1] != 4:
        x = self.down(x)
    return x


def halved_by_functions(_: Stem, x: Tensor) -> Tensor:
    while x.shape[-1] != 4:
        x = functional.max_pool2d(x, 3, 2, 1)
    return x


def doubled(_: Stem, x: Tensor) -> Tensor:
    while x.shape[-1] != 32:
        x = functional.interpolate(x, scale_factor=2)
    return x


def handed_on(self: Stem, x: Tensor) -> Tensor:
    return self.hook(functional.gelu(x) + 1)  # type: ignore[no-any-return]


def posed() -> Made:
    torch.manual_seed(0)
    return Stem(resampled), SMALL


class Around(nn.Module):
    """A network inside another, which passes it other batches."""

    def __init__(self, how: Callable[[nn.Module, Tensor], Tensor]) -> None:
        super().__init__()
        self.inner, self.how = Stem(handed_on), how

    def forward(self, x: Tensor) -> Tensor:
        return self.how(self.inner, x)


def flips(inner: nn.Module, x: Tensor) -> Tensor:
    found: Tensor = sum(inner(torch.cat([x, x.flip(3)])).chunk(2))
    return found


def alone(inner: nn.Module, x: Tensor) -> Tensor:
    return torch.cat([inner(one[None]) for one in x])


def switching(switch: Callable[[], object]) -> Made:
    network, how = Stem(handed_on), SMALL
    switch()
    return network, how


class Moving(Stem):
    """Goes to another folder in each pass."""

    def forward(self, x: Tensor) -> Any:
        os.chdir("/")
        return super().forward(x)


def moves() -> Made:
    return switching(lambda: os.chdir("/"))


def moves_in_forward() -> Made:
    return Moving(handed_on), SMALL


def no_gradients() -> Made:
    return switching(lambda: torch.set_grad_enabled(False))


def meta() -> Made:
    return switching(lambda: torch.set_default_device("meta"))


def deterministic() -> Made:
    return switching(lambda: torch.use_deterministic_algorithms(True))


def one_thread() -> Made:
    return switching(lambda: torch.set_num_threads(1))


def silent() -> Made:
    def silence() -> None:
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115, PTH123 - as users do

    return switching(silence)


def double() -> Made:
    torch.set_default_dtype(torch.float64)
    return Stem(handed_on), SMALL


inference = torch.inference_mode()


def in_inference() -> Made:
    inference.__enter__()
    return Stem(handed_on), SMALL
