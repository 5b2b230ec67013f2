"""A stage of one's own in one file: what it is, what it does, and one registration."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pytest

from atlas.arrays import Array
from atlas.engine.events import Event
from atlas.engine.executors import InProcess
from atlas.engine.making import Made, Making, Piece
from atlas.engine.numerics import numerics_for
from atlas.engine.progress import Progress, results
from atlas.engine.reducing import Receipts, Reduced
from atlas.engine.run import build, describe
from atlas.models import Model, load_model
from atlas.plans import STAGES, Plan, Stage
from atlas.recipe import Recipe
from atlas.store import MemoryBackend, Store, repair, verify
from tests.builds import HASTY, build_in, contents, tiny_plans

pytestmark = pytest.mark.builder


# -- what it is --------------------------------------------------------------------------------------------------------


def _arrays(plan: Plan) -> Iterator[Array]:
    yield Array("norm", (plan.total,), 32, "float32", 0, "shard")
    yield Array("largest", (1,), 1, "float32", 0, "reduce")


NORMS = Stage(
    name="norms",
    over="units",
    after="features",
    recipe=Recipe,
    arrays=_arrays,
    work="norms",
    items="units",
    done="norms of {} units",
    module=__name__,
)
"""How far the picture of each unit is from grey."""


# -- what it does ------------------------------------------------------------------------------------------------------


def make(piece: Piece) -> Making:
    """Measure one shard."""
    shard = piece.shard
    pictures = piece.store.read(f"layers/{piece.plan.on.key}/features/image", slice(shard.start, shard.stop))
    norm = np.sqrt(((pictures[:, 0] / 255.0 - 0.5) ** 2).sum((1, 2, 3))).astype(np.float32)
    yield from ()
    return [(piece.plan, Made({"norm": norm}, {"norm": norm[:, None]}))]


def reduce(_: Store, plan: Plan, receipts: Receipts) -> Reduced:
    """The largest of all."""
    largest = max(value[0] or 0 for receipt in receipts.values() for value in receipt.numbers["norm"])
    return Reduced({"largest": np.array([largest], np.float32)})


# ----------------------------------------------------------------------------------------------------------------------


@pytest.fixture(autouse=True)
def declared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STAGES, NORMS.name, NORMS)  # as `declare` does, for as long as a test takes


@pytest.fixture(scope="module")
def tiny() -> Model:
    return load_model("tests.networks:tiny")


def plans(model: Model) -> list[Plan]:
    pictures = tiny_plans(model, "second.1")
    norms = Plan.of("norms", model.identity, pictures[0].layer, HASTY, numerics_for("cpu"))
    return [*pictures, norms]


def test_it_is_built_resumed_verified_and_read(tiny: Model) -> None:
    backend, seen = MemoryBackend(), list[Event]()
    store = Store.create(backend, tiny.identity, describe(tiny))

    def stop(event: Event) -> None:
        seen.append(event)
        if getattr(getattr(event, "shard", None), "stage", "") == "norms":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        build(store, tiny, plans(tiny), InProcess(), watch=stop)
    with Progress() as progress:
        report = build(store, tiny, plans(tiny), InProcess(), watch=progress.watch(store, plans(tiny)))
    assert not report.failed
    assert report.planned == 140, "pictures are those of `features` alone"
    (plan,) = store.plans_of("norms")
    assert store.whole(plan)
    assert not verify(store).findings
    norm = store.read("layers/second.1/norms/norm")
    assert norm.shape == (70,)
    assert store.read("layers/second.1/norms/largest") == norm.max() > 0
    whole = MemoryBackend()
    build_in(whole, tiny, plans(tiny))
    assert contents(backend) == contents(whole)


def test_what_is_damaged_of_it_is_made_again(tiny: Model) -> None:
    backend = MemoryBackend()
    store, _ = build_in(backend, tiny, plans(tiny))
    whole = contents(backend)
    backend.put("layers/second.1/norms/norm/c/1", b"junk")
    assert [shard.index for shard in repair(store, verify(store).findings)] == [1]
    _, report = build_in(backend, tiny, plans(tiny))
    assert not report.failed
    assert contents(backend) == whole


def test_its_words_for_people(tiny: Model) -> None:
    plan = plans(tiny)[-1]
    assert results(plan, 70) == "norms of 70 units"
    assert results(plan, 1) == "norms of 1 unit"
    assert str(plan.shard(1)) == "norms second.1:32-63"
