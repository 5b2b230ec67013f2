"""Recipes: presets, changes to them, and what is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import fields
from typing import Any

import pytest
from hypothesis import given

from atlas.errors import AtlasError, UnknownName
from atlas.plans import fingerprint
from atlas.recipe import LAYOUTS, PRESETS, STORED, AtlasRecipe, Numerics, ProjectionRecipe, Recipe, Sampling
from tests import strategies
from tests.strategies import ATLASES, NUMERICS, RECIPES


@given(RECIPES)
def test_a_recipe_survives_json(recipe: Recipe) -> None:
    again = Recipe.from_dict(json.loads(json.dumps(recipe.to_dict())))
    assert again == recipe
    assert fingerprint(again.to_dict()) == fingerprint(recipe.to_dict())


@given(ATLASES)
def test_how_an_atlas_is_made_survives_json(recipe: AtlasRecipe) -> None:
    again = AtlasRecipe.from_dict(json.loads(json.dumps(recipe.to_dict())))
    assert again == recipe
    assert fingerprint(again.to_dict()) == fingerprint(recipe.to_dict())


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (lambda: Sampling("0", 5, positions=0), "at least 1 of each crop"),
        (lambda: Sampling("0", 5, crops=64, positions=17), "of an image at most 1,024"),
        (lambda: AtlasRecipe(Sampling("0", 5), ProjectionRecipe(), side=12), "multiple of 5"),
        (
            lambda: AtlasRecipe(Sampling("0", 5), ProjectionRecipe(), whitening=2),
            "must be a number from 0 to 1",
        ),
        (lambda: Recipe(cosine_power=-1), "power must be a number from 0 up"),
    ],
)
def test_what_no_atlas_can_be_made_by_is_said(made: Callable[[], object], told: str) -> None:
    with pytest.raises(AtlasError, match=told):
        made()


@given(NUMERICS)
def test_numerics_survive_json(numerics: Numerics) -> None:
    assert Numerics.from_dict(json.loads(json.dumps(numerics.to_dict()))) == numerics


def test_presets_are_known_by_their_names() -> None:
    assert all(Recipe.named(name).name == name for name in PRESETS)


def test_settings_are_read_by_the_type_of_their_knob() -> None:
    recipe = Recipe.parse("quick", ["steps=96", "rotation=5", "scale=0.8,1.2", "variants=positive", "seed=-3"])
    assert (recipe.steps, recipe.rotation, recipe.scale) == (96, 5.0, (0.8, 1.2))
    assert (recipe.variants, recipe.seed) == (("positive",), -3)


def test_one_and_one_point_nought_are_the_same_knob() -> None:
    whole, broken = Recipe(learning_rate=1, scale=(1, 2)), Recipe(learning_rate=1.0, scale=(1.0, 2.0))
    assert fingerprint(whole.to_dict()) == fingerprint(broken.to_dict())


@pytest.mark.parametrize(
    "settings",
    [
        {"size": 8},
        {"steps": 0},
        {"jpeg_quality": 0},
        {"jpeg_quality": 101},
        {"eval_draws": 0},
        {"relu_redirect_steps": -1},
        {"variants": ()},
        {"variants": ("sideways",)},
        {"variants": ("positive", "positive")},
        {"scale": (1.1, 0.9)},
        {"scale": (0.0, 1.0)},
        {"scale": (1.0,)},
        {"learning_rate": float("nan")},
        {"jitter": float("inf")},
        {"rotation": -1.0},
        {"variants": ("diverse-1",)},
        {"variants": ("diverse-1", "diverse-3")},
        {"variants": ("diverse-0", "diverse-1")},
        {"diversity": -1.0},
        {"contrast": -1.0},
        {"contrast": 2.0, "parameterization": "maco"},
        {"restarts": 0},
        {"restarts": 256},
        {"parameterization": "pixels"},
        {"spectrum": "natural"},
        {"crop_scale": (0.5, 0.9)},
        {"crop_scale": (0.9, 0.5), "parameterization": "maco"},
        {"crop_scale": (0.0, 0.5), "parameterization": "maco"},
        {"crop_scale": (0.5, 1.5), "parameterization": "maco"},
        {"spectrum": "red", "parameterization": "maco"},
        {"steps": 99_999_999_999},
        {"size": 99_999_999},
        {"eval_draws": 99_999_999_999},
        {"relu_redirect_steps": 99_999_999_999},
    ],
)
def test_senseless_knobs_are_refused_in_one_line(settings: dict[str, Any]) -> None:
    with pytest.raises(AtlasError, match=next(iter(settings))) as caught:
        Recipe(**settings)
    assert len(str(caught.value).splitlines()) == 1


def test_variants_tries_and_agreement_are_set_by_text() -> None:
    recipe = Recipe.parse("quick", ["variants=positive,neuron,diverse-2,diverse-1", "restarts=3", "agreement=yes"])
    assert recipe.variants == ("positive", "neuron", "diverse-2", "diverse-1")
    assert recipe.diverse == ("diverse-2", "diverse-1")
    assert (recipe.restarts, recipe.agreement) == (3, True)


def test_a_recipe_of_the_first_stores_is_still_the_same() -> None:
    """Its plans keep their ids: knobs that came later are not written as long as they change nothing."""
    assert set(Recipe().to_dict()) == {
        *("name", "size", "steps", "variants", "learning_rate", "beta1", "beta2", "decay", "deviation"),
        *("jitter", "zoom", "turn", "redirected", "draws", "level", "seed"),
    }
    assert Recipe(restarts=2).to_dict() == Recipe().to_dict() | {"tries": 2}


KEPT = {
    "quick": "966ff8b3e02f047b",
    "standard": "fa96bf3678b81997",
    "fine": "6be8d094f129b3ca",
    "maco": "4aa67025c9045b10",
    "cell": "ca464f2e2ec524c8",
    "layout standard": "a0a4f9b22cfbb192",
    "layout class": "9c3c12c03761bda1",
}
"""Presets as plans of older stores hash them, by the names that knobs had."""


def test_presets_hash_as_before_their_knobs_were_renamed() -> None:
    presets = PRESETS | {f"layout {name}": recipe for name, recipe in LAYOUTS.items()}
    assert {name: fingerprint(recipe.to_dict())[:16] for name, recipe in presets.items()} == KEPT


def test_the_names_that_knobs_had_are_understood() -> None:
    assert Recipe.named("quick", rise=3, tries=2) == Recipe.named("quick", lr_warmup_steps=3, restarts=2)
    assert Recipe.parse("quick", ["zoom=0.8,1.2"]) == Recipe.parse("quick", ["scale=0.8,1.2"])
    assert ProjectionRecipe.parse("class", ["neighbours=9"]).n_neighbors == 9
    names = {field.name for kind in (Recipe, ProjectionRecipe) for field in fields(kind)}
    assert STORED.keys() <= names
    assert not set(STORED.values()) & names
    assert len(set(STORED.values())) == len(STORED)


def test_maco_says_which_spectrum_it_takes_for_natural() -> None:
    assert Recipe.named("maco").to_dict()["spectrum"] == "natural"
    assert Recipe.parse("maco", [f"spectrum={'5' * 64}"]).spectrum == "5" * 64


@pytest.mark.parametrize(
    "setting", ["agreement=maybe", "steps", "steps=", "steps=many", "scale=1", "scale=1,2,3", "rotation=left"]
)
def test_settings_that_cannot_be_read_are_refused(setting: str) -> None:
    with pytest.raises(AtlasError, match=setting.partition("=")[0]):
        Recipe.parse("quick", [setting])


def test_unknown_names_offer_the_nearest() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'standard'"):
        Recipe.named("standart")
    with pytest.raises(UnknownName, match="Did you mean 'steps'"):
        Recipe.parse("quick", ["step=3"])


@given(strategies.LAYOUTS)
def test_a_layout_survives_json(recipe: ProjectionRecipe) -> None:
    again = ProjectionRecipe.from_dict(json.loads(json.dumps(recipe.to_dict())))
    assert again == recipe
    assert fingerprint(again.to_dict()) == fingerprint(recipe.to_dict())


def test_layouts_are_known_by_their_names() -> None:
    assert all(ProjectionRecipe.named(name).name == name for name in LAYOUTS)
    assert ProjectionRecipe.named("class", max_samples=5).max_samples == 5
    with pytest.raises(UnknownName, match="Did you mean 'standard'"):
        ProjectionRecipe.named("standart")
    with pytest.raises(UnknownName, match="Did you mean 'n_neighbors'"):
        ProjectionRecipe.named("standard", neighbors=5)
    with pytest.raises(UnknownName, match="Did you mean 'cosine'"):
        ProjectionRecipe(metric="cosin")


@pytest.mark.parametrize(
    "settings",
    [
        {"n_neighbors": 1},
        {"max_samples": 1},
        {"pca": 1},
        {"min_dist": -0.1},
        {"min_dist": float("nan")},
        {"clip_percent": 50},
        {"margin": float("inf")},
        {"max_samples": 10**13},
        {"n_neighbors": 10**13},
    ],
)
def test_senseless_knobs_of_a_layout_are_refused_in_one_line(settings: dict[str, Any]) -> None:
    with pytest.raises(AtlasError, match=next(iter(settings))) as caught:
        ProjectionRecipe(**settings)
    assert len(str(caught.value).splitlines()) == 1
