"""One forward pass shows every layer's value as it is at that moment, and what it was before its rectifier."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from atlas.dataset import watch as watching
from atlas.dataset.watch import on_device, watch
from atlas.errors import DryRunError, UnknownName
from atlas.models import Model, prepare
from atlas.models.prepare import arranged
from atlas.units import Layer
from tests.models.networks import FAMILIES, HABITS, Reused, model_of, resnet
from tests.models.originals import originals

pytestmark = pytest.mark.builder

NETWORKS = FAMILIES | HABITS


def noise(images: int = 2, side: int = 32) -> Tensor:
    return torch.rand(images, 3, side, side, generator=torch.Generator().manual_seed(7))


@torch.no_grad()
def watched(
    model: Model, layers: list[Layer], network_input: Tensor, *, whole: bool = True
) -> tuple[dict[str, tuple[Tensor, Tensor | None]], Tensor | None]:
    found: dict[str, tuple[Tensor, Tensor | None]] = {}

    def take(layer: Layer, value: Tensor, before: Tensor | None) -> None:
        assert layer.name not in found
        found[layer.name] = value.clone(), None if before is None else before.clone()

    with watch(model, layers, take, whole=whole) as forward:
        logits = forward(network_input)
    return found, logits


@pytest.mark.parametrize("name", NETWORKS)
def test_every_layer_at_once_equals_the_original(name: str) -> None:
    model = model_of(NETWORKS[name]())
    network_input = model.preprocessing.normalise(noise())
    wanted, answer = originals(model, network_input)
    found, logits = watched(model, model.layers, network_input)
    assert set(found) == {layer.name for layer in model.layers}
    for layer in model.layers:
        value, before = found[layer.name]
        assert torch.equal(value, arranged(wanted[layer.name], layer)), layer.name
        if before is not None:
            assert before.shape == value.shape
    assert (logits is None) == (answer is None)
    if logits is not None and answer is not None:
        assert torch.equal(logits, answer)


@pytest.mark.parametrize("name", NETWORKS)
def test_before_the_rectifier_is_what_one_layer_alone_says(name: str) -> None:
    model = model_of(NETWORKS[name]())
    layers = model.layers if name in HABITS else model.select(["auto"])
    x = noise()
    found, _ = watched(model, layers, model.preprocessing.normalise(x))
    for layer in layers:
        with torch.no_grad():
            wanted = prepare(model, layer, folded=False).activations(x).before
        before = found[layer.name][1]
        assert (before is None) == (wanted is None), layer.name
        if before is not None and wanted is not None:
            assert (before - wanted).abs().max() <= 1e-5 * wanted.abs().max(), layer.name


def test_rectifiers_in_place_show_both_sides() -> None:
    model = model_of(Reused())
    found, _ = watched(model, [model.layer("norm"), model.layer("relu@2")], noise())
    norm, (rectified, before) = found["norm"][0], found["relu@2"]
    assert norm.min() < 0
    assert before is not None
    assert torch.equal(before, norm)
    assert torch.equal(rectified, norm.relu())


class Calls(TorchFunctionMode):
    """Counts copies."""

    def __init__(self) -> None:
        super().__init__()
        self.clones = 0

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        self.clones += func.__name__ == "clone"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize(("names", "copies"), [(["norm"], 0), (["relu@2"], 1), (["relu", "relu@2"], 2)])
def test_only_the_rectifiers_that_are_needed_cost_a_copy(names: list[str], copies: int) -> None:
    model = model_of(Reused())
    layers = [model.layer(name) for name in names]
    with torch.no_grad(), watch(model, layers, lambda *_: None) as forward, Calls() as calls:
        forward(noise())
    assert calls.clones == copies


def test_without_a_rectifier_no_function_is_watched(monkeypatch: pytest.MonkeyPatch) -> None:
    model = model_of(Reused())
    watched(model, [model.layer("norm")], noise())

    def refuse(**_: Any) -> AbstractContextManager[None]:
        raise AssertionError("watched")

    monkeypatch.setattr(watching, "Rectifiers", refuse)
    found, _ = watched(model, [model.layer("norm")], noise())
    assert found["norm"][1] is None
    with watch(model, [model.layer("relu")], lambda *_: None, before=False) as forward:
        forward(noise())
    with pytest.raises(AssertionError, match="watched"):
        watched(model, [model.layer("relu")], noise())


def test_nothing_runs_after_the_last_layer_unless_asked() -> None:
    model = model_of(resnet())
    layers = [model.layer("layer1.0"), model.layer("layer2.0")]
    reached: list[str] = []
    model.network.get_submodule("layer3").register_forward_hook(lambda *_: reached.append("layer3"))
    found, logits = watched(model, layers, noise(), whole=False)
    assert set(found) == {"layer1.0", "layer2.0"}
    assert logits is None
    assert not reached
    assert watched(model, layers, noise())[1] is not None
    assert reached


def test_hooks_are_gone_afterwards() -> None:
    model = model_of(resnet())

    def fail(*_: Any) -> None:
        raise ValueError("full")

    with pytest.raises(ValueError, match="full"), watch(model, model.layers, fail) as forward:
        forward(noise())
    assert not any(module._forward_hooks for module in model.network.modules())


def test_the_copy_is_made_once_and_the_model_stays_as_it_is() -> None:
    model = model_of(resnet())
    copied = on_device(model, "cpu")
    assert on_device(model, "cpu") is copied
    weight, other = (one.network.get_submodule("conv1").weight for one in (model, copied))
    assert isinstance(weight, Tensor)
    assert isinstance(other, Tensor)
    assert weight.data_ptr() != other.data_ptr()
    assert other.is_contiguous(memory_format=torch.channels_last)
    assert weight.is_contiguous()
    assert copied.weights_hash == model.weights_hash


def test_a_layer_that_is_not_there_is_one_line() -> None:
    model = model_of(resnet())
    layer = model.layer("layer1.0")
    gone = Layer.from_dict(layer.to_dict() | {"name": "layer1.7"})
    with pytest.raises(UnknownName, match=r"'layer1\.7'"):
        watched(model, [gone], noise())
    never = Layer.from_dict(layer.to_dict() | {"name": "layer1.0@2"})
    with pytest.raises(DryRunError, match=r"never came to layer 'layer1\.0@2'"):
        watched(model, [layer, never], noise())
