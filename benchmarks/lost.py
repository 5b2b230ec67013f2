"""Whether a quick ascent loses any unit: all 512 channels of SqueezeNet's features.11 under the recipe `quick`.

    python -m benchmarks.lost

Counts statuses, prints what the units reach on held-out draws, and holds 64 of them, chosen by chance, against the
recipe `standard` at the same size, whose ascent is more than twice as long.
"""

from __future__ import annotations

from collections import Counter

import numpy as np

from atlas.models import load_model, prepare
from atlas.recipe import Numerics, Recipe
from atlas.rendering import render_units, score_pictures
from atlas.store import as_stored
from atlas.units import Status

LAYER, SIZE, CHOSEN = "features.11", 128, 64


def main() -> None:
    prepared = prepare(load_model("squeezenet"), LAYER)
    units = list(range(prepared.layer.channels))
    chosen = sorted(np.random.default_rng(0).choice(units, CHOSEN, replace=False).tolist())
    reached = {}
    for name, some in (("quick", units), ("standard", chosen)):
        recipe, numerics = Recipe.named(name, size=SIZE, variants=("positive",)), Numerics()
        found = render_units(prepared, some, recipe, numerics)
        mean, _ = score_pictures(prepared, as_stored(found.pictures, recipe.jpeg_quality), some, recipe, numerics)
        reached[name] = dict(zip(some, mean[:, 0].tolist(), strict=True))
        statuses = Counter(Status(int(status)).name.lower() for status in found.status[:, 0])
        print(f"{name}, {recipe.steps} steps, {len(some)} units: {dict(statuses)}")
        print(f"  {_spread(list(reached[name].values()))}")
    shares = [reached["quick"][unit] / reached["standard"][unit] for unit in chosen]
    print(f"quick over standard, {CHOSEN} units: {_spread(shares)}")
    print("lowest:", sorted((round(share, 2), unit) for share, unit in zip(shares, chosen, strict=True))[:5])


def _spread(values: list[float]) -> str:
    """Lowest, quartiles and highest."""
    points = np.percentile(values, [0, 1, 25, 50, 75, 100])
    names = ("lowest", "1%", "quarter", "median", "three quarters", "highest")
    return ", ".join(f"{name} {value:.3g}" for name, value in zip(names, points, strict=True))


if __name__ == "__main__":
    main()
