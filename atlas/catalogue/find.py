"""A question about units, said with columns and ranges instead of SQL.

    layers, status, order, top, ranges -> SQL and its values

>>> question(["a"], None, "objective_peak desc", 3, {"ratio": (0.5, None)})[0].split(" WHERE ")[1]
'layer IN $layers AND "ratio" >= $low0 ORDER BY "objective_peak" DESC NULLS LAST, layer, index LIMIT 3'
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, SupportsIndex

from atlas.catalogue.columns import UNITS
from atlas.catalogue.derived import DEAD
from atlas.catalogue.renamed import current, current_value
from atlas.errors import QueryError, UnknownName
from atlas.units import Status

COLUMNS = {column.name: column.type for column in UNITS}
STATUSES = (*(status.name.lower() for status in Status), DEAD)
GLOB = frozenset("*?[\\")
"""Characters that make a glob of a text."""
Values = dict[str, Any]


def question(
    layers: Sequence[str] | None, status: Any, order: str | None, top: int | None, ranges: Mapping[str, Any]
) -> tuple[str, Values]:
    """SQL for layer and index of the units that fit, in `order`, of equal ones by layer and index.

    Raises `UnknownName` for a column that is not there, `QueryError` for an order or a range that says nothing.
    """
    values: Values = {}
    parts = []
    if layers is not None:
        values["layers"] = list(layers)
        parts.append("layer IN $layers")
    several = isinstance(status, Collection) and not isinstance(status, str)
    status = [current_value(one) for one in status] if several else current_value(status)
    _known(status)
    wanted = dict(ranges) if status is None else {"status": status, **ranges}
    for number, (name, value) in enumerate(wanted.items()):
        parts += _fits(current("units", name), value, number, values)
    where = f" WHERE {' AND '.join(parts)}" if parts else ""
    by = f" ORDER BY {', '.join([*_order(order), 'layer', 'index'])}" if order else ""
    limit = "" if top is None else f" LIMIT {_count(top)}"
    return f"SELECT layer, index FROM units{where}{by}{limit}", values


def _known(status: Any) -> None:
    """Raise `UnknownName` for a status that no unit can have; globs may find nothing."""
    given = [status] if isinstance(status, str) else status if isinstance(status, Collection) else []
    for name in given:
        if isinstance(name, str) and name not in STATUSES and GLOB.isdisjoint(name):
            raise UnknownName.among("status", name, STATUSES, hint=f"There are: {', '.join(STATUSES)}.")


def _fits(what: str, value: Any, number: int, values: Values) -> Iterator[str]:
    """Conditions for `value`: (low, high), either of them None; some of several; a glob; or the same."""
    column, name = _column(what), f"value{number}"
    match value:
        case tuple():
            if len(value) != 2:
                raise QueryError(f"{what} = {value!r}: a range is (low, high), either of them None.")
            for side, sign, end in (("low", ">=", value[0]), ("high", "<=", value[1])):
                if end is not None:
                    values[f"{side}{number}"] = end
                    yield f"{column} {sign} ${side}{number}"
        case None:
            yield f"{column} IS NULL"
        # Where it can be no glob, a plain comparison: of most row groups it needs but the statistics.
        case str() if COLUMNS[what] == "VARCHAR" and not GLOB.isdisjoint(value):
            values[name] = value
            yield f"({column} = ${name} OR {column} GLOB ${name})"
        case Collection() if not isinstance(value, str):
            values[name] = list(value)
            yield f"{column} IN ${name}"
        case _:
            values[name] = value
            yield f"{column} = ${name}"


def _order(order: str) -> Iterator[str]:
    """`objective_peak desc, layer` as SQL; what is NULL comes last."""
    for part in order.split(","):
        match = re.fullmatch(r"\s*(\w+)(?:\s+(asc|desc))?\s*", part, re.IGNORECASE)
        if match is None:
            raise QueryError(f"order = {order!r}: write columns, as in 'ratio desc' or 'layer, ratio desc'.")
        yield f"{_column(current('units', match[1]))} {(match[2] or 'asc').upper()} NULLS LAST"


def _column(name: str) -> str:
    """A column of the units, as SQL. Raises `UnknownName`, offering the nearest."""
    if name not in COLUMNS:
        raise UnknownName.among("column", name, COLUMNS, hint="All of them: cat.sql('describe units').")
    return f'"{name}"'


def _count(top: Any) -> int:
    if not isinstance(top, SupportsIndex) or int(top) < 0:
        raise QueryError(f"top = {top!r}: how many units to give; none or more.")
    return int(top)
