"""What an image is, and which channels make the network say so: finite differences and plain autograd agree."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from atlas.dataset.classes import attribute, guesses
from atlas.models.outputs import Place, items
from atlas.models.prepare import arranged
from atlas.models.probe import module_by_module
from atlas.units import Layer
from tests.dataset.test_collect import NETWORKS, made
from tests.models.networks import FAMILIES, Reused, model_of

pytestmark = pytest.mark.builder


def noise(images: int = 3, dtype: torch.dtype = torch.float32) -> Tensor:
    return torch.randn(images, 3, 32, 32, generator=torch.Generator().manual_seed(4)).to(dtype)


def changing(network: nn.Module, layer: Layer, change: Callable[[Tensor], Tensor]) -> Any:
    """A hook after which everything that follows the layer sees `change` of its value."""
    place = Place.parse(layer.name)
    calls = 0

    def changed(_: nn.Module, __: Any, output: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls != place.call:
            return None
        if isinstance(output, Tensor):
            return change(output)
        return tuple(change(value) if str(item) == place.item else value for item, value in enumerate(output))

    return network.get_submodule(place.path).register_forward_hook(changed)


def answered(network: nn.Module, x: Tensor) -> Tensor:
    with module_by_module():
        return next(value for _, value in items(network(x)) if value.dim() == 2)


def smooth() -> nn.Module:
    return nn.Sequential(
        *(nn.Conv2d(3, 5, 5, 3), nn.GELU(), nn.Conv2d(5, 4, 3, 2), nn.Tanh(), nn.Flatten(), nn.Linear(64, 6))
    )


@pytest.mark.parametrize("name", ["0", "1", "2", "3", "5"])
def test_equals_finite_differences(name: str) -> None:
    model = model_of(smooth())
    layer = model.layer(name)
    model.network.double()
    x = noise(dtype=torch.float64)
    best = answered(model.network, x).argmax(1)
    found = attribute(model, [layer], x)[name]
    step = 1e-5
    for channel in range(layer.channels):

        def logits(factor: float, channel: int = channel) -> Tensor:
            def scaled(value: Tensor) -> Tensor:
                value = value.clone()
                value[:, channel] *= factor
                return value

            handle = changing(model.network, layer, scaled)
            answer = answered(model.network, x)[torch.arange(len(x)), best]
            handle.remove()
            return answer

        slope = (logits(1 + step) - logits(1 - step)) / (2 * step)
        assert torch.allclose(found[:, channel].double(), slope, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("name", ["rectified", "vit", "swin"])
def test_all_layers_at_once_equal_plain_autograd(name: str) -> None:
    model = made(name)
    x = noise()
    found = attribute(model, model.layers, x)
    for layer in model.layers:
        kept: list[Tensor] = []

        def keep(value: Tensor, kept: list[Tensor] = kept) -> Tensor:
            kept.append(value.detach().clone().requires_grad_())
            return kept[0] * 1

        handle = changing(model.network, layer, keep)
        score = answered(model.network, x).amax(1).sum()
        handle.remove()
        (gradient,) = torch.autograd.grad(score, kept[0])
        product = arranged(kept[0].detach() * gradient, layer)
        wanted = product.reshape(*product.shape[:2], -1).sum(2)
        # Autograd adds the parts of a sum over a network in another order.
        assert torch.allclose(found[layer.name], wanted, rtol=1e-3, atol=1e-5 * float(wanted.abs().max())), layer.name


def test_the_parts_of_a_linear_network_add_up_to_its_answer() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 4, 4, bias=False), nn.Flatten(), nn.Linear(512, 5, bias=False))
    model = model_of(network)
    x = noise()
    found = attribute(model, [model.layer("0")], x)["0"]
    assert torch.allclose(found.sum(1), network(x).amax(1), rtol=1e-4)


class Aside(nn.Module):
    """One branch is without a gradient, another leads nowhere."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen, self.nowhere, self.used = (nn.Conv2d(3, 4, 3) for _ in range(3))
        self.head = nn.Linear(4, 5)

    def forward(self, x: Tensor) -> Tensor:
        with torch.no_grad():
            frozen = self.frozen(x)
        self.nowhere(x)
        found: Tensor = self.head((self.used(x) + frozen).mean((2, 3)))
        return found


def test_a_layer_that_leads_nowhere_has_no_part_and_one_without_gradient_none_that_is_known() -> None:
    model = model_of(Aside())
    found = attribute(model, model.layers, noise())
    assert found["frozen"].isnan().all()
    assert not found["nowhere"].any()
    assert found["used"].abs().min() > 0


def test_a_network_without_logits_attributes_nothing() -> None:
    model = model_of(Reused())
    found = attribute(model, model.layers, noise())
    assert found
    assert all(part.isnan().all() for part in found.values())


def test_images_are_attributed_one_by_one() -> None:
    model = model_of(FAMILIES["torchvision resnet"]())
    layer = model.layer("layer2.0")
    x = noise(4)
    found = attribute(model, [layer], x)["layer2.0"]
    alone = torch.cat([attribute(model, [layer], one[None])["layer2.0"] for one in x])
    assert torch.allclose(found, alone, rtol=1e-3, atol=1e-5)


def test_guesses_are_padded_and_ordered() -> None:
    logits = torch.tensor([[1.0, 3.0, 3.0], [0.0, torch.inf, 1.0], [0.2, 0.5, 0.3], [0.0, 0.0, 0.0]])
    classes, chances = guesses(logits, 4)
    assert classes.tolist() == [[1, 2, 0, -1, -1], [-1] * 5, [1, 2, 0, -1, -1], [0, 1, 2, -1, -1]]
    np.testing.assert_allclose(chances[2, :3], [0.5, 0.3, 0.2], rtol=1e-6)  # a softmax already
    np.testing.assert_allclose(chances[0, :3], torch.tensor([3.0, 3.0, 1.0]).softmax(0).numpy(), rtol=1e-6)
    assert np.isnan(chances[:, 3:]).all()
    assert np.isnan(chances[1]).all()
    assert classes.dtype == np.int32
    assert chances.dtype == np.float32


def test_no_logits_no_guesses() -> None:
    classes, chances = guesses(None, 2)
    assert (classes == -1).all()
    assert np.isnan(chances).all()


def test_networks_of_the_other_tests_have_logits() -> None:
    assert [name for name in NETWORKS if answered_or_none(name) is None] == ["tuples"]


def answered_or_none(name: str) -> Tensor | None:
    return made(name).logits(noise().clamp(0, 1))
