"""How well a calibration foretells what layers cost: predicted beside measured CPU-seconds, all in one run.

    python -m benchmarks.calibration [--recipe quick] [--rounds 3] -> a table; the largest error of relative cost

A batch of each layer is predicted by a short calibration, then rendered in full, layer after layer and round after
round, so that whatever else the machine does falls on all of them. Relative cost is a layer's share of the sum.
"""

from __future__ import annotations

import argparse
import statistics
import time

from atlas.engine.numerics import numerics_for
from atlas.models import load_model, prepare
from atlas.recipe import Recipe
from atlas.rendering import render_units, score_pictures
from atlas.rendering.calibration import cost

LAYERS = {
    "squeezenet": ("features.4", "features.7", "features.10", "features.12"),
    "efficientnet-lite0": ("_blocks.3", "_blocks.8", "_blocks.14"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recipe", default="quick")
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    recipe, numerics = Recipe.named(given.recipe), numerics_for("cpu")
    models = {name: load_model(name) for name in LAYERS}
    prepared = {
        f"{name} {layer}": prepare(models[name], models[name].layer(layer)) for name in LAYERS for layer in LAYERS[name]
    }
    predicted = {name: cost(each, recipe, numerics).of(recipe) for name, each in prepared.items()}
    units = range(numerics.batch)
    pictures = len(units) * len(recipe.variants)
    seconds: dict[str, list[float]] = {name: [] for name in prepared}
    for _ in range(given.rounds):
        for name, each in prepared.items():
            began = time.process_time()
            found = render_units(each, units, recipe, numerics)
            score_pictures(each, found.pictures, units, recipe, numerics)
            seconds[name].append((time.process_time() - began) / pictures)
    measured = {name: statistics.median(each) for name, each in seconds.items()}
    shares = [{name: value / sum(costs.values()) for name, value in costs.items()} for costs in (predicted, measured)]
    errors = {name: shares[0][name] / shares[1][name] - 1 for name in prepared}
    print(f"{'':34}{'predicted s':>12}{'measured s':>12}{'relative':>10}")
    for name in prepared:
        print(f"{name:34}{predicted[name]:12.3f}{measured[name]:12.3f}{errors[name]:+10.1%}")
    print(f"largest error of relative cost: {max(map(abs, errors.values())):.1%}")


if __name__ == "__main__":
    main()
