"""A store that an older version began is finished by this one, byte for byte: python -m benchmarks.resumed OLD

OLD is a checkout of the older version (`git worktree add ../old COMMIT`). The older one is killed -9 when the store
holds so many receipts, for several counts of them; then the same command is run with this version. What comes of it is
compared with a build of the older version that nobody stopped; but what each version derives anew (tables, what
follows from a layer's numbers) or notes beside it (the pipeline).
"""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from atlas.store import LocalBackend, Store, verify
from tests.builds import contents
from tests.dataset.made import encoded, pixels

NEW = Path(__file__).parents[1]
COMMAND = ["build", "tests.networks:tiny", "--local", "--layers", "first.1,second.1", "--crops", "1"]
COMMAND += ["--set", "size=32", "--set", "steps=3", "--set", "draws=1", "--atlas", "second.1", "--positions", "8"]
COMMAND += ["--atlas-set", "size=16", "--atlas-set", "steps=2", "--atlas-set", "tries=1", "--grids", "10"]
NEWER = re.compile(r"tables/|receipts/(tables|derived)/|layers/[^/]+/derived/|pipeline\.json")
"""What each version makes anew from the rest, or notes beside it: not compared."""
KILLED = (1, 3, 5, 7, 9, 11)
"""Receipts after which the older version is killed."""


def start(version: Path, folder: Path, store: Path) -> subprocess.Popen[bytes]:
    """The build, by the code of `version`."""
    command = [sys.executable, "-m", "atlas", *COMMAND, "--images", str(folder), "--store", str(store)]
    environment = os.environ | {"PYTHONPATH": str(version)}
    return subprocess.Popen(command, cwd=version, env=environment, stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL)


def receipts(store: Path) -> int:
    """Shards and reduces that are done."""
    folded = sum(len(file.read_bytes().splitlines()) for file in store.glob("manifests/**/*.json"))
    return folded + sum(1 for _ in store.glob("receipts/**/*.json"))


def main(old: Path) -> int:
    """Print what came of each kill; the exit code says whether anything differed."""
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place) / "images"
        folder.mkdir()
        for number in range(9):
            (folder / f"{number}.png").write_bytes(encoded(pixels(number, (40, 60))))
        whole = Path(place) / "whole.atlas"
        assert start(old, folder, whole).wait() == 0
        wanted, wrong = contents(LocalBackend(whole)), 0
        for count in KILLED:
            store = Path(place) / f"killed-{count}.atlas"
            running = start(old, folder, store)
            while running.poll() is None and receipts(store) < count:
                time.sleep(0.01)
            running.send_signal(signal.SIGKILL)
            running.wait()
            there = receipts(store)
            done = start(NEW, folder, store).wait()
            found = contents(LocalBackend(store))
            keys = sorted(key for key in wanted.keys() | found.keys() if not NEWER.match(key))
            differing = [key for key in keys if wanted.get(key) != found.get(key)]
            findings = verify(Store.open(store)).findings
            print(
                f"killed with {there} receipts: exit {done}, {len(differing)} objects differ, {len(findings)} findings"
            )
            for line in [*differing[:5], *map(str, findings[:5])]:
                print(f"    {line}")
            wrong += bool(done or differing or findings)
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).absolute()))
