from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as f

from atlas.models import load_model, prepare
from atlas.models.rectify import Rectifiers, redirected
from tests.models.networks import FAMILIES, Reused, model_of, resnet

pytestmark = pytest.mark.builder

LUCID = [(1, -1, 0), (-1, -1, -1), (1, 1, 1), (-1, 1, -1)]
"""Lucid's golden vectors: incoming gradient of a loss, input -> gradient."""
LUCID_6 = [*LUCID, (1, 7, 1), (-1, 7, 0)]


def gradient(incoming: list[float], x: list[float], high: float = math.inf) -> list[float]:
    """The gradient of one batch entry."""
    leaf = torch.tensor([x], dtype=torch.float32, requires_grad=True)
    (found,) = torch.autograd.grad(redirected(leaf, 0.0, high), leaf, torch.tensor([incoming], dtype=torch.float32))
    return found[0].tolist()


@pytest.mark.parametrize(("incoming", "x", "expected"), LUCID)
def test_golden_vectors_of_relu(incoming: float, x: float, expected: float) -> None:
    assert gradient([incoming], [x]) == [expected]


@pytest.mark.parametrize(("incoming", "x", "expected"), LUCID_6)
def test_golden_vectors_of_relu6(incoming: float, x: float, expected: float) -> None:
    assert gradient([incoming], [x], 6.0) == [expected]


def test_an_entry_that_lets_anything_pass_keeps_its_ordinary_gradient() -> None:
    assert gradient([-1, -1], [-1, -1]) == [-1, -1]
    assert gradient([-1, -1], [-1, 1]) == [0, -1]


def test_entries_are_judged_one_by_one() -> None:
    x = torch.tensor([[[-1.0], [-1.0]], [[-1.0], [1.0]]], requires_grad=True)
    (found,) = torch.autograd.grad(redirected(x), x, torch.full_like(x, -1))
    assert found.flatten().tolist() == [-1, -1, 0, -1]


RECTIFIERS: dict[str, Callable[[Tensor], Tensor]] = {
    "functional": f.relu,
    "functional, in place": lambda x: f.relu(x, inplace=True),
    "torch": torch.relu,
    "torch, in place": torch.relu_,
    "method": Tensor.relu,
    "module": nn.ReLU(),
    "module, in place": nn.ReLU(inplace=True),
    "relu6": f.relu6,
    "relu6 module, in place": nn.ReLU6(inplace=True),
    "hardtanh": lambda x: f.hardtanh(x, 0.0, 6.0),
    "clamp": lambda x: x.clamp(min=0),
    "clamp, by place": lambda x: torch.clamp(x, 0),
    "clamp in place": lambda x: x.clamp_(min=0, max=6),
    "clamp_min": lambda x: torch.clamp_min(x, 0),
    "threshold": lambda x: f.threshold(x, 0.0, 0.0),
    "threshold module": nn.Threshold(0.0, 0.0),
}


@pytest.mark.parametrize("name", RECTIFIERS)
def test_every_rectifier_is_seen(name: str) -> None:
    leaf = torch.tensor([[-2.0, 3.0]], requires_grad=True)
    with Rectifiers() as rectifiers:
        value = RECTIFIERS[name](leaf * 1)
    before = rectifiers.before(value)
    assert before is not None
    assert before.tolist() == [[-2, 3]]
    assert value.tolist() == [[0, 3]]
    assert rectifiers.rectified(value)
    assert torch.autograd.grad(before.sum(), leaf)[0].tolist() == [[1, 1]]


@pytest.mark.parametrize("name", RECTIFIERS)
def test_every_rectifier_is_redirected(name: str) -> None:
    leaf = torch.tensor([[-2.0, -3.0]], requires_grad=True)
    with Rectifiers(redirect=True):
        value = RECTIFIERS[name](leaf * 1)
    assert value.tolist() == [[0, 0]]
    assert torch.autograd.grad(-value.sum(), leaf)[0].tolist() == [[-1, -1]]


@pytest.mark.parametrize(
    "other", [torch.tanh, f.gelu, f.leaky_relu, nn.Hardswish(), lambda x: x.clamp(min=-1), f.hardtanh]
)
def test_other_functions_are_no_rectifiers(other: Callable[[Tensor], Tensor]) -> None:
    with Rectifiers() as rectifiers:
        value = other(torch.randn(2, 3))
    assert rectifiers.before(value) is None
    assert not rectifiers.rectified(value)


def maps() -> Tensor:
    return torch.randn(2, 4, 6, 6, generator=torch.Generator().manual_seed(0))


COMMUTING: dict[str, Callable[[Tensor], Tensor]] = {
    "max_pool2d": lambda x: f.max_pool2d(x, 2),
    "module of a pool": nn.MaxPool2d(3, 2, 1),
    "adaptive pool": lambda x: f.adaptive_max_pool2d(x, 2),
    "flatten": lambda x: x.flatten(1),
    "dropout": lambda x: f.dropout(x, 0.5, training=False),
    "permute": lambda x: x.permute(0, 2, 3, 1).contiguous(),
    "chunk": lambda x: x.chunk(2, 1)[1],
    "slice": lambda x: x[:, 1:3],
    "joined with itself": lambda x: torch.cat([x, f.max_pool2d(x, 3, 1, 1)], 1),
}


@pytest.mark.parametrize("name", COMMUTING)
def test_what_came_before_is_followed_through(name: str) -> None:
    x = maps()
    with Rectifiers() as rectifiers:
        value = COMMUTING[name](f.relu(x))
    before = rectifiers.before(value)
    assert before is not None
    assert torch.equal(before, COMMUTING[name](x))
    assert torch.equal(before.relu(), value)
    assert rectifiers.rectified(value)


def test_an_average_is_rectified_but_came_from_no_rectifier() -> None:
    with Rectifiers() as rectifiers:
        value = f.adaptive_avg_pool2d(f.relu(maps()), 1).flatten(1)
    assert rectifiers.before(value) is None
    assert rectifiers.rectified(value)


def test_a_sum_is_rectified_where_both_parts_are() -> None:
    with Rectifiers() as rectifiers:
        rectified, free = f.relu(maps()), maps()
        assert rectifiers.rectified(rectified + rectified)
        assert rectifiers.rectified(rectified * torch.sigmoid(free))
        assert not rectifiers.rectified(rectified + free)
        assert not rectifiers.rectified(rectified * -1)
        assert not rectifiers.rectified(torch.sigmoid(free))


def test_a_value_changed_in_place_is_forgotten() -> None:
    with Rectifiers() as rectifiers:
        value = f.relu(maps())
        value -= 1
    assert rectifiers.before(value) is None
    assert not rectifiers.rectified(value)


def test_before_a_fire_module_are_its_expand_convolutions_joined() -> None:
    model = load_model("squeezenet@random")
    x = torch.rand(1, 3, 64, 64)
    fire = prepare(model, "features.11")
    activation = fire.activations(x)
    parts = [prepare(model, f"features.11.expand{side}").activations(x).value for side in ("1x1", "3x3")]
    assert activation.before is not None
    assert torch.allclose(activation.before, torch.cat(parts, 1), atol=1e-6)
    assert torch.equal(activation.before.relu(), activation.value)
    assert activation.rectified
    assert fire.has_before


def test_before_comes_only_when_asked_for() -> None:
    prepared = prepare(model_of(resnet()), "layer2.0")
    x = torch.rand(2, 3, 32, 32)
    assert prepared.activations(x).before is not None
    assert prepared.activations(x, before=False).before is None
    assert torch.equal(prepared.activations(x).value, prepared.activations(x, before=False).value)


@pytest.mark.parametrize("layer", ["conv", "norm"])
def test_layers_without_a_rectifier_say_so(layer: str) -> None:
    activation = prepare(model_of(Reused()), layer).activations(torch.rand(1, 3, 32, 32))
    assert activation.before is None
    assert not activation.rectified


def test_before_keeps_its_gradient_where_the_value_has_none() -> None:
    model = model_of(Reused())
    prepared = prepare(model, "relu@2")
    x = torch.rand(1, 3, 32, 32, requires_grad=True)
    before = prepared.activations(x).before
    assert before is not None
    (gradient,) = torch.autograd.grad(before[before < 0].sum(), x)
    assert gradient.abs().sum() > 0


def test_redirection_starts_a_dead_unit_and_changes_no_value() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(inplace=True))
    with torch.no_grad():
        network[0].bias.fill_(-100)  # type: ignore[operator]
    prepared = prepare(model_of(network), "1")
    x = torch.rand(2, 3, 32, 32, requires_grad=True)
    value = prepared.activations(x, before=False).value
    assert torch.autograd.grad(-value.sum(), x)[0].abs().sum() == 0
    prepared.redirect = True
    again = prepared.activations(x, before=False).value
    assert torch.equal(again, value)
    assert torch.autograd.grad(-again.sum(), x)[0].abs().sum() > 0


@pytest.mark.parametrize("family", FAMILIES)
def test_what_came_before_gives_the_value_when_rectified(family: str) -> None:
    model = model_of(FAMILIES[family]())
    x = torch.rand(2, 3, *model.preprocessing.size)
    for layer in model.select(["auto"]):
        with torch.no_grad():
            activation = prepare(model, layer).activations(x)
        if activation.before is not None:
            rectified = (activation.before.relu() - activation.value).abs() < 1e-5
            untouched = (activation.before - activation.value).abs() < 1e-5  # where only a part was rectified
            assert (rectified | untouched).all(), layer.name
        assert not activation.rectified or activation.value.min() >= 0
