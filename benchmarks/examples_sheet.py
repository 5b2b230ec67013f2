"""Units' pictures beside the images that drive them most, to be looked at.

    python -m benchmarks.examples_sheet STORE SHEET.jpg UNIT ...      # a row a unit

A row: the feature visualization, then what the unit saw of its nine strongest images, with its answer below.
"""

from __future__ import annotations

import sys

from PIL import Image, ImageDraw

import atlas
from atlas.catalogue import Catalogue

PICTURE, EXAMPLE, GAP, LINE = 160, 96, 6, 16


def sheet(cat: Catalogue, names: list[str]) -> Image.Image:
    """A row for each of the units `names`."""
    height = PICTURE + LINE + GAP
    canvas = Image.new("RGB", (PICTURE + 9 * (EXAMPLE + GAP) + GAP, height * len(names)), "white")
    for row, name in enumerate(names):
        _row(canvas, row * height, cat, name)
    return canvas


def _row(canvas: Image.Image, top: int, cat: Catalogue, name: str) -> None:
    unit, draw = cat.unit(name), ImageDraw.Draw(canvas)
    canvas.paste(unit.image.resize((PICTURE, PICTURE)), (0, top))
    draw.text((0, top + PICTURE), f"{name}  ratio {unit.ratio:.2f}", fill="black")
    for place, example in enumerate(unit.examples):
        left = PICTURE + GAP + place * (EXAMPLE + GAP)
        if example.picture is not None:
            canvas.paste(example.picture, (left, top))
        draw.text((left, top + EXAMPLE + 2), f"{example.value:.0f}", fill="black")


if __name__ == "__main__":
    store, file, *units = sys.argv[1:]
    sheet(atlas.open(store), units).save(file, quality=85)
