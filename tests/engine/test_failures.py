"""Shards that fail: by the kind of their failure, and down to the unit that is the reason of it."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.engine.events import Divided, Event, Retried, ShardDone, ShardFailed, Task, Tried
from atlas.engine.executors import Executor, InProcess
from atlas.engine.failures import HOPELESS, Search
from atlas.engine.on_ray import OnRay
from atlas.engine.record import Report
from atlas.engine.run import build, describe
from atlas.errors import BuildFailed, StoreError
from atlas.models import Model, load_model
from atlas.plans import Plan
from atlas.recipe import Recipe
from atlas.store import Backend, LocalBackend, MemoryBackend, Receipt, Store, verify
from atlas.units import Status
from tests.builds import HASTY, build_in, contents, tiny_plans
from tests.cli.conftest import Ran, run  # noqa: F401 (a fixture)
from tests.networks import POISON
from tests.stores import made_layer, plan_of

pytestmark = pytest.mark.builder

UNIT = 17


@pytest.fixture(scope="module")
def poison(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The file that says what fails; workers are told of it before there is a cluster."""
    file = tmp_path_factory.mktemp("poison") / "units"
    os.environ[POISON] = str(file)
    yield file
    del os.environ[POISON]


@pytest.fixture
def poisoned(poison: Path) -> Iterator[Callable[[str], None]]:
    """Says what fails, until the test ends."""

    def say(text: str) -> None:
        poison.write_text(text) if text else poison.unlink(missing_ok=True)

    yield say
    poison.unlink(missing_ok=True)


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model("tests.networks:poisoned")


@pytest.fixture(scope="module")
def healthy(model: Model, poison: Path) -> dict[str, bytes]:
    """What a build without any fault leaves behind."""
    backend = MemoryBackend()
    build_in(backend, model, plans_of(model))
    return contents(backend)


def plans_of(model: Model, *texts: str) -> list[Plan]:
    return tiny_plans(model, *(texts or ("second.1:0-39",)), recipe=Recipe.named("quick", **knobs()))


def knobs() -> dict[str, Any]:
    told = HASTY.to_dict() | {"scale": HASTY.scale, "variants": ("positive",)}
    return {name: value for name, value in told.items() if name != "name"}


def built(
    backend: Backend, model: Model, executor: Executor | None = None, plans: list[Plan] | None = None
) -> tuple[Store, Report, list[Event]]:
    events = list[Event]()
    store = Store.create(backend, model.identity, describe(model))
    report = build(store, model, plans or plans_of(model), executor or InProcess(), watch=events.append)
    return store, report, events


def check_hole(store: Store, report: Report, reason: str) -> None:
    """31 of 32 are there, and one is named, by everybody who is asked."""
    (line,) = report.failed
    assert line.startswith(f"features second.1:{UNIT} could not be made: ")
    assert reason in line
    (plan,) = store.plans()
    assert list(store.holes(plan)) == [UNIT]
    assert not store.todo(plan)
    assert not store.whole(plan)
    status = store.read("layers/second.1/features/status")[:64, 0]
    assert np.flatnonzero(status == Status.ABSENT).tolist() == [UNIT]
    pictures = store.read("layers/second.1/features/image", slice(0, 32))
    assert [bool(picture.any()) for picture in pictures] == [unit != UNIT for unit in range(32)]
    assert np.isnan(store.read("layers/second.1/features/mean")[UNIT]).all()
    (finding,) = verify(store).findings
    assert finding.kind == "hole"
    assert reason in finding.reason
    assert not verify(store).damage
    receipt = store.receipts(plan)[0]
    assert Receipt.parse(receipt.to_bytes()) == receipt


def check_filled(store: Store, model: Model, healthy: dict[str, bytes], executor: Executor | None = None) -> None:
    """With the fault gone the hole is filled, and nothing tells of it any more."""
    (plan,) = store.plans()
    _, report, events = built(store.backend, model, executor)
    assert report.holes == len(report.failed) == 1, "a build leaves it as it is, and says so"
    assert not [event for event in events if isinstance(event, ShardDone)]
    assert store.reopen(plan) == [plan.shard(0)]
    _, report, _ = built(store.backend, model, executor)
    assert not report.failed
    assert contents(store.backend) == healthy
    assert not verify(store).findings


@pytest.mark.parametrize(
    ("how", "reason"), [("raise", "ArithmeticError: no derivative of this one"), ("memory", "CUDA out of memory")]
)
def test_one_unit_that_fails_is_named_and_the_others_are_there(
    model: Model, poisoned: Callable[[str], None], healthy: dict[str, bytes], how: str, reason: str
) -> None:
    poisoned(f"{UNIT} {how}")
    store, report, events = built(MemoryBackend(), model)
    check_hole(store, report, reason)
    assert [event.failed.shard.index for event in events if isinstance(event, Divided)] == [0]
    assert not [event for event in events if isinstance(event, Retried)], "what fails in itself is not tried again"
    poisoned("")
    check_filled(store, model, healthy)


def test_a_unit_that_fails_again_is_a_hole_again(
    model: Model, poisoned: Callable[[str], None], healthy: dict[str, bytes]
) -> None:
    poisoned(f"{UNIT} raise")
    store, *_ = built(MemoryBackend(), model)
    store.reopen(store.plans()[0])
    store, report, _ = built(store.backend, model)
    check_hole(store, report, "no derivative")


@pytest.mark.slow
def test_one_unit_that_kills_its_worker(
    tmp_path: Path, model: Model, poisoned: Callable[[str], None], healthy: dict[str, bytes], ray_cluster: None
) -> None:
    poisoned(f"{UNIT} exit")
    executor = OnRay(plans_of(model)[0].numerics, 2)
    store, report, _ = built(LocalBackend(tmp_path / "store"), model, executor)
    check_hole(store, report, "its worker died 2 times")
    assert report.retried >= 4
    poisoned("")
    check_filled(store, model, healthy, executor)


def test_the_dearest_shards_are_handed_out_first(model: Model) -> None:
    seen: list[str] = []

    class Noting(InProcess):
        def run(self, job: Any, supplies: Any, queue: Any) -> Any:
            seen.extend(task.plans[0].layer_name for task in queue)
            return super().run(job, supplies, queue)

    plans = plans_of(model, "first.1:0", "head:0", "second.1:0-39")
    built(MemoryBackend(), model, Noting(), plans)
    prices = {plan.layer_name: plan.flops / len(plan.shards) for plan in plans}
    assert len(set(prices.values())) == 3
    assert list(dict.fromkeys(seen)) == sorted(prices, key=lambda name: -prices[name])


def test_a_network_that_always_fails_stops_the_run_with_one_line(model: Model, poisoned: Callable[[str], None]) -> None:
    poisoned(",".join(map(str, range(70))) + " raise")
    store = Store.create(MemoryBackend(), model.identity, describe(model))
    events = list[Event]()
    plans = plans_of(model, "second.1")
    with pytest.raises(BuildFailed, match=r"The first 3 shards failed alike \(.*no derivative of this one\)") as caught:
        build(store, model, plans, InProcess(), watch=events.append)
    assert "\n" not in str(caught.value)
    assert len([event for event in events if isinstance(event, Divided)]) == 3
    assert not store.receipts(plans[0])


def test_a_shard_of_which_nothing_can_be_made_fails_and_has_no_holes(
    model: Model, poisoned: Callable[[str], None]
) -> None:
    poisoned(",".join(map(str, range(32))) + " raise")
    store, report, events = built(MemoryBackend(), model)
    (line,) = report.failed
    assert line.startswith("features second.1:0-31: every part of it fails: ArithmeticError")
    (plan,) = store.plans()
    assert not store.holes(plan)
    assert [shard.index for shard in store.todo(plan)] == [0]
    assert len([event for event in events if isinstance(event, ShardFailed)]) == 1


class Busy(MemoryBackend):
    """A place that cannot be read for now, a few times for the same shard."""

    left = 2

    def put_new(self, key: str, value: bytes) -> bool:
        if self.left and key.startswith("bundles/features/second.1/00000"):
            self.left -= 1
            raise StoreError("the server is busy")
        return super().put_new(key, value)


def test_a_store_that_is_busy_is_asked_again(model: Model, healthy: dict[str, bytes]) -> None:
    backend = Busy()
    _, report, events = built(backend, model)
    assert not report.failed
    assert [event.reason for event in events if isinstance(event, Retried)] == ["StoreError: the server is busy"] * 2
    assert contents(backend) == healthy


def test_a_store_that_stays_busy_fails_the_shard(model: Model) -> None:
    backend = Busy()
    backend.left = 100
    _, report, _ = built(backend, model)
    assert report.failed == ["features second.1:0-31: StoreError: the server is busy"]


@given(st.integers(1, 32), st.sets(st.integers(0, 31), max_size=5))
def test_a_search_finds_what_is_bad_and_nothing_else(length: int, bad: set[int]) -> None:
    plan = plan_of(made_layer("a", 32), size=16)
    shard = plan.shard(0)
    bad = {unit for unit in bad if unit < length}
    search = Search(plan, type(shard)(shard.stage, shard.layer, 0, 0, length))
    queue: list[Task] = list(search.begin())
    tried = 0
    while queue:
        task = queue.pop()
        assert task.rows is not None
        tried += 1
        fails = [unit for unit in bad if task.rows[0] <= unit < task.rows[1]]
        reason = "alike" if fails else ""
        queue += search.took(Tried(search.shard, task.rows, reason, "error"))
    assert search.over
    assert tried <= 10 * max(1, len(bad)) + 2
    if len(bad) == length:
        assert search.rest is None
    else:
        assert search.rest is not None
        assert dict(search.rest.without).keys() == bad


def test_a_shard_of_which_nothing_can_be_made_is_soon_given_up() -> None:
    plan = plan_of(made_layer("a", 32), size=16)
    search = Search(plan, plan.shard(0))
    queue, tried = list(search.begin()), 0
    while queue and not search.over:
        task, tried = queue.pop(0), tried + 1
        assert task.rows is not None
        queue += search.took(Tried(search.shard, task.rows, "alike", "error"))
    assert (search.hopeless, search.rest, tried) == (True, None, HOPELESS)


def test_the_command_line_names_the_hole_and_fills_it(
    run: Callable[..., Ran],  # noqa: F811
    tmp_path: Path,
    poisoned: Callable[[str], None],
) -> None:
    """Exit codes: 0 where all is done, 1 where something is not there, 2 for what is no command."""
    place, how = tmp_path / "made.atlas", ["--set", "size=32", "--set", "steps=3"]
    poisoned(f"{UNIT} raise")
    words = ["tests.networks:poisoned", "--layers", "second.1:0-39", "--store", place, "--local", *how]
    ran = run("build", *words)
    assert ran.code == 1
    assert any(f"second.1:{UNIT} could not be made: ArithmeticError" in line for line in ran.complaints)
    assert f"atlas retry {place}" in ran.complaints[-1]
    ran = run("status", place)
    assert ran.code == 1
    assert any(f"second.1:{UNIT} could not be made: ArithmeticError" in line for line in ran.complaints)
    ran = run("verify", place)
    assert ran.code == 0
    assert "1 unit could not be made" in ran.out
    assert run("retry", place, "--local").code == 1
    poisoned("")
    assert run("build", place, "--local").code == 1, "a build leaves the hole"
    assert run("retry", place, "--local").code == 0
    assert run("status", place).code == 0
    assert run("retry", place, "--no-such-option").code == 2
