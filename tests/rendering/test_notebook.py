from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from atlas.errors import ModelError, UnknownName
from atlas.models import Model, Preprocessing, load_model, prepare
from atlas.recipe import Numerics, Recipe
from atlas.rendering import render, render_units
from atlas.units import Unit
from tests.networks import tiny
from tests.rendering.conftest import model_of

pytestmark = pytest.mark.builder

KNOBS: dict[str, Any] = {"size": 32, "steps": 2}


@pytest.fixture(scope="module")
def model() -> Model:
    return model_of(tiny()[0])


def test_units_of_several_layers_come_in_the_order_asked_for(model: Model) -> None:
    pictures = render(model, ["second.1:3", Unit("first.1", 1), "second.1:0"], "quick", **KNOBS)
    recipe = Recipe.named("quick", **KNOBS)
    assert pictures.shape == (3, 2, 32, 32, 3)
    assert np.array_equal(
        pictures[[0, 2]], render_units(prepare(model, "second.1"), [3, 0], recipe, Numerics()).pictures
    )
    assert np.array_equal(pictures[1:2], render_units(prepare(model, "first.1"), [1], recipe, Numerics()).pictures)


def test_one_unit_needs_no_list(model: Model) -> None:
    assert render(model, "first.1:0", Recipe.named("quick", variants=("positive",), **KNOBS)).shape == (1, 1, 32, 32, 3)


@pytest.mark.parametrize(
    ("unit", "message"),
    [
        ("second.1:70", "no unit second.1:70.*0 to 69"),
        ("secnod.1:1", "no layer 'secnod.1'. Did you mean 'second.1'"),
        ("second", "names no unit"),
    ],
)
def test_what_does_not_exist_gets_one_clear_line(model: Model, unit: str, message: str) -> None:
    with pytest.raises(UnknownName, match=message):
        render(model, unit)


def test_an_unknown_knob_is_named(model: Model) -> None:
    with pytest.raises(UnknownName, match=r"'step'. Did you mean 'steps'"):
        render(model, "second.1:1", step=3)


def test_a_network_itself_is_rendered_with_its_preprocessing() -> None:
    network, how = tiny()
    wanted = render(load_model(network, preprocessing=how), "first.1:0", "quick", **KNOBS)
    assert np.array_equal(render(network, "first.1:0", "quick", preprocessing=how, **KNOBS), wanted)
    assert np.array_equal(render(network, "first.1:0", "quick", preprocessing=how.text(), **KNOBS), wanted)


def test_a_network_without_preprocessing_gets_one_clear_line(model: Model) -> None:
    with pytest.raises(ModelError, match="Tiny: its preprocessing is unknown"):
        render(tiny()[0], "first.1:0", "quick", **KNOBS)
    with pytest.raises(ModelError, match="is loaded, with its preprocessing"):
        render(model, "first.1:0", "quick", preprocessing=Preprocessing((32, 32)), **KNOBS)
