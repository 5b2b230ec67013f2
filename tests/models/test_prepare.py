"""The prepared network equals the original at every listed layer, within 1e-4 of the layer's largest value."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
import torch
from torch import Tensor, nn

from atlas.errors import UnknownName
from atlas.models import Model, load_model, prepare, stop_at
from atlas.models.prepare import arranged
from atlas.units import Layer
from tests.models.networks import FAMILIES, HABITS, LARGE, Reused, Tuples, model_of, resnet, square, vit
from tests.models.originals import originals

pytestmark = pytest.mark.builder


def noise(model: Model, images: int = 2) -> Tensor:
    return torch.rand(images, 3, *model.preprocessing.size, generator=torch.Generator().manual_seed(7))


@torch.no_grad()
def assert_equal(model: Model, layers: Iterable[Layer]) -> None:
    x = noise(model)
    wanted, _ = originals(model, model.preprocessing.normalise(x))
    for layer in layers:
        value = prepare(model, layer).activations(x).value
        target = arranged(wanted[layer.name], layer)
        assert value.shape == target.shape
        assert value.shape[1] == layer.channels
        assert (value - target).abs().max() <= 1e-4 * target.abs().max(), layer.name


@pytest.mark.parametrize("family", FAMILIES)
def test_equals_the_original_at_every_layer(family: str) -> None:
    model = model_of(FAMILIES[family]())
    assert_equal(model, model.layers)


@pytest.mark.parametrize("habit", HABITS)
def test_equals_the_original_whatever_its_habits(habit: str) -> None:
    model = model_of(HABITS[habit]())
    assert_equal(model, model.layers)


@pytest.mark.parametrize("name", LARGE)
def test_equals_the_original_at_blocks(name: str) -> None:
    make, side = LARGE[name]
    model = model_of(make(), square(side))
    assert_equal(model, model.select(["auto"])[1::4])


@pytest.mark.slow
@pytest.mark.parametrize("name", LARGE)
def test_equals_the_original_at_every_layer_of_large_ones(name: str) -> None:
    make, side = LARGE[name]
    model = model_of(make(), square(side))
    assert_equal(model, model.layers)


def norms(network: nn.Module) -> int:
    return sum(isinstance(module, nn.BatchNorm2d) for module in network.modules())


def test_norms_are_folded_above_the_layer_only() -> None:
    model = model_of(resnet())
    whole = norms(model.network)
    assert whole - norms(prepare(model, "layer1.0.conv1").network) == 1  # the stem's
    assert whole - norms(prepare(model, "layer1.0.bn1").network) == 2
    assert norms(prepare(model, "fc").network) == 0
    assert norms(prepare(model, "fc", folded=False).network) == whole
    assert norms(model.network) == whole


@pytest.mark.parametrize("habit", ["a convolution used twice", "weights made anew", "re-used modules"])
def test_norms_that_cannot_be_folded_are_left(habit: str) -> None:
    model = model_of(HABITS[habit]())
    assert norms(prepare(model, model.layers[-1]).network) == norms(model.network) == 1


def test_norms_of_timm_keep_their_activation() -> None:
    model = model_of(FAMILIES["timm norms that activate"]())
    network = prepare(model, "2").network
    assert norms(network) == 0
    assert {"0.bn.act", "1.bn.act"} <= set(dict(network.named_modules()))


def test_nothing_runs_after_the_layer() -> None:
    model = model_of(resnet())
    prepared = prepare(model, "layer2.0")
    reached: list[str] = []
    for name in ("layer1", "layer3"):
        hook = lambda *_, name=name: reached.append(name)  # noqa: E731
        prepared.network.get_submodule(name).register_forward_hook(hook)
    prepared.activations(noise(model))
    assert reached == ["layer1"]


def test_no_parameter_gets_a_gradient() -> None:
    model = model_of(resnet())
    x = noise(model).requires_grad_()
    prepared = prepare(model, "layer4.0")
    (gradient,) = torch.autograd.grad(prepared.activations(x).value.sum(), x)
    assert gradient.abs().sum() > 0
    assert all(not weight.requires_grad and weight.grad is None for weight in prepared.network.parameters())


def test_second_calls_and_tuple_items_are_told_apart() -> None:
    model = model_of(Reused())
    x = noise(model)
    first, second = (prepare(model, name).activations(x).value for name in ("relu", "relu@2"))
    assert not torch.equal(first, second)
    assert {"pair#0", "pair#1"} <= {layer.name for layer in model_of(Tuples()).layers}


def test_tokens_lose_their_prefix_and_maps_come_channels_first() -> None:
    model = model_of(FAMILIES["timm vit with registers"]())
    assert prepare(model, "blocks.0").activations(noise(model)).value.shape == (2, 12, 16)
    model = model_of(FAMILIES["timm swin"]())
    assert prepare(model, "layers.0.blocks.0").activations(noise(model)).value.shape == (2, 16, 8, 8)


def test_one_size_is_found_out() -> None:
    prepared = prepare(model_of(vit()), "encoder.layers.encoder_layer_1")
    assert prepared.accepts((32, 32))
    assert not prepared.accepts((48, 48))
    assert prepare(model_of(resnet()), "layer2.0").accepts((48, 48))


class Hungry(nn.Module):
    """Finds no memory for pictures larger than its own."""

    def __init__(self, error: type[Exception]) -> None:
        super().__init__()
        self.error = error
        self.convolution = nn.Conv2d(3, 4, 3)

    def forward(self, x: Tensor) -> Tensor:
        if x.shape[-1] > 32:
            raise self.error("this test's memory is full")
        found: Tensor = self.convolution(x)
        return found


@pytest.mark.parametrize("error", [torch.OutOfMemoryError, MemoryError])
def test_a_lack_of_memory_says_nothing_about_sizes(error: type[Exception]) -> None:
    prepared = prepare(model_of(Hungry(error)), "convolution")
    assert prepared.accepts((32, 32))
    with pytest.raises(error):
        prepared.accepts((48, 48))


def test_pictures_need_not_be_square() -> None:
    model = load_model("squeezenet@random")
    assert prepare(model, "features.4").activations(torch.rand(1, 3, 65, 97)).value.shape == (1, 128, 16, 24)


def test_an_unknown_layer_is_one_line() -> None:
    model = model_of(resnet())
    with pytest.raises(UnknownName, match=r"'layer9\.0'.*'layer4\.0'.*atlas layers"):
        prepare(model, "layer9.0")
    with pytest.raises(UnknownName, match="'layer9'"):
        stop_at(model.network, "layer9", noise(model))


class Precise(nn.Module):
    """Computes in other precisions on its way."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.act = nn.Conv2d(3, 8, 4, 4), nn.Conv2d(8, 8, 3), nn.ReLU()

    def forward(self, x: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            x = self.act(self.second(self.first(x)))
        found: Tensor = self.act(x.double())
        return found


def test_values_are_in_float32_whatever_a_network_computes_in() -> None:
    model = model_of(Precise())
    assert [layer.name for layer in model.layers] == ["first", "second", "act", "act@2"]
    for layer in model.layers:
        found = prepare(model, layer).activations(torch.rand(2, 3, 32, 32))
        assert found.value.dtype is torch.float32
        assert found.before is None or found.before.dtype is torch.float32
