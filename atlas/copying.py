"""Taking a store to another place: what `atlas copy` and `atlas publish` do, from Python.

store, place -> the same store there; with its page, for a static host
"""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import islice
from pathlib import Path

from atlas.catalogue import write_index, write_tables
from atlas.errors import AtlasError, NotAStore
from atlas.server import put_page
from atlas.store import Backend, Copied, LocalBackend, ObjectBackend, Store, backend_at
from atlas.store import copy as copy_results
from atlas.store.layout import TABLES
from atlas.words import shown

Tell = Callable[[int, int], None]
SEEN = 1000
"""Files that are looked at, to see whether others lie at a place."""


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
    _require_apart(opened, place)
    copied = copy_results(opened, backend_at(place), tell)
    if next(copied.store.backend.list(TABLES), None):
        write_tables(copied.store)  # where the copy holds more than the store, they are of both
    write_index(copied.store)
    return copied


def publish(store: str | Path | Backend | Store, place: str | Path, *, tell: Tell = _unheard) -> Copied:
    """Write the page and a copy of a store to `place`, from where a static host serves them.

    The store goes to the folder `store` there. Raises as `copy`, and `AtlasError` where the page is not built or other
    files lie there.
    """
    opened = store if isinstance(store, Store) else Store.open(store)
    _require_apart(opened, place)
    _require_free(backend_at(place))
    put_page(place)
    return copy(opened, f"{str(place).rstrip('/')}/store", tell=tell)


def _require_apart(store: Store, place: str | Path | Backend) -> None:
    """Raise `AtlasError` where `place` lies in the store itself."""
    ours, theirs = (f"{_where(one)}/" for one in (store.backend, backend_at(place)))
    if theirs.startswith(ours):
        raise AtlasError(f"{shown(place)} lies in the store {store} itself. Name a place outside of it.")


def _where(backend: Backend) -> str:
    """What tells a place apart from all others."""
    if isinstance(backend, LocalBackend):
        return os.path.realpath(backend.root)
    return str(backend).rstrip("/") if isinstance(backend, ObjectBackend) else str(id(backend))


def _require_free(backend: Backend) -> None:
    """Raise `NotAStore` where something else lies than what was published there before."""
    for key in islice(backend.list(), SEEN):
        if key != "index.html" and not key.startswith(("assets/", "store/")):
            raise NotAStore(f"{backend} holds other files, as {shown(key)}. Publish to an empty place.")
