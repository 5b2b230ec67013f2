"""What is known of each channel of a layer over many images: one row of numbers a channel.

    fields [c,F] of some images, of others, ...  -> merge -> fields of all -> statistics

Statistics are of crop 0 of each image alone; the strongest images are sought among all crops. Every number is exact
under merging, but for the last bits of two sums of floats.

>>> float(EDGES[bins(np.float32(1.3))]), float(EDGES[bins(np.float32(1.3)) + 1])
(1.25, 1.5)
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas.stages.dataset import LEVELS

Fields = NDArray[np.float64]
"""[c,F]: a row of numbers a channel, each at its place in `FIELDS`."""
Floats = NDArray[np.float32]
Integers = NDArray[np.int32]

LOWEST, HIGHEST = -16, 20
"""Powers of two between which values are told apart."""
STEPS = 4
"""Bins an octave."""
KEPT = 9
"""Strongest images a channel and side."""

_MAGNITUDES = np.ldexp(1 + np.arange(STEPS) / STEPS, np.arange(LOWEST, HIGHEST)[:, None]).ravel()
EDGES: Floats = np.concatenate(
    [[-(2.0**HIGHEST)], -_MAGNITUDES[::-1], _MAGNITUDES, [2.0**HIGHEST]],
).astype(np.float32)
"""[B+1], rising: the edges of a histogram's bins, the same for every layer. What lies beyond is in the outermost."""
BINS = len(EDGES) - 1
MIDDLE = BINS // 2
"""The bin of what is nearer to zero than any edge."""
SHIFT = 21
"""Bits of a float32 below its exponent and the first two of its fraction, which are its bin."""
OFFSET = (127 + LOWEST) * STEPS
"""The shifted bits of the lowest positive edge."""

_WIDTHS = {
    "images": 1,
    "positions": 1,
    "nan": 1,
    "sum": 1,
    "squares": 1,
    "least": 1,
    "largest": 1,
    "active_positions": 1,
    "active_images": 1,
    "histogram": BINS,
    "strongest": 2 * KEPT * 4,
}


def _places(widths: dict[str, int]) -> dict[str, slice]:
    ends = np.cumsum(list(widths.values())).tolist()
    return {name: slice(end - width, end) for (name, width), end in zip(widths.items(), ends, strict=True)}


FIELDS = _places(_WIDTHS)
"""Where in a row each number stands.

`images` seen; `positions` with a finite value and `nan` with another; `sum`, `squares`, `least`, `largest` of the
finite values (NaN where there is none); `active_positions` and `active_images` above zero; `histogram` of the finite
values; `strongest`, see `strongest`.
"""
WIDTH = sum(_WIDTHS.values())
EXTREMES = {"least": np.fmin, "largest": np.fmax}
COUNTED = [name for name in FIELDS if name not in {*EXTREMES, "strongest"}]


def nothing(channels: int) -> Fields:
    """The fields [c,F] of no images."""
    fields = np.zeros((channels, WIDTH))
    for name in EXTREMES:
        fields[:, FIELDS[name]] = np.nan
    strongest(fields)[:] = (np.nan, -1, -1, -1)
    return fields


def bins(values: Floats | np.float32) -> NDArray[np.int64]:
    """The bin of each finite value: `lower edge <= |value| < upper edge`, on both sides of zero."""
    bits = np.asarray(values, np.float32).view(np.int32).astype(np.int64)
    step = np.clip(((bits & 0x7FFFFFFF) >> SHIFT) - OFFSET + 1, 0, MIDDLE)
    places: NDArray[np.int64] = np.where(bits < 0, MIDDLE - step, MIDDLE + step)
    return places


def strongest(fields: Fields) -> NDArray[np.float64]:
    """[c,2,9,4]: the 9 images with the highest and with the lowest values, as (value, image, crop, position).

    At most one entry an image. Highest first by value falling, lowest by value rising; equal values by image, crop
    and position rising. The lowest are ranked, and valued, before the rectifier where there is one. Entries that are
    not there are (NaN, -1, -1, -1).
    """
    return fields[:, FIELDS["strongest"]].reshape(len(fields), 2, KEPT, 4)


def merge(parts: Iterable[Fields]) -> Fields:
    """The fields [c,F] of all images of `parts`, added in their order.

    The parts' images may be cut in any way; other than the two sums, nothing depends on the cut or on the order.
    """
    merged: Fields | None = None
    for part in parts:
        if merged is None:
            merged = part.copy()
            continue
        for name in COUNTED:
            merged[:, FIELDS[name]] += part[:, FIELDS[name]]
        for name, further in EXTREMES.items():
            merged[:, FIELDS[name]] = further(merged[:, FIELDS[name]], part[:, FIELDS[name]])
        for side in (0, 1):
            _merge_side(strongest(merged)[:, side], strongest(part)[:, side], 1 if side else -1)
    if merged is None:
        raise ValueError("merge: no parts")
    return merged


def _merge_side(kept: NDArray[np.float64], others: NDArray[np.float64], sign: int) -> None:
    """Put what of `others` [c,9,4] belongs among the first into `kept` [c,9,4]."""
    last = np.where(np.isnan(kept[:, -1, 0]), np.inf, sign * kept[:, -1, 0])
    rows = np.flatnonzero(sign * others[:, 0, 0] <= last)
    if len(rows):
        kept[rows] = first_entries(np.concatenate([kept[rows], others[rows]], axis=1), sign)


def first_entries(entries: NDArray[np.float64], sign: int) -> NDArray[np.float64]:
    """The first 9 of `entries` [c,m,4] with m >= 9, one an image, by `sign * value`, image, crop, position."""
    value, image, crop, position = (entries[:, :, place] for place in range(4))
    rank = np.where(np.isnan(value), np.inf, sign * value)
    order = np.lexsort((position, crop, image, np.isnan(value), rank), axis=-1)
    ordered = np.take_along_axis(entries, order[:, :, None], axis=1)
    image = ordered[:, :, 1]
    earlier = np.tri(entries.shape[1], k=-1, dtype=bool)
    again = ((image[:, :, None] == image[:, None, :]) & earlier).any(axis=2)
    ordered[again | np.isnan(ordered[:, :, 0])] = (np.nan, -1, -1, -1)
    front = np.argsort(ordered[:, :, 1] < 0, axis=1, kind="stable")[:, :KEPT]
    return np.take_along_axis(ordered, front[:, :, None], axis=1)


def statistics(fields: Fields) -> dict[str, NDArray[Any]]:
    """What the fields [c,F] of a layer say, as the arrays of the stage `statistics` hold it, by their names.

    NaN where a channel has no finite value; shares are of finite positions, and of images.
    """
    column = {name: fields[:, place.start] for name, place in FIELDS.items()}
    images, count = column["images"][0], column["positions"]
    entries = strongest(fields)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = column["sum"] / count
        floats = {
            "mean": mean,
            "std": np.sqrt(np.maximum(column["squares"] / count - mean**2, 0)),
            "least": column["least"],
            "largest": column["largest"],
            "active_positions": column["active_positions"] / count,
            "active_images": np.where(count > 0, column["active_images"] / images, np.nan),
            "quantile": _quantiles(fields),
            "example_value": entries[..., 0],
        }
    whole = {f"example_{name}": entries[..., 1 + at] for at, name in enumerate(("image", "crop", "position"))}
    return {
        "seen": np.array([images, count[0] + column["nan"][0]], np.int64),
        "edge": EDGES,
        "nan": column["nan"].astype(np.int64),
        "histogram": fields[:, FIELDS["histogram"]].astype(np.int64),
        **{name: values.astype(np.float32) for name, values in floats.items()},
        **{name: values.astype(np.int32) for name, values in whole.items()},
    }


def _quantiles(fields: Fields) -> NDArray[np.float64]:
    """[c,7]: a value within the bin that holds it, as if the bin's values were spread evenly over it."""
    counts = fields[:, FIELDS["histogram"]]
    least, largest = (fields[:, FIELDS[name]] for name in EXTREMES)
    upto = counts.cumsum(axis=1)
    wanted = np.array(LEVELS) * upto[:, -1:]
    bin_of = (upto[:, None, :] < wanted[:, :, None]).sum(axis=2)
    held = np.take_along_axis(counts, bin_of, axis=1)
    before = np.take_along_axis(upto, bin_of, axis=1) - held
    low = np.where(bin_of == 0, least, np.maximum(EDGES[bin_of], least))
    high = np.where(bin_of == BINS - 1, largest, np.minimum(EDGES[bin_of + 1], largest))
    with np.errstate(invalid="ignore", divide="ignore"):
        values: NDArray[np.float64] = low + (wanted - before) / held * (high - low)
    # What is nearer to zero than any edge is nearly always zero itself, as a rectifier leaves it.
    return np.where((bin_of == MIDDLE) & (held > 0), np.clip(0, least, largest), values)
