"""The ascent: one objective for a batch of pictures -> the pictures it rises to.

    (prepared network, objective, keys, recipe, numerics) -> pictures Tensor[n,3,h,w] in (0,1), statuses Tensor[n]

    spectrum ── colours, sigmoid ──> picture ── one affine each ──> network, cut at the layer ──> a score each
        ^                                                                                            │
        └────────────────────── Adam <────────────── one backward of their sum <─────────────────────┘

Pictures of a batch share kernels, never numbers: each has its own start, transforms, score and
gradient, and Adam works by element. No step waits for the device or reads a value back; all it reads
and writes are tensors that stay where they are, so that CUDA records it once and replays it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from atlas.errors import UnknownName
from atlas.models import Activation, Prepared
from atlas.recipe import Numerics, Recipe
from atlas.rendering.cuda_graph import Replayed
from atlas.rendering.objectives import Objective
from atlas.rendering.parameterization import fourier
from atlas.rendering.rng import Key
from atlas.rendering.schedule import Adam, schedule
from atlas.rendering.transforms import draw, resample
from atlas.units import Status


@dataclass(frozen=True)
class View:
    """T: where an objective finds the activations of the batch."""

    layer: str
    activation: Activation

    @classmethod
    def through(
        cls,
        prepared: Prepared,
        pictures: Tensor,
        affine: Tensor,
        *,
        before: bool,
        share: float = 1.0,
        dtype: str = "float32",
    ) -> View:
        """What the network sees in pictures Tensor[n,3,h,w] under their affines Tensor[n,2,3], computed in `dtype`.

        A network that does not take the pictures' size sees them at its own. `share` as in `resample`.
        """
        height, width = pictures.shape[-2:]
        size = (height, width) if prepared.accepts((height, width)) else prepared.preprocessing.size
        seen = resample(pictures, affine, size, share)
        if dtype == "float32":
            return cls(prepared.layer.name, prepared.activations(seen, before=before))
        with torch.autocast(seen.device.type, getattr(torch, dtype), cache_enabled=False):
            found = prepared.activations(seen, before=before)
        whole = None if found.before is None else found.before.float()
        return cls(prepared.layer.name, Activation(found.value.float(), whole, found.rectified))

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
    ascent = Ascent(prepared, objective, parameterization(keys, recipe), recipe, numerics)
    affines = transforms(keys, recipe, recipe.steps, "training").to(numerics.device)
    table = schedule(recipe).to(numerics.device)
    redirected = min(recipe.relu_redirect_steps, recipe.steps - 1)
    for index in range(recipe.steps):
        if index in (0, redirected):
            prepared.redirect = index < redirected
            step = Replayed(ascent.step, numerics.device)
        ascent.turn(affines[index], table[index])
        step()
    return ascent.pictures, ascent.status


class Ascent:
    """A batch of pictures under way. See `ascend`."""

    def __init__(
        self,
        prepared: Prepared,
        objective: Objective,
        begun: tuple[Tensor, nn.Module],
        recipe: Recipe,
        numerics: Numerics,
    ) -> None:
        leaf, paint = begun
        self._prepared, self._objective = prepared, objective
        self._share, self._dtype = recipe.crop_scale[0], numerics.dtype
        self._leaf, self._paint = leaf.to(numerics.device).requires_grad_(), paint.to(numerics.device)
        self._climber = Adam(self._leaf, recipe)
        self._affine = torch.empty(len(leaf), 2, 3, device=numerics.device)
        self._pace = torch.empty(2, device=numerics.device)
        self.finite = torch.ones(len(leaf), dtype=torch.bool, device=numerics.device)
        """Which pictures, Tensor[n], had no score or gradient that was no number."""
        self.moved = torch.zeros_like(self.finite)
        """Which pictures a gradient has moved that was not redirected."""

    def turn(self, affine: Tensor, rates: Tensor) -> None:
        """Say what the next step sees the pictures under, Tensor[n,2,3], and how far it goes, Tensor[2]."""
        self._affine.copy_(affine)
        self._pace.copy_(rates)

    def step(self) -> None:
        """One step up. It asks the device nothing and is told nothing by the host."""
        gradient, scores = self.gradient()
        self._climber.step(gradient, self._pace)
        strongest = gradient.flatten(1).abs().amax(dim=1)
        self.finite &= scores.isfinite() & strongest.isfinite()
        if not self._prepared.redirect:
            self.moved |= strongest > 0

    def gradient(self) -> tuple[Tensor, Tensor]:
        """Which way is down from here, like the leaf, and the scores Tensor[n]."""
        pictures, before = self._paint(self._leaf), self._objective.before
        seen = View.through(self._prepared, pictures, self._affine, before=before, share=self._share, dtype=self._dtype)
        scores = self._objective(seen)
        (gradient,) = torch.autograd.grad(-scores.sum(), self._leaf, materialize_grads=True)
        return gradient, scores.detach()

    @property
    def pictures(self) -> Tensor:
        """As they are now, Tensor[n,3,h,w] in (0,1)."""
        with torch.no_grad():
            found: Tensor = self._paint(self._leaf)
        return found

    @property
    def status(self) -> Tensor:
        """What became of each, uint8 Tensor[n] of `Status`."""
        begun = torch.where(self.moved, int(Status.OK), int(Status.UNSTARTED))
        return torch.where(self.finite, begun, int(Status.NAN)).to(torch.uint8)
