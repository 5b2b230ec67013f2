"""The tables of a catalogue: Parquet files in the store, derived and disposable.

    Store -> tables/units.parquet, examples, classes, ...       write_tables
    Store -> a connection in which they can be asked                Tables

Each file carries a digest of what it rests on. A reader trusts one whose digest fits and makes any other in memory,
so that an old table is never asked, and a store that cannot be written is read like any other.
"""

from __future__ import annotations

import re
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import uuid4

import duckdb
import numpy as np

from atlas.catalogue import rows
from atlas.catalogue.cell_rows import atlas_cells
from atlas.catalogue.columns import TABLES
from atlas.catalogue.rows import Chunk, Expression, Source
from atlas.plan import CELLS, EXAMPLES, FEATURES, ICONS, STATISTICS, fingerprint
from atlas.store import LocalBackend, Store, digest_of
from atlas.store.schema import LIST, RELATIONS, columns_receipt
from atlas.store.schema import TABLES as FOLDER

FORMAT = 3
"""Rises with every change of what the columns of the tables hold."""
ROWS: dict[str, Callable[[Source], Iterator[Chunk]]] = {
    "units": rows.units,
    "examples": rows.examples,
    "classes": rows.classes,
    "images": rows.images,
    "atlas_cells": atlas_cells,
}
STAGES = {
    "units": (FEATURES.name, STATISTICS.name),
    "examples": (STATISTICS.name, EXAMPLES.name),
    "classes": (STATISTICS.name,),
    "images": (),
    "atlas_cells": (CELLS.name, ICONS.name),
}
"""The stages whose columns a table rests on."""
MEMORY = "1GB"
"""What writing the tables takes at most; what does not fit waits on the disk."""


def write_tables(store: Store) -> list[str]:
    """Write the tables that are not there, or rest on what is there no longer; say which.

    The same store and the same DuckDB: the same bytes. Raises `StoreError`.
    """
    source, wrote = Source(store), []
    with tempfile.TemporaryDirectory(prefix="atlas-") as folder:
        for name in TABLES:
            proof, path = digest(source, name), Path(folder) / f"{name}.parquet"
            # One thread, so that rows are cut into groups in the same places on every machine.
            with connect(threads=1, memory_limit=MEMORY) as connection:
                if _trusted(connection, _file(store, key_of(name), lambda: Path(folder)), proof):
                    continue
                fill(connection, name, source)
                _copy(connection, name, path, proof)
            store.backend.put(key_of(name), path.read_bytes())
            path.unlink()
            wrote.append(name)
    return wrote


def key_of(name: str) -> str:
    """Where a table lies in a store."""
    return f"{FOLDER}{name}.parquet"


def digest(source: Source, name: str) -> str:
    """A hash of all that the table `name` rests on: plans, receipts, names of classes."""
    store = source.store
    planned = [[layer.layer.to_dict(), sorted(layer.plans)] for layer in source.layers]
    columns = [layer.receipt(stage) for layer in source.layers for stage in STAGES[name]]
    parts = (plan for layer in source.layers for plan in layer.parts if plan.stage in STAGES[name])
    columns += [store.reduced(columns_receipt(plan)) for plan in parts]
    shared = [store.reduced(key) for key in (LIST, RELATIONS)]
    read = [receipt and [receipt.plan, receipt.proof] for receipt in (*columns, *shared)]
    if name == "images" and source.images is not None:
        read.append([source.images.id, digest_of(store.receipts(source.images).values())])
    columns_of = [[column.name, column.type] for column in TABLES[name]]
    return fingerprint([FORMAT, columns_of, planned, read, store.labels])


def connect(**settings: Any) -> duckdb.DuckDBPyConnection:
    """A database in memory, which spills to the machine's temporary folder and never asks the network."""
    spill = Path(tempfile.gettempdir()) / f"atlas-{uuid4().hex}"
    common: dict[str, Any] = {"temp_directory": str(spill), "autoinstall_known_extensions": False}
    return duckdb.connect(config=common | settings)


def fill(connection: duckdb.DuckDBPyConnection, name: str, source: Source) -> None:
    """Make the table `name` in a database, chunk by chunk."""
    columns = TABLES[name]
    kinds = ", ".join(f'"{column.name}" {column.type}' for column in columns)
    connection.execute(f"CREATE TABLE {name} ({kinds})")
    for chunk in ROWS[name](source):
        arrays = {key: value for key, value in chunk.items() if isinstance(value, np.ndarray)}
        values = ", ".join(_sql(column.name, chunk.get(column.name)) for column in columns)
        needed = set(re.findall(r"\$(\w+)", values))
        connection.register("chunk", arrays)
        shared = {key: chunk[key] for key in needed}
        connection.execute(f"INSERT INTO {name} SELECT {values} FROM chunk", shared)
        connection.unregister("chunk")


def _sql(name: str, value: Any) -> str:
    """A column of a chunk."""
    match value:
        case None:
            return "NULL"
        case Expression(sql):
            return sql
        case np.ndarray():
            return f'"{name}"'
    return f"${name}"


def _copy(connection: duckdb.DuckDBPyConnection, name: str, path: Path, proof: str) -> None:
    """Write a table as a Parquet file that carries its digest."""
    how = f"FORMAT parquet, COMPRESSION zstd, KV_METADATA {{digest: '{proof}'}}"
    connection.execute(f"COPY {name} TO {quoted(path)} ({how})")


class Tables:
    """A store's tables, to be asked. Each is looked for, or made, when it is first needed."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._ready: set[str] = set()
        self._lock = threading.Lock()

    @cached_property
    def _source(self) -> Source:
        return Source(self._store)

    @cached_property
    def _connection(self) -> duckdb.DuckDBPyConnection:
        return connect()

    @cached_property
    def _folder(self) -> tempfile.TemporaryDirectory[str]:
        """Where tables lie that come from a store which is no folder; gone with this object."""
        return tempfile.TemporaryDirectory(prefix="atlas-")

    def cursor(self, names: Iterable[str] = TABLES) -> duckdb.DuckDBPyConnection:
        """A cursor for which the tables `names` are ready. Raises `StoreError` where what they rest on is gone."""
        with self._lock:
            for name in set(names) - self._ready:
                self._make(name)
                self._ready.add(name)
            return self._connection.cursor()

    def _make(self, name: str) -> None:
        file = _file(self._store, key_of(name), lambda: Path(self._folder.name))
        if _trusted(self._connection, file, digest(self._source, name)):
            self._connection.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet({quoted(file)})")
        else:
            fill(self._connection, name, self._source)


def _file(store: Store, key: str, folder: Callable[[], Path]) -> Path | None:
    """The object at `key` as a file, which lies in `folder` where the store is no folder itself; None for none."""
    if isinstance(store.backend, LocalBackend):
        path = store.backend.root / key
        return path if path.is_file() else None
    data = store.backend.get(key)
    if data is None:
        return None
    path = folder() / key.replace("/", "-")
    path.write_bytes(data)
    return path


def _trusted(connection: duckdb.DuckDBPyConnection, file: Path | None, proof: str) -> bool:
    """Whether a file is a whole table that rests on what `proof` is the digest of."""
    if file is None:
        return False
    query = f"SELECT decode(value) FROM parquet_kv_metadata({quoted(file)}) WHERE decode(key) = 'digest'"
    try:
        return connection.execute(query).fetchall() == [(proof,)]
    except duckdb.Error:  # torn, or no Parquet at all
        return False


def quoted(text: object) -> str:
    """`text` as SQL has it between quotes."""
    return "'" + str(text).replace("'", "''") + "'"
