"""The stage `features`: a feature visualization of every channel.

    (model, plan, shard) -> pictures, numbers
    pictures, numbers of all shards -> mean, peak, status, ..., thumb

A map stage: a shard writes its pictures, one object; its receipt carries the numbers. They are measured on the
pictures as stored, so that anyone can compute them again.
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from atlas.engine import spectra
from atlas.engine.events import Advanced, Event
from atlas.engine.making import Made, Making, Piece
from atlas.engine.reducing import Receipts, Reduced, gathered
from atlas.plans import Plan
from atlas.stages.features import THUMB
from atlas.store import Store, as_stored
from atlas.units import Status

if TYPE_CHECKING:
    from atlas.models import Prepared
    from atlas.rendering import Directions, Rendered, Spectrum


def make(piece: Piece) -> Making:
    """Render and measure one shard."""
    from atlas.rendering import score_pictures

    plan, shard = piece.plan, piece.shard
    prepared = piece.worker.prepared(plan.on, plan.numerics)
    units = [shard.start + row for row in piece.rows]
    found = yield from rendered(piece, prepared, units, spectra.read(piece.store, plan))
    stored = as_stored(found.pictures, plan.rendering.jpeg_quality)
    mean, peak = score_pictures(prepared, stored, units, plan.rendering, piece.numerics)
    piece.clock.lap("score")
    # A network that answers the stored picture with NaN has no number for it.
    found.status[(found.status == Status.OK) & ~np.isfinite(mean)] = Status.NAN
    more = {name: getattr(found, name) for name in ("status", "attempt", "agreement") if name in plan.arrays}
    return [(plan, Made({"image": found.pictures}, {"mean": mean, "peak": peak} | more))]


def rendered(
    piece: Piece,
    prepared: Prepared,
    units: Sequence[int],
    spectrum: Spectrum | None = None,
    aims: Directions | None = None,
) -> Generator[Event, None, Rendered]:
    """The pictures of the `units` of a shard; see `Piece.narrowed`."""
    from atlas.rendering import Rendered, render_batches

    plan, made = piece.plan, Rendered.nothing(len(piece.rows), piece.plan.rendering)

    def attempt() -> Generator[Event, None, Rendered]:
        for cell, found in render_batches(prepared, units, plan.rendering, piece.numerics, spectrum, aims):
            made.put(cell, found)
            yield Advanced(plan.stage, plan.layer_name, found.status.size)
        return made

    yield from piece.narrowed(attempt)
    piece.clock.lap("render")
    return made


def reduce(store: Store, plan: Plan, receipts: Receipts) -> Reduced:
    """The columns and thumbnails of a layer."""
    spectra.read(store, plan)  # what the pictures keep to is vouched for with them
    data = gathered(plan, receipts)
    for index, receipt in receipts.items():
        data["thumb"][slice(*receipt.units)] = _thumbs(store.read_shard(plan, plan.shard(index), "image"))
    return Reduced(data)


def _thumbs(pictures: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Pictures uint8 [units,variants,h,w,3] as thumbnails uint8 [units,variants,64,64,3]."""
    flat = pictures.reshape(-1, *pictures.shape[-3:])
    small = [
        Image.fromarray(picture).resize((THUMB, THUMB), Image.Resampling.BOX, reducing_gap=None) for picture in flat
    ]
    return np.stack([np.asarray(picture) for picture in small]).reshape(*pictures.shape[:2], THUMB, THUMB, 3)
