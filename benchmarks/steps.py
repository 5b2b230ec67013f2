"""What a step costs with each trick of speed taken away, for the study.

(model, layer) -> CPU-seconds of a picture's step over those of the step as it is, by what was taken away

All are timed in turns, so that what else the machine does meets them alike; the lower quartile of each counts.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from atlas.models import Model, Prepared, prepare
from atlas.models.observe import stop_at
from atlas.models.pointwise import quicken
from atlas.recipe import Numerics, Recipe
from atlas.rendering import Key, channel, engine
from atlas.rendering.compute import computing
from atlas.rendering.engine import Ascent
from atlas.rendering.parameterization import fourier
from atlas.rendering.schedule import schedule
from atlas.rendering.transforms import draw

WIDTH, ROUNDS = 4, 12


@dataclass
class Timed:
    """A step, and the seconds it took each time."""

    ascent: Ascent
    width: int
    context: Callable[[], AbstractContextManager[Any]] = nullcontext
    redirect: Prepared | None = None
    seconds: list[float] = field(default_factory=list)

    def go(self) -> None:
        if self.redirect:
            self.redirect.redirect = True
        with self.context():
            begun = time.process_time()
            self.ascent.step()
            self.seconds.append((time.process_time() - begun) / self.width)
        if self.redirect:
            self.redirect.redirect = False

    @property
    def usual(self) -> float:
        return sorted(self.seconds)[len(self.seconds) // 4]


def timed(model: Model, layer: str) -> dict[str, float]:
    """See the module."""
    prepared = prepare(model, layer)
    runs = {"nothing": Timed(_ascent(prepared), WIDTH)} | {
        name: Timed(_ascent(other), WIDTH) for name, other in _otherwise(model, prepared, layer).items()
    }
    runs["a resampling of its own for the gradient"] = Timed(
        _ascent(prepared), WIDTH, lambda: patch.object(engine, "resample", exact)
    )
    for width in (1, 2, 8, 16):
        runs[f"width 4: {width}"] = Timed(_ascent(prepared, width), width)
    runs["ordinary gradients: redirected"] = Timed(_ascent(prepared), WIDTH, redirect=prepared)
    with computing(Numerics()):
        for _ in range(ROUNDS):
            for run in runs.values():
                run.go()
    return {name: run.usual / runs["nothing"].usual for name, run in runs.items()}


def _ascent(prepared: Prepared, width: int = WIDTH) -> Ascent:
    """An ascent of some units, before a step."""
    recipe, name, units = Recipe.named("quick"), prepared.layer.name, list(range(3, 3 + width))
    keys = [Key(0, name, unit, "positive") for unit in units]
    ascent = Ascent(prepared, channel(name, units), fourier(keys, recipe), recipe, Numerics())
    ascent.turn(draw(keys, recipe, 1, "training")[0], schedule(recipe)[20])
    return ascent


def _otherwise(model: Model, prepared: Prepared, layer: str) -> dict[str, Prepared]:
    """The network made ready without each of what makes it quick."""
    unfolded, matrices = prepare(model, layer, folded=False), prepare(model, layer)
    quicken(unfolded.network)
    for module in matrices.network.modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1):
            module.dilation = (1, 1)
    first = copy.copy(prepared)
    first.network = copy.deepcopy(prepared.network).to(memory_format=torch.contiguous_format)
    _runs(first, lambda x: stop_at(first.network, layer, x.contiguous()))
    whole = copy.copy(prepared)
    whole.network = copy.deepcopy(prepared.network)
    _runs(whole, lambda x: _to_the_end(whole.network, layer, x))
    return {
        "folded normalisations": unfolded,
        "1x1 convolutions by oneDNN": matrices,
        "channels last in memory": first,
        "stopping at the layer": whole,
    }


def _runs(prepared: Prepared, how: Callable[[Tensor], Tensor]) -> None:
    """Have `prepared` run its network another way."""
    setattr(prepared, "_run", how)  # noqa: B010 - mypy knows that methods are not assigned


def _to_the_end(network: nn.Module, layer: str, x: Tensor) -> Tensor:
    """The layer's value by a hook that lets the pass go on."""
    found: list[Tensor] = []
    hook = network.get_submodule(layer).register_forward_hook(lambda _, __, value: found.append(value.clone()))
    network(x)
    hook.remove()
    return found[0]


def exact(pictures: Tensor, affine: Tensor, size: tuple[int, int], _: float = 1.0) -> Tensor:
    """`resample` with the gradient that torch gives it."""
    grid = F.affine_grid(affine, [len(pictures), 3, *size], align_corners=False)
    return F.grid_sample(pictures, grid, mode="bilinear", padding_mode="reflection", align_corners=False)
