"""Adam with warm-up and decay of its learning rate, as the recipe has them.

    recipe -> rates Tensor[steps]                   how far each step goes
    (leaf, gradient, rates) -> leaf                 one step

The first steps of an ascent point anywhere: taken at full length they can leave a unit where nothing moves it. So the
rate rises over `recipe.lr_warmup_steps` steps. It falls to zero over the last `recipe.lr_decay_fraction` of them, since
what a step at full length ends on is as much the last transform drawn as the unit. The schedule stands in a table on
the device, so that no step is told anything by the host.

After "Adam: A Method for Stochastic Optimization", Kingma and Ba 2015.
"""

from __future__ import annotations

import torch
from torch import Tensor

from atlas.recipe import Recipe

LEAST = 1e-20
"""Keeps a zero gradient from being divided by zero; small, so that units of any scale climb alike."""


def rates(recipe: Recipe) -> Tensor:
    """The rate of each step, Tensor[steps]."""
    step = torch.arange(recipe.steps, dtype=torch.float64)
    rise = ((step + 1) / max(min(recipe.lr_warmup_steps, recipe.steps // 4), 1)).clamp(max=1)
    fall = ((recipe.steps - step) / max(recipe.lr_decay_fraction * recipe.steps, 1)).clamp(max=1)
    return (recipe.learning_rate * rise * fall).float()


def schedule(recipe: Recipe) -> Tensor:
    """What `Adam.step` needs to know of each step, Tensor[steps,2]: Adam's rates and its correction of the scale."""
    taken = torch.arange(1, recipe.steps + 1, dtype=torch.float64)
    first, second = 1 - recipe.beta1**taken, (1 - recipe.beta2**taken).sqrt()
    return torch.stack([rates(recipe) * second / first, LEAST * second], 1).float()


class Adam:
    """Adam on one leaf, by element: what lies beside a picture in the batch changes nothing."""

    def __init__(self, leaf: Tensor, recipe: Recipe) -> None:
        self._leaf = leaf
        self._betas = recipe.beta1, recipe.beta2
        self._mean, self._square = torch.zeros_like(leaf), torch.zeros_like(leaf)

    @torch.no_grad()
    def step(self, gradient: Tensor, rates: Tensor) -> None:
        """Move the leaf down `gradient`, that of what is to be lowered, by a row of `schedule`."""
        beta1, beta2 = self._betas
        rate, least = rates
        self._mean.lerp_(gradient, 1 - beta1)
        self._square.mul_(beta2).addcmul_(gradient, gradient, value=1 - beta2)
        self._leaf.addcdiv_(self._mean * rate, self._square.sqrt().add_(least), value=-1)
