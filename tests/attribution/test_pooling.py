"""Max pools with relaxed gradients: the same values, gradients shared among the strong."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from atlas.attribution.attribution import attribute, double_backward
from atlas.attribution.pooling import LEAST, RelaxedPooling
from tests.models.networks import model_of, square

pytestmark = pytest.mark.builder

POOLS: dict[str, Callable[[Tensor], Tensor]] = {
    "module": nn.MaxPool2d(3, 2, 1),
    "windows that hang over": nn.MaxPool2d(3, 2, ceil_mode=True),
    "function": lambda x: functional.max_pool2d(x, (2, 3)),
    "torch's own": lambda x: torch.max_pool2d(x, 2, 2, 0, 1, True),
    "adaptive": nn.AdaptiveMaxPool2d(2),
}


def maps() -> Tensor:
    return torch.randn(2, 3, 9, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize("name", POOLS)
def test_values_stay_and_gradients_are_shared(name: str) -> None:
    x = maps().requires_grad_()
    with RelaxedPooling():
        value = POOLS[name](x)
    torch.testing.assert_close(value, POOLS[name](x))
    (relaxed,) = torch.autograd.grad(value.sum(), x)
    (hard,) = torch.autograd.grad(POOLS[name](x).sum(), x)
    assert (relaxed != 0).sum() > 2 * (hard != 0).sum()


def test_the_gradient_is_that_of_the_mean_weighted_by_size() -> None:
    x = maps()[:1, :1, :2, :2].requires_grad_()
    with RelaxedPooling():
        value = functional.max_pool2d(x, 2)
    (found,) = torch.autograd.grad(value.sum(), x)
    (wanted,) = torch.autograd.grad((x**2).mean() / (LEAST + x.abs().mean()), x)
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize(
    "pool", [nn.MaxPool2d(2, dilation=2), lambda x: functional.max_pool2d(x, 2, return_indices=True)[0]]
)
def test_other_pools_are_left_as_they_are(pool: Callable[[Tensor], Tensor]) -> None:
    x = maps().requires_grad_()
    with RelaxedPooling():
        (found,) = torch.autograd.grad(pool(x).sum(), x)
    assert torch.equal(found, torch.autograd.grad(pool(x).sum(), x)[0])


def test_attribution_through_a_relaxed_pool() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(8 * 49, 5))
    model = model_of(network, square(16))
    x = torch.randn(1, 3, 16, 16, generator=torch.Generator().manual_seed(1))
    images, positions = torch.zeros(196, dtype=torch.int64), torch.arange(196)
    hard, relaxed = (
        attribute(model, model.layer("1"), x, images, positions, relaxed=how).attribution for how in (False, True)
    )
    silent = hard.abs().sum(1) == 0
    assert (relaxed[silent].abs().sum(1) > 0).any()
    with RelaxedPooling():
        _, other = double_backward(model.network, model.layer("1"), x.expand(196, -1, -1, -1), positions)
    torch.testing.assert_close(relaxed, other, atol=1e-6, rtol=1e-4)
