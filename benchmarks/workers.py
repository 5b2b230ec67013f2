"""What Ray costs: two workers of a cluster beside two bare processes, each of which builds half of the same shards.

    python -m benchmarks.workers [--rounds 3] [--steps 16]

Pictures of 16 shards of a layer of SqueezeNet. All have loaded the network and made a shard before the clock starts;
the rounds take turns, so that what else the machine does meets both alike.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from atlas.engine.clusters import connect
from atlas.engine.executors import Executor, InProcess
from atlas.engine.numerics import numerics_for
from atlas.engine.on_ray import OnRay
from atlas.engine.planning import features
from atlas.models import load_model
from atlas.plans import Plan
from atlas.recipe import Recipe
from atlas.store import LocalBackend
from tests.builds import build_in

LAYER = "features.12"
WARM = "features.3:0-31"
ALL = range(16 * 32)
"""Units of the layer."""
PROCESSES = 2


def build(place: Path, text: str, steps: int, executor: Executor) -> float:
    """Seconds of a build of what `text` names, in a new store."""
    model = load_model("squeezenet")
    layers, units = features.wanted(model, [text])
    recipe = Recipe.named("quick", steps=steps)
    plans: list[Plan] = features.plan(model.identity, layers, recipe, numerics_for("cpu"), units)
    began = time.perf_counter()
    _, report = build_in(LocalBackend(place), model, plans, executor)
    assert not report.failed, report.failed
    return time.perf_counter() - began


def bare(folder: Path, number: int, steps: int) -> None:
    """One of the bare processes: builds its half as soon as the other is ready."""
    build(folder / f"warm-{number}", WARM, 1, InProcess())
    (folder / f"ready-{number}").touch()
    while len(list(folder.glob("ready-*"))) < PROCESSES:
        time.sleep(0.01)
    half = len(ALL) // PROCESSES
    text = f"{LAYER}:{number * half}-{(number + 1) * half - 1}"
    print(build(folder / f"half-{number}", text, steps, InProcess()))


def side_by_side(folder: Path, steps: int) -> float:
    """Seconds of the slower of the bare processes."""
    words = [sys.executable, "-m", "benchmarks.workers", "--bare", str(folder), "--steps", str(steps), "--number"]
    running = [subprocess.Popen([*words, str(n)], stdout=subprocess.PIPE, text=True) for n in range(PROCESSES)]
    return max(float(one.communicate()[0].split()[-1]) for one in running)


def main() -> None:
    """Measure both in turns and print how they compare."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=16)
    parser.add_argument("--bare", type=Path)
    parser.add_argument("--number", type=int, default=0)
    given = parser.parse_args()
    if given.bare:
        bare(given.bare, given.number, given.steps)
        return
    os.environ["OMP_NUM_THREADS"] = "1"
    taken: dict[str, list[float]] = {"ray": [], "bare": []}
    for turn in range(given.rounds):
        with tempfile.TemporaryDirectory(prefix="workers-") as name:
            folder = Path(name)
            with connect("local", workers=PROCESSES):
                executor = OnRay(numerics_for("cpu"), PROCESSES)
                build(folder / "warm", f"{LAYER}:0-63", 1, executor)
                taken["ray"].append(build(folder / "ray", LAYER, given.steps, executor))
            taken["bare"].append(side_by_side(folder, given.steps))
        print(f"round {turn + 1}: two workers {taken['ray'][-1]:.1f} s, two bare processes {taken['bare'][-1]:.1f} s")
    ray, alone = (median(taken[name]) for name in ("ray", "bare"))
    print(f"two workers reach {alone / ray:.0%} of what two bare processes reach (medians of {given.rounds})")


if __name__ == "__main__":
    main()
