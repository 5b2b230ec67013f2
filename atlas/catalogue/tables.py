"""The tables of a catalogue: Parquet files in the store, derived and disposable.

    Store -> tables/units.parquet, examples, classes, ...       write_tables
    Store -> a connection in which they can be asked                Tables

Each file carries a digest of what it rests on. A reader trusts one whose digest fits and makes any other in memory,
so that an old table is never asked, and a store that cannot be written is read like any other.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
import threading
from collections.abc import Callable, Iterable, Iterator
from functools import cached_property, partial
from pathlib import Path
from typing import Any
from uuid import uuid4

import duckdb
import numpy as np

from atlas.catalogue import rows
from atlas.catalogue.cell_rows import atlas_cells
from atlas.catalogue.columns import TABLES
from atlas.catalogue.renamed import COLUMNS, OLD
from atlas.catalogue.rows import Chunk, Expression, Source
from atlas.plans import fingerprint
from atlas.stages import ACTIVATIONS, CELLS, EXAMPLES, FEATURES, ICONS, IMAGES, STATISTICS
from atlas.store import LocalBackend, Receipt, Store
from atlas.store.bundles import stored
from atlas.store.layout import LIST, RELATIONS, TABLE_RECEIPTS, columns_receipt
from atlas.store.layout import TABLES as FOLDER
from atlas.store.missing import refuse

FORMAT = 4
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
NEEDED = {
    "units": (FEATURES.name, STATISTICS.name, EXAMPLES.name, ACTIVATIONS.name),
    "examples": (STATISTICS.name, EXAMPLES.name, IMAGES.name),
    "classes": (STATISTICS.name,),
    "images": (IMAGES.name,),
    "atlas_cells": (CELLS.name, ICONS.name, IMAGES.name),
}
"""The stages without whose plans a table would be short of rows, or of what stands in them."""
MEMORY = "1GB"
"""What writing the tables takes at most; what does not fit waits on the disk."""
TRIES = 5
"""How often a table is written at most, where others write it at the same time."""


def write_tables(store: Store) -> list[str]:
    """Write the tables that are not there, or rest on what is there no longer; say which.

    The same store and the same DuckDB: the same bytes. Each gets a receipt that names its hash. Raises `StoreError`.
    """
    with tempfile.TemporaryDirectory(prefix="atlas-") as folder:
        return [name for name in TABLES if _written(store, name, Path(folder))]


def _written(store: Store, name: str, folder: Path) -> bool:
    """Write a table, unless it is there and whole; say whether it was.

    Raises `StoreError` where a plan that it rests on is gone: what is there was right.
    Its receipt goes first and comes last, so that no receipt ever names what is not there. Whoever wrote one between
    the two, of another state of the store, left one that does not fit: then it is written once more.
    """
    wrote = False
    for _ in range(TRIES):
        source = Source(store)
        refuse(store, *NEEDED[name])
        proof = digest(source, name)
        if _whole(store, name, proof):
            break
        store.backend.delete(receipt_of(name))
        data = _made(source, name, folder / f"{name}.parquet", proof)
        objects = {key_of(name): data}
        receipt = Receipt(proof, 0, (0, 0), stored(objects))
        store.commit_reduced(receipt_of(name), objects, receipt, partial(_rests_on, store, name, proof))
        wrote = True
    return wrote


def _rests_on(store: Store, name: str, proof: str) -> bool:
    """Whether `proof` is still the digest of what a table rests on."""
    return digest(Source(store), name) == proof


def _whole(store: Store, name: str, proof: str) -> bool:
    """Whether a table is there to the last byte, and rests on what `proof` is the digest of."""
    receipt, data = store.reduced(receipt_of(name)), store.backend.get(key_of(name))
    if receipt is None or receipt.plan != proof or data is None:
        return False
    return [one.sha256 for one in receipt.objects] == [hashlib.sha256(data).hexdigest()]


def _made(source: Source, name: str, path: Path, proof: str) -> bytes:
    """A table as a Parquet file that carries its digest."""
    # One thread, so that rows are cut into groups in the same places on every machine.
    with connect(threads=1, memory_limit=MEMORY) as connection:
        fill(connection, name, source)
        how = f"FORMAT parquet, COMPRESSION zstd, KV_METADATA {{digest: '{proof}'}}"
        connection.execute(f"COPY {name} TO {quoted(path)} ({how})")
    data = path.read_bytes()
    path.unlink()
    return data


def receipt_of(name: str) -> str:
    """Where the receipt of a table lies."""
    return f"{TABLE_RECEIPTS}{name}.json"


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
        read.append([source.images.id, store.digest(source.images)])
    half = [layer.plans[FEATURES.name] for layer in source.layers if FEATURES.name in layer.plans]
    if name == "units":  # of layers whose columns are not written, what their shards say is told
        read += [[plan.id, store.digest(plan)] for plan in half if not store.columns_done(plan)]
    columns_of = [[column.name, column.type] for column in TABLES[name]]
    return fingerprint([FORMAT, columns_of, planned, read, source.class_names])


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


class Tables:
    """A store's tables, to be asked. Each is looked for, or made, when it is first needed."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._ready: set[str] = set()
        self._filed: set[str] = set()
        """Those that are read from their files."""
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

    def cursor(self, names: Iterable[str] = TABLES, *, old: bool = False) -> duckdb.DuckDBPyConnection:
        """A cursor for which the tables `names` are ready, and with `old` the views of them that have the old columns.

        Raises `StoreError` where what they rest on is gone.
        """
        wanted = set(names)
        with self._lock:
            for name in wanted - self._ready:
                self._make(name)
                self._ready.add(name)
            for name in wanted if old else ():
                _keep_old(self._connection, name)
            return self._connection.cursor()

    def check(self) -> None:
        """Raise `StoreError` where a file that was asked is damaged: then it is no question's fault."""
        for name in sorted(self._filed):
            file = self._file(name)
            if file is None or not _readable(file, self._store.reduced(receipt_of(name))):
                raise self._store.damaged(key_of(name))

    def _file(self, name: str) -> Path | None:
        """A table as a file, which is written where the store is no folder itself; None for none."""
        backend, key = self._store.backend, key_of(name)
        if isinstance(backend, LocalBackend):
            path = backend.root / key
            return path if path.is_file() else None
        data = backend.get(key)
        if data is None:
            return None
        path = Path(self._folder.name) / key.replace("/", "-")
        path.write_bytes(data)
        return path

    def _make(self, name: str) -> None:
        refuse(self._store, *NEEDED[name])
        file = self._file(name)
        if _trusted(self._connection, file, digest(self._source, name)):
            self._filed.add(name)
            try:
                self._connection.execute(f"CREATE VIEW {name} AS SELECT * FROM read_parquet({quoted(file)})")
            except duckdb.Error as error:
                raise self._store.damaged(key_of(name)) from error
        else:
            fill(self._connection, name, self._source)


def _keep_old(connection: duckdb.DuckDBPyConnection, name: str) -> None:
    """Keep a table with its old columns behind the new ones: as a view of the same name in the schema `old`."""
    old = "".join(f', "{new}" AS "{old}"' for old, new in COLUMNS.get(name, {}).items())
    connection.execute(f"CREATE SCHEMA IF NOT EXISTS {OLD}")
    connection.execute(f"CREATE VIEW IF NOT EXISTS {OLD}.{name} AS SELECT *{old} FROM main.{name}")


def _trusted(connection: duckdb.DuckDBPyConnection, file: Path | None, proof: str) -> bool:
    """Whether a file is a whole table that rests on what `proof` is the digest of."""
    if file is None:
        return False
    query = f"SELECT decode(value) FROM parquet_kv_metadata({quoted(file)}) WHERE decode(key) = 'digest'"
    try:
        return connection.execute(query).fetchall() == [(proof,)]
    except duckdb.Error:  # torn, or no Parquet at all
        return False


def _readable(file: Path, receipt: Receipt | None) -> bool:
    """Whether a table is what its receipt names; one of an older store, which has none, whether it can be read."""
    if receipt is not None:
        return [one.sha256 for one in receipt.objects] == [hashlib.sha256(file.read_bytes()).hexdigest()]
    try:
        with connect() as connection:
            cursor = connection.execute(f"SELECT * FROM read_parquet({quoted(file)})")
            while cursor.fetchmany(10_000):
                pass
    except duckdb.Error:
        return False
    return True


def quoted(text: object) -> str:
    """`text` as SQL has it between quotes."""
    return "'" + str(text).replace("'", "''") + "'"
