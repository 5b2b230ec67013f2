"""Attributions equal finite differences, whatever the network does with a layer's value."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from atlas.attribution.attribution import attribute, double_backward, forward_mode
from atlas.errors import DryRunError, ModelError
from atlas.models import Model, load_model
from atlas.units import Layer
from tests.attribution.finite import differences, vectors
from tests.models.networks import FAMILIES, HABITS, Thrown, model_of, square

pytestmark = pytest.mark.builder


class Smooth(nn.Module):
    """Nothing in it has a kink."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Sequential(nn.Conv2d(3, 12, 3, padding=1), nn.Softplus())
        self.second = nn.Sequential(nn.Conv2d(12, 16, 3, stride=2, padding=1), nn.Tanh(), nn.AvgPool2d(2))
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(16 * 16, 7))

    def forward(self, x: Tensor) -> Any:
        return self.head(self.second(self.first(x)))


class Headed(nn.Module):
    """Any network of the tests, with classes behind its first map."""

    def __init__(self, body: nn.Module, channels: int) -> None:
        super().__init__()
        self.body, self.head = body, nn.Linear(channels, 6)

    def forward(self, x: Tensor) -> Any:
        output = self.body(x)
        value = next(iter(output.values())) if isinstance(output, dict) else output
        return self.head(value.flatten(2).mean(2) if value.dim() == 4 else value.mean(1))


def double(network: nn.Module, side: int = 16) -> Model:
    """A model of `network` that computes in float64; its layers are found before."""
    generator = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for weights in network.parameters():  # some begin as zeros, others so small that nothing follows from them
            weights.add_(torch.randn(weights.shape, generator=generator), alpha=0.2 / weights[0].numel() ** 0.5)
    return in_double(model_of(network, square(side)))


def in_double(model: Model) -> Model:
    assert model.layers
    model.network.double()
    return model


def pictures(model: Model, images: int = 2) -> Tensor:
    generator = torch.Generator().manual_seed(3)
    return model.preprocessing.normalise(torch.rand(images, 3, *model.preprocessing.size, generator=generator)).double()


def asked(layer: Layer, count: int, images: int = 2) -> tuple[Tensor, Tensor]:
    """Some images and positions of `layer`, drawn once and for all."""
    generator = torch.Generator().manual_seed(5)
    places = int(np.prod(layer.size))
    return (
        torch.randint(images, (count,), generator=generator),
        torch.randint(places, (count,), generator=generator),
    )


def assert_close(found: Tensor, wanted: Tensor) -> None:
    """Within 1e-4 of the largest, and what rounding leaves of a difference of logits."""
    assert found.shape == wanted.shape
    assert (found - wanted).abs().max() <= 1e-4 * wanted.abs().max() + 1e-9


def ranks(values: Any) -> Any:
    return np.argsort(np.argsort(values))


@pytest.mark.parametrize("name", ["first.1", "second.0", "second.2", "head.1"])
def test_equals_finite_differences_on_a_smooth_network(name: str) -> None:
    model = double(Smooth())
    layer = model.layer(name)
    images, positions = asked(layer, 100)
    x = pictures(model)
    found = attribute(model, layer, x, images, positions, width=32)
    wanted = differences(model, layer, x, images, positions, step=1e-5)
    torch.testing.assert_close(found.vectors, vectors(model, layer, x, images, positions))
    assert ((found.attribution - wanted).abs() <= 1e-3 * wanted.abs() + 1e-9).all()


@pytest.mark.parametrize(
    "family", ["torchvision resnet", "torchvision vit", "torchvision swin", "timm vit with registers", "timm swin"]
)
def test_equals_finite_differences_at_every_layer(family: str) -> None:
    """Maps, maps with channels last, tokens behind class tokens and registers, and layers without positions.

    A token that reaches the logits through layer norms alone has next to none: these do not see how long it is.
    """
    model = double(FAMILIES[family](), 32)
    x = pictures(model)
    kinds, largest = set(), 0.0
    for layer in model.select(["auto"]) + model.layers[-1:]:
        images, positions = asked(layer, 3)
        found = attribute(model, layer, x, images, positions, width=3)
        assert_close(found.attribution, differences(model, layer, x, images, positions))
        kinds.add((layer.kind, layer.channels_last, layer.prefix > 0))
        largest = max(largest, float(found.attribution.abs().max()))
    assert len(kinds) > 1
    assert largest > 1e-2


class InPlace(nn.Module):
    """Changes its argument and gives it back among others."""

    def forward(self, x: Tensor) -> Any:
        return x.relu_(), x.mean((2, 3))


class Discarded(nn.Module):
    """Goes on with the argument of a module that worked in place."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.both, self.after = nn.Conv2d(3, 8, 3), InPlace(), nn.Conv2d(8, 4, 1)

    def forward(self, x: Tensor) -> Any:
        x = self.conv(x)
        self.both(x)
        return self.after(x)


HEADED: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "re-used modules": (HABITS["re-used modules"], 8),
    "tuples and dicts": (HABITS["tuples and dicts"], 4),
    "in place, result thrown away": (HABITS["in place, result thrown away"], 4),
    "in place, among others": (Discarded, 4),
    "a convolution used twice": (HABITS["a convolution used twice"], 4),
    "an encoder layer of torch": (HABITS["an encoder layer of torch"], 16),
}


@pytest.mark.parametrize("habit", HEADED)
@pytest.mark.parametrize("way", [forward_mode, double_backward])
def test_equals_finite_differences_whatever_its_habits(habit: str, way: Any) -> None:
    make, channels = HEADED[habit]
    model = double(Headed(make(), channels), 32)
    x = pictures(model)
    for layer in model.layers:
        images, positions = asked(layer, 3)
        found, attribution = way(model.network, layer, x[images], positions)
        torch.testing.assert_close(found, vectors(model, layer, x, images, positions))
        assert_close(attribution, differences(model, layer, x, images, positions))
        assert attribution.any() or layer.name in {"head", "body.both#1"}


def test_what_works_in_place_and_is_thrown_away_still_counts() -> None:
    model = double(Headed(Thrown(), 4), 32)
    layer = model.layer("body.relu")
    images, positions = asked(layer, 4)
    assert attribute(model, layer, pictures(model), images, positions).attribution.abs().max() > 1e-6


def test_nothing_depends_on_how_many_are_asked_for() -> None:
    model = model_of(FAMILIES["torchvision resnet"]())
    layer = model.layer("layer2.0")
    x = pictures(model).float()
    images, positions = asked(layer, 11)
    whole = attribute(model, layer, x, images, positions, width=4)
    for rows in (slice(0, 1), slice(4, 7), slice(8, 11)):
        part = attribute(model, layer, x, images[rows], positions[rows], width=4)
        assert torch.equal(part.vectors, whole.vectors[rows])
        torch.testing.assert_close(part.attribution, whole.attribution[rows])
    assert attribute(model, layer, x, images[:0], positions[:0]).attribution.shape == (0, 10)


class Backward(torch.autograd.Function):
    """A square that forward mode does not know."""

    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        ctx.save_for_backward(x)
        return x * x

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        x: Tensor = ctx.saved_tensors[0]
        return 2 * x * gradients[0]


class Once(Backward):
    """One that may be differentiated only once."""

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> Tensor:
        x: Tensor = ctx.saved_tensors[0]
        return 2 * x * gradients[0]


class Custom(nn.Module):
    def __init__(self, function: type[torch.autograd.Function]) -> None:
        super().__init__()
        self.conv, self.head, self.function = nn.Conv2d(3, 8, 3), nn.Linear(8, 5), function

    def forward(self, x: Tensor) -> Any:
        found: Any = self.function.apply(self.conv(x))
        return self.head(found.mean((2, 3)))


def test_double_backward_where_forward_mode_is_missing() -> None:
    model = double(Custom(Backward))
    layer = model.layer("conv")
    images, positions = asked(layer, 6)
    x = pictures(model)
    with pytest.raises(NotImplementedError):
        forward_mode(model.network, layer, x[images], positions)
    found = attribute(model, layer, x, images, positions)
    assert_close(found.attribution, differences(model, layer, x, images, positions))


def test_an_operator_without_either_is_named_in_one_line() -> None:
    model = double(Custom(Once))
    layer = model.layer("conv")
    with pytest.raises(ModelError, match="'conv' cannot be attributed") as caught:
        attribute(model, layer, pictures(model), *asked(layer, 2))
    assert len(str(caught.value).splitlines()) == 1


def test_a_network_without_logits_has_no_attribution() -> None:
    model = double(nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(inplace=True)))
    found = attribute(model, model.layer("0"), pictures(model), torch.tensor([0, 1]), torch.tensor([3, 7]))
    assert (found.vectors.shape, found.attribution.shape) == ((2, 8), (2, 0))


def test_a_layer_that_the_logits_do_not_depend_on_counts_for_nothing() -> None:
    class Aside(Smooth):
        def forward(self, x: Tensor) -> Any:
            return {
                "aside": self.second(x := self.first(x)),
                "logits": self.head(torch.tanh(x[:, :4, :8, :8]).flatten(1)),
            }

    model = double(Aside())
    found = attribute(model, model.layer("second.2"), pictures(model), torch.tensor([0]), torch.tensor([3]))
    assert not found.attribution.any()
    assert not double_backward(model.network, model.layer("second.2"), pictures(model)[:1], torch.tensor([3]))[1].any()


def test_positions_that_are_not_there_are_refused() -> None:
    model = double(Smooth())
    for position in (-1, 16):
        with pytest.raises(IndexError, match="positions 0 to 15"):
            attribute(model, model.layer("second.2"), pictures(model), torch.tensor([0]), torch.tensor([position]))


def test_a_layer_that_is_never_called_is_named() -> None:
    model = double(Smooth())
    with pytest.raises(DryRunError, match="never came"):
        attribute(model, Layer("second.2@2", "conv", 16, (4, 4), 4.0, 0), pictures(model), *asked(model.layers[0], 1))


def test_ranks_on_a_trained_network_are_those_of_finite_differences() -> None:
    model = in_double(load_model("squeezenet"))
    layer = model.layer("features.9")
    x = pictures(model, 1)
    images, positions = asked(layer, 4, 1)
    found = attribute(model, layer, x, images, positions, width=4).attribution.numpy()
    wanted = differences(model, layer, x, images, positions).numpy()
    assert all(np.corrcoef(ranks(one), ranks(other))[0, 1] > 0.99 for one, other in zip(found, wanted, strict=True))
    assert np.abs(found - wanted).max() <= 1e-3 * np.abs(wanted).max()


@pytest.mark.slow
@pytest.mark.parametrize("spec", ["torchvision:vit_b_16@random", "timm:vit_small_patch16_224@random"])
def test_large_transformers(spec: str) -> None:
    model = load_model(spec)
    layer = model.select(["auto"])[5]
    x = pictures(model, 1).float()
    found = attribute(model, layer, x, torch.tensor([0, 0]), torch.tensor([0, 100]), width=2)
    assert found.vectors.shape == (2, layer.channels)
    assert found.attribution.isfinite().all()
    in_double(model)
    # Torchvision's own initialisation has a last layer of zeros.
    exact = attribute(model, layer, x.double(), torch.tensor([0, 0]), torch.tensor([0, 100]), width=2)
    assert_close(exact.attribution, differences(model, layer, x.double(), torch.tensor([0, 0]), torch.tensor([0, 100])))
