"""MACO: magnitudes stay, phases move, and the spectrum of images that were measured."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from atlas.errors import AtlasError, ImagesError
from atlas.models import Model, prepare
from atlas.recipe import Numerics, Recipe
from atlas.rendering import Key, Spectrum, ascend, channel, crop, maco, measured, render, render_units, score_pictures
from atlas.rendering.maco import Maco, phases
from atlas.rendering.parameterization import axes
from atlas.rendering.spectrum import SHAPE, _unpainted, natural
from tests.networks import tiny
from tests.rendering.conftest import model_of

pytestmark = pytest.mark.builder

KEYS = [Key(0, "second.1", unit, "positive") for unit in (3, 8)]
RECIPE = Recipe.named("maco", size=32, steps=4, relu_redirect_steps=2)


def unpainted(pictures: torch.Tensor) -> torch.Tensor:
    """What the sigmoid was taken of, along the axes of colour, in float64."""
    mixing = torch.linalg.inv(axes().double())
    return torch.einsum("cr,nrhw->nchw", mixing, torch.logit(pictures.double()))


def striped(seed: int) -> NDArray[np.uint8]:
    """A picture of a few soft waves and some noise, taller than wide."""
    generator = np.random.default_rng(seed)
    down, across = np.mgrid[:200, :160] / 20
    waves = np.sin(down + generator.uniform(0, 6)) + np.sin(across * generator.uniform(1, 3))
    noise = generator.normal(0, 0.3, (200, 160, 3))
    picture: NDArray[np.uint8] = np.clip(128 + 40 * (waves[..., None] + noise), 0, 255).astype(np.uint8)
    return picture


SPECTRUM = measured([striped(0), striped(1)])


@settings(max_examples=10, deadline=None)
@given(st.integers(16, 49), st.integers(0, 10**6), st.sampled_from([None, SPECTRUM]))
def test_magnitudes_are_those_of_the_spectrum_whatever_the_phases(
    size: int, seed: int, spectrum: Spectrum | None
) -> None:
    keys = [Key(seed, "a", 0, "positive")]
    magnitude = (natural(size) if spectrum is None else spectrum.sized(size)).clamp(max=size / 20)
    picture = Maco(magnitude)(phases(keys, size))  # clamped to where float32 holds the sigmoid
    assert picture.shape == (1, 3, size, size)
    found = torch.fft.rfft2(unpainted(picture), norm="ortho").abs()
    inner = slice(1, (size + 1) // 2)  # the others hold both of a pair of frequencies
    assert torch.allclose(found[0, ..., inner], magnitude[..., inner].double(), rtol=1e-3, atol=1e-3)


def test_phases_begin_anywhere_and_from_each_pictures_own_key() -> None:
    begun = phases(KEYS, 32)
    assert torch.equal(begun[1:], phases(KEYS[1:], 32))
    assert not torch.equal(begun[0], begun[1])
    assert begun.abs().max() <= np.pi
    assert begun.std() == pytest.approx(np.pi / 3**0.5, rel=0.05)


@pytest.mark.parametrize("spectrum", [None, SPECTRUM])
def test_a_few_steps_raise_a_real_channel(squeezenet: Model, spectrum: Spectrum | None) -> None:
    prepared, units = prepare(squeezenet, "features.6"), [3, 8, 21, 40]
    changes = {} if spectrum is None else {"spectrum": spectrum.hash}
    recipe = Recipe.named("maco", size=64, steps=24, relu_redirect_steps=8, **changes)
    keys = [Key(0, "features.6", unit, "positive") for unit in units]
    leaf, paint = maco(spectrum)(keys, recipe)
    made, status = ascend(
        prepared,
        channel("features.6", units),
        keys,
        recipe,
        Numerics(),
        parameterization=maco(spectrum),
        transforms=crop,
    )
    pictures = [(found * 255).round().byte().permute(0, 2, 3, 1).numpy()[:, None] for found in (paint(leaf), made)]
    one = Recipe.from_dict(recipe.to_dict() | {"variants": ["positive"]})
    before, after = (score_pictures(prepared, found, units, one, Numerics())[0] for found in pictures)
    assert not status.any()
    assert (after > 1.2 * before).all()


def test_a_picture_knows_nothing_of_the_rest_of_the_spectrum() -> None:
    """Only phases are moved: a frequency that the spectrum lacks stays away."""
    magnitude = natural(32)
    magnitude[..., 5:] = 0
    picture = Maco(magnitude)(phases(KEYS, 32))
    assert torch.fft.rfft2(unpainted(picture), norm="ortho").abs()[..., 5:].max() < 1e-3


def test_what_is_measured_on_a_picture_is_what_it_was_painted_with() -> None:
    magnitude = natural(128) / 3  # low enough in contrast to stay clear of black and white
    picture = Maco(magnitude)(phases(KEYS, 128)).permute(0, 2, 3, 1)
    found = measured((picture * 255).round().byte().numpy()).sized(128)
    assert torch.allclose(found[:, :20, 1:20], magnitude[:, :20, 1:20], rtol=0.15)


def test_edges_that_do_not_fit_leave_no_cross() -> None:
    """A ramp jumps from one edge to the other; as a tile of a plane it is strong in every frequency along its axis."""
    ramp = np.tile(np.linspace(60, 190, 128), (128, 1)).repeat(3).reshape(128, 128, 3).astype(np.uint8)
    found = measured([ramp]).magnitude
    tiled = np.abs(np.fft.rfft2(_unpainted(ramp), norm="ortho"))
    assert (found[0, 0, 5:] < 0.1 * tiled[0, 0, 5:]).all()


def test_a_spectrum_at_its_own_size_is_as_measured_and_rises_below() -> None:
    at_home = SPECTRUM.sized(128).numpy()
    assert np.allclose(at_home[:, :65], SPECTRUM.magnitude, rtol=1e-5)
    assert np.array_equal(at_home[:, 65:], at_home[:, 63:0:-1])
    larger = SPECTRUM.sized(256).numpy()
    assert np.allclose(larger[:, :129:2, ::2][:, 1:, 1:], at_home[:, 1:65, 1:], rtol=1e-5)
    assert (larger[:, 0, 1] > larger[:, 0, 2]).all()
    assert np.allclose(larger[:, 0, 0] / 256, at_home[:, 0, 0] / 128)


@settings(max_examples=20, deadline=None)
@given(st.integers(16, 300))
def test_a_spectrum_of_any_size_is_finite_and_above_zero(size: int) -> None:
    for magnitude in (SPECTRUM.sized(size), natural(size)):
        assert magnitude.shape == (3, size, size // 2 + 1)
        assert magnitude.isfinite().all()
        assert (magnitude >= 0).all()


def test_the_natural_spectrum_falls_as_one_over_the_frequency_to_a_power() -> None:
    magnitude = natural(128)
    assert (magnitude[:, 0, 8] / magnitude[:, 0, 16]).tolist() == pytest.approx([2**1.2] * 3)
    assert torch.equal(magnitude[:, 3, 5], magnitude[:, -3, 5])


def test_a_hash_names_a_spectrum_for_ever() -> None:
    """It is in stores: it hangs on the numbers alone."""
    assert measured([striped(0), striped(1)]).hash == SPECTRUM.hash
    assert measured([striped(0)]).hash != SPECTRUM.hash
    ones = Spectrum(np.ones(SHAPE, np.float32))
    assert ones.hash == "11c9c9f587942b1636b77ceea17d64f4605dde59f59cf871bedea09ef60b5bbd"


def test_what_is_no_spectrum_is_refused() -> None:
    with pytest.raises(ImagesError, match="No images"):
        measured([])
    for magnitude in (np.ones(SHAPE), np.ones((3, 5, 5), np.float32), np.full(SHAPE, np.nan, np.float32)):
        with pytest.raises(AtlasError, match="A spectrum"):
            Spectrum(magnitude)  # type: ignore[arg-type]


def test_the_spectrum_must_be_the_one_that_the_recipe_names() -> None:
    prepared = prepare(model_of(tiny()[0]), "second.1")
    named = Recipe.from_dict(RECIPE.to_dict() | {"spectrum": SPECTRUM.hash})
    assert not render_units(prepared, [3], named, Numerics(), SPECTRUM).status.any()
    for recipe, spectrum in ((named, None), (RECIPE, SPECTRUM)):
        with pytest.raises(AtlasError, match=r"spectrum is .* was given"):
            render_units(prepared, [3], recipe, Numerics(), spectrum)


def test_a_notebook_gives_the_spectrum_alone() -> None:
    model = model_of(tiny()[0])
    knobs: dict[str, Any] = {"size": 32, "steps": 2, "relu_redirect_steps": 0}
    of_images = render(model, "second.1:3", "maco", spectrum=SPECTRUM, **knobs)
    assert not np.array_equal(of_images, render(model, "second.1:3", "maco", **knobs))
