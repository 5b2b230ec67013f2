"""A stage that does nothing, slowly: for tests of who does what, and of what the machinery costs.

python -m tests.naps STORE MARKS SECONDS    # builds a store of naps; a file in MARKS for each shard that was made
"""

from __future__ import annotations

import os
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from atlas.arrays import Array
from atlas.engine.executors import InProcess
from atlas.engine.making import Made, Making, Piece
from atlas.engine.reducing import Receipts, Reduced
from atlas.engine.run import build, describe
from atlas.models import Model, load_model
from atlas.plans import Plan, Stage, declare
from atlas.recipe import Numerics, Recipe
from atlas.store import Store
from tests.builds import HASTY
from tests.stores import NUMERICS, made_layer

SECONDS, MARKS = "ATLAS_NAP", "ATLAS_NAP_MARKS"
"""What a nap takes, and a folder that is told of each; from the environment."""


def _arrays(plan: Plan) -> Iterator[Array]:
    yield Array("slept", (plan.total,), 1, "int32", -1, "shard")
    yield Array("all", (1,), 1, "int64", -1, "reduce")


NAPS = Stage(
    name="naps",
    over="units",
    shard=1,
    recipe=Recipe,
    arrays=_arrays,
    work="napping",
    items="naps",
    done="{} naps",
    module="tests.naps",
)


def make(piece: Piece) -> Making:
    """One nap."""
    shard = piece.shard
    yield from ()
    if os.environ.get(SECONDS):
        time.sleep(float(os.environ[SECONDS]))
    if os.environ.get(MARKS):
        (Path(os.environ[MARKS]) / f"{shard.index}-{os.getpid()}-{uuid.uuid4().hex}").touch()
    return [(piece.plan, Made({"slept": np.array([shard.index], np.int32)}, {"slept": np.array([[shard.index]])}))]


def reduce(_: Store, __: Plan, receipts: Receipts) -> Reduced:
    """How many there were."""
    return Reduced({"all": np.array([len(receipts)], np.int64)})


def nap_plans(model: Model, count: int, layers: int = 1, numerics: Numerics = NUMERICS, **knobs: Any) -> list[Plan]:
    """Plans of `count` naps, a shard each, on so many made layers."""
    each = [made_layer(f"layer-{number}", count // layers) for number in range(layers)]
    recipe = replace(HASTY, **knobs)
    return [Plan.of(NAPS.name, model.identity, layer, recipe, numerics) for layer in each]


def main(place: str, marks: str, seconds: str, count: str = "40") -> int:
    """Build; the exit code says whether everything is done."""
    declare(NAPS)
    os.environ |= {MARKS: marks, SECONDS: seconds}
    model = load_model("tests.networks:tiny")
    store = Store.create(place, model.identity, describe(model))
    report = build(store, model, nap_plans(model, int(count)), InProcess())
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
