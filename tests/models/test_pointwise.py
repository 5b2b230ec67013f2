"""1x1 convolutions that take another path give what they gave."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from atlas.models import prepare
from atlas.models.pointwise import quicken
from tests.models.networks import model_of

pytestmark = pytest.mark.builder

PLAIN: dict[str, nn.Module] = {"plain": nn.Conv2d(8, 6, 1), "plain, without bias": nn.Conv2d(8, 6, 1, bias=False)}
OTHERS: dict[str, nn.Module] = {
    "larger": nn.Conv2d(8, 6, 3),
    "strided": nn.Conv2d(8, 6, 1, stride=2),
    "padded": nn.Conv2d(8, 6, 1, padding=1),
    "padded by name": nn.Conv2d(8, 6, 1, padding="same"),
    "grouped": nn.Conv2d(8, 6, 1, groups=2),
    "transposed": nn.ConvTranspose2d(8, 6, 1),
    "dilated already": nn.Conv2d(8, 6, 3, dilation=2),
}


@pytest.mark.parametrize("name", PLAIN | OTHERS)
def test_values_and_gradients_stay(name: str) -> None:
    convolution = (PLAIN | OTHERS)[name]
    x = torch.randn(2, 8, 9, 7, generator=torch.Generator().manual_seed(0), requires_grad=True)

    def answers() -> tuple[torch.Tensor, torch.Tensor]:
        value = convolution(x)
        (gradient,) = torch.autograd.grad(value.square().sum(), x)
        return value.detach(), gradient

    before, dilation = answers(), convolution.dilation
    quicken(convolution)
    assert (convolution.dilation != dilation) == (name in PLAIN)
    for one, other in zip(before, answers(), strict=True):
        assert torch.allclose(one, other, atol=1e-5)


def test_the_model_itself_stays_as_it_is() -> None:
    network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 6, 1))
    prepared = prepare(model_of(network), "1")
    assert prepared.network[1].dilation == (2, 2)  # type: ignore[index]
    assert network[1].dilation == (1, 1)
    assert prepare(model_of(network), "1", folded=False).network[1].dilation == (1, 1)  # type: ignore[index]
