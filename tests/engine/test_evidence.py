"""A store says how the axes of its layers are known; the network tells whether an older one was right."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from atlas.cli import app
from atlas.engine.evidence import establish
from atlas.engine.run import describe
from atlas.errors import StoreError
from atlas.models import Model, load_model
from atlas.plans import Plan
from atlas.store import MemoryBackend, Store
from tests.builds import tiny_plans

pytestmark = pytest.mark.builder


@pytest.fixture
def model() -> Model:
    return load_model("tests.networks:tiny")


def bare(plan: Plan) -> Plan:
    """As plans were before layers said how their axes are known."""
    return replace(plan, layer=replace(plan.on, evidence=""))


def store_of(model: Model, plans: list[Plan], place: Path | None = None) -> Store:
    store = Store.create(place or MemoryBackend(), model.identity, describe(model))
    store.prepare(plans)
    return store


def test_evidence_is_kept_and_is_no_part_of_a_plan(model: Model) -> None:
    plans = tiny_plans(model)
    store = store_of(model, plans)
    for plan in plans:
        saved = store.plan(plan.key)
        assert saved is not None
        assert saved.on.evidence.startswith("inputs of 32x32 and")
        assert bare(plan).id == plan.id
        assert bare(plan).content == plan.content


def test_a_store_of_before_is_gone_on_with_and_learns_its_evidence(model: Model) -> None:
    plans = tiny_plans(model)
    store = store_of(model, [bare(plan) for plan in plans])
    assert all(not plan.on.evidence for plan in store.plans())
    (merged, *_) = store.prepare(plans)
    assert merged.on.evidence
    assert all(plan.on.evidence for plan in store.plans())


def test_the_network_tells_which_layers_of_a_store_are_right(model: Model) -> None:
    """One layer was taken for channels-last: its 40 units are columns of the map."""
    right, wrong = (bare(plan) for plan in tiny_plans(model)[:2])
    wrong = replace(wrong, layer=replace(wrong.on, channels=wrong.on.size[1], channels_last=True), wanted=(0,))
    store = store_of(model, [right, wrong])
    right_ones, wrong_ones = establish(store, model)
    assert right_ones == [right.layer_name]
    assert "axes nhwc in the store, nchw in the network" in wrong_ones[wrong.layer_name]
    assert {plan.layer_name: bool(plan.on.evidence) for plan in store.plans()} == {
        right.layer_name: True,
        wrong.layer_name: False,
    }
    with pytest.raises(StoreError, match="another network"):
        establish(store, load_model("tests.networks:other"))


def test_the_command_says_so(model: Model, tmp_path: Path) -> None:
    place = tmp_path / "old.atlas"
    store_of(model, [bare(plan) for plan in tiny_plans(model)], place)
    run = CliRunner()
    assert "An older version took the axes of" in run.invoke(app, ["status", str(place)]).output
    assert "are as the network has them, 0 are not" in run.invoke(app, ["verify", "--model", str(place)]).output
    assert "An older version took" not in run.invoke(app, ["status", str(place)]).output
