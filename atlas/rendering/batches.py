"""Units -> batches of pictures that are made side by side.

(layer, units, recipe, width) -> Batch, Batch, ...
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from atlas.models import Prepared
from atlas.recipe import Recipe
from atlas.rendering.chance import Key
from atlas.rendering.objectives import Objective, channel


@dataclass(frozen=True)
class Batch:
    """Pictures of one variant made side by side; a short one repeats its last unit up to the full width."""

    layer: str
    variant: str
    place: int
    """Of the variant, in the recipe."""
    rows: slice
    """Of the units asked for."""
    units: list[int]

    @property
    def before(self) -> bool:
        """Whether the value before the rectifier counts."""
        return self.variant == "negative"

    @property
    def objective(self) -> Objective:
        score = channel(self.layer, self.units, before=self.before)
        return -score if self.variant == "negative" else score

    def exists(self, prepared: Prepared) -> bool:
        """Whether there is anything to look for: no value of a rectifier is below zero, so that it has no negative."""
        return not self.before or prepared.has_before or not prepared.rectified

    def keys(self, seed: int) -> list[Key]:
        return [Key(seed, self.layer, unit, self.variant) for unit in self.units]

    def __len__(self) -> int:
        """Pictures in it, without the padding."""
        return int(self.rows.stop - self.rows.start)


def batches(layer: str, units: Sequence[int], recipe: Recipe, width: int) -> Iterator[Batch]:
    """Batches of `width` for all variants of `units`."""
    for place, variant in enumerate(recipe.variants):
        for first in range(0, len(units), width):
            chosen = list(units[first : first + width])
            padding = [chosen[-1]] * (width - len(chosen))
            yield Batch(layer, variant, place, slice(first, first + len(chosen)), chosen + padding)
