"""Every stage that computes on a device leaves no tensor behind on the CPU: shown on a pretended GPU (`elsewhere`).

All pictures are made by `render_units`, be they of channels, directions or cells; `collect`, the samples of atlases and
the vectors are what else shows a network anything on a device.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from atlas.attribution import samples
from atlas.dataset.collect import Shown, collect
from atlas.dataset.summary import FIELDS
from atlas.dataset.vectors import Vectors
from atlas.models import Model, prepare
from atlas.recipe import Numerics, Recipe, Sampling
from atlas.rendering import answers, render_units, score_pictures
from atlas.units import Layer
from tests.dataset.sampling import sample
from tests.elsewhere import elsewhere
from tests.models.networks import FAMILIES, model_of

pytestmark = pytest.mark.builder

RECIPES = {
    "channel": Recipe.named("quick", size=32, steps=6, jitter=2.0, redirected=2, draws=2),
    "diverse": Recipe.named(
        "quick", size=32, steps=4, jitter=2.0, draws=2, tries=2, variants=("diverse-1", "diverse-2")
    ),
    "maco": Recipe.named("maco", size=32, steps=4, jitter=2.0, redirected=2, draws=2),
}


@pytest.fixture(params=["timm resnet", "timm vit with registers"])
def model(request: pytest.FixtureRequest) -> Model:
    with torch.random.fork_rng():
        torch.manual_seed(3)
        return model_of(FAMILIES[request.param]())


def some_images(model: Model) -> list[Shown]:
    chance = torch.Generator().manual_seed(1)
    return [Shown(number, torch.rand(2, 3, *model.preprocessing.size, generator=chance)) for number in range(5)]


def some_layers(model: Model) -> list[Layer]:
    return list(model.layers[1 :: len(model.layers) // 4])


def on_each(monkeypatch: pytest.MonkeyPatch, work: Any) -> tuple[Any, Any]:
    """What `work(device)` gives on the CPU and on the pretended GPU."""
    here = work("cpu")
    with elsewhere(monkeypatch):
        return here, work("cuda")


def pictures(model: Model, recipe: Recipe, dtype: str, device: str) -> tuple[Any, ...]:
    numerics = Numerics(device=device, batch=4, dtype=dtype)
    layer = model.layers[len(model.layers) // 2]
    prepared = prepare(model, layer, device=device)
    made = render_units(prepared, [0, 3, 5], recipe, numerics)
    mean, peak = score_pictures(prepared, made.pictures, [0, 3, 5], recipe, numerics)
    return made.pictures, made.status, mean, peak, answers(prepared, made.pictures[:, 0], numerics)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("recipe", RECIPES)
def test_pictures_and_their_scores(model: Model, recipe: str, dtype: str, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = on_each(monkeypatch, lambda device: pictures(model, RECIPES[recipe], dtype, device))
    assert [each.shape for each in here] == [each.shape for each in there]
    assert (here[1] == there[1]).all()
    if dtype == "float32" and recipe != "maco":  # bfloat16 rounds at other places, MACO's steps magnify rounding
        assert np.abs(here[0].astype(int) - there[0]).mean() < 2
        for one, other in zip(here[2:], there[2:], strict=True):
            np.testing.assert_allclose(one, other, rtol=0.1, atol=0.1 * np.abs(one).max())


def test_what_images_excite(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = some_images(model)
    here, there = on_each(monkeypatch, lambda device: collect(model, some_layers(model), shown, width=4, device=device))
    assert not here.failed
    assert not there.failed
    for name, fields in here.fields.items():
        for field in ("images", "positions", "least", "largest"):
            one, other = (each[:, FIELDS[field]] for each in (fields, there.fields[name]))
            np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(here.attribution[name], there.attribution[name], rtol=1e-2, atol=1e-4)
    np.testing.assert_allclose(here.probabilities, there.probabilities, rtol=1e-3)


@pytest.mark.parametrize("relaxed", [False, True])
def test_samples_for_atlases(model: Model, relaxed: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    shown, sampling = some_images(model), Sampling(images="0" * 64, count=5, positions=2, crops=2, relaxed=relaxed)

    def work(device: str) -> samples.SampledLayers:
        return samples.collect(model, some_layers(model), shown, sampling, first=0, width=4, device=device)

    here, there = on_each(monkeypatch, work)
    assert not here.failed
    assert not there.failed
    for name, found in here.samples.items():
        assert (found.vectors.position == there.samples[name].vectors.position).all()
        np.testing.assert_allclose(found.vectors.vectors, there.samples[name].vectors.vectors, rtol=1e-2, atol=1e-3)


def test_vectors(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = some_images(model)

    def work(device: str) -> dict[str, Vectors]:
        return sample(model, some_layers(model), shown, width=4, seed=0, device=device)

    here, there = on_each(monkeypatch, work)
    for name, found in here.items():
        np.testing.assert_allclose(found.vectors, there[name].vectors, rtol=1e-2, atol=1e-3)


def test_a_tensor_left_behind_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with elsewhere(monkeypatch), pytest.raises(RuntimeError, match="meet"):
        torch.ones(3, device="cuda") + torch.ones(3)
