"""How a catalogue shows itself in a notebook.

Catalogue | LayerView | UnitView | Atlas | Cell -> HTML, contact sheets
"""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Iterable, Sequence
from html import escape
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from PIL import Image

from atlas.errors import UnknownName
from atlas.units import Status

if TYPE_CHECKING:
    from atlas.catalogue.answers import Example
    from atlas.catalogue.atlases import Atlas
    from atlas.catalogue.catalogue import Catalogue
    from atlas.catalogue.cells import Cell
    from atlas.catalogue.images import ImageView
    from atlas.catalogue.layer import LayerView
    from atlas.catalogue.unit import UnitView

T = TypeVar("T")
GAP = 2
PAPER = 255
SAID = 4
"""Classes and similar units that are named beside a unit's pictures."""
WALL = 64
"""Units of a layer without pictures that are shown by an image each."""
WIDE = 720
"""Pixels along the edge of a map at most."""
ROWS = 20
"""Rows of a table that are shown."""


class Listed(list[T]):
    """A list that a notebook shows as a table: what has a picture with it, and names and numbers."""

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr>{''.join(map(_entry, item if isinstance(item, tuple) else (item,)))}</tr>" for item in self[:ROWS]
        )
        return f"<table>{rows}</table>{_more(self)}"


def _entry(part: Any) -> str:
    """A thing in a list: its small picture, where it has one, and how it is called."""
    picture = getattr(part, "small", None)
    return f"<td>{'' if picture is None else _img(picture, str(part)) + ' '}{escape(cell(part))}</td>"


def sheet(layer: LayerView, variant: str, columns: int, units: Iterable[int] | None, size: int) -> Image.Image:
    """Small pictures of units that have been rendered, row by row from the top left."""
    v = layer.variant(variant)
    there = layer.status[:, v] != Status.ABSENT
    chosen = np.flatnonzero(there) if units is None else np.array([layer[unit].index for unit in units], int)
    for unit in chosen[~there[chosen]]:
        layer[int(unit)].picture(variant)  # raises: it says how it is built
    if size < 1:
        raise UnknownName(f"size={size}: pixels along a picture's edge, at least 1.")
    thumbs = layer.small(chosen, v, size)
    columns = max(1, min(columns, len(thumbs)))
    side = thumbs.shape[1] + GAP
    rows = max(1, math.ceil(len(thumbs) / columns))
    canvas = np.full((rows * side, columns * side, 3), PAPER, np.uint8)
    for place, thumb in enumerate(thumbs):
        top, left = place // columns * side, place % columns * side
        canvas[top : top + side - GAP, left : left + side - GAP] = thumb
    return Image.fromarray(canvas)


def catalogue(catalogue: Catalogue) -> str:
    """A table of the layers."""
    rows = "".join(
        f"<tr><td>{escape(view.name)}</td><td>{escape(view.layer.kind)}</td><td>{view.channels}</td><td>{view.done}</td>"
        f"<td>{'yes' if view.answers.there else ''}</td></tr>"
        for view in catalogue
    )
    random = " (random weights)" if catalogue.model.get("random") else ""
    head = "<tr><th>layer</th><th>kind</th><th>channels</th><th>rendered</th><th>statistics</th></tr>"
    rests = f"<div>{escape(repr(catalogue.images)[1:-1])}</div>" if len(catalogue.images) else ""
    return f"<b>{escape(catalogue.model['title'])}{random}</b>{rests}<table>{head}{rows}</table>"


def layer(layer: LayerView) -> str:
    """The wall of a layer's thumbnails; of one without pictures what its first units saw of their best images."""
    wall = _img(layer.sheet(), layer.name) if layer.variants else _best(layer)
    return f"<div>{escape(repr(layer))}</div>{wall}"


def _best(layer: LayerView) -> str:
    """The best example of each of a layer's first units, side by side; nothing where no part of an image is stored."""
    if not layer.answers.there:
        return ""
    return "".join(_examples(unit.examples[:1]) for unit in (layer[index] for index in range(min(WALL, len(layer)))))


def unit(unit: UnitView) -> str:
    """The unit's pictures side by side, with what is known of them."""
    figures = "".join(
        f"<figure style='display:inline-block;margin:4px'>{_img(unit.picture(variant), f'{unit} {variant}')}"
        f"<figcaption>{escape(variant)}: {unit.status_of(variant)}</figcaption></figure>"
        for variant in unit.layer.variants
        if unit.status_of(variant) != "absent"
    )
    return f"<div><b>{escape(str(unit))}</b> {unit.told}</div>{figures}{_answers(unit)}"


def image(image: ImageView) -> str:
    """An image's thumbnail, what the network sees in it and what it excites."""
    picture = _img(image.picture, image.name) if image.size[0] and image.images.photographs else ""
    seen = ", ".join(f"{name or number} {share:.0%}" for number, name, share in image.classes)
    units = ", ".join(f"{unit} ({score:.1f})" for unit, score in image.excites[:8])
    lines = "".join(f"<div>{escape(line)}</div>" for line in (image.reason, seen, units) if line)
    return f"<div><b>{escape(image.name)}</b></div>{picture}{lines}"


def atlas(atlas: Atlas) -> str:
    """The first grid's map, and how much there is of it."""
    head = f"<div>{escape(repr(atlas))}</div>"
    try:
        canvas = Image.fromarray(np.asarray(atlas.grid(atlas.grids[0]).canvas()))
    except (IndexError, UnknownName):  # still in the making
        return head
    canvas.thumbnail((WIDE, WIDE), Image.Resampling.LANCZOS)
    return f"{head}{_img(canvas, str(atlas))}"


def atlas_cell(cell: Cell) -> str:
    """A cell's picture beside what its nearest samples saw, and its labels."""
    made = _img(cell.image, "its picture") if cell.status == "ok" else escape(cell.status)
    real = "".join(_img(patch, "what a sample of it saw") for patch in cell.patches)
    reliable = cell.reliable_labels
    classes = ", ".join(f"{one.name or one.number} {one.attribution:.3g} ({one.stability:.0%})" for one in reliable)
    if not reliable and cell.labels:
        classes = f"none is reliable, of {cell.count:,} samples"
    units = ", ".join(f"{unit} {value:.3g}" for unit, value in cell.units[:SAID])
    told = {"classes": classes, "units": units, "picture": "" if cell.picture_reliable else "unreliable"}
    lines = "".join(f"<div>{what}: {escape(said)}</div>" for what, said in told.items() if said)
    return f"<div><b>{escape(repr(cell))}</b></div>{made} {real}{lines}"


def png(pixels: np.ndarray[Any, Any]) -> bytes:
    """Pixels uint8 [h,w,3] as a PNG file."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def _answers(unit: UnitView) -> str:
    """The images that raise and lower a unit most, its classes and similar units; nothing where there are none."""
    if not unit.layer.answers.there:
        return ""
    rows = "".join(f"<div>{_examples(some)}</div>" for some in (unit.examples, unit.bottom))
    if not unit.layer.catalogue.images.photographs:
        best = ", ".join(f"{one.image} {one.value:.4g}" for one in unit.examples[:SAID])
        rows = f"<div>raised most by: {escape(best)}</div>"
    classes = ", ".join(f"{name or number} {value:.3g}" for number, name, value in unit.classes[:SAID])
    similar = ", ".join(f"{other} {cosine:.2f}" for other, cosine in unit.similar[:SAID])
    told = {"classes": classes, "similar units": similar, "measured on": f"{unit.statistics.images:,} images"}
    return rows + "".join(f"<div>{what}: {escape(said)}</div>" for what, said in told.items() if said)


def _examples(examples: Sequence[Example]) -> str:
    """What a unit saw of some images, side by side."""
    return "".join(_img(one.picture, f"{one.image}: {one.value:.4g}") for one in examples if one.picture is not None)


def text_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """The first rows of a table as lines of text, numbers to the right."""
    from atlas.terminal import text_table as drawn

    seen = rows[:ROWS]
    right = [all(isinstance(row[place], int | float | None) for row in seen) for place in range(len(columns))]
    heads = [f"{name}>" if number else name for name, number in zip(columns, right, strict=True)]
    return "\n".join([drawn(heads, [[cell(value) for value in row] for row in seen]), _more(rows)]).rstrip()


def html_table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    """The first rows of a table."""
    head = "".join(f"<th>{escape(name)}</th>" for name in columns)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell(value))}</td>' for value in row)}</tr>" for row in rows[:ROWS])
    return f"<table><tr>{head}</tr>{body}</table>{_more(rows)}"


def cell(value: Any) -> str:
    """A value as a table shows it.

    >>> [cell(value) for value in (0.123456, 12345.678, None, "a", 7)]
    ['0.1235', '12345.7', 'NULL', 'a', '7']
    """
    if isinstance(value, float):
        return f"{value:.6g}" if abs(value) >= 1 else f"{value:.4g}"
    return "NULL" if value is None else str(value)


def _more(rows: Sequence[Any]) -> str:
    return f"{len(rows):,} rows, of which {ROWS} are shown" if len(rows) > ROWS else ""


def _img(picture: Image.Image, alt: str) -> str:
    file = base64.b64encode(png(np.asarray(picture))).decode()
    return f"<img alt='{escape(alt)}' src='data:image/png;base64,{file}'>"
