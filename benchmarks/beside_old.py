"""Whether anything is slower than in an older version: python -m benchmarks.beside_old OLD [--runs 12]

OLD is a checkout of the older version (`git worktree add ../old COMMIT`). Each run is a process of its own, old and new
in turns, so that what else the machine does meets both alike. Printed are medians of CPU-seconds, their ratio, and the
spread of old against old: how far the medians of its even and of its odd runs lie apart.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from statistics import median

NEW = Path(__file__).parents[1]
ROUND = Path(__file__).with_name("beside_old_round.py")
BUILD = ["build", "squeezenet", "--layers", "features.3,features.4", "--local", "--set", "size=16", "--set", "steps=1"]


def main() -> None:
    """Measure both versions in turns, and print how they compare."""
    parser = argparse.ArgumentParser()
    parser.add_argument("old", type=Path)
    parser.add_argument("--runs", type=int, default=12)
    given = parser.parse_args()
    taken: dict[str, list[dict[str, float]]] = {"old": [], "new": []}
    with tempfile.TemporaryDirectory() as folder:
        stores = {name: Path(folder) / name for name in taken}
        versions = {"old": given.old.resolve(), "new": NEW}
        for name, version in versions.items():
            run(version, ["-m", "atlas", *BUILD, "--store", str(stores[name])])
        for _ in range(given.runs):
            for name, version in versions.items():
                taken[name].append(json.loads(run(version, ["-P", str(ROUND), str(stores[name])])))
    for what in taken["old"][0]:
        old, new = ([one[what] for one in taken[name]] for name in ("old", "new"))
        spread = abs(median(old[::2]) / median(old[1::2]) - 1)
        ratio = median(new) / median(old)
        print(f"{what:10} old {median(old):.3f} s, new {median(new):.3f} s: {ratio:.3f}; old against old {spread:.1%}")


def run(version: Path, words: list[str]) -> str:
    """What a Python program prints that runs with the code of `version`."""
    environment = os.environ | {"PYTHONPATH": str(version)}
    done = subprocess.run([sys.executable, *words], cwd=version, env=environment, check=True, capture_output=True)
    return done.stdout.decode()


if __name__ == "__main__":
    main()
