"""Other ways to climb, for the study: each takes the place of `atlas.rendering.schedule.Adam`.

(leaf, gradient) -> leaf, at the recipe's rates
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from torch import Tensor

from atlas.recipe import Recipe
from atlas.rendering.schedule import rates


class Other(ABC):
    """What they share: the leaf, a memory of the gradient, and which step it is."""

    def __init__(self, leaf: Tensor, recipe: Recipe) -> None:
        self.leaf, self.recipe, self.rates = leaf, recipe, rates(recipe)
        self.mean, self.square = torch.zeros_like(leaf), torch.zeros_like(leaf)
        self.taken = 0

    @torch.no_grad()
    def step(self, gradient: Tensor, _: Tensor) -> None:
        self.leaf -= self.rates[self.taken] * self.direction(gradient)
        self.taken += 1

    @abstractmethod
    def direction(self, gradient: Tensor) -> Tensor:
        """Which way to go, and how far at a rate of one."""


class Nesterov(Other):
    """Adam that looks a step ahead (Dozat, 2016)."""

    def direction(self, gradient: Tensor) -> Tensor:
        beta1, beta2, now = self.recipe.beta1, self.recipe.beta2, self.taken + 1
        self.mean.lerp_(gradient, 1 - beta1)
        self.square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        ahead = beta1 * self.mean / (1 - beta1 ** (now + 1)) + (1 - beta1) * gradient / (1 - beta1**now)
        return ahead / (self.square / (1 - beta2**now)).sqrt().add_(1e-20)


class Sign(Other):
    """The sign of the remembered gradient, as Lion takes it (Chen et al., 2023)."""

    def direction(self, gradient: Tensor) -> Tensor:
        ahead = self.mean.lerp(gradient, 1 - self.recipe.beta1).sign()
        self.mean.lerp_(gradient, 1 - self.recipe.beta2)
        return ahead


class OneScale(Other):
    """The remembered gradient over its size in the whole picture: no frequency gets a scale of its own."""

    def direction(self, gradient: Tensor) -> Tensor:
        self.mean.lerp_(gradient, 1 - self.recipe.beta1)
        size = self.mean.square().flatten(1).mean(1).sqrt().clamp(min=1e-20)
        return self.mean / size[(...,) + (None,) * (self.mean.dim() - 1)]
