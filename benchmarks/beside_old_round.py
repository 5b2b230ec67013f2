"""One round of `beside_old`: CPU-seconds of the renderer, of collecting and of queries, by whichever version it finds.

PYTHONPATH=VERSION python beside_old_round.py STORE
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from importlib import import_module
from typing import Any

import torch

import atlas
from atlas.models import load_model, prepare
from atlas.recipe import Numerics, Recipe
from atlas.rendering import render_units

QUESTIONS = (
    "select layer, count(*), avg(objective), max(objective_peak) from units group by layer order by 1",
    "select layer, count(*), avg(mean), max(peak) from units group by layer order by 1",
)
"""The same one, as the tables of newer and of older versions call their columns."""


def either(*modules: str) -> Any:
    """The first of some modules that this version has."""
    for name in modules:
        try:
            return import_module(name)
        except ModuleNotFoundError:
            continue
    raise SystemExit(f"none of {modules} is there")


def second(work: Callable[[], object]) -> float:
    """CPU-seconds of `work`, done for the second time."""
    work()
    began = time.process_time()
    work()
    return time.process_time() - began


def main(store: str) -> None:
    """Print the figures as JSON."""
    torch.set_num_threads(1)
    model = load_model("squeezenet")
    cut, recipe = prepare(model, model.layer("features.7")), Recipe.named("quick", steps=24)
    dataset = either("atlas.dataset.collect", "atlas.collecting.collect")
    noise = torch.rand(48, 1, 3, 227, 227, generator=torch.Generator().manual_seed(0))
    images = [dataset.Shown(number, crops) for number, crops in enumerate(noise)]
    layers = model.select(["auto"])
    newer = hasattr(type(atlas.open(store)), "similar")

    def query() -> None:
        for _ in range(20):
            list(atlas.open(store).sql(QUESTIONS[0] if newer else QUESTIONS[1]))

    print(
        json.dumps(
            {
                "renderer": second(lambda: render_units(cut, [0, 1, 2, 3], recipe, Numerics(threads=1))),
                "collecting": second(lambda: dataset.collect(model, layers, iter(images), width=8)),
                "query": second(query),
            }
        )
    )


if __name__ == "__main__":
    main(sys.argv[1])
