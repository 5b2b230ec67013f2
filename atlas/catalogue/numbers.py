"""The numbers of a layer's pictures, as far as they are there.

    (store, plan of features) -> mean, peak, status, ... [c,variants]; small pictures of units

A layer's reduce writes them as columns. As long as it has not, or when shards came since, they are taken from the
receipts of the shards, so that what is rendered is shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from PIL import Image

from atlas.plans import Plan
from atlas.stages.features import THUMB
from atlas.store import Store
from atlas.store.layout import group_key

Values = np.ndarray[Any, Any]


def column(store: Store, plan: Plan, name: str) -> Values:
    """The numbers `name` of every unit's pictures, [c,variants]; as the array is filled where there are none."""
    values = store.column(plan, name)
    if store.columns_done(plan):
        return values
    values = values.copy()
    for receipt in store.receipts(plan).values():
        values[slice(*receipt.units)] = np.array(receipt.numbers[name], dtype=float)
    return values


def small(store: Store, plan: Plan, units: Sequence[int] | Values, variant: int, size: int) -> Values:
    """Pictures of rendered units, uint8 [n,size,size,3]: the thumbnails where they are written and large enough."""
    thumbs = size <= THUMB and store.columns_done(plan)
    path = f"{group_key(plan)}/{'thumb' if thumbs else 'image'}"
    found = np.zeros((len(units), size, size, 3), np.uint8)
    for row, unit in enumerate(units):
        picture = Image.fromarray(store.read(path, slice(int(unit), int(unit) + 1))[0, variant])
        found[row] = np.asarray(picture.resize((size, size), Image.Resampling.BOX))
    return found
