from __future__ import annotations

import random
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from atlas.errors import DryRunError, ModelError
from atlas.models import prepare
from atlas.models.kept import as_it_was
from atlas.models.outputs import Place, items
from tests.models import passes
from tests.models.networks import FAMILIES, HABITS, Reused, Thrown, Tuples, densenet, model_of, resnet, square

pytestmark = pytest.mark.builder


def names(network: nn.Module) -> list[str]:
    return [layer.name for layer in model_of(network).layers]


def test_layers_come_in_order_of_execution() -> None:
    found = names(resnet())
    block = ["conv1", "bn1", "relu", "conv2", "bn2", "relu@2"]
    assert [name for name in found if name.startswith("layer1.0")] == [
        *(f"layer1.0.{part}" for part in block),
        "layer1.0",
    ]
    assert found[:5] == ["conv1", "bn1", "relu", "maxpool", "layer1.0.conv1"]
    assert found[-2:] == ["avgpool", "fc"]


def test_a_layer_says_what_it_is() -> None:
    layers = {layer.name: layer for layer in model_of(resnet(), square(64)).layers}
    block, head = layers["layer2.0"], layers["fc"]
    assert (block.kind, block.channels, block.size, block.stride) == ("conv", 128, (8, 8), 8.0)
    assert (head.kind, head.channels, head.size, head.stride) == ("linear", 10, (), 0.0)


def test_flops_are_what_one_image_costs_up_to_there() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3, bias=False), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 30 * 30, 10))
    layers = model_of(network).layers
    convolution = 2 * 3 * 3 * 3 * 4 * 30 * 30
    assert [layer.flops for layer in layers] == [convolution] * 3 + [convolution + 2 * 4 * 30 * 30 * 10]


def test_modules_called_again_are_numbered() -> None:
    assert names(Reused()) == ["stem", "relu", "conv", "conv@2", "norm", "relu@2"]


def test_items_of_tuples_are_numbered() -> None:
    assert names(Tuples()) == ["pair.conv", "pair.norm", "pair#0", "pair#1", "after"]


def test_what_hands_its_input_through_is_no_layer() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Identity(), nn.Dropout(0.5), nn.ReLU(inplace=True))
    assert names(network) == ["0", "3"]
    assert "relu" in names(Thrown())


def test_maps_with_channels_last_are_known() -> None:
    layers = {layer.name: layer for layer in model_of(FAMILIES["torchvision convnext"]()).layers}
    inner = layers["features.1.0.block.3"]
    assert (inner.channels_last, inner.channels, inner.size) == (True, 32, (8, 8))
    assert not layers["features.1.0.block.0"].channels_last
    for family, block in (("torchvision swin", "features.1.0"), ("timm swin", "layers.0.blocks.0")):
        layer = next(layer for layer in model_of(FAMILIES[family]()).layers if layer.name == block)
        assert (layer.kind, layer.channels_last, layer.channels, layer.size) == ("conv", True, 16, (8, 8))


def test_channels_are_known_where_every_side_is_the_same() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 4, 4), Last(), nn.LayerNorm(8), nn.GELU(), nn.Linear(8, 8))
    assert [layer.channels_last for layer in model_of(network).layers] == [False, True, True, True, True]
    network = nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.GELU(), nn.ReLU())
    assert not any(layer.channels_last for layer in model_of(network).layers)


class Last(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return x.permute(0, 2, 3, 1)


@pytest.mark.parametrize(
    ("family", "block", "prefix"),
    [("torchvision vit", "encoder.layers.encoder_layer_1", 1), ("timm vit with registers", "blocks.1", 5)],
)
def test_prefix_tokens_are_counted(family: str, block: str, prefix: int) -> None:
    layer = next(layer for layer in model_of(FAMILIES[family]()).layers if layer.name == block)
    assert (layer.kind, layer.prefix, layer.size, layer.stride) == ("tokens", prefix, (4, 4), 8.0)


def test_inside_a_fused_encoder_everything_is_seen() -> None:
    assert {"3.linear1", "3.norm2", "3.self_attn#0"} <= set(names(HABITS["an encoder layer of torch"]()))


def test_activations_without_a_batch_axis_are_no_layers() -> None:
    class Bias(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.conv = nn.Embedding(16, 4), nn.Conv2d(3, 4, 3)

        def forward(self, x: Tensor) -> Tensor:
            bias: Tensor = self.table(torch.arange(4))
            found: Tensor = self.conv(x) + bias.mean(0).view(-1, 1, 1)
            return found

    assert names(Bias()) == ["conv"]


def test_densenet_is_listed_once_per_activation() -> None:
    found = names(densenet())
    assert len(found) == len(set(found))
    assert "features.denseblock1" in found
    assert "features.denseblock1.denselayer2.conv2" in found


class Broken(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 4, 3)
        self.deep = nn.Sequential(nn.ReLU(), nn.Linear(7, 7))

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.deep(self.first(x))
        return found


def test_a_failing_network_names_its_own_error_and_the_layer() -> None:
    with pytest.raises(DryRunError, match=r"32x32.*in layer 'deep\.1' \(Linear\): RuntimeError: .*mat1 and mat2"):
        names(Broken())


def test_a_network_without_activations_is_one_line() -> None:
    with pytest.raises(DryRunError, match="nothing to look into"):
        names(nn.Sequential(nn.Identity()))


@pytest.mark.parametrize("name", ["conv1", "layer1.0.relu@2", "pair#1", "pair@3#out"])
def test_names_read_back(name: str) -> None:
    assert str(Place.parse(name)) == name


@pytest.mark.parametrize("path", ["#", "@2", "a#b.c", "x@3", "%23", "per%cent", "100%25", "a@b", "@"])
def test_paths_that_look_like_items_and_calls_are_told_apart(path: str) -> None:
    for place in (Place(path), Place(path, 2), Place(path, 3, "out")):
        assert Place.parse(str(place)) == place
    module = path.partition(".")[0]
    network = nn.Sequential()
    network.add_module(module, nn.Conv2d(3, 4, 3))
    (layer,) = model_of(network).layers
    assert Place.parse(layer.name).path == module
    assert model_of(network).layer(layer.name) == layer


def test_items_of_every_kind_of_output() -> None:
    x = torch.ones(1)
    assert [name for name, _ in items(x)] == [""]
    assert [name for name, _ in items((x, None, x))] == ["0", "2"]
    assert [name for name, _ in items({"out": x, "n": 3})] == ["out"]
    assert list(items(None)) == []


Between = Callable[[passes.Stem, Tensor], Tensor]


@pytest.mark.parametrize(
    "between",
    [passes.resampled, passes.replaced, passes.registered_again, passes.counted, passes.written, passes.drifting],
)
def test_dry_runs_leave_a_network_as_it_was(between: Between) -> None:
    network = passes.Stem(between)
    objects = {**dict(network.named_parameters()), **dict(network.named_buffers())}
    numbers = {name: value.clone() for name, value in objects.items()}
    model = model_of(network)
    assert model.layers
    assert model.answer
    model.select(["all"])
    assert {**dict(network.named_parameters()), **dict(network.named_buffers())}.keys() == objects.keys()
    for name, value in objects.items():
        assert network.get_buffer(name) is value if name in dict(network.named_buffers()) else True
        assert torch.equal(value, numbers[name])
    assert network.place is objects["place"]
    assert (network.most, network.grids, network.seen) == (0, {}, [])


def test_what_is_tied_and_hooked_stays_so() -> None:
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)
    network = nn.Sequential(first, second)
    second.weight = first.weight
    normed = nn.utils.parametrizations.weight_norm(second, "bias", dim=0)
    handle = first.register_forward_hook(lambda *_: None)
    with as_it_was(network):
        network(torch.ones(1, 3))
        first.weight.data.zero_()
        first.weight = nn.Parameter(torch.ones(3, 3))
        network.requires_grad_(False).eval()
        random.random()
    handle.remove()
    assert network.training
    assert not first._forward_hooks
    assert first.weight is second.weight
    assert first.weight.abs().max() > 0
    assert all(weights.requires_grad for weights in network.parameters())
    assert normed.bias.isfinite().all()


@pytest.mark.parametrize("between", [passes.halved_by_modules, passes.halved_by_functions, passes.doubled])
def test_a_pass_that_ends_for_its_own_size_alone_is_ended_for_others(between: Between) -> None:
    model = model_of(passes.Stem(between), square(32))
    assert {"conv", "head"} <= {layer.name for layer in model.layers}
    prepared = prepare(model, "head")
    assert prepared.accepts((32, 32))
    assert not prepared.accepts((48, 48))


@pytest.mark.parametrize("between", [passes.dropped_by_python, passes.dropped_by_numpy, passes.dropped_by_its_own])
def test_what_chance_leaves_out_is_named_whatever_draws(between: Between) -> None:
    model, before = model_of(passes.Stem(between)), random.getstate()
    assert [layer.name for layer in model.layers] == ["conv"]
    assert random.getstate() == before
    with pytest.raises(ModelError, match="'more' is not built: the forward pass does not always reach it"):
        model.select(["more"])
    with pytest.raises(ModelError, match=r"'head' is not built: .* differs from pass to pass"):
        model.select(["head"])


def test_what_drifts_a_little_from_pass_to_pass_is_no_layer() -> None:
    model = model_of(passes.Stem(passes.drifting))
    assert [layer.name for layer in model.layers] == ["conv"]
    assert model.discovery.doubtful.keys() == {"hook", "head"}


@pytest.mark.parametrize(
    ("how", "words"),
    [
        (passes.flips, r"4 entries from inner\.conv.*other batches.*inside, 'inner', from the factory"),
        (passes.alone, r"1 entry from inner\.conv.*passed alone.*inside, 'inner', from the factory"),
    ],
)
def test_a_network_that_makes_other_batches_is_told_which_and_what_to_do(
    how: Callable[[nn.Module, Tensor], Tensor], words: str
) -> None:
    with pytest.raises(DryRunError, match=words):
        names(passes.Around(how))


def test_an_identity_that_alone_names_a_value_is_a_layer() -> None:
    network = passes.Stem(passes.handed_on)
    model = model_of(network)
    assert [layer.name for layer in model.layers] == ["conv", "hook", "head"]
    x = torch.rand(2, 3, 32, 32)
    value = prepare(model, "hook").activations(x).value
    wanted = nn.functional.gelu(network.conv(model.preprocessing.normalise(x))) + 1
    assert torch.allclose(value, wanted, atol=1e-4)
