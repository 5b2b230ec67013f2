"""The command that asks the tables of a store: query. It needs neither torch nor ray.

SQL -> a table, CSV, JSON
"""

from __future__ import annotations

import csv
import json
import math
import sys
from collections.abc import Callable, Iterable, Iterator
from enum import StrEnum
from itertools import chain, islice
from typing import Annotated, Any

import typer

from atlas.catalogue import open as open_catalogue
from atlas.catalogue.columns import TABLES
from atlas.catalogue.query import Row
from atlas.catalogue.show import cell
from atlas.cli.printing import remark, table
from atlas.cli.reading import Place

SHOWN = 100
"""Rows that are shown as a table, unless said."""


class Format(StrEnum):
    """How rows are printed."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"
    JSONL = "jsonl"


def register(app: typer.Typer) -> None:
    """Add this module's commands to `app`."""
    app.command()(query)


def query(
    store: Place,
    sql: Annotated[
        str | None, typer.Argument(help="A question; without one the tables and their columns are listed.")
    ] = None,
    shape: Annotated[
        Format, typer.Option("--format", help="table, csv, json (one list) or jsonl (an object a line).")
    ] = Format.TABLE,
    limit: Annotated[
        int | None, typer.Option(min=0, help=f"Rows at most; {SHOWN} as a table, otherwise all, unless said.")
    ] = None,
) -> None:
    """Ask the tables units, examples, classes, images and atlas_cells in SQL (DuckDB's)."""
    catalogue = open_catalogue(store)
    if sql is None:
        columns, rows = ["table", "column", "type", "meaning"], _listed()
    else:
        result = catalogue.sql(sql)
        columns, rows = result.columns, chain.from_iterable(result.batches())
    _PRINTERS[shape](columns, rows, limit)


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
    written.writerow(columns)
    written.writerows(islice(rows, limit))


def _print_json(columns: list[str], rows: Iterator[Row], limit: int | None) -> None:
    """One list of objects, one a line."""
    start = "["
    for row in islice(rows, limit):
        print(start, _object(columns, row), sep="\n", end="")
        start = ","
    print("\n]" if start == "," else "[]")


def _print_jsonl(columns: list[str], rows: Iterator[Row], limit: int | None) -> None:
    for row in islice(rows, limit):
        print(_object(columns, row))


def _object(columns: list[str], row: Row) -> str:
    """A row as JSON; NULL, and what is no number there, as null."""
    return json.dumps(dict(zip(columns, map(_plain, row), strict=True)), ensure_ascii=False, default=str)


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and not math.isfinite(value) else value


_PRINTERS: dict[Format, Callable[[list[str], Iterator[Row], int | None], None]] = {
    Format.TABLE: _print_table,
    Format.CSV: _print_csv,
    Format.JSON: _print_json,
    Format.JSONL: _print_jsonl,
}
