"""The reduce of a layer: its numbers as columns, its pictures as thumbnails.

    receipts + pictures of a layer -> mean, peak, status, ..., thumb -> one receipt -> manifest

One task owns the arrays whole. Its receipt names a digest of the receipts it read, so it is done again when
there are more of them, and only then.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from atlas.store import Receipt, Store, digest_of
from atlas.store.layout import THUMB, written_by
from pipelines import spectra
from pipelines.events import LayerDone

if TYPE_CHECKING:
    from atlas.plan import Plan


def reduce(store: Store, plan: Plan) -> LayerDone:
    """Write the columns and thumbnails of a layer from the receipts that are there, then fold a whole layer's."""
    if not store.columns_done(plan):
        _write(store, plan)
    store.fold(plan)
    pictures = sum(receipt.units[1] - receipt.units[0] for receipt in store.receipts(plan).values())
    return LayerDone(plan, pictures * len(plan.rendering.variants))


def _write(store: Store, plan: Plan) -> None:
    receipts = store.receipts(plan)
    data = {name: np.full(array.shape, array.fill, array.dtype) for name, array in written_by(plan, "reduce").items()}
    for index, receipt in sorted(receipts.items()):
        rows = slice(*receipt.units)
        for name in data.keys() - {"thumb"}:
            data[name][rows] = np.array(receipt.numbers[name], dtype=float)
        data["thumb"][rows] = _thumbs(store.read_shard(plan, plan.shard(index), "image"))
    spectra.read(store, plan)  # what the pictures keep to is vouched for with them
    stored = [*store.write_whole(plan, "reduce", data), *store.standing(plan, "driver")]
    receipt = Receipt(digest_of(receipts.values()), 0, (0, plan.total), tuple(stored))
    store.put_columns_receipt(plan, receipt)


def _thumbs(pictures: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Pictures uint8 [units,variants,h,w,3] as thumbnails uint8 [units,variants,64,64,3]."""
    flat = pictures.reshape(-1, *pictures.shape[-3:])
    small = [
        Image.fromarray(picture).resize((THUMB, THUMB), Image.Resampling.BOX, reducing_gap=None) for picture in flat
    ]
    return np.stack([np.asarray(picture) for picture in small]).reshape(*pictures.shape[:2], THUMB, THUMB, 3)
