"""Memory of a picture while it is made.

    python -m benchmarks.memory

(network, layer, size) -> MB a picture, MB at the most by steps

Each ascent runs in a process of its own, whose largest resident memory counts. What a picture takes is the difference
between eight and sixteen side by side, over eight.
"""

from __future__ import annotations

import resource
import subprocess
import sys

CASES = [
    ("squeezenet", "features.11", 128),
    ("squeezenet", "features.11", 224),
    ("efficientnet-lite0", "_blocks.8", 128),
    ("efficientnet-lite0", "_blocks.8", 224),
]


def peak(name: str, layer: str, size: int, *, width: int, steps: int) -> float:
    """Largest memory in MB of a process that makes `width` pictures in `steps`."""
    words = [sys.executable, "-m", "benchmarks.memory", name, layer, *map(str, (size, width, steps))]
    return float(subprocess.run(words, capture_output=True, text=True, check=True).stdout)


def alone(name: str, layer: str, size: int, width: int, steps: int) -> None:
    """Make them, and print this process's largest memory in MB."""
    from atlas.models import load_model, prepare
    from atlas.recipe import Numerics, Recipe
    from atlas.rendering import render_units

    prepared = prepare(load_model(name), layer)
    recipe = Recipe.named("quick", size=size, steps=steps, redirected=4, variants=("positive",))
    render_units(prepared, list(range(width)), recipe, Numerics(batch=width))
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


def main() -> None:
    print("| | size | MB a picture | 4 abreast, 8 steps | 64 steps | 256 steps |\n|-|-|-|-|-|-|")
    for case in CASES:
        each = (peak(*case, width=16, steps=8) - peak(*case, width=8, steps=8)) / 8
        whole = [peak(*case, width=4, steps=steps) for steps in (8, 64, 256)]
        cells = [f"{case[0]} {case[1]}", str(case[2]), f"{each:.0f}", *(f"{mb:.0f} MB" for mb in whole)]
        print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    if sys.argv[1:]:
        alone(sys.argv[1], sys.argv[2], *map(int, sys.argv[3:]))
    else:
        main()
