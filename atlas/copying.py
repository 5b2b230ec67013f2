"""Taking a store to another place: what `atlas copy` and `atlas publish` do, from Python.

store, place -> the same store there; with its page, for a static host
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from atlas.catalogue import write_index, write_tables
from atlas.server import put_page
from atlas.store import Backend, Copied, Store, backend_at
from atlas.store import copy as copy_results
from atlas.store.layout import TABLES

Tell = Callable[[int, int], None]


def _unheard(_done: int, _total: int) -> None:
    """Nobody hears of progress."""


def copy(store: str | Path | Backend | Store, place: str | Path | Backend, *, tell: Tell = _unheard) -> Copied:
    """Copy a store to `place`, a folder or an address in an object store; each object is held against its hash.

    A copy that was stopped goes on where it was, and a store of the same network that is there gets what it lacks; no
    result that is there is replaced. `tell(done, total)` is called as shards are copied. What rests on an object that
    is missing or damaged is left out, and named in what is returned. Raises `PlanMismatch` where another network's
    store is at `place`, or one of other plans, and `NotAStore` where other files are, before anything is written.
    """
    opened = store if isinstance(store, Store) else Store.open(store)
    copied = copy_results(opened, backend_at(place), tell)
    if next(copied.store.backend.list(TABLES), None):
        write_tables(copied.store)  # where the copy holds more than the store, they are of both
    write_index(copied.store)
    return copied


def publish(store: str | Path | Backend | Store, place: str | Path, *, tell: Tell = _unheard) -> Copied:
    """Write the page and a copy of a store to `place`, from where a static host serves them.

    The store goes to the folder `store` there. Raises as `copy`, and `AtlasError` where the page is not built.
    """
    put_page(place)
    return copy(store, f"{str(place).rstrip('/')}/store", tell=tell)
