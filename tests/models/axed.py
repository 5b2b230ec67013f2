"""Networks whose axes are known, because they were planted.

Channel `RED` of what `red` makes is the red of the picture, less its green and blue, at each position; of a unit of any
other axis nothing of that kind can be true.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

RED = 5


def red(channels: int, patch: int) -> nn.Conv2d:
    """Patches to channels of which `RED` is how red they are; the others are weak and random."""
    conv = nn.Conv2d(3, channels, patch, patch)
    with torch.no_grad():
        conv.weight.mul_(0.01)
        conv.weight[RED] = torch.tensor([1.0, -0.5, -0.5]).view(3, 1, 1) / patch**2
        assert conv.bias is not None
        conv.bias.zero_()
    return conv


class Arranged(nn.Module):
    """Hands on [n,c,h,w] with its axes in another order, flattened where one is left out: `nhwc`, `ntc`, `tnc`."""

    def __init__(self, order: str, prefix: int = 0) -> None:
        super().__init__()
        self.order = order
        self.tokens = nn.Parameter(torch.zeros(1, prefix, 1))

    def forward(self, x: Tensor) -> Tensor:
        if "t" not in self.order:
            return x.permute(["nchw".index(axis) for axis in self.order])
        rows = x.flatten(2).transpose(1, 2)
        prefix = self.tokens + rows.mean(1, keepdim=True)
        rows = torch.cat([prefix[:, : self.tokens.shape[1]].expand(-1, self.tokens.shape[1], -1), rows], 1)
        return rows.permute(["ntc".index(axis) for axis in self.order]) + 0.0


class FixedSize(nn.Module):
    """Takes one input size alone, as networks with position embeddings do."""

    def __init__(self, network: nn.Module, size: int) -> None:
        super().__init__()
        self.network, self.size = network, size

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2:] != (self.size, self.size):
            raise ValueError(f"this network takes {self.size}x{self.size} alone")
        found: Tensor = self.network(x)
        return found


class Derived(nn.LayerNorm):
    """A norm over the last axis that only its name tells from torch's."""


class Norm2d(nn.LayerNorm):
    """Normalises the channels of a map that has them first, as many ConvNeXts do; no kind of layer norm by its axes."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Patches(nn.Module):
    """A vision transformer without a convolution: patches by a reshape, a class token and registers."""

    def __init__(self, size: int = 32, patch: int = 8, width: int = 20, prefix: int = 3) -> None:
        super().__init__()
        self.patch = patch
        count = (size // patch) ** 2
        self.embed = nn.Linear(3 * patch**2, width)
        self.prefix = nn.Parameter(torch.randn(1, prefix, width))
        self.places = nn.Parameter(0.02 * torch.randn(1, count + prefix, width))
        self.blocks = nn.Sequential(*(nn.TransformerEncoderLayer(width, 2, 40, batch_first=True) for _ in range(2)))
        self.head = nn.Linear(width, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.unfold(x, self.patch, stride=self.patch).transpose(1, 2)
        x = self.embed(x)
        x = torch.cat([self.prefix.expand(len(x), -1, -1), x], 1) + self.places
        found: Tensor = self.head(self.blocks(x)[:, 0])
        return found


class Mixer(nn.Module):
    """A block that mixes tokens by a matrix product over their axis, then channels; it takes one size alone."""

    def __init__(self, tokens: int = 16, width: int = 16, hidden: int = 9) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 8, 8)
        self.norm, self.into, self.out = nn.LayerNorm(width), nn.Linear(tokens, hidden), nn.Linear(hidden, tokens)
        self.block = nn.Identity()
        self.mixed = Added()

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x).flatten(2).transpose(1, 2)
        mixed = self.out(functional.gelu(self.into(self.norm(x).transpose(1, 2))))
        found: Tensor = self.mixed(x, mixed.transpose(1, 2))
        return found.mean(1)


class Added(nn.Module):
    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        return one + other


class Dropped(nn.Module):
    """Drops numbers whatever the mode: `how` is a function of torch's that takes p alone."""

    def __init__(self, how: str, p: float = 0.1) -> None:
        super().__init__()
        self.how, self.p = how, p
        self.before, self.after = nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 4, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.after(self._dropped(self.before(x)))
        return found

    def _dropped(self, x: Tensor) -> Tensor:
        if self.how == "attention":
            rows = x.flatten(2).transpose(1, 2)[:, None, :64]
            return x + functional.scaled_dot_product_attention(rows, rows, rows, dropout_p=self.p).mean()
        dropped: Tensor = getattr(functional, self.how)(x, self.p)
        return dropped


class Counting(nn.Module):
    """Answers otherwise each time, without any chance."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0
        self.conv, self.after = nn.Conv2d(3, 8, 3), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        found: Tensor = self.after(self.conv(x) + self.calls)
        return found


class Beside(nn.Module):
    """Compares each image with those beside it: `how` says by what."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how = how
        self.conv, self.after = nn.Conv2d(3, 8, 3), nn.Tanh()

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        beside = {"largest": x.amax((0, 2, 3), keepdim=True), "next": x.roll(1, 0), "mean": x.mean(0, keepdim=True)}
        found: Tensor = self.after(x - beside[self.how])
        return found


class Idle(nn.Module):
    """Draws random numbers that change nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.conv(x) + 0.0 * torch.rand(1)
        return found


class Pooled(nn.Module):
    """Tokens over all of which every part of the image is spread: only a product tells their channels."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.spread = nn.Conv2d(3, 12, 8, 8), nn.Parameter(torch.randn(9, 16))
        self.fc, self.added = nn.Linear(12, 12), Added()

    def forward(self, x: Tensor) -> Tensor:
        rows = self.spread @ self.stem(x).flatten(2).transpose(1, 2)
        found: Tensor = self.added(rows, self.fc(rows))
        return found.mean(1)
