"""Cases of what follows from stored numbers, as Python computes them: the page is held to the same.

python -m tests.viewer.derived          # writes atlas/viewer/test/derived.json
"""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from atlas.catalogue.derived import dead, label_reliable, picture_reliable, ratio
from atlas.stages.dataset import LEVELS
from atlas.units import Status

FILE = Path(__file__).parents[2] / "atlas/viewer/test/derived.json"
VALUES = (-1.5, -0.0, 0.0, 0.5, 3.0, None)
"""None stands for NaN, which JSON has not."""


def cases() -> dict[str, Any]:
    """Every rule with what goes in and what comes out."""
    return {
        "quantiles": LEVELS,
        "ratio": [[*given, _ratio(*given)] for given in product(VALUES, VALUES, ("positive", "negative"))],
        "dead": [[*given, _dead(*given)] for given in product(VALUES, (0.0, -1.0), (0.0, 2.0))],
        "picture": [[*given, _picture(*given)] for given in product((-1, 0, 1, 3, 4), (1, 49, 50, 99, 100, 200))],
        "label": [[*given, _label(*given)] for given in product((0, 4, 5, 60), (None, 0.0, 0.79, 0.8, 1.0))],
    }


def _ratio(peak: float | None, example: float | None, variant: str) -> float | None:
    found = float(ratio(variant, _floats([peak]), np.full((1, 2, 9), _number(example), np.float32))[0])
    return None if np.isnan(found) else found


def _dead(top: float | None, least: float, largest: float) -> bool:
    """Of the first of two units; the other is between zero and two."""
    value = _floats([top, 2.0]).reshape(2, 1, 1)
    return bool(dead(value, _floats([least, 0.0]), _floats([largest, 2.0]))[0])


def _picture(rank: int, pictures: int) -> bool:
    return bool(picture_reliable(np.full(pictures, Status.OK), np.array([rank] + [0] * (pictures - 1)))[0])


def _label(count: int, stability: float | None) -> bool:
    return bool(label_reliable(np.array([count]), _floats([stability]))[0])


def _floats(values: list[float | None]) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.array([_number(value) for value in values], np.float32)


def _number(value: float | None) -> float:
    return np.nan if value is None else value


def written() -> str:
    """The cases as they are committed."""
    rules = (f'"{name}": [\n' + ",\n".join(map(json.dumps, found)) + "\n]" for name, found in cases().items())
    return "{\n" + ",\n".join(rules) + "\n}\n"


if __name__ == "__main__":
    FILE.write_text(written())
