"""What pictures cost: measured by rendering a little, kept in a store, and what rests on it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from atlas.cost import Calibration, Cost
from atlas.engine import calibration
from atlas.engine.numerics import numerics_for
from atlas.engine.planning.features import plan as plans_of
from atlas.engine.run import SECONDS, tasks
from atlas.models import Model, Prepared, load_model, prepare
from atlas.recipe import Numerics, Recipe
from atlas.rendering import Rendered
from atlas.rendering import calibration as rendering
from atlas.store import Store

pytestmark = pytest.mark.builder

TINY = "tests.networks:tiny"
RECIPE = Recipe.named("quick", size=32, steps=8, redirected=2, draws=1)


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model(TINY)


def test_a_cost_is_of_any_number_of_steps_and_tries() -> None:
    cost = Cost(fixed=1.0, step=0.1, redirected=0.3)
    recipe = replace(RECIPE, steps=10, relu_redirect_steps=4)
    assert cost.of(recipe) == pytest.approx(1 + 4 * 0.3 + 6 * 0.1)
    assert cost.of(replace(recipe, restarts=3)) == pytest.approx(1 + 3 * (4 * 0.3 + 6 * 0.1))
    assert cost.of(replace(recipe, agreement=True)) == pytest.approx(1 + 2 * (4 * 0.3 + 6 * 0.1))
    assert cost.of(replace(recipe, relu_redirect_steps=99)) == pytest.approx(1 + 9 * 0.3 + 0.1), (
        "the last step never is"
    )


def test_what_is_measured_is_what_a_made_clock_says(monkeypatch: pytest.MonkeyPatch, model: Model) -> None:
    now = [0.0]

    def render(_p: Prepared, units: Sequence[int], recipe: Recipe, *_: object) -> Rendered:
        watched = min(recipe.relu_redirect_steps, recipe.steps - 1)
        now[0] += len(units) * 2 * (3 + 0.5 * recipe.steps + 0.25 * watched)
        return Rendered.nothing(len(units), recipe)

    def score(_p: Prepared, _s: object, units: Sequence[int], *_: object) -> None:
        now[0] += len(units) * 2 * 1.0

    monkeypatch.setattr(rendering, "render_units", render)
    monkeypatch.setattr(rendering, "score_pictures", score)
    monkeypatch.setattr(rendering, "clock", lambda _: now[0])
    found = rendering.cost(prepare(model, model.layer("head")), RECIPE, numerics_for("cpu", 4))
    assert found == Cost(fixed=4.0, step=0.5, redirected=0.75)


def test_a_real_layer_costs_something(model: Model) -> None:
    found = rendering.cost(prepare(model, model.layer("first.1")), RECIPE, numerics_for("cpu", 2))
    assert min(found.fixed, found.step, found.redirected) >= 0
    assert 0 < found.of(RECIPE) < math.inf


def test_a_width_is_the_narrowest_of_those_that_cost_little(monkeypatch: pytest.MonkeyPatch, model: Model) -> None:
    costs = {2: 1.0, 4: 0.51, 8: 0.5, 16: 0.7}
    made = lambda _p, _r, numerics, _s: Cost(1, costs[numerics.batch], 1)  # noqa: E731
    monkeypatch.setattr(rendering, "cost", made)
    prepared = prepare(model, model.layer("head"))
    assert rendering.width(prepared, RECIPE, Numerics(), (2, 4, 8, 16)) == 4


def test_it_is_kept_and_known_again(model: Model, tmp_path: Path) -> None:
    plans = plans_of(model.identity, [model.layer("first.1"), model.layer("head")], RECIPE, numerics_for("cpu", 2), {})
    heard: list[int] = []
    found = calibration.calibrate(model, plans, batch=2, told=heard.append)
    assert heard == [1, 2]
    assert set(found.costs) == {"first.1", "head"}
    store = Store.create(tmp_path / "store", model.identity, {})
    here = numerics_for("cpu")
    assert calibration.known(store, here) is None
    assert calibration.width_in(store, here, "features") is None
    calibration.keep(store, found)
    assert calibration.known(store, here) == found
    assert calibration.width_in(store, here, "features") == calibration.width_in(store, here, "icons") == 2
    assert calibration.width_in(store, numerics_for("cpu", dtype="bfloat16"), "features") is None
    store.prepare(plans_of(model.identity, [model.layer("head")], RECIPE, numerics_for("cpu", 4), {}))
    assert calibration.width_in(store, here, "features") == 4, "what is there already says more"
    store.put_json("calibration/cpu.json", {"costs": 3})
    assert calibration.known(store, here) is None


def test_only_plans_of_the_same_kind_are_priced(model: Model) -> None:
    (plan,) = plans_of(model.identity, [model.layer("head")], RECIPE, numerics_for("cpu", 2), {})
    found = Calibration(plan.numerics, RECIPE, "a machine", {"head": Cost(1, 0.1, 0.2)})
    assert found.seconds(plan) == pytest.approx(1 + 2 * 0.2 + 6 * 0.1)
    assert found.seconds(replace(plan, recipe=replace(RECIPE, steps=100))) == pytest.approx(1 + 0.4 + 9.8)
    for other in (
        replace(plan, recipe=replace(RECIPE, size=64)),
        replace(plan, numerics=replace(plan.numerics, device="cuda")),
        replace(plan, layer=model.layer("first.1")),
    ):
        assert found.seconds(other) is None


def test_tasks_are_as_long_as_was_measured(model: Model) -> None:
    (plan,) = plans_of(model.identity, [replace(model.layer("head"), channels=128 * 32)], RECIPE, Numerics(), {})
    each = SECONDS / (32 * len(RECIPE.variants)) / 4  # four shards fill a task
    found = Calibration(Numerics(), RECIPE, "a machine", {"head": Cost(each, 0, 0)})
    assert {len(task.indices) for task in tasks(plan, plan.wanted, 1, found)} == {4}
    slow = replace(found, costs={"head": Cost(10 * each, 0, 0)})
    assert {len(task.indices) for task in tasks(plan, plan.wanted, 1, slow)} == {1}
