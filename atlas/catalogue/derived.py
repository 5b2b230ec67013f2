"""What follows from stored numbers: ratios, dead units, and which pictures and labels of cells are reliable.

peak, values of the best examples -> ratio [c,variants]          examples, least and largest -> dead [c]
status, rank [n] -> picture_reliable [n]                        count, stability [n] -> label_reliable [n]
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from atlas.units import Status

Floats = np.ndarray[Any, np.dtype[np.float32]]
Flags = np.ndarray[Any, np.dtype[np.bool_]]

LOWERS = "negative"
"""The one variant that lowers its unit: its best example is the lowest, all others' the highest."""
NAMES = {int(status): status.name.lower() for status in Status}
TOP = 0.02
"""A reliable picture ranks within this share of its grid's pictures."""
SAMPLES = 5
"""A reliable label rests on at least this many samples: resampling fewer of them proves nothing."""
HOLDS = 0.8
"""A reliable label stays as high in at least this share of the resamplings."""
DEAD = "dead"
"""The status of a unit that never fired on the images, whatever its picture."""


def ratio(variant: str, peak: Floats, example_value: Floats) -> Floats:
    """Each picture's strongest position over the best real example of its sign: float32 [c].

    peak [c], example_value [c,2,9]. NaN where there is no example, or its value is zero or of the other sign.
    """
    extreme, sign = (1, -1) if variant == LOWERS else (0, 1)
    best = example_value[:, extreme, 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        found = np.where(sign * best > 0, peak / best, np.nan).astype(np.float32)
    found[np.isnan(found)] = np.nan  # the same bits on every machine
    return found


def ratios(variants: Sequence[str], peak: Floats, example_value: Floats) -> Floats:
    """The ratios of all `variants`, each a column of `peak` [c,variants]: float32 [c,variants]. Else as `ratio`."""
    found = [ratio(variant, column, example_value) for variant, column in zip(variants, peak.T, strict=True)]
    return np.stack(found, axis=1)


def dead(example_value: Floats, least: Floats, largest: Floats) -> Flags:
    """Which units never fired: no crop of any image drives them above zero. bool [c].

    example_value [c,2,9]; least and largest [c], those of the whole layer. If the layer has negative values, only
    constant units count as dead. A unit whose values are all NaN is not dead.
    """
    flags: Flags = example_value[:, 0, 0] <= 0
    return flags & (least == largest) if (least < 0).any() else flags


def picture_reliable(status: np.ndarray[Any, Any], rank: np.ndarray[Any, Any]) -> Flags:
    """Which cells' pictures are reliable: `ok`, and of rank within the top 2% of the grid. bool [n].

    status, rank [n]: the codes, and how many other cells' pictures match each cell's direction at least as well.
    """
    flags: Flags = (status == Status.OK) & (rank >= 0) & (rank < max(1, int(TOP * len(rank))))
    return flags


def label_reliable(count: Any, stability: Any) -> Flags:
    """Which labels are reliable: of enough samples, and stable when these are resampled. bool [n].

    count, stability [n]: samples of each cell; share of the resamplings in which its label holds (NaN for none).
    """
    flags: Flags = (count >= SAMPLES) & (stability >= HOLDS)
    return flags


def statuses(codes: np.ndarray[Any, Any], dead: Flags | None) -> np.ndarray[Any, Any]:
    """Names of the status codes [c] of the positive pictures, object [c]; `dead` stands for `ok` and `absent`."""
    names: np.ndarray[Any, Any] = np.array([NAMES.get(code, str(code)) for code in range(256)], object)[codes]
    if dead is not None:
        names[dead & np.isin(codes, (Status.OK, Status.ABSENT))] = DEAD
    return names
