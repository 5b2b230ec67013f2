"""This engine against torch-lucent: what a channel costs until its picture is as good as lucent's.

    python -m benchmarks.against_lucent --peer PEER/bin/python --out FOLDER [squeezenet efficientnet-lite0]

Both render the same channels of the same layer of the same trained network at the same size, in turns (each round some
channels by lucent at both its steps, and all by ours at every rung), with the same number of threads. Lucent makes its
pictures at 128 and at 512 steps; ours are made at a ladder of steps, and the lowest rung counts on which the mean score
over the channels is no lower than lucent's both ways the judge looks (`judge`). Writes FOLDER/against_lucent.json and
FOLDER/against_lucent.jpg, all pictures on one sheet, and prints a table. With --device cuda both render there, ours as
many side by side as a plan would, and wall seconds count; that has not been run yet.

Lucent needs an environment of its own, which may borrow this one's torch:

    python3 -m venv PEER
    python -c 'import site; print(site.getsitepackages()[0])' > PEER/lib/python3.11/site-packages/project.pth
    PEER/bin/pip install --no-deps torch-lucent==0.1.8 kornia==0.4.1
    PEER/bin/pip install decorator ipython tqdm
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageDraw

from atlas.engine.numerics import WIDTH as WIDTHS
from atlas.models import Model, Prepared, load_model, prepare
from atlas.recipe import DTYPES, Numerics, Recipe
from atlas.rendering import render_units
from benchmarks.judge import judge

Pixels = np.ndarray[Any, np.dtype[np.uint8]]

ROOT = Path(__file__).parents[1]
TARGETS = (128, 512)
"""Lucent's steps: what it advises for a look, and its default."""
LADDER = (24, 28, 32, 36, 40, 48, 56, 64, 80, 96, 104, 112, 120, 128)
ROUNDS = 2
SIDE = 160
"""Of a picture on the sheet."""


@dataclass(frozen=True)
class Case:
    """What both engines render."""

    model: str
    layer: str
    size: int
    units: tuple[int, ...]
    seen: int
    """Side of what lucent's network is shown; 0 for its default, which enlarges pictures under 224 to that."""


CASES = {
    "squeezenet": Case("squeezenet", "features.11", 160, (1, 40, 90, 150, 300, 400, 500, 77), 184),
    "efficientnet-lite0": Case("efficientnet-lite0", "_blocks.8", 224, tuple(range(0, 112, 14)), 0),
}
"""At 160 px lucent's default shows the network a larger picture: slower by a third and of a lower score than with 184,
the picture and lucent's padding at their own scale. So it gets 184. At 224 its default is the stronger one."""


@dataclass
class Entry:
    """One engine at one number of steps."""

    engine: str
    steps: int
    cpu: float = 0.0
    wall: float = 0.0
    """Seconds a channel."""
    moved: float = 0.0
    plain: float = 0.0
    """The judge's mean scores."""
    scores: list[float] = field(default_factory=list)
    """Of each channel, moved."""
    pictures: Pixels = field(default_factory=lambda: np.empty(0, np.uint8), repr=False)


class Lucent:
    """The process that lucent runs in."""

    def __init__(self, process: subprocess.Popen[str], folder: Path) -> None:
        self._process, self._folder = process, folder
        if not self._read():
            raise SystemExit("Lucent did not start; what it said stands above. How to install it: --help.")

    def paint(self, unit: int, steps: int) -> tuple[Pixels, dict[str, float]]:
        """Its picture [h,w,3] and the CPU and wall seconds it took."""
        file = self._folder / "picture.npy"
        assert self._process.stdin
        self._process.stdin.write(json.dumps({"unit": unit, "steps": steps, "file": str(file)}) + "\n")
        self._process.stdin.flush()
        spent = json.loads(self._read())
        return np.load(file), spent

    def _read(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline()


@contextmanager
def lucent(python: Path, case: Case, numerics: Numerics) -> Iterator[Lucent]:
    """Lucent at work on `case` in the environment of `python`."""
    words = [case.model, case.layer, case.size, case.seen, numerics.threads, numerics.device]
    command = [str(python), "-W", "ignore", "-m", "benchmarks.peer", *map(str, words)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    if numerics.device == "cpu":
        environment["CUDA_VISIBLE_DEVICES"] = ""  # lucent takes what it sees
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with tempfile.TemporaryDirectory() as folder, subprocess.Popen(command, env=environment, cwd=ROOT, **pipes) as run:
        try:
            yield Lucent(run, Path(folder))
        finally:
            run.kill()


def compare(case: Case, python: Path, numerics: Numerics) -> list[Entry]:
    """Both engines on `case`, in turns: some channels by lucent, all by ours, as often as lucent has rounds."""
    torch.set_num_threads(numerics.threads)
    model = load_model(case.model)
    prepared = prepare(model, case.layer, device=numerics.device)
    ours(prepared, case, 2, numerics)
    entries = [Entry("lucent", steps) for steps in TARGETS] + [Entry("atlas", steps) for steps in LADDER]
    with lucent(python, case, numerics) as peer:
        for some in np.array_split(case.units, ROUNDS):
            for entry in entries:
                if entry.engine == "lucent":
                    pictures, spent = theirs(peer, some.tolist(), entry.steps)
                    entry.pictures = np.concatenate([entry.pictures.reshape(-1, *pictures.shape[1:]), pictures])
                    _book(entry, spent, share=len(case.units))
                else:
                    entry.pictures, spent = ours(prepared, case, entry.steps, numerics)
                    _book(entry, spent, share=len(case.units) * ROUNDS)
                print(f"{case.model}: {entry.engine} {entry.steps} steps, round of {some.tolist()}", flush=True)
    for entry in entries:
        _score(entry, model, case)
    return entries


def _book(entry: Entry, spent: dict[str, float], *, share: int) -> None:
    entry.cpu += spent["cpu"] / share
    entry.wall += spent["wall"] / share


def _score(entry: Entry, model: Model, case: Case) -> None:
    scores = judge(model, case.layer, list(case.units), entry.pictures)
    entry.moved, entry.plain = scores.means
    entry.scores = [round(float(score), 2) for score in scores.moved]


def theirs(peer: Lucent, units: list[int], steps: int) -> tuple[Pixels, dict[str, float]]:
    """Lucent's pictures of `units` and what they took together."""
    made = [peer.paint(unit, steps) for unit in units]
    spent = {clock: sum(seconds[clock] for _, seconds in made) for clock in ("cpu", "wall")}
    return np.stack([picture for picture, _ in made]), spent


def ours(prepared: Prepared, case: Case, steps: int, numerics: Numerics) -> tuple[Pixels, dict[str, float]]:
    """Our pictures of all channels, side by side, and what they took together.

    Where a batch holds more than there are, it is filled with the same ones, and they took their share of it.
    """
    recipe = Recipe.named("quick", size=case.size, steps=steps, variants=("positive",))
    units = list(case.units)
    times = max(numerics.batch // len(units), 1)
    wall, cpu = time.perf_counter(), time.process_time()
    made = render_units(prepared, units * times, recipe, numerics)
    spent = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}
    return made.pictures[: len(units), 0], {clock: seconds / times for clock, seconds in spent.items()}


def reached(entries: list[Entry], steps: int) -> tuple[Entry, Entry | None]:
    """Lucent at `steps`, and our lowest rung that is no worse either way."""
    target = next(entry for entry in entries if entry.engine == "lucent" and entry.steps == steps)
    rungs = [entry for entry in entries if entry.engine == "atlas"]
    good = [entry for entry in rungs if entry.moved >= target.moved and entry.plain >= target.plain]
    return target, min(good, key=lambda entry: entry.steps, default=None)


def table(case: Case, entries: list[Entry]) -> str:
    """What is printed."""
    lines = [f"\n{case.model} {case.layer}, {case.size} px, {len(case.units)} channels; seconds a channel"]
    lines.append(f"{'engine':8}{'steps':>6}{'CPU-s':>8}{'wall':>8}{'moved':>9}{'plain':>9}{'lowest':>9}")
    for entry in entries:
        numbers = f"{entry.cpu:8.3f}{entry.wall:8.3f}{entry.moved:9.2f}{entry.plain:9.2f}{min(entry.scores):9.2f}"
        lines.append(f"{entry.engine:8}{entry.steps:6}{numbers}")
    for steps in TARGETS:
        target, our = reached(entries, steps)
        if our is None:
            lines.append(f"lucent's score at {steps} steps: not reached")
        else:
            ratios = f"{target.cpu / our.cpu:.1f}x by CPU-seconds, {target.wall / our.wall:.1f}x by wall"
            lines.append(f"lucent's score at {steps} steps: reached in {our.steps}; {ratios}; {beside(target, our)}")
    return "\n".join(lines)


def beside(target: Entry, our: Entry) -> str:
    """How single channels stand beside lucent's."""
    shares = np.array(our.scores) / np.array(target.scores)
    return f"a channel's score is {shares.min():.2f} to {shares.max():.2f} of lucent's"


def sheet(results: list[tuple[Case, list[Entry]]], file: Path) -> None:
    """A row an engine, for each network: lucent at each of its steps, and below it our rung that reached it."""
    rows = []
    for case, entries in results:
        for entry in (entry for steps in TARGETS for entry in reached(entries, steps) if entry):
            name = f"{case.model}\n{entry.engine}\n{entry.steps} steps\n{entry.cpu:.2f} CPU-s"
            rows.append(np.concatenate([_label(name), *map(_small, entry.pictures)], 1))
    Image.fromarray(np.concatenate(rows)).save(file, quality=88)


def _small(picture: Pixels) -> Pixels:
    return np.asarray(Image.fromarray(picture).resize((SIDE, SIDE), Image.Resampling.LANCZOS))


def _label(text: str) -> Pixels:
    """Black on white, as high as a picture."""
    paper = Image.new("RGB", (SIDE, SIDE), "white")
    ImageDraw.Draw(paper).multiline_text((8, SIDE // 3), text, "black")
    return np.asarray(paper)


def record(case: Case, entries: list[Entry]) -> dict[str, Any]:
    """All figures, as JSON."""
    plain = [{name: value for name, value in vars(entry).items() if name != "pictures"} for entry in entries]
    found = {}
    for steps in TARGETS:
        target, our = reached(entries, steps)
        if our:
            found[steps] = {"steps": our.steps, "cpu": target.cpu / our.cpu, "wall": target.wall / our.wall}
    return {"case": asdict(case), "entries": plain, "ratios": found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", default=list(CASES), metavar="MODEL", help=", ".join(CASES))
    parser.add_argument("--peer", type=Path, required=True, help="the python that has lucent")
    parser.add_argument("--out", type=Path, required=True, help="folder for figures and sheets")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu", choices=list(WIDTHS))
    parser.add_argument("--dtype", default="float32", choices=DTYPES, help="ours; lucent has no choice")
    asked = parser.parse_args()
    numerics = Numerics(WIDTHS[asked.device], asked.threads, asked.device, dtype=asked.dtype)
    asked.out.mkdir(parents=True, exist_ok=True)
    results: list[tuple[Case, list[Entry]]] = []
    for case in [CASES[name] for name in asked.models]:
        results.append((case, compare(case, asked.peer, numerics)))
        print(table(*results[-1]), flush=True)
        records = [record(*result) for result in results]
        written = {"torch": torch.__version__, "numerics": numerics.to_dict(), "cases": records}
        (asked.out / "against_lucent.json").write_text(json.dumps(written, indent=1) + "\n")
        sheet(results, asked.out / "against_lucent.jpg")


if __name__ == "__main__":
    main()
