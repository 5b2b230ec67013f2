from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from atlas.errors import UnknownName
from atlas.models import Model, Prepared, prepare
from atlas.recipe import Numerics, Recipe
from atlas.rendering import Key, Objective, ascend, channel, direction, neuron
from atlas.rendering.engine import View
from atlas.rendering.parameters import Fourier, start
from atlas.rendering.transforms import draw

pytestmark = pytest.mark.builder

LAYER = "features.6"
UNITS = [3, 8, 21, 40]
VECTORS = torch.eye(256)[UNITS] + torch.eye(256)[[5, 6, 7, 9]]
OBJECTIVES = {
    "channel": channel(LAYER, UNITS),
    "neuron": neuron(LAYER, UNITS),
    "direction": direction(LAYER, VECTORS),
    "direction with cosine": direction(LAYER, VECTORS, power=2),
    "before the rectifier": channel(LAYER, UNITS, before=True),
    "negative": -channel(LAYER, UNITS, before=True),
    "sum": 0.2 * channel(LAYER, UNITS) + 0.8 * neuron(LAYER, UNITS) - 1,
}


@pytest.fixture(scope="module")
def prepared(squeezenet: Model) -> Prepared:
    return prepare(squeezenet, LAYER)


def held_out(prepared: Prepared, objective: Objective, pictures: torch.Tensor, keys: list[Key], recipe: Recipe) -> Any:
    """The objective's mean over draws that nothing was trained on, for each picture."""
    draws = draw(keys, recipe, 8, "held-out")
    views = [View.through(prepared, pictures, affine, before=True) for affine in draws]
    return torch.stack([objective(view) for view in views]).mean(0)


@pytest.mark.parametrize("name", OBJECTIVES)
def test_a_few_steps_raise_every_objective(name: str, prepared: Prepared, numerics: Numerics) -> None:
    """Lucid holds its objectives to this; here it is every single picture."""
    objective, keys = OBJECTIVES[name], [Key(0, LAYER, unit, name) for unit in UNITS]
    recipe = Recipe.named("quick", size=64, steps=8, redirected=4)
    begun = Fourier(recipe.size, recipe.decay)(start(keys, recipe.size, recipe.deviation))
    made, status = ascend(prepared, objective, keys, recipe, numerics)
    assert not status.any()
    before, after = (held_out(prepared, objective, pictures, keys, recipe) for pictures in (begun, made))
    assert (after > before).all()


VALUES = torch.arange(2 * 3 * 2 * 2).reshape(2, 3, 2, 2).float()


class Given:
    """T with values of its own."""

    def __init__(self, **values: torch.Tensor) -> None:
        self.values = values

    def __call__(self, layer: str, *, before: bool = False) -> torch.Tensor:
        return -self.values[layer] if before else self.values[layer]


GIVEN = Given(map=VALUES, tokens=VALUES.flatten(2), linear=VALUES[:, :, 0, 0])


@pytest.mark.parametrize(
    ("objective", "expected"),
    [
        (channel("map", [0, 2]), [1.5, 21.5]),
        (channel("tokens", [0, 2]), [1.5, 21.5]),
        (channel("linear", [0, 2]), [0.0, 20.0]),
        (channel("map", [0, 2], before=True), [-1.5, -21.5]),
        (neuron("map", [0, 2]), [3.0, 23.0]),
        (neuron("linear", [0, 2]), [0.0, 20.0]),
        (direction("map", torch.eye(3)[[0, 2]]), [1.5, 21.5]),
        (direction("linear", torch.eye(3)[[0, 2]]), [0.0, 20.0]),
    ],
)
def test_every_objective_gives_one_score_a_picture(objective: Objective, expected: list[float]) -> None:
    assert objective(GIVEN).tolist() == expected


def test_a_cosine_prefers_the_answer_that_points_the_right_way() -> None:
    straight, crooked = torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[1.0, 5.0, 5.0]])
    aim = direction("layer", torch.tensor([[1.0, 0.0, 0.0]]), power=2)
    assert aim(Given(layer=straight)) > 0.99
    assert aim(Given(layer=crooked)) < 0.1


numbers = st.floats(-8, 8, allow_nan=False)


@given(numbers, numbers, numbers)
def test_objectives_are_linear_in_their_parts(a: float, b: float, c: float) -> None:
    one, other, T = channel("map", [0, 1]), neuron("map", [2, 0]), GIVEN
    joined = a * one + other * b - (c - one) + -other
    assert torch.allclose(joined(T), a * one(T) + b * other(T) - (c - one(T)) - other(T), rtol=1e-4, atol=1e-3)


def test_a_formula_reads_like_one_and_knows_what_it_looks_at() -> None:
    formula = 0.5 * channel("a", [1]) - channel("b", [2], before=True)
    assert repr(formula) == "((0.5 * channel('a', [1])) - channel('b', [2], before=True))"
    assert formula.before
    assert not channel("a", [1]).before


def test_an_objective_on_another_layer_says_so(prepared: Prepared, recipe: Recipe, numerics: Numerics) -> None:
    with pytest.raises(UnknownName, match=r"'first'.*cut at 'features.6'"):
        ascend(prepared, channel("first", [0]), [Key(0, "first", 0, "positive")], recipe, numerics)
