"""What the tests of rendering share: networks made by hand, and the demo's real network."""

from __future__ import annotations

import pytest
from torch import nn

from atlas.models import Model, ModelSource, Preprocessing, load_model
from atlas.recipe import Numerics, Recipe
from tests.networks import SMALL


def model_of(network: nn.Module, preprocessing: Preprocessing = SMALL) -> Model:
    return Model(network, ModelSource("a network of the tests", preprocessing))


@pytest.fixture(scope="session")
def squeezenet() -> Model:
    return load_model("squeezenet")


@pytest.fixture
def recipe() -> Recipe:
    """As small as a recipe can be and still move."""
    return Recipe.named("quick", size=32, steps=4, jitter=2.0, redirected=2)


@pytest.fixture
def numerics() -> Numerics:
    return Numerics()
