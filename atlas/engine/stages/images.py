"""The stages `images` and `statistics`: images through the network, once for all layers.

    (model, images, plans, shard) -> what each image is, what each layer's channels answered

Map stages over ranges of images. One pass serves every plan that lacks the shard, so that layers can be added later.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np

from atlas.engine import passes
from atlas.engine.making import Made, Making, Piece
from atlas.engine.passes import ShardImages
from atlas.plans import Plan
from atlas.stages import IMAGES
from atlas.units import ImageStatus

if TYPE_CHECKING:
    from atlas.dataset.collect import Collected


def make(piece: Piece) -> Making:
    """Show one shard of images, for the stages `images` and `statistics` alike."""
    from atlas.dataset.collect import collect

    collection, model, device = piece.plan.collection, piece.worker.model, piece.plan.numerics.device
    layers = [each.layer for each in piece.plans if each.layer is not None]

    def measured(images: ShardImages, width: int) -> Collected:
        how: dict[str, Any] = {"width": width, "classes": collection.classes > 0, "reference": collection.step}
        return collect(model, layers, images.shown(), device=device, **how)

    return passes.make(piece, measured, _kept)


def _kept(plan: Plan, images: ShardImages, collected: Collected) -> Made:
    """What one plan keeps of a pass."""
    if plan.stage == IMAGES.name:
        data = images.columns(collected)
        noted = sum(bool(page.reason) for page in images.pages if page.status == ImageStatus.OK)
        numbers = {"status": data["status"][:, None]} | ({"noted": np.array([[noted]])} if noted else {})
        return Made(data, numbers)
    rows = plan.written_by("shard")["maxima"].of(images.shard.index)
    name, step = plan.layer_name, plan.collection.step
    members = range(rows.start * step, rows.stop * step, step)
    return Made(
        {
            "partial": collected.fields[name][None],
            "maxima": _placed(members, collected.reference, collected.maxima[name]),
            "attribution": _placed(members, collected.reference, collected.attribution[name]),
        }
    )


def _placed(numbers: Iterable[int], given: np.ndarray[Any, Any], values: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Rows for the images `numbers`: those of `values`, which are of the images `given`; NaN for the others."""
    # Where a network has no classes nothing is attributed to them.
    where = {int(number): row for number, row in zip(given, range(len(values)), strict=False)}
    empty = np.full(values.shape[1:], np.nan, np.float32)
    return np.stack([values[where[number]] if number in where else empty for number in numbers]).astype(np.float32)
