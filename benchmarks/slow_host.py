"""What one slow machine of eight costs: seconds of a build whose stage sleeps, beside the same with eight alike.

    python -m benchmarks.slow_host [--shards 160] [--sleep 0.5] [--times 5]

Eight machines of one slot each, as processes of this one. A shard sleeps instead of computing, on one machine `--times`
as long: so that this machine's cores decide nothing. Both builds follow each other on the same workers.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import ray
from ray.cluster_utils import Cluster
from torch import nn

from atlas.arrays import Array
from atlas.engine.clusters import connect
from atlas.engine.making import Made, Making, Piece
from atlas.engine.on_ray import OnRay
from atlas.models import Preprocessing, load_model
from atlas.plans import SHARD, Plan, Stage, declare
from atlas.recipe import Numerics, Recipe
from atlas.store import LocalBackend
from tests.builds import build_in

HOSTS = 8
SLOW = "slow"
"""A file in the store's folder that names the machine that is slow."""


def _arrays(plan: Plan) -> Iterator[Array]:
    yield Array("done", (plan.total,), SHARD, "uint8", 0, "shard")


@dataclass(frozen=True)
class Sleep(Recipe):
    """Of this module, so that workers import it with a plan and know the stage."""


SLEEPING = Stage(
    name="sleeping",
    over="units",
    recipe=Sleep,
    renders=True,
    arrays=_arrays,
    work="sleeping",
    items="units",
    module=__name__,
)
declare(SLEEPING)


def network() -> tuple[nn.Module, Preprocessing]:
    """A layer of as many shards as the environment says."""
    channels = SHARD * int(os.environ.get("SLEEPING_SHARDS", "160"))
    return nn.Sequential(nn.Flatten(), nn.Linear(3 * 16, channels)), Preprocessing(size=(4, 4))


def make(piece: Piece) -> Making:
    """Sleep, on a slow machine longer."""
    place, seconds = Path(os.environ["SLEEPING_FOLDER"]), float(os.environ["SLEEPING_SECONDS"])
    slow = (place / SLOW).read_text() if (place / SLOW).exists() else ""
    if ray.get_runtime_context().get_node_id() == slow:
        seconds *= float(os.environ["SLEEPING_TIMES"])
    time.sleep(seconds)
    yield from ()
    return [(piece.plan, Made({"done": np.ones(len(piece.shard), np.uint8)}))]


def timed(place: Path, units: range | None = None) -> float:
    """Seconds of a build of the sleeping stage."""
    model = load_model("benchmarks.slow_host:network")
    numerics = Numerics(torch="0.0")
    plan = Plan.of(SLEEPING.name, model.identity, model.layers[-1], Sleep(size=16, steps=1), numerics, units or ())
    began = time.perf_counter()
    _, report = build_in(LocalBackend(place), model, [plan], OnRay(numerics))
    assert not report.failed, report.failed
    return time.perf_counter() - began


def main() -> None:
    """Measure both and print how they compare."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--shards", type=int, default=160)
    parser.add_argument("--sleep", type=float, default=0.5)
    parser.add_argument("--times", type=float, default=5.0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="slow-") as name:
        folder = Path(name)
        os.environ |= {
            "SLEEPING_SHARDS": str(given.shards),
            "SLEEPING_SECONDS": str(given.sleep),
            "SLEEPING_TIMES": str(given.times),
            "SLEEPING_FOLDER": name,
            "RAY_memory_monitor_refresh_ms": "0",
        }
        small: dict[str, Any] = {"object_store_memory": 80 * 2**20, "include_dashboard": False}
        cluster = Cluster()
        try:
            nodes = [cluster.add_node(num_cpus=int(host > 0), **small) for host in range(HOSTS + 1)]
            with connect(cluster.address):
                timed(folder / "warm")  # every machine has a worker then, and each has loaded the network
                alike = timed(folder / "alike")
                (folder / SLOW).write_text(nodes[-1].node_id)
                slow = timed(folder / "slow.atlas")
        finally:
            cluster.shutdown()  # type: ignore[no-untyped-call]
    best = given.shards * given.sleep / HOSTS
    print(f"{given.shards} shards of {given.sleep:g} s on {HOSTS} machines, at best {best:.1f} s")
    print(f"alike {alike:.1f} s; one {given.times:g} times slower {slow:.1f} s: {slow / alike:.2f} times as long")


if __name__ == "__main__":
    import_module("benchmarks.slow_host").main()  # by its own name, which workers know
