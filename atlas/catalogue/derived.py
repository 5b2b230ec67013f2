"""What follows from a unit's picture and its best real examples: the ratio of the two, and whether it ever fired.

peak [c], value of the best example [c] -> ratio [c]        examples, extremes -> silent [c]
status, rank [n] -> apt [n]
"""

from __future__ import annotations

from typing import Any

import numpy as np

from atlas.units import Status

Floats = np.ndarray[Any, np.dtype[np.float32]]
Flags = np.ndarray[Any, np.dtype[np.bool_]]

EXTREME = {"positive": 0, "negative": 1}
"""Which of a unit's extremes (`atlas.store.layout.EXTREMES`) holds the best example of a variant."""
SIGN = {"positive": 1, "negative": -1}
NAMES = {int(status): status.name.lower() for status in Status}
TOP = 0.02
"""A cell's own picture is to be among this share of its grid's."""
SAMPLES = 5
"""Samples of a cell at least, for what it speaks for to be relied on: drawn again, fewer say the same by themselves."""
HOLDS = 0.8
"""Share of the draws at least in which a label that is relied on stays as high."""
SILENT = "silent"
"""The status of a unit that never fired on the images that were shown, whatever became of its picture."""


def ratio(variant: str, peak: Floats, example_value: Floats) -> Floats:
    """How strong each picture is beside the best real example of its sign: float32 [c].

    peak [c], example_value [c,2,9]. NaN where there is no example, or its value is zero or of the other sign.
    """
    best = example_value[:, EXTREME[variant], 0]
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(SIGN[variant] * best > 0, peak / best, np.nan).astype(np.float32)


def silent(example_value: Floats, least: Floats, largest: Floats) -> Flags:
    """Which units never fired: no crop of any image drives them above zero. bool [c].

    example_value [c,2,9]; least and largest [c], those of the whole layer. Where values lie on both sides of zero, a
    unit below it says as much as one above: there only one that answers everything the same is silent. A unit that
    answers with nothing but NaN is not.
    """
    flags: Flags = example_value[:, 0, 0] <= 0
    return flags & (least == largest) if (least < 0).any() else flags


def apt(status: np.ndarray[Any, Any], rank: np.ndarray[Any, Any]) -> Flags:
    """Which cells' pictures can be relied on: `ok`, and among the 2% of the grid that point nearest to them. bool [n].

    status, rank [n]: the codes, and how many other cells' pictures point no less near to each cell's direction.
    """
    flags: Flags = (status == Status.OK) & (rank >= 0) & (rank < max(1, int(TOP * len(rank))))
    return flags


def sure(count: Any, frequency: Any) -> Flags:
    """Which labels can be relied on: of enough samples, and there still when these are drawn again. bool [n].

    count, frequency [n]: the samples of each cell, and the share of the draws that its label holds in (NaN for none).
    """
    flags: Flags = (count >= SAMPLES) & (frequency >= HOLDS)
    return flags


def statuses(codes: np.ndarray[Any, Any], never: Flags | None) -> np.ndarray[Any, Any]:
    """Names of the status codes [c] of the positive pictures, object [c]; `silent` stands for `ok` and `absent`."""
    names: np.ndarray[Any, Any] = np.array([NAMES.get(code, str(code)) for code in range(256)], object)[codes]
    if never is not None:
        names[never & np.isin(codes, (Status.OK, Status.ABSENT))] = SILENT
    return names
