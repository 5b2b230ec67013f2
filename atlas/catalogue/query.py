"""Questions to the tables, and their answers.

    SQL -> Result: columns, rows; a table in a notebook; a data frame or an Arrow table where these are installed

What is wrong with a question is told in one line.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

import duckdb

from atlas.catalogue import notebook
from atlas.catalogue.columns import TABLES
from atlas.catalogue.renamed import OLD, old_columns, tell_columns, tell_values
from atlas.errors import QueryError, UnknownName

if TYPE_CHECKING:
    from atlas.catalogue.tables import Tables

Row = tuple[Any, ...]
READING = {"SELECT", "EXPLAIN", "COPY", "MULTI"}
"""Kinds of statements that change no table; a pivot is several."""
PAST = f"SET search_path = '{OLD},main'"
BATCH = 10_000
"""Rows that are fetched at a time."""


class Result:
    """The answer to a question: iterates as rows, shows itself as a table."""

    def __init__(
        self,
        cursor: duckdb.DuckDBPyConnection,
        text: str,
        values: Mapping[str, Any],
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self._cursor, self._text, self._values = cursor, text, dict(values) or None
        self._check = check
        """Raises `StoreError` where a table is damaged, which is no fault of the question's."""
        # At once, so that what is wrong is said here and not where the rows are first looked at.
        self._old = ""
        """A statement that puts the views with old columns before the tables; empty where none is asked for."""
        self._fresh: duckdb.DuckDBPyConnection | None = self._begun()
        described = (self._fresh and self._fresh.description) or []
        self.columns: list[str] = [column[0] for column in described]
        """Names of the columns."""

    @cached_property
    def rows(self) -> list[Row]:
        """All rows, in order; None where SQL says NULL."""
        return [row for batch in self.batches() for row in batch]

    def batches(self, size: int = BATCH) -> Iterator[list[Row]]:
        """The rows, `size` at a time: for answers that are too long for the memory."""
        # The database hands the answer out once: it is asked again the next time.
        cursor, self._fresh = self._fresh, None
        with self._blaming():
            cursor = cursor or self._execute()
            while self.columns and (batch := cursor.fetchmany(size)):
                yield batch

    def df(self) -> Any:
        """The answer as a pandas data frame."""
        return self._as("df", "pandas")

    def arrow(self) -> Any:
        """The answer as an Arrow table."""
        return self._as("to_arrow_table", "pyarrow")

    def _as(self, method: str, library: str) -> Any:
        if find_spec(library) is None:
            raise QueryError(
                f"{library} is not installed: pip install {library}. Without it there are .columns and .rows."
            )
        if self._old:
            self._cursor.execute(self._old)
        relation = self._cursor.sql(self._text, params=self._values)
        return getattr(relation, method)()

    def _begun(self) -> duckdb.DuckDBPyConnection:
        """The database at the first row. A question that names old columns is asked of the views that have them."""
        tell_values(self._text, (self._values or {}).values())
        with self._blaming():
            try:
                return self._execute()
            except duckdb.BinderException:
                old = old_columns(self._text)
                self._old = PAST if old else ""
                found = self._execute()
                tell_columns(old)
                return found

    def _execute(self) -> duckdb.DuckDBPyConnection:
        cursor = self._cursor.cursor()
        if self._old:
            cursor.execute(self._old)
        return cursor.execute(self._text, self._values)

    @contextmanager
    def _blaming(self) -> Iterator[None]:
        """Says what is wrong with the question in one line. Raises `StoreError` where it is a table."""
        try:
            yield
        except duckdb.Error as error:
            self._check()
            raise _explained(error) from None

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> Row:
        return self.rows[index]

    def __repr__(self) -> str:
        return notebook.text_table(self.columns, self.rows)

    def _repr_html_(self) -> str:
        return notebook.html_table(self.columns, self.rows)


def ask(tables: Tables, text: str, values: Mapping[str, Any]) -> Result:
    """The answer to `text`, in which `$name` stands for one of `values`. Raises `QueryError`, `UnknownName`."""
    _check(text)
    # More tables than are asked do no harm, but making them may take long. What names none may ask which there are.
    words = set(re.findall(r"\w+", text.lower()))
    names = [name for name in TABLES if name in words] or TABLES
    cursor = tables.cursor(names, old=OLD in words or bool(old_columns(text)))
    return Result(cursor, text, values, tables.check)


def _check(text: str) -> None:
    """Raise `QueryError` for what is no question, or more than one."""
    try:
        statements = duckdb.extract_statements(text)
    except duckdb.Error as error:
        raise _explained(error) from None
    if len(statements) != 1:
        count = "more than one statement" if statements else "nothing"
        raise QueryError(f"SQL: there is {count} in it. Write one, as: select * from units limit 10")
    if statements[0].type.name not in READING:
        raise QueryError("SQL: the tables are read, not changed: select, explain, or copy (select ...) to 'FILE'.")


def _explained(error: duckdb.Error) -> QueryError | UnknownName:
    """DuckDB's complaint as one line."""
    told = str(error).partition("\n\nLINE ")[0]
    kind, _, said = told.partition(": ")
    missing = re.match(r"Table with name (\S+) does not exist", said)
    if missing:
        return UnknownName.among("table", missing[1], TABLES, hint=f"There are: {', '.join(TABLES)}.")
    line = " ".join((said if kind.endswith("Error") else told).split())
    return QueryError(f"SQL: {line}")
