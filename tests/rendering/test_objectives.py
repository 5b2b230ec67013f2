from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from atlas.errors import UnknownName
from atlas.models import Model, Prepared, class_layer, prepare
from atlas.recipe import Numerics, Recipe
from atlas.rendering import Key, Objective, ascend, channel, class_logit, direction, diversity, magnitude, neuron
from atlas.rendering.engine import View
from atlas.rendering.parameterization import Fourier, start
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
    "direction at the centre": direction(LAYER, VECTORS, power=4, centre=True),
    "before the rectifier": channel(LAYER, UNITS, before=True),
    "negative": -channel(LAYER, UNITS, before=True),
    "diversity": -diversity(LAYER, 2),
    "diverse pictures": channel(LAYER, UNITS) - magnitude(channel(LAYER, UNITS)) * diversity(LAYER, 4),
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
    begun = Fourier(recipe.size, recipe.decay_power)(start(keys, recipe.size, recipe.init_std))
    made, status = ascend(prepared, objective, keys, recipe, numerics)
    assert not status.any()
    before, after = (held_out(prepared, objective, pictures, keys, recipe) for pictures in (begun, made))
    assert (after > before).all()


def test_a_class_is_raised_through_the_whole_network(squeezenet: Model, numerics: Numerics) -> None:
    """And where it is raised far enough the network names it."""
    objective, keys = class_logit(squeezenet, [207, "tabby"]), [Key(0, "classes", unit, "") for unit in (0, 1)]
    whole = prepare(squeezenet, class_layer(squeezenet))
    recipe = Recipe.named("quick", size=128, steps=32)
    begun = Fourier(recipe.size, recipe.decay_power)(start(keys, recipe.size, recipe.init_std))
    made, _ = ascend(whole, objective, keys, recipe, numerics)
    before, after = (held_out(whole, objective, pictures, keys, recipe) for pictures in (begun, made))
    assert (after > before).all()
    logits = squeezenet.logits(made)
    assert logits is not None
    assert logits.argmax(1).tolist() == [207, 281]


def test_a_class_is_named_by_index_or_label_and_nothing_else(squeezenet: Model) -> None:
    assert repr(class_logit(squeezenet, [1, "goldfish"])) == "class_logit('classifier.3', [1, 1])"
    for wrong in (1000, -1, "goldfsh"):
        with pytest.raises(UnknownName, match=r"no class '.*classes 0 to 999"):
            class_logit(squeezenet, [wrong])


VALUES = torch.arange(2 * 3 * 2 * 2).reshape(2, 3, 2, 2).float()


class Given:
    """T with values of its own."""

    def __init__(self, **values: torch.Tensor) -> None:
        self.values = values

    def __call__(self, layer: str, *, before: bool = False) -> torch.Tensor:
        return -self.values[layer] if before else self.values[layer]


GIVEN = Given(map=VALUES, tokens=VALUES.flatten(2), row=VALUES.flatten(2)[..., :3], linear=VALUES[:, :, 0, 0])


@pytest.mark.parametrize(
    ("objective", "expected"),
    [
        (channel("map", [0, 2]), [1.5, 21.5]),
        (channel("tokens", [0, 2]), [1.5, 21.5]),
        (channel("linear", [0, 2]), [0.0, 20.0]),
        (channel("map", [0, 2], before=True), [-1.5, -21.5]),
        (neuron("map", [0, 2]), [3.0, 23.0]),
        (neuron("tokens", [0, 2]), [3.0, 23.0]),
        (neuron("row", [0, 2]), [1.0, 21.0]),
        (neuron("linear", [0, 2]), [0.0, 20.0]),
        (magnitude(-channel("map", [0, 2])), [1.5, 21.5]),
        (direction("map", torch.eye(3)[[0, 2]]), [1.5, 21.5]),
        (direction("linear", torch.eye(3)[[0, 2]]), [0.0, 20.0]),
        (direction("map", torch.eye(3)[[0, 2]], centre=True), [3.0, 23.0]),
        (direction("tokens", torch.eye(3)[[0, 2]], centre=True), [3.0, 23.0]),
        (direction("row", torch.eye(3)[[0, 2]], centre=True), [1.0, 21.0]),
        (direction("linear", torch.eye(3)[[0, 2]], centre=True), [0.0, 20.0]),
    ],
)
def test_every_objective_gives_one_score_a_picture(objective: Objective, expected: list[float]) -> None:
    assert objective(GIVEN).tolist() == expected


def test_a_cosine_prefers_the_answer_that_points_the_right_way() -> None:
    straight, crooked = torch.tensor([[1.0, 0.0, 0.0]]), torch.tensor([[1.0, 5.0, 5.0]])
    aim = direction("layer", torch.tensor([[1.0, 0.0, 0.0]]), power=2)
    assert aim(Given(layer=straight)) > 0.99
    assert aim(Given(layer=crooked)) < 0.1


def test_a_cosine_to_a_power_is_as_reckoned_by_hand_and_never_below_its_floor() -> None:
    """h . v = 6 of lengths 5 and 2: a cosine of 0.6, squared 0.36. Then 2 of lengths 40 and 2: 0.025, so 0.1."""
    values, aims = torch.tensor([[3.0, 4.0], [1.0, 1599**0.5]]), torch.tensor([[2.0, 0.0], [2.0, 0.0]])
    assert direction("layer", aims, power=2)(Given(layer=values)).tolist() == pytest.approx(
        [6 * 0.36, 2 * 0.01], rel=1e-3
    )
    # Over positions it is the mean.
    both = values.T[None].contiguous()
    assert direction("layer", aims[:1], power=2)(Given(layer=both)).item() == pytest.approx(1.09, rel=1e-3)


def test_diversity_is_the_cosine_of_gram_matrices_within_a_unit() -> None:
    """Gram matrices [[1,0],[0,1]] and [[2,0],[0,0]]: 1 / sqrt 2. The second unit has twice the same picture."""
    first, second = torch.eye(2), torch.tensor([[1.0, 1.0], [0.0, 0.0]])
    values = torch.stack([first, second, second, 3 * second])
    assert diversity("tokens", 2)(Given(tokens=values)).tolist() == pytest.approx([0.5**0.5, 0.5**0.5, 1, 1])
    # Without positions a Gram matrix is h h', and the cosine of two that of their vectors, squared.
    vectors = torch.tensor([[1.0, 0.0], [1.0, 1.0], [0.0, 2.0]])
    assert diversity("linear", 3)(Given(linear=vectors)).tolist() == pytest.approx([0.25, 0.5, 0.25])


def test_a_magnitude_lends_its_scale_and_no_gradient() -> None:
    value = torch.tensor([[-3.0, 1.0]], requires_grad=True)
    score = magnitude(channel("linear", [0]))(Given(linear=value))
    assert score.tolist() == [3]
    assert not score.requires_grad


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
