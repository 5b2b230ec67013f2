"""What pictures cost on one device: measured there once, then asked of any plan. What images cost, by counting.

Cost         seconds a picture of a layer, of any number of steps
Calibration  the costs of some layers, and the width of a batch at which they are least
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from atlas.plans import Plan
from atlas.recipe import Collection, Numerics, Recipe

FREE = (
    *("name", "steps", "relu_redirect_steps", "lr_warmup_steps", "lr_decay_fraction", "restarts", "agreement", "seed"),
    *("learning_rate", "beta1", "beta2", "decay_power", "init_std", "jitter", "rotation", "jpeg_quality", "contrast"),
)
"""Knobs of a recipe that do not change what a step costs."""


BACK = 3
"""What a pass forward and back costs, in passes forward."""
LARGEST_IMAGE = 8e8
"""Bytes that the largest image that is read takes while it is decoded: `python -m benchmarks.decoding`."""
EACH = 18
"""Examples of a unit: nine that raise it, nine that lower it."""


@dataclass(frozen=True)
class Cost:
    """Seconds of computing one picture of a layer."""

    fixed: float
    """What does not depend on the number of steps: its start, its numbers."""
    step: float
    redirected: float
    """Of a first step, in which rectifiers are watched."""

    def of(self, recipe: Recipe) -> float:
        """Seconds a picture by `recipe`."""
        first = min(recipe.relu_redirect_steps, recipe.steps - 1)
        ascents = recipe.restarts * (2 if recipe.agreement else 1)
        return ascents * (first * self.redirected + (recipe.steps - first) * self.step) + self.fixed


@dataclass(frozen=True)
class Calibration:
    """What pictures cost on one device, by recipes that differ in `FREE` knobs alone."""

    numerics: Numerics
    """With the width that was found best."""
    recipe: Recipe
    machine: str
    """What it was measured on; for people."""
    costs: dict[str, Cost]
    """By layer."""

    def seconds(self, plan: Plan) -> float | None:
        """What a picture of `plan` costs; None where nothing of the kind was measured."""
        here = (self.numerics.device, self.numerics.dtype, self.numerics.threads)
        there = (plan.numerics.device, plan.numerics.dtype, plan.numerics.threads)
        same = here == there and _fixed(plan.rendering) == _fixed(self.recipe)
        found = self.costs.get(plan.layer_name) if same else None
        return None if found is None else found.of(plan.rendering)

    def to_dict(self) -> dict[str, Any]:
        known = {"numerics": self.numerics.to_dict(), "recipe": self.recipe.to_dict(), "machine": self.machine}
        return known | {"costs": {layer: asdict(cost) for layer, cost in self.costs.items()}}

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Calibration:
        costs = {layer: Cost(**cost) for layer, cost in data["costs"].items()}
        return cls(Numerics.from_dict(data["numerics"]), Recipe.from_dict(data["recipe"]), data["machine"], costs)


def charged(hours: float, unit: str, price: float | None) -> str:
    """Hours of one core or GPU, with what they cost where it was said what one costs.

    >>> charged(12.3, "GPU", 0.53), charged(2, "core", None)
    ('12.3 GPU-hours, 6.52 at 0.53 an hour', '2 core-hours')
    """
    money = "" if price is None else f", {hours * price:,.2f} at {price:g} an hour"
    return f"{hours:,.3g} {unit}-hours{money}"


def showing(collection: Collection, whole: int) -> int:
    """Operations of showing all images to a network of `whole` operations, and of attributing the reference set."""
    attributed = collection.reference if collection.classes else 0
    return (collection.count * collection.crops + BACK * attributed) * whole


def examples(plan: Plan) -> tuple[int, int]:
    """How many examples a plan of them asks for at most, and the operations of measuring what was seen of each."""
    count = EACH * sum(map(len, plan.shards))
    return count, BACK * count * plan.on.flops


def _fixed(recipe: Recipe) -> dict[str, Any]:
    """What of a recipe decides what a step costs."""
    return {name: value for name, value in asdict(recipe).items() if name not in FREE}
