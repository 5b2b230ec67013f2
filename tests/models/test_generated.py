"""Networks of random parts: nothing of them ends in a traceback, and no axis is taken for another."""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings

from atlas.errors import AtlasError, ModelError
from atlas.models import Model, ModelSource, prepare
from atlas.models.outputs import Place
from atlas.models.trial import trial
from atlas.units import Layer
from tests.models.generated import SIDE, Network, State, networks
from tests.models.networks import square

pytestmark = pytest.mark.builder

COUNTS = [pytest.param(300, marks=pytest.mark.slow), pytest.param(10_000, marks=pytest.mark.full)]


@pytest.mark.parametrize("count", COUNTS)
def test_no_axis_is_taken_for_another(count: int) -> None:
    @settings(max_examples=count, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(networks())
    def check(network: Network) -> None:
        model = Model(network.module, ModelSource("tests.models.generated:again", square(SIDE)))
        layers = {layer.name: layer for layer in model.layers}
        for path, state in network.truth.items():
            place = str(Place(path))
            if place in layers:
                assert told(layers[place]) == truth(layers[place], state), (path, state)
            else:
                assert (
                    place in model.discovery.doubtful or place in model.discovery.left_out or handed_on(network, path)
                )
        used(model)

    check()


def told(layer: Layer) -> tuple[object, ...]:
    return layer.layout, layer.channels, layer.size, layer.prefix


def truth(layer: Layer, state: State) -> tuple[object, ...]:
    """What must be said of a layer: a grid that is not known may be left open, and of a square the sides' order."""
    size, prefix = (state.size, state.prefix) if layer.size else ((), 0)
    return state.layout, state.channels, size, prefix


def handed_on(network: Network, path: str) -> bool:
    """Whether a part hands on what it is given: then it is no layer."""
    return type(dict(network.module.named_children())[path]).__name__ == "Dropout"


def used(model: Model) -> None:
    """What a plan does with a network: all of it, or one line."""
    _ = model.classes
    for patterns in (["auto"], ["all"]):
        layers = picked(model, patterns)
        failed = trial(model, layers)
        for layer in [layer for layer in layers if layer.name not in failed][-1:]:
            prepare(model, layer)
    for name in model.discovery.doubtful:
        with pytest.raises(ModelError):
            model.layer(name)


def picked(model: Model, patterns: list[str]) -> list[Layer]:
    """Layers, or none where one line says why there are none."""
    try:
        return model.select(patterns)
    except AtlasError as error:
        if "\n" in str(error):
            raise
        return []
