"""Pictures of directions: each its own whatever is beside it, and pointing where it should."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from atlas.models import Prepared, load_model, prepare
from atlas.recipe import Numerics, Recipe
from atlas.rendering import Directions, Rendered, answers, neuron, render_batches, score_pictures
from atlas.rendering.batches import batches
from atlas.store import as_stored
from atlas.units import Status

pytestmark = pytest.mark.builder

RECIPE = Recipe.named("cell", size=32, steps=16, redirected=8, draws=2, jitter=2.0)
AIMS = Directions("atlas", torch.eye(6).repeat_interleave(4, 1) + 0.05)
"""One for each colour of the network's."""


@pytest.fixture(scope="module")
def prepared() -> Prepared:
    return prepare(load_model("tests.networks:planted"), "body.1")


def made(prepared: Prepared, units: list[int], width: int = 4, recipe: Recipe = RECIPE) -> Rendered:
    found = Rendered.nothing(len(units), recipe)
    for cell, part in render_batches(prepared, units, recipe, Numerics(batch=width), aims=AIMS):
        found.put(cell, part)
    return found


def test_a_picture_does_not_depend_on_those_beside_it(prepared: Prepared) -> None:
    whole, some = made(prepared, [0, 1, 2, 3, 4, 5]), made(prepared, [4, 1])
    assert (whole.status == Status.OK).all()
    for row, unit in enumerate((4, 1)):
        np.testing.assert_array_equal(some.pictures[row], whole.pictures[unit])
        assert some.attempt[row] == whole.attempt[unit]
    numerics, units = Numerics(batch=4), [0, 1, 2, 3, 4, 5]
    mean, peak = score_pictures(prepared, as_stored(whole.pictures, 90), units, RECIPE, numerics, AIMS)
    less, _ = score_pictures(prepared, as_stored(some.pictures, 90), [4, 1], RECIPE, numerics, AIMS)
    assert less[:, 0].tolist() == mean[[4, 1], 0].tolist()
    assert (peak >= mean).all()


def test_each_picture_points_to_its_own_direction(prepared: Prepared) -> None:
    units = list(range(6))
    found = as_stored(made(prepared, units, recipe=replace(RECIPE, steps=48)).pictures, 90)
    answer = answers(prepared, found[:, 0], Numerics(batch=4))
    assert answer.shape == (6, 24)
    cosine = answer @ (AIMS.vectors / AIMS.vectors.norm(dim=1, keepdim=True)).numpy().T
    assert cosine.argmax(1).tolist() == units
    np.testing.assert_array_equal(answers(prepared, found[2:4, 0], Numerics(batch=4)), answer[2:4])


def test_a_direction_of_one_channel_is_that_channel_at_the_centre() -> None:
    """Without a cosine: the same objective as that of `neuron`."""
    layer, recipe = "map", Recipe(cosine_power=0, variants=("positive",))
    (batch,) = batches(layer, [0, 2], recipe, 2, Directions("x", torch.eye(3)))
    value = torch.arange(2 * 3 * 16).reshape(2, 3, 4, 4).float()

    def given(layer: str, *, before: bool = False) -> torch.Tensor:
        return value

    assert batch.value(given).tolist() == neuron(layer, [0, 2])(given).tolist()
    assert batch.respond(given).shape == (2, 16)
    assert {key.layer for key in batch.keys(0)} == {"map/x"}
