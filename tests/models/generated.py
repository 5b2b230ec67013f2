"""Networks of random parts whose axes are known, since each part says what it makes of the axes that come in.

st.data -> Network, {path of a module: axes of what it answers}
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import torch
from hypothesis import strategies as st
from torch import Tensor, nn

from tests.models.axed import Derived, Norm2d

SIDE = 16
NAMES = ("conv", "0", "module", "a b", "ü", "x/y", "per%cent", "col:on", "br[0]", "named_modules_", "N" * 60, "#", "@2")


class State(NamedTuple):
    """What goes into a part: its axes in order, as `Layer.layout` tells them, and how long they are."""

    layout: str
    channels: int
    size: tuple[int, int]
    prefix: int = 0

    @property
    def kind(self) -> str:
        return "map" if "h" in self.layout else "tokens"


class Turned(nn.Module):
    """Another order of axes, by any of the ways there are."""

    def __init__(self, before: str, after: str, size: tuple[int, int], prefix: int = 0) -> None:
        super().__init__()
        self.before, self.after, self.size = before, after, size
        self.rows = nn.Parameter(torch.randn(1, prefix, 1))

    def forward(self, x: Tensor) -> Tensor:
        if "h" in self.before:
            x = x.permute([self.before.index(axis) for axis in "nchw"])
            if "h" in self.after:
                return x.permute(["nchw".index(axis) for axis in self.after]).contiguous()
            x = x.flatten(2).transpose(1, 2)
            mean = x.mean(1, keepdim=True)
            x = torch.cat([(self.rows * mean).expand(len(x), -1, -1), x], 1)
        else:
            x = x.permute([self.before.index(axis) for axis in "ntc"])
        return x.permute(["ntc".index(axis) for axis in self.after]) + 0.0


class Residual(nn.Module):
    """What its part makes, beside what came in."""

    def __init__(self, part: nn.Module) -> None:
        super().__init__()
        self.part = part

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = x + 0.5 * self.part(x)
        return found


class Attention(nn.Module):
    """torch's attention of tokens to each other, with its weights beside it."""

    def __init__(self, width: int, layout: str) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, 1, batch_first=layout == "ntc")

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = x + self.attention(x, x, x)[0]
        return found


class Gated(nn.Module):
    """Channels weighed by their own means."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.pool, self.fc = nn.AdaptiveAvgPool2d(1), nn.Conv2d(width, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = x * self.fc(self.pool(x)).sigmoid()
        return found


class Head(nn.Module):
    """Classes of the mean over positions, told in one of the ways networks tell them."""

    def __init__(self, layout: str, width: int, how: str) -> None:
        super().__init__()
        self.over = [at for at, axis in enumerate(layout) if axis in "hwt"]
        self.fc, self.how = nn.Linear(width, 5), how

    def forward(self, x: Tensor) -> Any:
        mean = x.mean(self.over)
        logits = self.fc(mean)
        return {
            "tensor": logits,
            "tuple": (mean, logits),
            "dict": {"logits": logits, "embedding": mean},
            "nested": [None, {"out": [logits]}],
            "nothing": None,
            "map": x,
        }[self.how]


made: list[nn.Module] = []
"""The last network that was made: workers make theirs by a factory, which is `again`."""


def again() -> nn.Module:
    """The network that is looked into, made anew."""
    return copy.deepcopy(made[-1])


@dataclass
class Network:
    """A network and what is true of it."""

    module: nn.Module
    truth: dict[str, State] = field(default_factory=dict)
    fixed: bool = False


class Row(nn.Sequential):
    """Parts one after the other; of a fixed size it takes no other."""

    fixed = False

    def forward(self, x: Tensor) -> Any:
        if self.fixed:
            torch._assert(x.shape[2:] == (SIDE, SIDE), "one size alone")
        return super().forward(x)  # type: ignore[no-untyped-call]


def _part(draw: Callable[[st.SearchStrategy[Any]], Any], state: State) -> tuple[nn.Module, State]:
    """A part that takes what `state` says, and what it makes of it."""
    width, layout = state.channels, state.layout
    other = draw(st.sampled_from([width, state.size[0], state.size[1], 3, 8]))
    if state.kind == "map":
        return _map_part(draw, state, other)
    parts: dict[str, Callable[[], nn.Module]] = {}
    if layout in ("ntc", "tnc"):
        parts = {
            "linear": lambda: nn.Linear(width, other),
            "norm": lambda: nn.LayerNorm(width),
            "block": lambda: Residual(nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU())),
            "attention": lambda: Attention(width, layout),
        }
    if layout == "ntc":
        parts["encoder"] = lambda: nn.TransformerEncoderLayer(width, 1, 8, batch_first=True)
    if layout == "nct":
        parts = {
            "conv1d": lambda: nn.Conv1d(width, other, 1),
            "norm1d": lambda: nn.BatchNorm1d(width),
            "relu": lambda: nn.ReLU(inplace=draw(st.booleans())),
        }
    turns = [one for one in ("ntc", "nct", "tnc") if one != layout]
    kind = draw(st.sampled_from([*parts, "turn"]))
    if kind == "turn":
        after = draw(st.sampled_from(turns))
        return Turned(layout, after, state.size), state._replace(layout=after)
    return parts[kind](), state._replace(channels=other if kind in ("linear", "conv1d") else width)


def _map_part(draw: Callable[[st.SearchStrategy[Any]], Any], state: State, other: int) -> tuple[nn.Module, State]:
    width, layout = state.channels, state.layout
    parts: dict[str, Callable[[], nn.Module]] = {"gelu": nn.GELU, "drop": lambda: nn.Dropout(0.5)}
    if layout == "nchw":
        parts |= {
            "conv": lambda: nn.Conv2d(width, other, 3, padding=1),
            "norm": lambda: nn.BatchNorm2d(width),
            "group": lambda: nn.GroupNorm(1, width),
            "norm2d": lambda: Norm2d(width),
            "relu": lambda: nn.ReLU(inplace=draw(st.booleans())),
            "block": lambda: Residual(nn.Sequential(nn.Conv2d(width, width, 3, padding=1), nn.BatchNorm2d(width))),
            "gated": lambda: Gated(width),
        }
    if layout == "nhwc":
        parts |= {
            "linear": lambda: nn.Linear(width, other),
            "norm": lambda: nn.LayerNorm(width),
            "derived": lambda: Derived(width),
            "block": lambda: Residual(nn.Sequential(nn.Linear(width, width), nn.GELU())),
        }
    kind = draw(st.sampled_from([*parts, "turn", "flatten"]))
    if kind == "turn":
        after = draw(st.sampled_from([one for one in ("nchw", "nhwc", "ncwh") if one != layout]))
        return Turned(layout, after, state.size), state._replace(layout=after)
    if kind == "flatten":
        after, prefix = draw(st.sampled_from(["ntc", "nct", "tnc"])), draw(st.sampled_from([0, 0, 1, 3]))
        return Turned(layout, after, state.size, prefix), state._replace(layout=after, prefix=prefix)
    return parts[kind](), state._replace(channels=other if kind in ("conv", "linear") else width)


@st.composite
def networks(draw: Callable[[st.SearchStrategy[Any]], Any]) -> Network:
    """Networks of 1 to 8 parts behind a stem."""
    seed = draw(st.integers(0, 2**16))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        stride = draw(st.sampled_from([2, 4]))
        state = State("nchw", draw(st.sampled_from([SIDE // stride, 3, 8])), (SIDE // stride, SIDE // stride))
        row = Row()
        row.fixed = draw(st.booleans())
        names = draw(st.permutations(NAMES))
        row.add_module(names[0], nn.Conv2d(3, state.channels, stride, stride))
        truth = {names[0]: state}
        for name in names[1 : 1 + draw(st.integers(1, 8))]:
            part, state = _part(draw, state)
            row.add_module(name, part)
            truth[name] = state
        how = draw(st.sampled_from(["tensor", "tuple", "dict", "nested", "nothing", "map"]))
        row.add_module("head", Head(state.layout, state.channels, how))
    made[:] = [row]
    return Network(row, truth, row.fixed)
