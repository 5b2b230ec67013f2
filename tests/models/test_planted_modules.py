"""Networks in which torch's modules work on something else than maps and channels, and maps that are none."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from atlas.units import Layer
from tests.models.axed import FixedSize
from tests.models.test_planted import Change, Fixed, Fn, looked_into, tokens

pytestmark = pytest.mark.builder


def found(network: nn.Module) -> dict[str, Layer]:
    return {layer.name.removeprefix("network."): layer for layer in looked_into(network).layers}


def known(network: nn.Module) -> dict[str, tuple[str, tuple[int, ...]]]:
    return {name: (layer.layout, layer.size) for name, layer in found(network).items()}


# -- maps of one channel, of one row, of one position -----------------------------------------------------------------


@pytest.mark.parametrize("size", [(8, 1), (1, 8)])
@pytest.mark.parametrize("fixed", [False, True])
def test_a_row_of_a_map_of_one_channel_is_no_row_of_channels(size: tuple[int, int], fixed: bool) -> None:
    network = nn.Sequential(nn.Conv2d(3, 1, 4, 4), nn.AdaptiveAvgPool2d(size), nn.ReLU(), nn.Conv2d(1, 4, 1))
    layers = known(FixedSize(network, 32) if fixed else network)
    assert [layers[name] for name in ("1", "2", "3")] == [("nchw", size)] * 3


@pytest.mark.parametrize("size", [(8, 1), (1, 8)])
def test_positions_pooled_by_a_function_are_no_channels(size: tuple[int, int]) -> None:
    pooled = Fn(lambda x: functional.adaptive_avg_pool2d(x, size))
    layers = found(nn.Sequential(nn.Conv2d(3, 1, 4, 4), pooled, nn.Sigmoid()))
    assert layers.keys() == {"0"} or {layers[name].channels for name in ("1", "2")} == {1}


def test_channels_pooled_by_a_function_are_known() -> None:
    squeeze = Fn(lambda x: x.mean((2, 3), keepdim=True))
    layers = known(nn.Sequential(nn.Conv2d(3, 12, 4, 4), squeeze, nn.Conv2d(12, 3, 1), nn.ReLU(), nn.Conv2d(3, 12, 1)))
    assert [layers[name] for name in "1234"] == [("nchw", (1, 1))] * 4


def test_a_map_of_one_position_may_grow_along_one_side_alone() -> None:
    """Of 32x32, of which 64x96 makes 1x2."""
    halves = [nn.Conv2d(8, 8, 3, 2, 1) for _ in range(4)]
    layers = known(nn.Sequential(nn.Conv2d(3, 8, 4, 4), *halves))
    assert layers["4"] == ("nchw", (1, 1))


@pytest.mark.parametrize("turned", [False, True])
def test_images_that_must_be_square_do_not_tell_height_from_width(turned: bool) -> None:
    class Square(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            if x.shape[2] != x.shape[3]:
                raise ValueError("square images alone")
            answer: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
            return answer

    lies = Fn(lambda x: x.transpose(2, 3).clone() if turned else x + 0)
    layers = known(Square(nn.Conv2d(3, 8, 4, 4), lies, nn.Conv2d(8, 12, 1)))
    assert [layers[name] for name in "12"] == [("ncwh" if turned else "nchw", (8, 8))] * 2


def test_a_network_of_images_of_one_height_has_maps() -> None:
    class High(nn.Sequential):
        def forward(self, x: Tensor) -> Tensor:
            if x.shape[2] != 32:
                raise ValueError("32 pixels high")
            answer: Tensor = super().forward(x)  # type: ignore[no-untyped-call]
            return answer

    layers = known(High(nn.Conv2d(3, 20, 8, 8), Fn(functional.relu), nn.Conv2d(20, 8, 1), nn.ReLU()))
    assert [layers[name] for name in "023"] == [("nchw", (4, 4))] * 3


# -- axes that look like a map's sides --------------------------------------------------------------------------------


def halves(x: Tensor) -> Tensor:
    """The left half's positions row by row, then the right half's: [n,2,32,c] of 8x8."""
    n, c, h, w = x.shape
    return x.reshape(n, c, h, 2, w // 2).permute(0, 3, 2, 4, 1).reshape(n, 2, h * (w // 2), c)


def pairs_of_rows(x: Tensor) -> Tensor:
    """Stripes of two rows, each row by row: [n,4,16,c] of 8x8, which grow as a map does."""
    n, c, h, w = x.shape
    return x.reshape(n, c, h // 2, 2 * w).permute(0, 2, 3, 1)


@pytest.mark.parametrize("windows", [halves, pairs_of_rows])
@pytest.mark.parametrize("fixed", [False, True])
def test_windows_and_what_is_in_them_are_no_sides(windows: Change, fixed: bool) -> None:
    network = nn.Sequential(nn.Conv2d(3, 12, 4, 4), Fn(windows), nn.LayerNorm(12), nn.Linear(12, 12))
    assert known(FixedSize(network, 32) if fixed else network) == {"0": ("nchw", (8, 8))}


def test_the_sides_of_a_long_map_are_sides() -> None:
    """Of strides that differ: 4x32 positions of 32x32."""
    for fixed in (False, True):
        network = nn.Sequential(nn.Conv2d(3, 12, (8, 1), (8, 1)), Fn(lambda x: x.permute(0, 2, 3, 1)), nn.LayerNorm(12))
        layers = known(FixedSize(network, 32) if fixed else network)
        assert [layers[name] for name in "012"] == [("nchw", (4, 32)), ("nhwc", (4, 32)), ("nhwc", (4, 32))]


# -- convolutions over what is no map ---------------------------------------------------------------------------------


class Sheet(nn.Module):
    """Tokens and their channels as the two sides of a picture of one channel."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.over, self.act = nn.Sequential(*tokens(20, prefix=0)), nn.Conv2d(1, 4, 3, 1, 1), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.act(self.over(self.patches(x)[:, None]))
        return answer


class Queries(nn.Module):
    """Scores of 5 queries for 16 tokens, of which a convolution mixes the heads."""

    def __init__(self) -> None:
        super().__init__()
        self.patches, self.asked = nn.Sequential(*tokens(16, prefix=0)), nn.Parameter(torch.randn(1, 4, 5, 4))
        self.over, self.act = nn.Conv2d(4, 4, 1), nn.Softmax(-1)

    def forward(self, x: Tensor) -> Tensor:
        keys = self.patches(x).unflatten(2, (4, 4)).transpose(1, 2)
        answer: Tensor = self.act(self.over(self.asked @ keys.transpose(2, 3)))
        return answer


class Gate(nn.Module):
    """A gate for each row and channel, or column and channel, as triplet attention has it."""

    def __init__(self, along: int, width: int) -> None:
        super().__init__()
        self.stem, self.over, self.act, self.along = (
            nn.Conv2d(3, width, 4, 4),
            nn.Conv2d(2, 1, 3, 1, 1),
            nn.Sigmoid(),
            along,
        )

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        rows = x.transpose(1, self.along)
        gate = self.act(self.over(torch.stack([rows.amax(1), rows.mean(1)], 1)))
        answer: Tensor = (rows * gate).transpose(1, self.along)
        return answer.mean((2, 3))


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("make", [Sheet, Queries, lambda: Gate(2, 12), lambda: Gate(3, 12), lambda: Gate(3, 8)])
def test_a_convolution_over_what_is_no_map_gives_none(make: Callable[[], nn.Module], fixed: bool) -> None:
    """What it gives is open; a gate of each channel may be known as the map of one row that it is."""
    network = make()
    layers = found(FixedSize(network, 32) if fixed else network)
    assert "over" not in layers
    assert "act" not in layers or (isinstance(network, Gate) and 1 in layers["act"].size)


class Channels(nn.Module):
    """A convolution along the channels, as efficient channel attention has it."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.pool = nn.Conv2d(3, 12, 4, 4), nn.AdaptiveAvgPool2d(1)
        self.over, self.act, self.out = nn.Conv1d(1, 1, 3, padding=1), nn.Sigmoid(), nn.Conv2d(12, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        gate = self.act(self.over(self.pool(x).squeeze(-1).transpose(1, 2)))
        answer: Tensor = self.out(x * gate.transpose(1, 2)[..., None])
        return answer


@pytest.mark.parametrize("fixed", [False, True])
def test_a_convolution_along_channels_has_not_one_channel(fixed: bool) -> None:
    layers = found(FixedSize(Channels(), 32) if fixed else Channels())
    assert not {"over", "act"} & layers.keys()
    assert (layers["out"].layout, layers["out"].channels) == ("nchw", 8)


# -- products over tokens, behind functions alone ---------------------------------------------------------------------


class Mixed(nn.Module):
    """A product over tokens that no module gave: `turned` [n,c,t], or [n,t,c]."""

    def __init__(self, mix: Callable[[int, int], nn.Module], *, turned: bool, width: int, pooled: bool) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, width, 8, 8)
        self.pool = nn.AdaptiveAvgPool2d(4) if pooled else nn.Identity()
        self.mix, self.act, self.back, self.turned = mix(16, 9), nn.GELU(), mix(9, 16), turned

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(self.stem(x)).flatten(2)
        answer: Tensor = self.back(self.act(self.mix(x if self.turned else x.transpose(1, 2))))
        return answer


MIXES: dict[str, tuple[Callable[[int, int], nn.Module], bool]] = {
    "linear": (nn.Linear, True),
    "convolution": (lambda one, other: nn.Conv1d(one, other, 1), False),
}


@pytest.mark.parametrize("pooled", [False, True])
@pytest.mark.parametrize("width", [16, 20])
@pytest.mark.parametrize("mix", MIXES)
def test_a_product_over_tokens_that_a_function_gave(mix: str, width: int, pooled: bool) -> None:
    make, turned = MIXES[mix]
    layers = found(Mixed(make, turned=turned, width=width, pooled=pooled))
    right = "nct" if turned else "ntc"
    assert {layers[name].layout for name in ("mix", "act", "back") if name in layers} <= {right}


def test_a_norm_over_tokens_and_channels_says_nothing_of_their_order() -> None:
    """Of tokens that a product has mixed: nothing else tells."""

    class Normed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.mix, self.norm = (
                nn.Conv2d(3, 20, 8, 8),
                nn.Parameter(torch.randn(16, 16)),
                nn.LayerNorm((20, 16)),
            )

        def forward(self, x: Tensor) -> Tensor:
            answer: Tensor = self.norm(self.stem(x).flatten(2) @ self.mix.softmax(0))
            return answer

    layers = found(Normed())
    assert "norm" not in layers or layers["norm"].layout == "nct"


def test_a_norm_by_the_root_mean_square_is_one_over_channels() -> None:
    network = Fixed(nn.Conv2d(3, 20, 8, 8), Fn(lambda x: x.flatten(2).transpose(1, 2) + 0), nn.RMSNorm(20))
    assert known(network)["2"] == ("ntc", (4, 4))


# -- what is small beside the rest ------------------------------------------------------------------------------------


class Beside(nn.Module):
    """A part that is no function of one image beside one that is so much larger that it does not show."""

    def __init__(self, odd: Change) -> None:
        super().__init__()
        self.stem, self.odd, self.both = nn.Conv2d(3, 8, 4, 4), odd, nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        answer: Tensor = self.both(torch.cat([2000 * x, self.odd(x)], 1))
        return answer


ODD: dict[str, tuple[Change, str]] = {
    "chance": (lambda x: functional.dropout(x * 1e-3, 0.2), "draws random numbers"),
    "the batch": (lambda x: functional.batch_norm(x, None, None, training=True), "images beside it"),
}


@pytest.mark.parametrize("odd", ODD)
def test_what_is_no_function_of_one_image_shows_beside_large_numbers(odd: str) -> None:
    change, reason = ODD[odd]
    model = looked_into(Beside(change))
    assert [layer.name for layer in model.layers] == ["stem"]
    assert reason in model.discovery.doubtful["both"]


def test_large_numbers_beside_small_ones_are_a_function_of_one_image() -> None:
    assert "both" in found(Beside(lambda x: x * 1e-3))


def test_images_of_a_few_pixels_are_looked_into() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 1), nn.ReLU(), nn.Conv2d(8, 8, 2))
    layers = {layer.name: layer for layer in looked_into(network, 2).layers}
    assert [(layers[name].layout, layers[name].size) for name in "012"] == [("nchw", (2, 2))] * 2 + [("nchw", (1, 1))]


class Residual(nn.Module):
    """Blocks whose answers are sums, which no module's kind tells of: the norm that takes them does."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 24, 8, 8)
        layers = (nn.TransformerEncoderLayer(24, 2, 48, 0.0, batch_first=True, norm_first=True) for _ in range(3))
        self.blocks, self.norm = nn.Sequential(*layers), nn.LayerNorm(24)

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.norm(self.blocks(self.stem(x).flatten(2).transpose(1, 2)))
        return answer


@pytest.mark.parametrize("seed", range(4))
def test_what_a_norm_takes_has_its_axes(seed: int) -> None:
    torch.manual_seed(seed)
    layers = known(FixedSize(Residual(), 32))
    assert {layers[name][0] for name in ("blocks.0", "blocks.1", "blocks.2", "norm")} == {"ntc"}


def test_what_a_product_over_tokens_takes_has_not_its_axes() -> None:
    """Of rows that are mixed before only the modules that take them could tell."""

    class Taken(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.stem, self.mix = nn.Conv2d(3, 16, 8, 8), nn.Parameter(torch.randn(16, 16))
            self.rows, self.over = Fn(lambda x: x + 0), nn.Linear(16, 9)

        def forward(self, x: Tensor) -> Tensor:
            answer: Tensor = self.over(self.rows(self.stem(x).flatten(2) @ self.mix.softmax(0)))
            return answer

    layers = found(Taken())
    assert {layers[name].layout for name in ("rows", "over") if name in layers} <= {"nct"}
