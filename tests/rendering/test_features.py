from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import dataclass, replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torchvision.models import VisionTransformer

from atlas.models import Model, Prepared, prepare
from atlas.recipe import Numerics, Recipe
from atlas.rendering import Rendered, Spectrum, ascend, diversity, render_batches, render_units, score_pictures
from atlas.rendering.batches import batches
from atlas.rendering.engine import View
from atlas.rendering.restarts import GREY
from atlas.rendering.score import Numbers
from atlas.rendering.spectrum import SHAPE
from atlas.units import Status
from tests.networks import dead, separable, tiny
from tests.rendering.conftest import model_of

pytestmark = pytest.mark.builder

RECIPE = Recipe.named("quick", size=32, steps=4, jitter=2.0, redirected=2)
SECOND = prepare(model_of(tiny()[0]), "second.1")
VARIANTS = ("positive", "negative", "neuron", "diverse-1", "diverse-2", "diverse-3")
UNITS = [3, 8, 21, 34, 35, 69]
SPECTRUM = Spectrum((9 / (1 + np.indices(SHAPE)[1:].sum(0))).astype(np.float32))


@pytest.fixture(scope="module")
def rendered() -> Rendered:
    return render_units(SECOND, UNITS, RECIPE, Numerics())


@settings(max_examples=10, deadline=None)
@given(st.permutations(UNITS), st.integers(1, 6))
def test_a_picture_knows_nothing_of_its_neighbours(rendered: Rendered, order: list[int], count: int) -> None:
    """Any neighbours, any order, a short batch: the same bytes."""
    again = render_units(SECOND, order[:count], RECIPE, Numerics())
    rows = [UNITS.index(unit) for unit in order[:count]]
    assert np.array_equal(again.pictures, rendered.pictures[rows])


def test_every_picture_is_another(rendered: Rendered) -> None:
    assert not rendered.status.any()
    assert len({picture.tobytes() for picture in rendered.pictures.reshape(-1, 32 * 32 * 3)}) == 2 * len(UNITS)


def test_stored_bytes_are_the_nearest_to_what_was_optimised(rendered: Rendered) -> None:
    batch = next(batches("second.1", UNITS, RECIPE, 4))
    found, _ = ascend(SECOND, batch.objective, batch.keys(RECIPE.seed), RECIPE, Numerics())
    exact = found.permute(0, 2, 3, 1).numpy() * 255
    assert np.abs(rendered.pictures[:4, 0] - exact).max() <= 0.5 + 1e-3


def test_another_process_paints_the_same_bytes(rendered: Rendered) -> None:
    program = f"""
import hashlib
from atlas.models import prepare
from atlas.recipe import Numerics, Recipe
from atlas.rendering import render_units
from tests.networks import tiny
from tests.rendering.conftest import model_of
prepared, recipe = prepare(model_of(tiny()[0]), "second.1"), Recipe.from_dict({RECIPE.to_dict()})
print(hashlib.sha256(render_units(prepared, {UNITS}, recipe, Numerics()).pictures.tobytes()).hexdigest())
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == hashlib.sha256(rendered.pictures.tobytes()).hexdigest()


def test_the_number_of_threads_is_given_back() -> None:
    torch.set_num_threads(2)
    try:
        threads = [torch.get_num_threads() for _ in render_batches(SECOND, [1], RECIPE, Numerics(threads=1))]
        assert {*threads, torch.get_num_threads()} == {2}
    finally:
        torch.set_num_threads(1)


def test_batches_come_as_they_are_finished_and_cover_everything() -> None:
    covered = np.zeros((6, 2), int)
    for cell, found in render_batches(SECOND, UNITS, RECIPE, Numerics()):
        assert found.pictures.shape == (*found.status.shape, 32, 32, 3)
        covered[cell] += 1
    assert (covered == 1).all()


def test_a_negative_is_lower_than_a_positive_before_the_rectifier(rendered: Rendered) -> None:
    assert SECOND.has_before
    mean, peak = score_pictures(SECOND, rendered.pictures, UNITS, RECIPE, Numerics())
    assert mean.dtype == peak.dtype == np.float32
    assert (peak[:, 0] > mean[:, 0]).all()
    assert (mean[:, 0] > 0).all()
    assert (peak[:, 1] < mean[:, 1]).all()
    assert (mean[:, 1] < 0).all()


def test_a_score_knows_nothing_of_its_neighbours(rendered: Rendered) -> None:
    mean, peak = score_pictures(SECOND, rendered.pictures, UNITS, RECIPE, Numerics())
    alone = score_pictures(SECOND, rendered.pictures[4:5], UNITS[4:5], RECIPE, Numerics())
    assert np.array_equal(np.stack(alone)[:, 0], np.stack([mean, peak])[:, 4])


def test_a_failed_unit_is_data_and_leaves_its_neighbours_alone() -> None:
    """Channel 0 never starts, 1 is constant, 2 overflows; 3 and 4 are as without them, byte for byte."""
    prepared = prepare(model_of(dead()[0]), "second.2")
    recipe = Recipe.named("quick", size=32, steps=48, jitter=2.0, variants=("positive",))
    found = render_units(prepared, [0, 2, 3, 1, 4], recipe, Numerics())
    states = [Status.UNSTARTED, Status.NAN, Status.OK, Status.UNSTARTED, Status.OK]
    assert found.status[:, 0].tolist() == states
    assert (found.pictures[[0, 1, 3]] == GREY).all()
    assert np.array_equal(found.pictures[[2, 4]], render_units(prepared, [3, 4], recipe, Numerics()).pictures)
    mean, _ = score_pictures(prepared, found.pictures, [0, 2, 3, 1, 4], recipe, Numerics())
    assert mean[[0, 3], 0].tolist() == pytest.approx([0, 1])


def test_a_unit_that_starts_dead_gets_a_picture_by_redirected_gradients() -> None:
    """No input of the start makes the channel fire; bright pictures do."""
    convolution = nn.Conv2d(3, 4, 3)
    network = nn.Sequential(convolution, nn.ReLU())
    nn.init.constant_(convolution.weight, 0.1)
    assert convolution.bias is not None
    nn.init.constant_(convolution.bias, -2.0)
    prepared, patient = prepare(model_of(network), "1"), Recipe.named("quick", size=32, steps=48)
    with_redirect = render_units(prepared, [0], patient, Numerics())
    without = render_units(prepared, [0], Recipe.named("quick", size=32, steps=48, redirected=0), Numerics())
    assert with_redirect.status[0, 0] == Status.OK
    assert without.status[0, 0] == Status.UNSTARTED
    assert score_pictures(prepared, with_redirect.pictures, [0], patient, Numerics())[0][0, 0] > 0.5


def test_where_no_value_is_below_zero_there_is_no_negative() -> None:
    """What was before a rectifier cannot be had through an average."""
    network = nn.Sequential(nn.Conv2d(3, 6, 3), nn.ReLU(), nn.AvgPool2d(2))
    prepared = prepare(model_of(network), "2")
    found = render_units(prepared, [0, 5], RECIPE, Numerics())
    assert found.status.tolist() == [[Status.OK, Status.RECTIFIED]] * 2
    assert (found.pictures[:, 1] == GREY).all()
    mean, peak = score_pictures(prepared, found.pictures, [0, 5], RECIPE, Numerics())
    assert np.isfinite(mean[:, 0]).all()
    assert np.isnan(np.stack([mean, peak])[..., 1]).all()


def transformer() -> VisionTransformer:
    """A vision transformer for pictures of 32 pixels and no others."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        network = VisionTransformer(32, 8, num_layers=2, num_heads=2, hidden_dim=32, mlp_dim=64)
        network.heads = nn.Linear(32, 10)  # torchvision's own begins with zeros
    return network


@pytest.mark.parametrize("layer", ["encoder.layers.encoder_layer_1", "heads"])
def test_tokens_and_classes_of_a_network_of_one_size(layer: str) -> None:
    """Pictures of 48 pixels on a network that takes 32."""
    recipe = Recipe.named("quick", size=48, steps=8, variants=VARIANTS[:5], tries=2, agreement=True)
    prepared = prepare(model_of(transformer()), layer)
    found = render_units(prepared, [0, 7], recipe, Numerics())
    assert found.pictures.shape == (2, 5, 48, 48, 3)
    assert not found.status.any()
    assert np.isfinite(found.agreement).all()
    mean, peak = score_pictures(prepared, found.pictures, [0, 7], recipe, Numerics())
    assert (mean[:, [0, 2, 3, 4]] > mean[:, [1]]).all()
    assert np.array_equal(mean, peak) == (layer == "heads")


def test_the_last_layer_of_a_network_that_flattens() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 15 * 15, 5))
    prepared, recipe = prepare(model_of(network), "3"), Recipe.named("quick", size=48, steps=4)
    assert not render_units(prepared, [0, 4], recipe, Numerics()).status.any()


@dataclass(frozen=True)
class Way:
    """Some way of making pictures."""

    recipe: Recipe
    prepared: Prepared = SECOND
    numerics: Numerics = Numerics()  # noqa: RUF009 - frozen
    spectrum: Spectrum | None = None

    def render(self, units: list[int]) -> Rendered:
        return render_units(self.prepared, units, self.recipe, self.numerics, self.spectrum)

    def score(self, rendered: Rendered, rows: list[int]) -> tuple[Numbers, Numbers]:
        units = [UNITS[row] for row in rows]
        return score_pictures(self.prepared, rendered.pictures[rows], units, self.recipe, self.numerics)


EVERY = Recipe.named("quick", size=32, steps=4, jitter=2.0, redirected=2, variants=VARIANTS)
WAYS = {
    "every variant": Way(EVERY),
    "tries": Way(replace(EVERY, steps=3, variants=VARIANTS[2:5], restarts=3, agreement=True)),
    "maco": Way(Recipe.named("maco", size=32, steps=4, redirected=2, variants=VARIANTS[:3])),
    "maco of images": Way(
        Recipe.named("maco", size=32, steps=4, redirected=2, tries=2, spectrum=SPECTRUM.hash), spectrum=SPECTRUM
    ),
    "1x1 convolutions": Way(EVERY, prepare(model_of(separable()), "4")),
    "a wide batch": Way(EVERY, numerics=Numerics(batch=16)),
    "bfloat16": Way(EVERY, numerics=Numerics(dtype="bfloat16")),
}


@pytest.fixture(scope="module", params=WAYS)
def made(request: pytest.FixtureRequest) -> tuple[Way, Rendered]:
    way = WAYS[request.param]
    return way, way.render(UNITS)


@settings(max_examples=6, deadline=None)
@given(order=st.permutations(UNITS), count=st.integers(1, 6))
def test_no_picture_of_any_kind_knows_its_neighbours(made: tuple[Way, Rendered], order: list[int], count: int) -> None:
    way, rendered = made
    again, rows = way.render(order[:count]), [UNITS.index(unit) for unit in order[:count]]
    for name in ("pictures", "status", "attempt", "agreement"):
        assert np.array_equal(getattr(again, name), getattr(rendered, name)[rows], equal_nan=name == "agreement")


def test_every_picture_of_every_kind_is_another(made: tuple[Way, Rendered]) -> None:
    way, rendered = made
    found = rendered.pictures[rendered.status == Status.OK]
    assert len({picture.tobytes() for picture in found}) == len(found) > 0.8 * rendered.status.size
    assert np.isnan(rendered.agreement).all() != way.recipe.agreement


def test_no_number_of_any_kind_knows_its_neighbours(made: tuple[Way, Rendered]) -> None:
    way, rendered = made
    numbers = way.score(rendered, [*range(len(UNITS))])
    for rows in ([4], [5, 1], [3, 2, 0, 4, 1]):
        again = way.score(rendered, rows)
        assert all(np.array_equal(one, whole[rows]) for one, whole in zip(again, numbers, strict=True))


def test_what_the_network_computes_in_changes_pictures_and_not_what_they_are_measured_in() -> None:
    whole, half = (WAYS[name].render(UNITS) for name in ("every variant", "bfloat16"))
    assert not np.array_equal(whole.pictures, half.pictures)
    rows = [*range(len(UNITS))]
    measured = [WAYS[name].score(half, rows) for name in ("every variant", "bfloat16")]
    assert np.array_equal(measured[0], measured[1])


@pytest.mark.parametrize("width", [2, 3, 4, 7, 8])
def test_the_diverse_pictures_of_a_unit_share_a_batch(width: int) -> None:
    """As many units as the width holds, and never a part of one; the variants may come in any order."""
    recipe = Recipe(variants=("diverse-3", "positive", "diverse-1", "diverse-2"))
    found = list(batches("a", UNITS, recipe, width))
    covered = np.zeros((len(UNITS), 4), int)
    for batch in found:
        covered[batch.cell] += 1
        diverse = len(batch.variants) > 1
        assert len(batch.keys(0)) == len(batch.indices) == (max(1, width // 3) * 3 if diverse else width)
        assert [key.unit for key in batch.keys(0)] == batch.indices
        assert batch.places == ([0, 2, 3] if diverse else [1])
    assert (covered == 1).all()


def test_diverse_pictures_are_less_alike_the_more_it_counts(squeezenet: Model) -> None:
    prepared, alike = prepare(squeezenet, "features.6"), []
    for weight in (0.0, 4.0):
        recipe = Recipe.named("quick", size=64, steps=16, variants=VARIANTS[3:], diversity=weight)
        pictures = render_units(prepared, [21, 40], recipe, Numerics()).pictures
        x = torch.from_numpy(pictures.reshape(-1, 64, 64, 3)).permute(0, 3, 1, 2) / 255
        view = View("features.6", prepared.activations(x))
        alike.append(diversity("features.6", 3)(view).mean())
    assert alike[1] < alike[0] - 0.05


def test_a_neuron_lives_at_the_centre() -> None:
    """Its mean is the value there; a picture of the whole channel does less at that place."""
    recipe = Recipe.named("quick", size=32, steps=16, jitter=2.0, variants=("neuron",))
    rendered = render_units(SECOND, UNITS, recipe, Numerics())
    mean, peak = score_pictures(SECOND, rendered.pictures, UNITS, recipe, Numerics())
    everywhere = render_units(SECOND, UNITS, replace(recipe, variants=("positive",)), Numerics())
    there, _ = score_pictures(SECOND, everywhere.pictures, UNITS, recipe, Numerics())
    assert (mean <= peak).all()
    assert (mean > there).all()
