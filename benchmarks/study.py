"""What each trick of the renderer gives in score and in speed: the study behind the recipes' knobs.

    python -m benchmarks.study --out FOLDER [--units 8]

Rows change one thing of the recipe `quick`. The same units of five layers of two trained networks are rendered under
each, and scored by the judge, which no engine trains on: moved, straight on, and as lucent shows them. A row's score is
the mean of the logarithms of what its pictures reach over what the base's reach, with its standard error. Then the
step itself is timed with each trick of speed taken away (`steps`), and units that do not fire at the start are rendered
with more and fewer redirected steps. The slow recipes, `fine` and `maco`, are studied likewise, on two units a layer.
Finished rows lie in FOLDER/study.jsonl and are not made again; the tables are printed as markdown, all figures written
to FOLDER/study.json.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Iterable
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cache
from itertools import chain
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
from numpy.typing import NDArray

from atlas.models import Model, Prepared, load_model, prepare
from atlas.recipe import Numerics, Recipe
from atlas.rendering import engine, render_units
from atlas.rendering.compute import computing
from benchmarks.asleep import asleep
from benchmarks.climbers import Nesterov, OneScale, Sign
from benchmarks.judge import as_lucent_shows, judge
from benchmarks.steps import exact, timed

LAYERS = {
    "squeezenet": ("features.4", "features.7", "features.11"),
    "efficientnet-lite0": ("_blocks.4", "_blocks.8"),
}
SLEEPY = ("features.9", "features.11", "features.12")
"""Layers of SqueezeNet many of whose units do not fire at the start."""
JUDGES = ("moved", "plain", "lucent")
WIDELY = ("base", "transforms", "together")
"""Tricks whose pictures are also shown as lucent shows them: those that might flatter a score under milder ones."""
BASE = Recipe.named("quick", variants=("positive",))
STEPS = (24, 32, 64, 96, 128)
LUCID = {"learning_rate": 0.05, "beta1": 0.9, "beta2": 0.999, "init_std": 0.01, "decay_power": 1.0} | {
    "lr_warmup_steps": 0,
    "lr_decay_fraction": 0.0,
    "contrast": 0.0,
}
WIDE = {"scale": (0.9, 1.1), "rotation": 10.0}
FIRST = LUCID | WIDE | {"steps": 64, "learning_rate": 0.12, "beta1": 0.5, "beta2": 0.99}
"""The recipe `quick` of the first stores."""


@dataclass(frozen=True)
class Row:
    """One way of making pictures: what it changes of the base, and what of the engine."""

    trick: str
    name: str
    knobs: dict[str, Any] = field(default_factory=dict)
    engine: dict[str, Any] = field(default_factory=dict)
    recipe: str = "quick"

    @property
    def key(self) -> str:
        return f"{self.trick}: {self.name}" if self.recipe == "quick" else f"{self.recipe}, {self.trick}: {self.name}"


def several(knob: str, *values: Any, recipe: str = "quick") -> list[Row]:
    return [Row(knob, str(value), {knob: value}, recipe=recipe) for value in values]


ROWS = [
    Row("base", "quick"),
    *several("steps", *STEPS),
    *several("relu_redirect_steps", 0, 4, 24),
    Row("transforms", "none", {"jitter": 0.0, "scale": (1.0, 1.0), "rotation": 0.0}),
    Row("transforms", "jitter alone", {"scale": (1.0, 1.0), "rotation": 0.0}),
    Row("transforms", "zoom and turn twice as wide", WIDE),
    Row("transforms", "all twice as wide", WIDE | {"jitter": 24.0}),
    Row("together", "the first recipe, 64 steps", FIRST),
    Row("together", "Lucid's, 128 steps", LUCID | WIDE | {"steps": 128}),
    *several("learning_rate", 0.06, 0.12, 0.3, 0.5),
    *several("beta1", 0.0, 0.6, 0.9),
    *several("beta2", 0.9, 0.999),
    *several("init_std", 0.01, 0.1, 0.3),
    *several("decay_power", 0.8, 1.0, 1.3),
    *several("lr_warmup_steps", 0, 4, 12),
    *several("lr_decay_fraction", 0.0, 0.6, 1.0),
    *several("contrast", 0.0, 1.5, 2.5),
    Row("optimizer", "Nesterov's Adam", engine={"Adam": Nesterov}),
    Row("optimizer", "the sign alone (Lion), rate 0.05", {"learning_rate": 0.05, "beta1": 0.9}, {"Adam": Sign}),
    Row("optimizer", "one scale a picture", engine={"Adam": OneScale}),
    Row("gradient", "of the resampling, exact", engine={"resample": exact}),
]
SLOW = {
    "fine": [
        Row("base", "fine", recipe="fine"),
        *several("learning_rate", 0.1, 0.2, 0.3, recipe="fine"),
        *several("contrast", 0.0, recipe="fine"),
        *several("decay_power", 1.0, 1.3, recipe="fine"),
    ],
    "maco": [
        Row("base", "maco", recipe="maco"),
        *several("steps", 128, recipe="maco"),
        *several("learning_rate", 0.03, 0.06, 0.2, 0.4, recipe="maco"),
        *several("beta1", 0.3, 0.9, recipe="maco"),
        *several("crop_scale", (0.25, 0.95), (0.9, 1.0), recipe="maco"),
        *several("lr_decay_fraction", 0.3, recipe="maco"),
    ],
}
"""Rows of recipes whose pictures are large and many steps away, by the recipe."""
FEW = 2
"""Units of each layer that they are studied on."""


@cache
def network(name: str) -> Model:
    return load_model(name)


@cache
def cut(name: str, layer: str) -> Prepared:
    return prepare(network(name), layer)


def spread(name: str, layer: str, count: int) -> list[int]:
    """Units of a layer, evenly apart."""
    channels = network(name).layer(layer).channels
    return [(2 * nth + 1) * channels // (2 * count) for nth in range(count)]


def made(row: Row, name: str, layer: str, units: list[int]) -> dict[str, Any]:
    """The scores of the pictures of `units` that `row` makes, their statuses, and CPU-seconds a picture."""
    recipe = Recipe.named(row.recipe, **{"variants": ("positive",), **row.knobs})
    with ExitStack() as stack:
        for what, other in row.engine.items():
            stack.enter_context(patch.object(engine, what, other))
        begun = time.process_time()
        found = render_units(cut(name, layer), units, recipe, Numerics())
        cpu = (time.process_time() - begun) / len(units)
    pictures, model = found.pictures[:, 0], network(name)
    with computing(Numerics()):
        scores = judge(model, layer, units, pictures)
        judged = {"moved": scores.moved, "plain": scores.plain}
        if row.trick in WIDELY:
            judged["lucent"] = as_lucent_shows(model, layer, units, pictures)
    listed = {name: [round(float(score), 3) for score in values] for name, values in judged.items()}
    return {"layer": f"{name} {layer}", "cpu": cpu, "status": found.status[:, 0].tolist(), **listed}


class Done:
    """What has been finished, a line of JSON each."""

    def __init__(self, file: Path) -> None:
        self._file = file
        lines = file.read_text().splitlines() if file.exists() else []
        self.found: dict[str, Any] = dict(json.loads(line) for line in lines)

    def once(self, key: str, make: Any) -> Any:
        if key not in self.found:
            begun = time.process_time()
            self.found[key] = make()
            with self._file.open("a") as file:
                file.write(json.dumps([key, self.found[key]]) + "\n")
            print(f"{key}: {time.process_time() - begun:.0f} CPU-s", flush=True)
        return self.found[key]


def everywhere(row: Row, count: int) -> list[dict[str, Any]]:
    return [made(row, name, layer, spread(name, layer, count)) for name, layers in LAYERS.items() for layer in layers]


def gains(cells: list[dict[str, Any]], base: list[dict[str, Any]], name: str) -> NDArray[Any]:
    """The logarithm of what each picture reaches over the base's; a picture that reaches nothing counts as 1%."""
    mine, theirs = (np.concatenate([cell[name] for cell in some]) for some in (cells, base))
    good = theirs > 0
    found: NDArray[Any] = np.log(np.maximum(mine[good] / theirs[good], 0.01))
    return found


def line(row: Row, cells: list[dict[str, Any]], base: list[dict[str, Any]]) -> str:
    """A row of the table."""
    columns = []
    for name in JUDGES:
        if all(name in cell for cell in (*cells, *base)):
            gain = gains(cells, base, name)
            columns.append(f"{np.expm1(gain.mean()):+.1%} ± {gain.std() / len(gain) ** 0.5:.1%}")
        else:
            columns.append("")
    worst = float(np.exp(gains(cells, base, "moved").min()))
    cpu = float(np.mean([cell["cpu"] for cell in cells]) / np.mean([cell["cpu"] for cell in base]))
    lost = sum(status != 0 for cell in cells for status in cell["status"])
    return f"| {row.trick} | {row.name} | {' | '.join(columns)} | {worst:.2f} | {lost} | {cpu:.2f} |"


def earlier(found: dict[str, Any]) -> list[str]:
    """What a rule could gain that ends each picture's ascent by its own score, at best.

    A picture takes the next rung of steps as long as the last one raised its score by more than a threshold. Each rung
    is a whole ascent, its rate falling to zero, so that no rule within one ascent can do better; nor does looking cost
    anything here. Against it: all pictures at the same number of steps, between two rungs by interpolation.
    """
    steps = [24, 32, BASE.steps, 64, 96, 128]
    keys = ["base: quick" if count == BASE.steps else f"steps: {count}" for count in steps]
    table = np.array([np.concatenate([cell["moved"] for cell in found[key]]) for key in keys])
    gain = np.log(np.maximum(table, 1e-3) / np.maximum(table[-1], 1e-3))
    lines = [
        "| ends when the last rung gave less than | mean steps | score | all alike at as many steps |",
        "|-|-|-|-|",
    ]
    for threshold in (0.2, 0.15, 0.1, 0.07, 0.05):
        going, rung = np.ones(table.shape[1], bool), np.zeros(table.shape[1], int)
        for above in range(1, len(steps)):
            if above > 1:
                going &= gain[above - 1] - gain[above - 2] > threshold
            rung[going] = above
        mean = float(np.mean(np.array(steps)[rung]))
        score = float(np.exp(gain[rung, np.arange(len(rung))].mean()))
        alike = float(np.exp(np.interp(mean, steps, gain.mean(1))))
        lines.append(f"| {threshold:.0%} | {mean:.0f} | {score:.3f} | {alike:.3f} |")
    return lines


def woken(found: dict[str, Any]) -> list[str]:
    """How many redirected steps units need that do not fire at the start."""
    lines = ["| redirected steps | units | without a picture | score | lowest | CPU |", "|-|-|-|-|-|-|"]
    base = found[f"asleep: {BASE.relu_redirect_steps}"]
    for key, cells in found.items():
        if key.startswith("asleep: "):
            row = Row("", "")
            _, _, _, score, _, _, worst, lost, cpu, _ = (part.strip() for part in line(row, cells, base).split("|"))
            units = sum(len(cell["status"]) for cell in cells)
            lines.append(f"| {key.removeprefix('asleep: ')} | {units} | {lost} | {score} | {worst} | {cpu} |")
    return lines


def table(rows: list[Row], found: dict[str, Any]) -> Iterable[str]:
    """Rows beside the first of them."""
    yield "| trick | changed to | score, moved | straight on | as lucent shows it | worst | lost | CPU |"
    yield "|-|-|-|-|-|-|-|-|"
    yield from (line(row, found[row.key], found[rows[0].key]) for row in rows)


def tables(found: dict[str, Any]) -> Iterable[str]:
    yield from table(ROWS, found)
    for rows in SLOW.values():
        yield from ["", *table(rows, found)]
    yield from ["", *earlier(found), "", *woken(found), ""]
    yield "| the step, without | " + " | ".join(found["steps"]) + " |"
    yield "|-|" + "-|" * len(found["steps"])
    for name in next(iter(found["steps"].values())):
        yield f"| {name} | " + " | ".join(f"{times[name]:.2f}" for times in found["steps"].values()) + " |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for figures")
    parser.add_argument("--units", type=int, default=8, help="of each layer")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    asked.out.mkdir(parents=True, exist_ok=True)
    done = Done(asked.out / "study.jsonl")
    done.once("steps", lambda: {f"{name} {layer}": timed(network(name), layer) for name, layer in cases()})
    sleepers = done.once("sleepers", lambda: {layer: asleep(cut("squeezenet", layer), BASE) for layer in SLEEPY})
    for count in (0, 2, 4, 8, BASE.relu_redirect_steps, 24):
        row = Row("asleep", str(count), {"relu_redirect_steps": count})
        done.once(row.key, lambda row=row: [made(row, "squeezenet", layer, sleepers[layer]) for layer in SLEEPY])
    for row in ROWS:
        done.once(row.key, lambda row=row: everywhere(row, asked.units))
    for row in chain(*SLOW.values()):
        done.once(row.key, lambda row=row: everywhere(row, FEW))
    print("\n".join(tables(done.found)))
    (asked.out / "study.json").write_text(json.dumps({"torch": torch.__version__, **done.found}, indent=1) + "\n")


def cases() -> list[tuple[str, str]]:
    return [(name, layers[-1]) for name, layers in LAYERS.items()]


if __name__ == "__main__":
    main()
