"""A build that ends when its time is up: what is under way is finished, what is left is said, the next one goes on."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

import atlas
from atlas.engine.events import Event, ShardDone
from atlas.engine.executors import InProcess
from atlas.engine.on_ray import OnRay
from atlas.engine.run import build, describe
from atlas.errors import AtlasError
from atlas.models import Model, load_model
from atlas.pipeline import Pipeline
from atlas.store import LocalBackend, MemoryBackend, Store
from tests.builds import build_in, contents, tiny_plans
from tests.cli.conftest import Ran, run

pytestmark = pytest.mark.builder

__all__ = ["run"]
TINY = "tests.networks:tiny"
HASTY = [f"--set={setting}" for setting in ("size=32", "steps=2", "draws=1", "redirected=0")]


@pytest.fixture(scope="module")
def tiny() -> Model:
    return load_model(TINY)


def test_no_more_is_handed_out_and_the_same_bytes_come_later(tiny: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    plans, began = tiny_plans(tiny), time.monotonic()
    store = Store.create(MemoryBackend(), tiny.identity, describe(tiny))
    done: list[Event] = []

    def watch(event: Event) -> None:
        """An hour passes with the first shard."""
        done.extend([event] if isinstance(event, ShardDone) else [])
        monkeypatch.setattr("atlas.engine.run.time.monotonic", lambda: began + 3600 * len(done))

    report = build(store, tiny, plans, InProcess(), hours=0.5, watch=watch)
    left = sum(len(store.todo(plan)) for plan in plans)
    whole = sum(len(plan.shards) for plan in plans)
    assert 0 < left < whole
    assert len(done) == whole - left
    assert report.left == left
    assert report.failed == []
    monkeypatch.undo()
    _, report = build_in(store.backend, tiny, plans)
    assert report.left is None
    quiet = MemoryBackend()
    build_in(quiet, tiny, plans)
    assert contents(store.backend) == contents(quiet)


def test_on_ray_what_was_handed_out_is_waited_for(tiny: Model, ray_cluster: None, tmp_path: Path) -> None:
    plans = tiny_plans(tiny)
    store = Store.create(LocalBackend(tmp_path / "s"), tiny.identity, describe(tiny))
    report = build(store, tiny, plans, OnRay(plans[0].numerics, 1), hours=1e-9)
    assert report.left == sum(len(store.todo(plan)) for plan in plans) > 0
    assert report.failed == []


def test_it_is_said_and_no_failure(run: Callable[..., Ran], tmp_path: Path) -> None:
    command = ("build", TINY, "--layers", "first.1", "--store", tmp_path / "s", "--local", *HASTY)
    ran = run(*command, "--max-hours", "0")
    assert ran.code == 0, ran.err
    assert "--max-hours 0: the time limit was reached. 2 shards are left. To resume, run the same command." in ran.err
    assert "0 pictures" in ran.out
    assert "earlier command" not in ran.out
    assert run("status", tmp_path / "s").code == 0
    assert "the time limit was reached" not in run(*command).err
    assert atlas.verify(tmp_path / "s").whole
    assert "the time limit was reached" not in run(*command, "--max-hours", "0").err, "there was nothing to hand out"


@pytest.mark.parametrize("hours", [-1, float("nan"), "long"])
def test_hours_that_cannot_be(hours: object, run: Callable[..., Ran], tmp_path: Path) -> None:
    with pytest.raises(AtlasError, match="`max_hours="):
        Pipeline(TINY, max_hours=hours)  # type: ignore[arg-type]
    assert run("build", TINY, "--store", tmp_path / "s", "--max-hours", hours).code in (1, 2)
    assert not (tmp_path / "s").exists()
