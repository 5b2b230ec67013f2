"""Networks whose axes and places are planted: what is said of them is right, or it is said that nobody knows."""

from __future__ import annotations

from collections.abc import Callable
from types import MethodType
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from atlas.models import Model, Preprocessing
from atlas.models.model import ModelSource

pytestmark = pytest.mark.builder

Change = Callable[[Tensor], Tensor]


class Fn(nn.Module):
    """A function as a module: nothing is known of it by its kind."""

    def __init__(self, change: Change) -> None:
        super().__init__()
        self.change = change

    def forward(self, x: Tensor) -> Tensor:
        return self.change(x)


class Fixed(nn.Sequential):
    """Takes images of one size alone."""

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[2:] != (32, 32):
            raise ValueError("images of 32x32 alone")
        found: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
        return found


def looked_into(network: nn.Module, side: int = 32) -> Model:
    for weight in network.parameters():
        torch.nn.init.normal_(weight, generator=torch.Generator().manual_seed(weight.numel()))
    how = Preprocessing(size=(side, side), mean=(0.5, 0.5, 0.5), std=(0.25, 0.25, 0.25))
    return Model(network.eval(), ModelSource("planted", how))


def tokens(width: int = 20, prefix: int = 1) -> list[nn.Module]:
    """4x4 patches row by row behind class tokens, which are normed."""
    rows = Fn(lambda x: torch.cat([torch.ones(len(x), prefix, width), x.flatten(2).transpose(1, 2)], 1))
    return [nn.Conv2d(3, width, 8, 8), rows, nn.LayerNorm(width)]


def windows(x: Tensor) -> Tensor:
    side = int((x.shape[1] - 1) ** 0.5)
    grid = x[:, 1:].reshape(len(x), side // 2, 2, side // 2, 2, -1).permute(0, 1, 3, 2, 4, 5)
    return torch.cat([x[:, :1], grid.reshape(len(x), side**2, -1)], 1)


REORDERED: dict[str, Change] = {
    "patches backwards": lambda x: torch.cat([x[:, :1], x[:, 1:].flip(1)], 1),
    "all backwards": lambda x: x.flip(1),
    "the class token in the middle": lambda x: torch.cat([x[:, 1:9], x[:, :1], x[:, 9:]], 1),
    "by windows": windows,
    "shuffled": lambda x: x[:, [0, *(1 + torch.arange(x.shape[1] - 1) * 7 % (x.shape[1] - 1)).tolist()]],
    "rolled": lambda x: torch.cat([x[:, :1], x[:, 1:].roll(5, 1)], 1),
    "by what they hold": lambda x: x.gather(1, x[..., :1].argsort(1).expand_as(x)),
}


@pytest.mark.parametrize("order", REORDERED)
def test_tokens_that_are_put_in_another_order_have_no_places(order: str) -> None:
    network = nn.Sequential(
        *tokens(), Fn(REORDERED[order]), nn.LayerNorm(20), nn.Linear(20, 20), Fn(lambda x: x.mean(1))
    )
    model = looked_into(network)
    layers = {layer.name: layer for layer in model.layers}
    assert (layers["2"].size, layers["2"].prefix) == ((4, 4), 1)
    for name in ("3", "4", "5"):
        assert (layers[name].layout, layers[name].size) == ("ntc", ())
        assert name in model.discovery.unplaced


class Latents(nn.Module):
    """16 latents that ask 16 patches."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Sequential(*tokens(16, prefix=0))
        self.latents = nn.Parameter(torch.randn(1, 16, 16))
        self.ask = nn.MultiheadAttention(16, 2, batch_first=True)
        self.norm = nn.LayerNorm(16)

    def forward(self, x: Tensor) -> Tensor:
        seen = self.patches(x)
        found, _ = self.ask(self.latents.expand(len(x), -1, -1), seen, seen)
        normed: Tensor = self.norm(found)
        return normed.mean(1)


def test_latents_have_no_places_of_patches() -> None:
    layers = {layer.name: layer for layer in looked_into(Latents()).layers}
    assert layers["patches.2"].size == (4, 4)
    assert "norm" not in layers or layers["norm"].size == ()


class Mixed(nn.Module):
    """A product over tokens, and what follows it: `columns` [n,c,t]."""

    def __init__(self, mix: Callable[[], nn.Module], *, turned: bool) -> None:
        super().__init__()
        self.patches = Fixed(*tokens(20, prefix=0))
        self.columns, self.act, self.after, self.turned = mix(), nn.GELU(), mix(), turned

    def forward(self, x: Tensor) -> Tensor:
        seen = self.patches(x)
        seen = seen.transpose(1, 2) if self.turned else seen
        found: Tensor = self.after(self.act(self.columns(seen)))
        return found.mean(2)


@pytest.mark.parametrize(
    ("mix", "turned", "wrong"),
    [(lambda: nn.Linear(16, 16), True, "ntc"), (lambda: nn.Conv1d(16, 16, 1), False, "nct")],
)
def test_a_product_over_tokens_does_not_make_channels_of_them(
    mix: Callable[[], nn.Module], turned: bool, wrong: str
) -> None:
    model = looked_into(Mixed(mix, turned=turned))
    for name in ("columns", "act", "after"):
        found = [layer.layout for layer in model.layers if layer.name == name]
        assert wrong not in found


def test_rows_of_a_shape_are_not_known_by_others_of_it() -> None:
    """16 tokens of 24 channels, and later 16 channels of 24 slots."""
    slots = Fn(lambda x: x.transpose(1, 2).flatten(1)[:, : 16 * 24].reshape(len(x), 16, 24).cumsum(2))
    model = looked_into(Fixed(*tokens(24, prefix=0), slots, Fn(lambda x: x.mean(2))))
    assert "which axis" in model.discovery.doubtful["3"]


@pytest.mark.parametrize("patch", [4, 16])
def test_a_map_that_lies_is_known_however_small_it_is(patch: int) -> None:
    turned = nn.Sequential(
        nn.Conv2d(3, 8, patch, patch), Fn(lambda x: x.transpose(2, 3).clone()), nn.Conv2d(8, 12, 1), nn.Flatten()
    )
    layers = {layer.name: layer for layer in looked_into(turned).layers}
    assert [layers[name].layout for name in ("0", "1", "2")] == ["nchw", "ncwh", "ncwh"]


def hooked() -> nn.Module:
    conv = nn.Conv2d(3, 8, 4, 4)
    conv.register_forward_hook(lambda _, __, found: found.permute(0, 2, 3, 1))
    return conv


def patched() -> nn.Module:
    conv: Any = nn.Conv2d(3, 8, 4, 4)
    conv.forward = MethodType(lambda self, x: self._conv_forward(x, self.weight, None).permute(0, 2, 3, 1), conv)
    return conv  # type: ignore[no-any-return]


class Overridden(nn.Conv2d):
    def _conv_forward(self, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        found: Tensor = super()._conv_forward(x, weight, bias)
        return found.permute(0, 2, 3, 1)


@pytest.mark.parametrize("make", [hooked, patched, lambda: Overridden(3, 8, 4, 4)])
def test_a_module_that_answers_otherwise_than_its_kind_is_none_of_it(make: Callable[[], nn.Module]) -> None:
    layers = {layer.name: layer for layer in looked_into(Fixed(make(), nn.ReLU(), Fn(lambda x: x.mean((1, 2))))).layers}
    assert [layers[name].layout for name in ("0", "1")] == ["nhwc", "nhwc"]


def test_what_is_turned_in_place_is_not_what_it_was() -> None:
    network = Fixed(nn.Conv2d(3, 8, 4, 4), Fn(lambda x: x.transpose_(1, 3)), nn.ReLU(), Fn(lambda x: x.mean((1, 2))))
    assert {layer.layout for layer in looked_into(network).layers if layer.name in ("1", "2")} <= {"nwhc"}


def test_pooling_is_no_evidence_of_channels() -> None:
    """Over width and channels, of a map whose channels come last."""
    network = Fixed(
        nn.Conv2d(3, 8, 4, 4), Fn(lambda x: x.permute(0, 2, 3, 1)), nn.AvgPool2d((1, 2)), nn.ReLU(), nn.Flatten()
    )
    layers = {layer.name: layer for layer in looked_into(network).layers}
    assert [layers[name].layout for name in ("1", "2", "3")] == ["nhwc", "nhwc", "nhwc"]
    assert layers["2"].channels == 4


@pytest.mark.parametrize("fixed", [True, False])
def test_a_convolution_over_pairs_of_tokens_gives_no_map(fixed: bool) -> None:
    pairs = Fn(lambda x: torch.stack([x @ x.transpose(1, 2), x.cumsum(2) @ x.transpose(1, 2)], 1))
    network = (Fixed if fixed else nn.Sequential)(
        *tokens(20, prefix=0), pairs, nn.Conv2d(2, 2, 1), Fn(lambda x: x.mean((2, 3)))
    )
    assert "4" not in {layer.name for layer in looked_into(network).layers}


def test_patches_of_two_sizes_are_no_class_tokens() -> None:
    class Two(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.coarse, self.fine, self.norm = nn.Conv2d(3, 12, 8, 8), nn.Conv2d(3, 12, 4, 4), nn.LayerNorm(12)

        def forward(self, x: Tensor) -> Tensor:
            both = [part(x).flatten(2).transpose(1, 2) for part in (self.coarse, self.fine)]
            normed: Tensor = self.norm(torch.cat(both, 1))
            return normed.mean(1)

    (layer,) = [layer for layer in looked_into(Fixed(Two())).layers if layer.name.endswith("norm")]
    assert (layer.layout, layer.size) == ("ntc", ())


@pytest.mark.parametrize("rows", ["tokens", "channels"])
def test_a_row_of_scores_is_no_row_of_channels(rows: str) -> None:
    """Ten queries, each of one score: ten patches, or ten channels of the map before, which then are channels here."""
    whole = Fn(lambda x: x.flatten(2).transpose(1, 2) if rows == "tokens" else x)
    asked = Fn(lambda x: x.flatten(1)[:, :160].reshape(len(x), 10, 16))
    model = looked_into(
        nn.Sequential(nn.Conv2d(3, 16, 8, 8), nn.Sequential(whole, asked), nn.Linear(16, 1), nn.Flatten())
    )
    found = [layer.channels for layer in model.layers if layer.name == "2"]
    assert found == [1] if rows == "tokens" else found in ([], [10])
