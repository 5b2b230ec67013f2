"""Layers of any name, and units of them, are named as they are."""

from __future__ import annotations

import pytest
from torch import nn

from atlas.engine.planning import features
from atlas.errors import UnknownName
from atlas.models import Model
from atlas.units import encode
from tests.models.generated import NAMES
from tests.models.networks import model_of

pytestmark = pytest.mark.builder


def named(*names: str) -> Model:
    network = nn.Sequential()
    for name in names:
        network.add_module(name, nn.Conv2d(3, 3, 3, padding=1))
    return model_of(network)


@pytest.mark.parametrize("name", [*NAMES, "a%3Ab", "conv:7", "a:b:3"])
def test_a_layer_of_any_name_is_named_as_it_is_listed(name: str) -> None:
    model = named("before", name, "behind")
    name = model.layers[1].name
    for text in (name, encode(name)):
        layers, units = features.wanted(model, [text])
        assert ([layer.name for layer in layers], units) == ([name], {})
        layers, units = features.wanted(model, [f"{text}:1-2"])
        assert ([layer.name for layer in layers], units) == ([name], {name: [1, 2]})


def test_a_text_that_is_a_layers_name_names_no_unit_of_another() -> None:
    layers, units = features.wanted(named("conv", "conv:1"), ["conv:1", "conv:2"])
    assert ([layer.name for layer in layers], units) == (["conv", "conv:1"], {"conv": [2]})
    layers, units = features.wanted(named("col:on", "col:umn", "co"), ["col:*"])
    assert ([layer.name for layer in layers], units) == (["col:on", "col:umn"], {})


@pytest.mark.parametrize("text", ["before:", "before:x", "before:3", "before:2-1", "be:fore"])
def test_what_names_nothing_is_a_line(text: str) -> None:
    with pytest.raises(UnknownName):
        features.wanted(named("before"), [text])
