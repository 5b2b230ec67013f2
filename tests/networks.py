"""Small networks for tests, made by factories as a user's would be: `tests.networks:tiny`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch
from torch import nn

from atlas.models import Preprocessing

SMALL = Preprocessing(size=(32, 32), resize=32, mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))


class Tiny(nn.Module):
    """Two convolutions and a classifier: layers of 40, 70 and 10 units, so that last shards are short."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 40, 3, stride=2, padding=1), nn.ReLU())
        self.second = nn.Sequential(nn.Conv2d(40, 70, 3, stride=2, padding=1), nn.ReLU(inplace=True))
        self.head = nn.Linear(70, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.head(self.second(self.first(x)).mean((2, 3)))
        return found


def tiny() -> tuple[Tiny, Preprocessing]:
    """The tiny network with weights that are always the same."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Tiny(), SMALL


def other() -> tuple[Tiny, Preprocessing]:
    """The same network with other weights."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return Tiny(), SMALL


def separable() -> nn.Module:
    """A network of 1x1 and depthwise convolutions: layer 4 has 70 units."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        deep = nn.Conv2d(24, 24, 3, padding=1, groups=24)
        return nn.Sequential(nn.Conv2d(3, 24, 3, stride=2), nn.ReLU6(), deep, nn.Conv2d(24, 70, 1), nn.ReLU())


class Planted(nn.Module):
    """Six colours, four channels and one class for each: a logit is the mean of its colour's channels, so that what a
    position says for a class is known."""

    COLOURS = torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 0], [0, 1, 1], [1, 0, 1]]).float()

    def __init__(self) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 24, 4, stride=4), nn.ReLU())
        self.head = nn.Linear(24, 6, bias=False)
        own = (2 * self.COLOURS - 1).repeat_interleave(4, 0)
        convolution = self.body[0]
        assert isinstance(convolution, nn.Conv2d)
        assert convolution.bias is not None
        with torch.no_grad():
            convolution.weight.copy_(own[:, :, None, None] / 16 + 0.002 * torch.randn(24, 3, 4, 4))
            convolution.bias.copy_(torch.linspace(-2.0, -1.0, 24))
            self.head.weight.copy_(torch.eye(6).repeat_interleave(4, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.head(self.body(x).mean((2, 3)))
        return found


def planted() -> tuple[Planted, Preprocessing]:
    """A network that tells six colours apart."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Planted(), SMALL


class Blind(Planted):
    """Answers red with NaN."""

    def __init__(self) -> None:
        super().__init__()
        self.body[1] = Blinded()


class Blinded(nn.Module):
    """A rectifier that gives NaN wherever the first channel is the largest."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        red = x[:, :4].amax(1, keepdim=True) >= x.amax(1, keepdim=True)
        return torch.where(red, torch.nan, x.relu())


def blind() -> tuple[Planted, Preprocessing]:
    """The network of six colours, which cannot stand red."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Blind(), SMALL


def thin() -> tuple[Planted, Preprocessing]:
    """The network of six colours, all of whose channels are multiples of one."""
    network, preprocessing = planted()
    convolution = network.body[0]
    assert isinstance(convolution, nn.Conv2d)
    assert convolution.bias is not None
    with torch.no_grad():
        convolution.weight.copy_(torch.ones(24, 3, 4, 4) / 48 * torch.linspace(0.5, 2, 24)[:, None, None, None])
        convolution.bias.copy_(4 * torch.linspace(0.5, 2, 24))
    return network, preprocessing


def headless() -> tuple[nn.Module, Preprocessing]:
    """The body of the network of six colours alone, which answers with a map and no classes."""
    network, preprocessing = planted()
    return network.body, preprocessing


class Crowded(Planted):
    """Needs more memory than there is for more than four images at a time."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if len(x) > 4:
            raise torch.OutOfMemoryError("this test's memory is full")
        return super().forward(x)


def crowded() -> tuple[Planted, Preprocessing]:
    """The network of six colours on a device of little memory."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Crowded(), SMALL


class Stubborn(Planted):
    """Refuses batches of eight."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if len(x) == 8:
            raise ValueError("this network takes no eight")
        return super().forward(x)


def stubborn() -> tuple[Planted, Preprocessing]:
    """The network of six colours, which fails where images are shown to it."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Stubborn(), SMALL


class Fragile(nn.Module):
    """Channel 2 and its gradient are infinite where its mean rises above `limit`."""

    def __init__(self, limit: float) -> None:
        super().__init__()
        self.limit = limit

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        fragile = x[:, 2:3]
        whole = fragile.mean((2, 3), keepdim=True) < self.limit
        if fragile.requires_grad:  # of a channel nobody asks for the gradient stays 0, which 0 / 0 would not
            fragile.register_hook(  # type: ignore[no-untyped-call]
                lambda gradient: torch.where(gradient == 0, gradient, gradient / whole)
            )
        return torch.cat([x[:, :2], fragile + torch.where(whole, 0.0, torch.inf), x[:, 3:]], dim=1)


def dead() -> tuple[nn.Module, Preprocessing]:
    """The tiny network with channels that fail each in its own way: 0 never starts, 1 is constant, 2 overflows."""
    network, preprocessing = tiny()
    convolution = network.second[0]
    assert isinstance(convolution, nn.Conv2d)
    assert convolution.bias is not None
    with torch.no_grad():
        convolution.weight[0:2] = 0
        convolution.bias[0], convolution.bias[1] = -1, 1
        noise = preprocessing.normalise(torch.rand(16, 3, 32, 32, generator=torch.Generator().manual_seed(0)))
        limit = float(network.second(network.first(noise))[:, 2].mean((1, 2)).max()) * 1.1
    network.second.append(Fragile(limit))
    return network, preprocessing


class Greedy(Tiny):
    """Needs more memory than there is for more than two images at a time, once its gradient is asked for."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if len(x) > 2 and x.requires_grad:
            raise torch.OutOfMemoryError("this test's memory is full")
        return super().forward(x)


def greedy() -> tuple[nn.Module, Preprocessing]:
    """The tiny network on a device of little memory."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Greedy(), SMALL


def failing() -> tuple[nn.Module, Preprocessing]:
    """A network whose classifier does not fit what comes before it."""
    network, preprocessing = tiny()
    network.head = nn.Linear(71, 10)
    return network, preprocessing


class Paired(Tiny):
    """Answers with its embedding of 70 numbers, its 10 logits, and these once more, turned about."""

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:  # type: ignore[override]
        embedding = self.second(self.first(x)).mean((2, 3))
        logits = self.head(embedding)
        return embedding, logits, -logits


def paired() -> tuple[Paired, Preprocessing]:
    """The tiny network with several outputs, its weights those of `tiny`."""
    made = Paired()
    made.load_state_dict(tiny()[0].state_dict())
    return made, SMALL


POISON = "ATLAS_TEST_POISON"
"""Names a file that says which channel of `second` fails, and how: `17 raise`. Nothing fails where it is not there."""


class _Poisoned(torch.autograd.Function):
    """Passes all on, and fails on its way back where a picture is made of one channel."""

    @staticmethod
    def forward(_: Any, x: torch.Tensor) -> torch.Tensor:
        return x.clone()

    @staticmethod
    def backward(_: Any, *grads: torch.Tensor) -> torch.Tensor:
        path = Path(os.environ.get(POISON, "/nowhere"))
        if path.exists():
            units, how = path.read_text().rsplit(maxsplit=1)
            moved = grads[0].abs().sum((2, 3)) > 0
            alone = moved[moved.sum(1) == 1]
            if any(bool(alone[:, unit].any()) for unit in map(int, units.split(","))):
                fail(how)
        return grads[0]


def fail(how: str) -> None:
    """Fail as a network can."""
    if how == "exit":
        os._exit(1)
    if how == "memory":
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 1 GiB")
    raise ArithmeticError("no derivative of this one")


class Poisoned(Tiny):
    """The tiny network, one channel of which may have no derivative."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        inner = self.second[1](_Poisoned.apply(self.second[0](self.first(x))))
        found: torch.Tensor = self.head(inner.mean((2, 3)))
        return found


def poisoned() -> tuple[Tiny, Preprocessing]:
    """The tiny network, one channel of which may have no derivative; see `POISON`."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Poisoned(), SMALL


class Broad(nn.Module):
    """Many layers side by side, each of several shards: a build of many tasks that are all alike."""

    def __init__(self, layers: int = 32, channels: int = 64) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 4, stride=4), nn.ReLU())
        self.beside = nn.ModuleList(nn.Sequential(nn.Conv2d(16, channels, 1), nn.ReLU()) for _ in range(layers))
        self.head = nn.Linear(channels, 10)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        stem = self.stem(x)
        found: torch.Tensor = self.head(torch.stack([layer(stem).mean((2, 3)) for layer in self.beside]).sum(0))
        return found


def broad() -> tuple[Broad, Preprocessing]:
    """A network of many layers side by side."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return Broad(), SMALL
