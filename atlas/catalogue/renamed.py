"""Names that changed. The old ones are understood for one version, and each use says the new one.

    old attribute of a view -> the new one, with a DeprecationWarning        @renamed
    old column, old value -> the new one                                     COLUMNS, VALUES

Arrays and ids of a store keep the names they were stored under; only what is shown has changed.
"""

from __future__ import annotations

import re
import sys
import warnings
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from atlas.catalogue.columns import ranked
from atlas.stages.atlas import LABELS
from atlas.units import shown_map

Class = TypeVar("Class", bound=type)

COLUMNS = {
    "units": {
        "mean": "objective",
        "peak": "objective_peak",
        "negative_mean": "negative_objective",
        "negative_peak": "negative_objective_peak",
        "silent": "dead",
        "least": "activation_min",
        "largest": "activation_max",
        "nearest": "most_similar",
        "likeness": "similarity",
    },
    "atlas_cells": {
        "sure": "label_reliable",
        "mean": "objective",
        "above": "win_rate",
        "apt": "picture_reliable",
        **{ranked("strength", rank): ranked("attribution", rank) for rank in range(1, LABELS + 1)},
        **{ranked("frequency", rank): ranked("stability", rank) for rank in range(1, LABELS + 1)},
    },
}
"""Old columns of each table, and what they are called now."""
VALUES = {"silent": "dead"}
"""Old values of columns."""
OLD = "old"
"""The schema of the views of the tables that have the old columns too."""


def renamed(**names: str) -> Callable[[Class], Class]:
    """A decorator of a class: each old attribute gives the new one, and warns.

    >>> @renamed(peak="objective_peak")
    ... class View:
    ...     objective_peak = 14.0
    >>> with warnings.catch_warnings(record=True, action="always") as said:
    ...     View().peak, str(said[0].message)
    (14.0, 'View.peak is called objective_peak now.')
    """

    def decorated(cls: Class) -> Class:
        for old, new in names.items():
            setattr(cls, old, _alias(cls.__name__, old, new))
        return cls

    return decorated


def _alias(owner: str, old: str, new: str) -> property:
    def get(self: Any) -> Any:
        warnings.warn(f"{owner}.{old} is called {new} now.", DeprecationWarning, stacklevel=2)
        return getattr(self, new)

    return property(get, doc=f"The old name of `{new}`.")


def current(table: str, column: str) -> str:
    """The name of a column of `table`; of an old one the new name, with a warning."""
    new = COLUMNS.get(table, {}).get(column)
    if new is not None:
        _tell(f"The column {column} is called {new} now.")
    return new or column


def current_value(value: Any) -> Any:
    """A value of a column; of an old one the new name, with a warning."""
    new = None if not isinstance(value, str) else VALUES.get(value, shown_map(value))
    if new in (None, value):
        return value
    _tell(f"The value {value} is called {new} now.")
    return new


def old_columns(sql: str) -> list[str]:
    """The old columns that a question may mean: names of them that are no functions there.

    >>> old_columns("select mean(ratio), peak from units")
    ['peak']
    """
    words = set(re.findall(r"\b(\w+)\b(?!\s*\()", sql.lower()))
    return sorted(words & {old for columns in COLUMNS.values() for old in columns})


def tell_columns(names: Iterable[str]) -> None:
    """Warn of old columns."""
    for name in names:
        for table in [table for table, columns in COLUMNS.items() if name in columns][:1]:
            current(table, name)


def tell_values(sql: str, values: Iterable[Any]) -> None:
    """Warn of old values that a question compares with: nothing equals them any more."""
    if not re.search(r"\b(status|map)\b", sql, re.IGNORECASE):
        return
    for value in [*re.findall(r"'(silent|winners-[0-9]+)'", sql), *values]:
        current_value(value)


def _tell(line: str) -> None:
    """Warn whoever called the catalogue. Python shows a warning once for each place that uses the name."""
    level, frame = 2, sys._getframe(1)
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith("atlas.catalogue"):
        level, frame = level + 1, frame.f_back
    warnings.warn(line, DeprecationWarning, stacklevel=level)
