"""The ascent: one objective for a batch of pictures -> the pictures it rises to.

    (prepared network, objective, keys, recipe, numerics) -> pictures Tensor[n,3,h,w] in (0,1), statuses Tensor[n]

    spectrum ── colours, sigmoid ──> picture ── one affine each ──> network, cut at the layer ──> a score each
        ^                                                                                            │
        └────────────────────── Adam <────────────── one backward of their sum <─────────────────────┘

Pictures of a batch share kernels, never numbers: each has its own start, transforms, score and
gradient, and Adam works by element. No step waits for the device or reads a value back.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from atlas.errors import UnknownName
from atlas.models import Activation, Prepared
from atlas.recipe import Numerics, Recipe
from atlas.rendering.chance import Key
from atlas.rendering.objectives import Objective
from atlas.rendering.parameters import fourier
from atlas.rendering.transforms import draw, resample
from atlas.units import Status


@dataclass(frozen=True)
class View:
    """T: where an objective finds the activations of the batch."""

    layer: str
    activation: Activation

    @classmethod
    def through(cls, prepared: Prepared, pictures: Tensor, affine: Tensor, *, before: bool) -> View:
        """What the network sees in pictures Tensor[n,3,h,w] under their affines Tensor[n,2,3].

        A network that does not take the pictures' size sees them at its own.
        """
        height, width = pictures.shape[-2:]
        size = (height, width) if prepared.accepts((height, width)) else prepared.preprocessing.size
        return cls(prepared.layer.name, prepared.activations(resample(pictures, affine, size), before=before))

    def __call__(self, layer: str, *, before: bool = False) -> Tensor:
        """The layer's value, or `before` its rectifier (the value itself where it has none)."""
        if layer != self.layer:
            raise UnknownName(f"The objective asks for layer {layer!r}; the network is cut at {self.layer!r}.")
        unrectified = self.activation.before
        return unrectified if before and unrectified is not None else self.activation.value


Parameterization = Callable[[Sequence[Key], Recipe], tuple[Tensor, nn.Module]]
"""(keys, recipe) -> the leaf that is moved, and the module that makes pictures [n,3,h,w] in (0,1) of it."""
Transforms = Callable[[Sequence[Key], Recipe, int, str], Tensor]
"""(keys, recipe, count, purpose) -> affines Tensor[count,n,2,3]."""


def ascend(
    prepared: Prepared,
    objective: Objective,
    keys: Sequence[Key],
    recipe: Recipe,
    numerics: Numerics,
    *,
    parameterization: Parameterization = fourier,
    transforms: Transforms = draw,
) -> tuple[Tensor, Tensor]:
    """The pictures that `objective` rises to, Tensor[n,3,h,w] in (0,1), and their statuses, uint8 Tensor[n].

    Picture i is scored at place i of the objective and takes its chance from `keys[i]`. A status is `OK`,
    `NAN` (a score was not finite) or `UNSTARTED` (no step but a redirected one found a gradient).
    """
    leaf, paint = parameterization(keys, recipe)
    leaf, paint = leaf.to(numerics.device).requires_grad_(), paint.to(numerics.device)
    affines = transforms(keys, recipe, recipe.steps, "training").to(numerics.device)
    adam = torch.optim.Adam([leaf], recipe.learning_rate, (recipe.beta1, recipe.beta2), fused=True)
    finite = torch.ones(len(keys), dtype=torch.bool, device=numerics.device)
    moved = torch.zeros_like(finite)
    redirected = min(recipe.redirected, recipe.steps - 1)
    for step in range(recipe.steps):
        prepared.redirect = step < redirected
        scores = objective(View.through(prepared, paint(leaf), affines[step], before=objective.before))
        (gradient,) = torch.autograd.grad(-scores.sum(), leaf, materialize_grads=True)
        leaf.grad = gradient.contiguous()  # torch's fused Adam reads a CPU gradient as it lies in memory
        adam.step()
        strongest = gradient.flatten(1).abs().amax(dim=1)
        finite &= scores.detach().isfinite() & strongest.isfinite()
        if step >= redirected:
            moved |= strongest > 0
    with torch.no_grad():
        pictures = paint(leaf)
    status = torch.where(finite, torch.where(moved, int(Status.OK), int(Status.UNSTARTED)), int(Status.NAN))
    return pictures, status.to(torch.uint8)
