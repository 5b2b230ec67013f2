"""The command that asks the tables of a store: query. It needs neither torch nor ray.

SQL -> a table, CSV, JSON
"""

from __future__ import annotations

import csv
import json
import math
import sys
import warnings
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from itertools import chain, count, islice
from typing import Annotated, Any

import typer

from atlas.catalogue import open as open_catalogue
from atlas.catalogue.columns import TABLES
from atlas.catalogue.notebook import cell
from atlas.catalogue.query import Row
from atlas.cli.reading import Place
from atlas.terminal import remark, table
from atlas.words import shown, steers

SHOWN = 100
"""Rows that are shown as a table, unless said."""


class Format(StrEnum):
    """How rows are printed."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    JSONL = "jsonl"


def query(
    store: Place,
    sql: Annotated[
        str | None, typer.Argument(help="A question in SQL. Default: list the tables and their columns.")
    ] = None,
    shape: Annotated[
        Format,
        typer.Option(
            "--format",
            help="table, csv, json (one list) or jsonl (an object a line). In JSON NaN and infinity are the texts NaN, "
            "Infinity and -Infinity, bytes are in hex, and a repeated name gets a number: a, a_1.",
        ),
    ] = Format.TABLE,
    limit: Annotated[
        int | None, typer.Option(min=0, help=f"Rows at most. Default: {SHOWN} for a table, all for other formats.")
    ] = None,
) -> None:
    """Ask the tables units, examples, classes, images and atlas_cells in SQL (DuckDB's)."""
    catalogue = open_catalogue(store)
    if sql is None:
        columns, rows = ["table", "column", "type", "meaning"], _listed()
    else:
        with warnings.catch_warnings(record=True, action="always", category=DeprecationWarning) as old:
            result = catalogue.sql(sql)
        for warning in old:
            remark(str(warning.message))
        columns, rows = result.columns, chain.from_iterable(result.batches())
    first = next(rows, None)
    if first is None and sql is not None and "classes" in sql:
        remark(f"The table classes knows {catalogue.known_classes}.")
    _PRINTERS[shape](columns, rows if first is None else chain([first], rows), limit)


def _listed() -> Iterator[Row]:
    """Every column of every table."""
    for name, columns in TABLES.items():
        for column in columns:
            yield name, column.name, column.type, column.meaning


def _print_table(columns: list[str], rows: Iterator[Row], limit: int | None) -> None:
    shown = list(islice(rows, SHOWN if limit is None else limit))
    right = [_numbers(row[place] for row in shown) for place in range(len(columns))]
    heads = [f"{name}>" if number else name for name, number in zip(columns, right, strict=True)]
    table(heads, [[cell(value) for value in row] for row in shown])
    if limit is None and next(rows, None) is not None:
        remark(f"The first {SHOWN} rows are shown; more of them: --limit N, all: --format csv.")


def _numbers(values: Iterable[Any]) -> bool:
    """Whether a column is set right."""
    there = [value for value in values if value is not None]
    return bool(there) and all(isinstance(value, int | float) and not isinstance(value, bool) for value in there)


def _print_csv(columns: list[str], rows: Iterator[Row], limit: int | None) -> None:
    """NULL is an empty field."""
    written = csv.writer(sys.stdout, lineterminator="\n")
    # In a pipe or a file values are what they are, whatever they begin with: a program reads them. A person is shown.
    told: Callable[[Row], Iterable[Any]] = (lambda row: map(_seen, row)) if sys.stdout.isatty() else iter
    written.writerow(told(tuple(columns)))
    written.writerows(map(told, islice(rows, limit)))


def _seen(value: Any) -> Any:
    return shown(value) if isinstance(value, str) else value


def _print_json(columns: list[str], rows: Iterator[Row], limit: int | None) -> None:
    """One list of objects, one a line."""
    start, columns = "[", _unique(columns)
    for row in islice(rows, limit):
        print(start, _object(columns, row), sep="\n", end="")
        start = ","
    print("\n]" if start == "," else "[]")


def _print_jsonl(columns: list[str], rows: Iterator[Row], limit: int | None) -> None:
    columns = _unique(columns)
    for row in islice(rows, limit):
        print(_object(columns, row))


def _unique(columns: list[str]) -> list[str]:
    """Names that no two columns share, as DuckDB numbers them: an object has room for one of each.

    >>> _unique(["a", "a", "a_1", "a"])
    ['a', 'a_2', 'a_1', 'a_3']
    """
    found: list[str] = []
    for name in columns:
        numbered = (f"{name}_{number}" for number in count(1))
        found.append(next(one for one in numbered if one not in {*columns, *found}) if name in found else name)
    return found


def _object(columns: list[str], row: Row) -> str:
    """A row as JSON; what JSON has no word for as a text."""
    text = json.dumps(dict(zip(columns, map(_plain, row), strict=True)), ensure_ascii=False, default=str)
    return text if text.isprintable() else "".join(json.dumps(sign)[1:-1] if steers(sign) else sign for sign in text)


def _plain(value: Any) -> Any:
    """A value as JSON can tell it, and all that is in it."""
    match value:
        case float() if not math.isfinite(value):
            return "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"
        case bytes():
            return value.hex()
        case list() | tuple():
            return [_plain(one) for one in value]
        case dict():
            return {str(name): _plain(one) for name, one in value.items()}
    return value


_PRINTERS: dict[Format, Callable[[list[str], Iterator[Row], int | None], None]] = {
    Format.TABLE: _print_table,
    Format.CSV: _print_csv,
    Format.JSON: _print_json,
    Format.JSONL: _print_jsonl,
}


COMMANDS = (query,)
