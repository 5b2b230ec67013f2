"""Units -> batches of pictures that are made side by side.

(layer, units, recipe, width) -> PictureBatch, PictureBatch, ...

Units are a layer's channels, unless other directions in it are named: then unit i is row i of these.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from torch import Tensor

from atlas.models import Prepared
from atlas.recipe import Recipe
from atlas.rendering.objectives import (
    Objective,
    Score,
    alignments,
    channel,
    direction,
    diversity,
    magnitude,
    neuron,
    responses,
)
from atlas.rendering.rng import Key


@dataclass(frozen=True, eq=False)
class Directions:
    """Directions in a layer that get pictures in place of its channels, each at the centre position."""

    name: str
    """What they are of: with the layer's name, what their chance is keyed by."""
    vectors: Tensor
    """[u,c]: row i is what unit i looks for."""


@dataclass(frozen=True)
class PictureBatch:
    """Pictures made side by side, of one variant, or of all the diverse ones: picture i is of `units[i // v]`.

    A short batch repeats its last unit up to the full width.
    """

    layer: str
    variants: tuple[str, ...]
    """The v variants that each of its units gets a picture of."""
    places: list[int]
    """Of the variants, in the recipe."""
    rows: slice
    """Of the units asked for."""
    units: list[int]
    weight: float = 0.0
    """Of diversity."""
    aims: Directions | None = None
    power: float = 0.0
    """Of the cosine of aims; see `Recipe.cosine_power`."""

    @property
    def cell(self) -> tuple[slice, list[int]]:
        """Where its pictures stand among all, [units, variants]: an index of numpy's."""
        return self.rows, self.places

    @property
    def shape(self) -> tuple[int, int]:
        """Units and variants in it, without the padding."""
        return int(self.rows.stop - self.rows.start), len(self.variants)

    @property
    def indices(self) -> list[int]:
        """The channel that each picture is of."""
        return [unit for unit in self.units for _ in self.variants]

    @property
    def joint(self) -> bool:
        """Whether the pictures of a unit were made to differ from each other."""
        return len(self.variants) > 1

    @property
    def before(self) -> bool:
        """Whether the value before the rectifier counts."""
        return self.variants == ("negative",)

    @property
    def value(self) -> Objective:
        """What the numbers of its pictures tell: the unit's value, with its sign."""
        if self.aims is not None:
            return direction(self.layer, self.aims.vectors[self.indices], power=self.power, centre=True)
        if self.variants == ("neuron",):
            return neuron(self.layer, self.indices)
        return channel(self.layer, self.indices, before=self.before)

    @property
    def respond(self) -> Score:
        """T -> Tensor[n,p]: what each unit answers at each position."""
        if self.aims is not None:
            return alignments(self.layer, self.aims.vectors[self.indices], power=self.power)
        return responses(self.layer, self.indices, before=self.before)

    @property
    def objective(self) -> Objective:
        """What its pictures are raised by."""
        if self.before:
            return -self.value
        if not self.joint:
            return self.value
        return self.value - self.weight * (magnitude(self.value) * diversity(self.layer, len(self.variants)))

    def exists(self, prepared: Prepared) -> bool:
        """Whether there is anything to look for: no value of a rectifier is below zero, so that it has no negative."""
        return not self.before or prepared.has_before or not prepared.rectified

    def keys(self, seed: int, attempt: int = 0) -> list[Key]:
        where = self.layer if self.aims is None else f"{self.layer}/{self.aims.name}"
        return [Key(seed, where, unit, variant, attempt) for unit in self.units for variant in self.variants]

    def __len__(self) -> int:
        """Pictures in it, without the padding."""
        units, variants = self.shape
        return units * variants


def batches(
    layer: str, units: Sequence[int], recipe: Recipe, width: int, aims: Directions | None = None
) -> Iterator[PictureBatch]:
    """Batches of `width` for all variants of `units`, which are channels unless there are `aims`.

    The diverse pictures of a unit see each other, so they stand in one batch: as many units as fit, one at least.
    """
    for variants in _together(recipe):
        places = [recipe.variants.index(variant) for variant in variants]
        abreast = max(1, width // len(variants))
        for first in range(0, len(units), abreast):
            chosen = list(units[first : first + abreast])
            padding = [chosen[-1]] * (abreast - len(chosen))
            rows = slice(first, first + len(chosen))
            yield PictureBatch(
                layer, variants, places, rows, chosen + padding, recipe.diversity, aims, recipe.cosine_power
            )


def _together(recipe: Recipe) -> Iterator[tuple[str, ...]]:
    """The recipe's variants one by one, the diverse ones all at once."""
    for variant in recipe.variants:
        if variant not in recipe.diverse:
            yield (variant,)
        elif variant == recipe.diverse[0]:
            yield recipe.diverse
