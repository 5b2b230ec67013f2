"""The same numbers by plain means: all values of a channel in one row, sorted and counted by numpy alone.

{(image, crop): value [c,p]}, {...: before [c,p]} -> the numbers of `summary.Statistics`, and the sums
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from atlas.dataset.summary import EDGES

Values = Mapping[tuple[int, int], NDArray[np.float32]]
"""(image, crop) -> [c,p]"""


def statistics_of(values: Values, channel: int) -> dict[str, Any]:
    """Counts, sums and extremes of crop 0 of all images."""
    images = [rows[channel] for (_, crop), rows in values.items() if crop == 0]
    everything = np.concatenate(images)
    finite = everything[np.isfinite(everything)]
    return {
        "images": len(images),
        "positions": len(finite),
        "nan": len(everything) - len(finite),
        "sum": math.fsum(finite.astype(float)),
        "squares": math.fsum(finite.astype(float) ** 2),
        "least": finite.min() if len(finite) else math.nan,
        "largest": finite.max() if len(finite) else math.nan,
        "active_positions": sum(x > 0 for x in finite),
        "active_images": sum(bool((image[np.isfinite(image)] > 0).any()) for image in images),
        "histogram": histogram_of(finite),
    }


def histogram_of(finite: NDArray[np.float32]) -> NDArray[np.int64]:
    """Each side of zero by `numpy.histogram` of the magnitudes; what lies beyond the edges is drawn in first."""
    positive = EDGES[EDGES > 0].astype(float)
    beyond = np.nextafter(positive[-1], 0)
    magnitudes = np.minimum(np.abs(finite.astype(float)), beyond)
    above, _ = np.histogram(magnitudes[finite > 0], positive)
    below, _ = np.histogram(magnitudes[finite < 0], positive)
    return np.concatenate([below[::-1], [len(finite) - above.sum() - below.sum()], above])


def strongest_of(values: Values, channel: int, *, highest: bool) -> list[tuple[float, int, int, int]]:
    """The 9 first images as (value, image, crop, position), by going through all positions of all crops."""
    best: dict[int, tuple[float, int, int, int]] = {}
    for (image, crop), rows in values.items():
        for position, value in enumerate(rows[channel].tolist()):
            if math.isfinite(value):
                entry = (-value if highest else value, image, crop, position)
                best[image] = min(best.get(image, entry), entry)
    first = sorted(best.values())[:9]
    return [(-value if highest else value, *place) for value, *place in first]  # type: ignore[misc]


def rounded(values: Values, channel: int) -> float:
    """What all magnitudes, and all squares, of a channel add up to: what the rounding of a sum is a part of."""
    everything = np.concatenate([rows[channel] for (_, crop), rows in values.items() if crop == 0]).astype(float)
    finite = np.abs(everything[np.isfinite(everything)])
    return float(finite.sum() + (finite**2).sum())


def assert_fields(fields: NDArray[np.float64], values: Values, ranked: Values | None = None) -> None:
    """Fields [c,F] say what `values` hold; the lowest are sought in `ranked`, the values before the rectifier."""
    from atlas.dataset.summary import FIELDS, strongest

    for channel, row in enumerate(fields):
        for name, number in statistics_of(values, channel).items():
            found = row[FIELDS[name]]
            exact = name not in {"sum", "squares"}
            # What cancels leaves the rounding of what was added: 5e6, -5e6 and 1e-9 give no 1e-9.
            lost = 0.0 if exact else max(1e-12, 1e-14 * rounded(values, channel))
            np.testing.assert_allclose(found, number, rtol=0 if exact else 1e-6, atol=lost)
        for side, source in enumerate((values, values if ranked is None else ranked)):
            wanted = strongest_of(source, channel, highest=side == 0)
            wanted += [(math.nan, -1, -1, -1)] * (9 - len(wanted))
            np.testing.assert_array_equal(strongest(fields)[channel, side], wanted)
