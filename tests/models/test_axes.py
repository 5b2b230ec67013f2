from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from atlas.errors import ModelError, UnknownName
from atlas.models import Model, ModelSource, prepare
from atlas.models.axes import Shape, by_bands, by_sizes
from atlas.models.probe import _halves
from tests.models.axed import (
    RED,
    Arranged,
    Beside,
    Counting,
    Derived,
    Dropped,
    FixedSize,
    Idle,
    Mixer,
    Norm2d,
    Patches,
    Pooled,
    red,
)
from tests.models.networks import HABITS, model_of, square

pytestmark = pytest.mark.builder

ORDERS = ["nchw", "nhwc", "ncwh", "ntc", "nct", "tnc", "ntc+1", "ntc+5", "nct+2"]


def arranged_network(order: str) -> nn.Module:
    """8 channels of 8x8 positions behind a layer that turns them: no shape tells one axis from another."""
    letters, _, prefix = order.partition("+")
    torch.manual_seed(0)
    return nn.Sequential(red(8, 4), Arranged(letters, int(prefix or 0)))


@pytest.mark.parametrize("fixed", [False, True])
@pytest.mark.parametrize("order", ORDERS)
def test_the_planted_channel_is_found_whatever_the_axes(order: str, fixed: bool) -> None:
    network = arranged_network(order)
    model = model_of(FixedSize(network, 32) if fixed else network)
    name = "network.1" if fixed else "1"
    layer = model.layer(name)
    letters, _, prefix = order.partition("+")
    assert (layer.layout, layer.channels, layer.size, layer.prefix) == (letters, 8, (8, 8), int(prefix or 0))
    prepared = prepare(model, layer)
    pictures = torch.rand(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    pictures[1, 0, :16, 16:] = 1  # red above, on the right
    seen = prepared.activations(pictures).value.reshape(3, 8, 8, 8)[1, RED]
    assert seen[:4, 4:].mean() > seen[4:].mean() + 0.5
    assert seen[:4, 4:].mean() > seen[:, :4].mean() + 0.5


@pytest.mark.parametrize(
    ("network", "expected"),
    [
        (lambda: nn.Sequential(nn.Conv2d(3, 8, 4, 4), Arranged("nhwc"), Derived(8)), "nhwc"),
        (lambda: nn.Sequential(nn.Conv2d(3, 8, 4, 4), Norm2d(8)), "nchw"),
        (lambda: nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.Flatten(2), nn.Conv1d(8, 64, 1)), "nct"),
        (lambda: nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.Flatten(2), nn.BatchNorm1d(8)), "nct"),
        (lambda: nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.AdaptiveAvgPool2d(8), nn.Sigmoid()), "nchw"),
        (HABITS["an encoder layer of torch"], "ntc"),
    ],
)
def test_modules_of_the_users_are_no_evidence_by_their_name(network: Callable[[], nn.Module], expected: str) -> None:
    assert model_of(network()).layers[-1].layout == expected


def test_tokens_of_a_transformer_without_convolutions() -> None:
    """Its class token and registers are no positions."""
    layers = {layer.name: layer for layer in model_of(Patches()).layers}
    for name in ("blocks.0", "blocks.1", "blocks.1.linear1"):
        layer = layers[name]
        assert (layer.layout, layer.size, layer.prefix) == ("ntc", (4, 4), 3)
    assert layers["embed"].prefix == 0


def test_a_product_over_tokens_has_tokens_for_its_last_axis() -> None:
    """16 tokens of 16 channels: the matrix that mixes tokens answers with [n,c,t]."""
    layers = {layer.name: layer for layer in model_of(Mixer()).layers}
    assert layers["mixed"].layout == "ntc"
    assert layers["norm"].layout == "ntc"
    assert layers["mixed"].size == (4, 4)


def test_rows_of_a_shape_that_a_product_has_are_not_known_by_it() -> None:
    """16 channels of as many slots have the shape of tokens too."""
    model = model_of(FixedSize(Pooled(), 32))
    assert "network.fc" in {layer.name for layer in model.layers}
    assert "which axis" in model.discovery.doubtful["network.added"]


def test_what_is_not_known_is_said_and_can_be_settled(caplog: pytest.LogCaptureFixture) -> None:
    """A table of products of channels, 8x8: no axis of it follows the image."""

    class Gram(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            rows = x.flatten(2)
            return rows @ rows.transpose(1, 2) / rows.shape[2]

    network = nn.Sequential(nn.Conv2d(3, 8, 4, 4), Gram())
    model = model_of(network)
    assert [layer.name for layer in model.layers] == ["0"]
    with pytest.raises(ModelError, match=r"'1'.*which axis of n x 8 x 8.*`layout"):
        model.layer("1")
    with pytest.raises(ModelError, match="`layout"):
        model.select(["1"])
    assert [layer.name for layer in model.select(["all"])] == ["0"]
    assert "1 left out: which axis of n x 8 x 8" in caplog.text
    said = Model(network, ModelSource("said", square(32), layouts=(("1", "nct"),)))
    assert (said.layer("1").layout, said.layer("1").evidence) == ("nct", "said")
    for layout in ("nchw", "cnt", "nxt", "ntc+9", "ntc+x"):
        with pytest.raises(ModelError, match=r"`layout=1=.*` does not fit 1, whose shape is n x 8 x 8"):
            _ = Model(network, ModelSource("said", square(32), layouts=(("1", layout),))).layers
    # What is established stays: a glob means the others, and a name is told of.
    said = Model(network, ModelSource("said", square(32), layouts=(("*", "nct"),)))
    assert [layer.layout for layer in said.layers] == ["nchw", "nct"]
    for layout in ("nhwc", "nhcw"):
        with pytest.raises(ModelError, match=r"`layout=0=.*` is wrong: the axes of 0 are nchw, known by"):
            _ = Model(network, ModelSource("said", square(32), layouts=(("0", layout),))).layers
    with pytest.raises(UnknownName, match="layer '2'"):
        _ = Model(network, ModelSource("said", square(32), layouts=(("2", "nct"),))).layers


# -- a function of one image -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["dropout", "dropout2d", "attention"])
def test_dropout_that_is_left_on_is_found_where_it_begins(how: str) -> None:
    model = model_of(Dropped(how))
    assert [layer.name for layer in model.layers] == ["before"]
    with pytest.raises(ModelError, match=r"'after' is not built: its answer to the same images differs"):
        model.layer("after")


def test_a_network_that_counts_its_calls_is_found() -> None:
    model = model_of(Counting())
    assert [layer.name for layer in model.layers] == ["conv"]
    assert "differs from pass to pass" in model.discovery.doubtful["after"]


@pytest.mark.parametrize("how", ["largest", "next", "mean"])
def test_an_answer_that_depends_on_the_images_beside_is_found(how: str) -> None:
    model = model_of(Beside(how))
    assert [layer.name for layer in model.layers] == ["conv"]
    assert "depends on the images beside it" in model.discovery.doubtful["after"]


@pytest.mark.parametrize("norm", [nn.BatchNorm2d, nn.InstanceNorm2d])
def test_batch_statistics_are_told_from_an_images_own(norm: type[nn.Module]) -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), norm(8, track_running_stats=False), nn.ReLU())
    model = Model(network, ModelSource("norms", square(32)))
    assert [layer.name for layer in model.layers] == (["0"] if norm is nn.BatchNorm2d else ["0", "1", "2"])


@pytest.mark.parametrize("network", [Dropped("dropout"), Beside("mean")])
def test_nothing_is_said_of_classes_that_are_no_function_of_one_image(
    network: nn.Module, caplog: pytest.LogCaptureFixture
) -> None:
    whole = nn.Sequential(network, nn.AdaptiveAvgPool2d(1), nn.Flatten())
    model = model_of(whole)
    assert model.classes == 0
    assert "nothing is said of its classes" in caplog.text


def test_random_numbers_that_change_nothing_are_said() -> None:
    model = model_of(Idle())
    assert [layer.name for layer in model.layers] == ["conv"]
    assert "draws random numbers" in model.discovery.warnings[0]


def test_the_users_random_numbers_are_left_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    _ = model_of(Dropped("dropout")).layers
    torch.manual_seed(3)
    model = model_of(Idle())
    torch.manual_seed(3)
    _ = model.layers
    assert torch.equal(torch.rand(4), expected)


# -- the evidence itself -----------------------------------------------------------------------------------------------


@given(
    order=st.permutations("chw"),
    channels=st.integers(1, 64),
    stride=st.sampled_from([1, 2, 4, 8]),
    lost=st.integers(0, 2),
    size=st.tuples(st.integers(32, 96), st.integers(32, 96)),
)
def test_maps_are_known_by_two_sizes(
    order: list[str], channels: int, stride: int, lost: int, size: tuple[int, int]
) -> None:
    def shape(height: int, width: int) -> Shape:
        sides = {"c": channels, "h": height // stride - lost, "w": width // stride - lost}
        return Shape(tuple(sides[axis] for axis in order), (height, width))

    found = by_sizes(shape(*size), shape(size[0] + 32, size[1] + 64))
    assert found is not None
    assert not isinstance(found, str)
    assert found.letters.index("c") == order.index("c")
    if stride < 8:  # else both grow by so little that they cannot be told apart, and height comes first
        assert found.letters == "".join(order)


@settings(max_examples=50)
@given(
    order=st.permutations("chw"),
    sides=st.tuples(st.integers(4, 24), st.integers(2, 14), st.integers(2, 14)),
    seed=st.integers(0, 99),
)
def test_maps_are_known_by_where_they_answer(order: list[str], sides: tuple[int, int, int], seed: int) -> None:
    """Every channel answers to a change where it is, more or less."""
    channels, height, width = sides
    generator = np.random.default_rng(seed)
    rows, columns = (np.linspace(0, 1, side) for side in (height, width))
    bands = np.linspace(0.05, 0.95, 4)
    change = np.concatenate(
        [
            np.exp(-((bands[:, None, None] - rows[None, :, None]) ** 2) * 4) * np.ones(width),
            np.exp(-((bands[:, None, None] - columns[None, None, :]) ** 2) * 4) * np.ones((1, height, 1)),
        ]
    )
    strength = generator.uniform(0.8, 1.2, (8, channels, 1, 1))
    value = np.moveaxis(change[:, None] * strength, [1, 2, 3], [1 + order.index(axis) for axis in "chw"])
    answers = [_halves(torch.from_numpy(value), axis) for axis in (1, 2, 3)]
    found = by_bands(Shape(value.shape[1:], (64, 64)), answers)
    assert found is not None
    assert found.letters == "".join(order)


@given(st.tuples(st.integers(6, 20), st.integers(6, 20)), st.integers(0, 99))
def test_noise_is_no_evidence(shape: tuple[int, int], seed: int) -> None:
    generator = np.random.default_rng(seed)
    change = torch.from_numpy(generator.uniform(0.5, 1.5, (8, *shape)))
    answers = [_halves(change, axis) for axis in (1, 2)]
    assert by_bands(Shape(shape, (64, 64)), answers) is None


class Other(nn.Conv2d):
    """A convolution that is none of torch's kinds: its class says nothing of its axes."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + 0


BY_CHANCE = [(1848, 3, 2), (5233, 4, 2), (5948, 3, 3), (7851, 4, 3), (15918, 3, 2), (21009, 4, 3), (22856, 3, 3)]
"""Seeds, channels and depths of small networks whose channels follow the bands of one picture."""


@pytest.mark.parametrize("kind", [nn.Conv2d, Other])
@pytest.mark.parametrize(("seed", "width", "depth"), BY_CHANCE)
def test_channels_that_follow_one_picture_by_chance(seed: int, width: int, depth: int, kind: type[nn.Conv2d]) -> None:
    torch.manual_seed(seed)
    stem = nn.Conv2d(3, 8, 4, 4)
    convs = [kind(8 if at == 0 else width, width, 3, padding=1) for at in range(depth)]
    model = model_of(FixedSize(nn.Sequential(stem, *convs, nn.GELU()), 16), square(16))
    layers = {layer.name: layer.layout for layer in model.layers}
    assert set(layers.values()) == {"nchw"}
    assert kind is Other or len(layers) == depth + 2, "a convolution leaves no doubt, and GELU keeps its axes"


class Blocks(nn.Module):
    """A map as one block of tokens, as the last level of a NesT has it."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(2).transpose(1, 2)[:, None] + 0


class Rows(nn.Module):
    """The mean of each row of a map."""

    def forward(self, x: Tensor) -> Tensor:
        return x.mean(3, keepdim=True) + 0


def test_a_block_of_tokens_is_no_column_of_a_map() -> None:
    torch.manual_seed(0)
    model = model_of(FixedSize(nn.Sequential(nn.Conv2d(3, 8, 4, 4), Blocks()), 32))
    assert "network.1" in model.discovery.doubtful
    rows = model_of(FixedSize(nn.Sequential(nn.Conv2d(3, 8, 4, 4), Rows()), 32)).layer("network.1")
    assert (rows.layout, rows.size) == ("nchw", (8, 1))
