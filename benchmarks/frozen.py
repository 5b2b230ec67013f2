"""What a machine that freezes costs: seconds until it is noticed, and in all, with Ray's own timing.

    python -m benchmarks.frozen

Two machines of one slot each, as processes of this one. At the first finished shard all processes of the second are
stopped, with all connections open: as where the plug is pulled. Beside it the same build undisturbed.
"""

from __future__ import annotations

import os
import signal
import tempfile
import time
from pathlib import Path

from atlas.engine.clusters import connect
from atlas.engine.events import Event, Retried, ShardDone
from atlas.models import load_model
from tests.builds import tiny_plans
from tests.engine.test_vanishing import UNHURRIED, offspring, two_machines, watched


def timed(place: Path, freezes: bool) -> tuple[float, float]:
    """Seconds of a build, and from the stop of a machine to the first task that is given to another."""
    model = load_model("tests.networks:tiny")
    frozen: list[int] = []
    at = dict.fromkeys(("frozen", "noticed"), 0.0)
    with two_machines() as (cluster, second):

        def strike(event: Event) -> None:
            if freezes and not frozen and isinstance(event, ShardDone):
                frozen.extend(offspring(second.all_processes["raylet"][0].process.pid))
                for pid in frozen:
                    os.kill(pid, signal.SIGSTOP)
                at["frozen"] = time.monotonic()
            if isinstance(event, Retried) and not at["noticed"]:
                at["noticed"] = time.monotonic()

        try:
            with connect(cluster.address):
                began = time.monotonic()
                report, _ = watched(place, model, tiny_plans(model, recipe=UNHURRIED), strike)
                took = time.monotonic() - began
        finally:
            for pid in frozen:
                os.kill(pid, signal.SIGKILL)
    if report.failed:
        raise SystemExit(f"{len(report.failed)} shards failed.")
    return took, at["noticed"] - at["frozen"]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        plain, _ = timed(Path(folder, "plain"), freezes=False)
        took, noticed = timed(Path(folder, "frozen"), freezes=True)
    print(f"undisturbed {plain:.1f} s; with a frozen machine {took:.1f} s, noticed after {noticed:.1f} s.")


if __name__ == "__main__":
    main()
