"""Plans: what they own, what they are compared by, and that their ids never change by accident."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.errors import UnknownName
from atlas.plans import SHARD, Identity, Plan, differences, key_of
from atlas.recipe import AtlasRecipe, Numerics, ProjectionRecipe, Recipe, Sampling
from atlas.units import Layer
from tests.strategies import atlas_plans, plans

IDENTITY = Identity("squeezenet", "0" * 64, {"size": [224, 224], "mean": [0.0, 0.0, 0.0]})
LAYER = Layer("features.11", "conv", 70, (13, 13), 16.0, 123_456)
PLAN = Plan.of("features", IDENTITY, LAYER, Recipe.named("quick"), Numerics(torch="2.10"))
JSON = st.recursive(st.integers(), lambda inner: st.dictionaries(st.text(max_size=3), inner, max_size=4))


FIRST = Recipe(
    name="quick",
    size=128,
    steps=64,
    learning_rate=0.12,
    beta1=0.5,
    decay_power=1.0,
    init_std=0.01,
    scale=(0.9, 1.1),
    rotation=10.0,
    relu_redirect_steps=16,
)
"""The recipe `quick` of the first stores."""


def test_the_id_of_a_plan_stays_what_it_was() -> None:
    """Stores name their plans by it: where this fails, every store that exists is lost to resuming.

    The second engine makes other pictures of the same recipe, so that its plans are other plans, and say so.
    """
    first = Plan("features", IDENTITY, LAYER, FIRST, Numerics(torch="2.10"), engine=1)
    assert first.id == "8836595a4ddbefbd7099ba4cc331802df8d83d8bff3de2d73db59c50f9b2cc4d"
    assert replace(first, engine=2).id == "09150e86a166a05a973207c07214f56d841659100ea7683e621b46a91819a03a"
    assert differences(first.content, replace(first, engine=2).content) == ["engine: 1 here, 2 asked"]
    assert PLAN.engine == 2


@given(plans())
def test_a_plan_survives_json(plan: Plan) -> None:
    again = Plan.from_dict(json.loads(json.dumps(plan.to_dict())))
    assert again == plan
    assert again.id == plan.id


@given(atlas_plans())
def test_a_plan_of_an_atlas_survives_json(plan: Plan) -> None:
    again = Plan.from_dict(json.loads(json.dumps(plan.to_dict())))
    assert again == plan
    assert again.id == plan.id
    assert again.key == plan.key == key_of(plan.names)


@given(atlas_plans(), st.text(max_size=9))
def test_the_id_of_an_atlas_leaves_out_names_and_holds_the_part(plan: Plan, name: str) -> None:
    if isinstance(plan.recipe, AtlasRecipe):
        renamed = replace(plan.recipe, layout=replace(plan.recipe.layout, name=name))
        assert replace(plan, recipe=renamed).id == plan.id
    if plan.part:
        assert replace(plan, part=("winners-9", *plan.part[1:])).id != plan.id
    assert plan.asking([0]).id == plan.id


def test_a_stage_rests_on_the_same_part_as_far_as_that_has_one() -> None:
    numerics, atlas = Numerics(), AtlasRecipe(Sampling("0", 7), ProjectionRecipe(), side=20)
    tiles = Plan.of("tiles", IDENTITY, LAYER, atlas, numerics, part=("all", "20"))
    chain = [tiles]
    while (before := chain[-1].before) is not None:
        chain.append(Plan.of(before[0], IDENTITY, LAYER, atlas, numerics, part=before[2]))
    assert [plan.key for plan in chain] == [
        "tiles/features.11/all/20.json",
        "icons/features.11/all/20.json",
        "cells/features.11/all/20.json",
        "layout/features.11/all.json",
        "activations/features.11.json",
    ]


def test_cells_are_asked_for_once_they_are_known() -> None:
    icons = Plan.of("icons", IDENTITY, LAYER, Recipe.named("cell"), Numerics(), part=("all", "20"))
    assert (icons.wanted, icons.needed, icons.total) == ((), (), 400)
    asked = icons.asking(range(3))
    assert asked.needed == (0, 1, 2)
    assert [str(shard) for shard in asked.shards][:2] == [
        "icons features.11 all 20 cells 0-31",
        "icons features.11 all 20 cells 32-63",
    ]
    assert len(icons.complete.wanted) == 13


@given(plans(), st.text(max_size=9), st.integers(0, 10**9))
def test_the_id_leaves_out_what_makes_no_picture_different(plan: Plan, name: str, flops: int) -> None:
    assert plan.layer is not None
    recipe, layer = replace(plan.rendering, name=name), replace(plan.layer, flops=flops)
    assert replace(plan, recipe=recipe, layer=layer).id == plan.id
    assert plan.complete.id == plan.id


@pytest.mark.parametrize(
    "other",
    [
        replace(PLAN, recipe=replace(PLAN.rendering, seed=1)),
        replace(PLAN, numerics=replace(PLAN.numerics, batch=8)),
        replace(PLAN, layer=replace(LAYER, name="features.12")),
        replace(PLAN, identity=replace(IDENTITY, weights="1" * 64)),
        replace(PLAN, stage="activations"),
    ],
)
def test_the_id_holds_everything_else(other: Plan) -> None:
    assert other.id != PLAN.id


@given(plans())
def test_shards_cover_a_layer_once_in_order(plan: Plan) -> None:
    whole = plan.complete
    assert [index for shard in whole.shards for index in range(shard.start, shard.stop)] == list(range(plan.total))
    assert all(len(shard) <= SHARD for shard in whole.shards)
    assert len({shard.key for shard in whole.shards}) == len(whole.shards)
    assert whole.pictures == plan.total * len(plan.rendering.variants)


def test_units_are_wanted_by_the_shard() -> None:
    plan = Plan.of("features", IDENTITY, LAYER, PLAN.recipe, PLAN.numerics, [69, 3, 3])
    assert plan.wanted == (0, 2)
    assert [str(shard) for shard in plan.shards] == ["features features.11:0-31", "features features.11:64-69"]
    assert plan.asking([1]).wanted == (0, 1, 2) == PLAN.wanted


@pytest.mark.parametrize("unit", [70, -1])
def test_a_unit_the_layer_has_not_is_refused(unit: int) -> None:
    with pytest.raises(UnknownName, match=r"features\.11 has the units 0 to 69"):
        Plan.of("features", IDENTITY, LAYER, PLAN.recipe, PLAN.numerics, [3, unit])


def test_a_plan_is_priced() -> None:
    longer = replace(PLAN, recipe=replace(PLAN.rendering, steps=2 * PLAN.rendering.steps))
    assert longer.flops == pytest.approx(2 * PLAN.flops)
    assert 2_000 * PLAN.pictures < PLAN.bytes < 100_000 * PLAN.pictures


@given(st.dictionaries(st.text(max_size=3), JSON, max_size=4), st.dictionaries(st.text(max_size=3), JSON, max_size=4))
def test_differences_show_fields_where_there_are_any(ours: dict[str, object], theirs: dict[str, object]) -> None:
    assert differences(ours, ours) == []
    assert bool(differences(ours, theirs)) == (ours != theirs)


def test_differences_name_the_field_and_both_values() -> None:
    recipe, identity = replace(PLAN.rendering, steps=9, contrast=0), replace(IDENTITY, weights="f" * 64)
    other = replace(PLAN, recipe=recipe, identity=identity)
    assert differences(PLAN.spelled_out, other.spelled_out) == [
        "identity.weights: 000000000000… here, ffffffffffff… asked",
        "recipe.contrast: 2.0 here, 0.0 asked",
        "recipe.steps: 48 here, 9 asked",
    ]
