"""Files that are named by an address in an object store, fetched to where libraries can read them.

s3://bucket/run.pt#ema -> /tmp/.../run.pt#ema        anything else -> as it is
"""

from __future__ import annotations

import atexit
import shutil
import tempfile
from functools import cache
from pathlib import Path

from atlas.errors import AtlasError
from atlas.places import in_object_store, of_store
from atlas.store.backends.object_store import ObjectBackend

PIECE = 2**26
"""Bytes that are asked for at a time."""


def at_hand(place: str | Path, refused: type[AtlasError] = AtlasError) -> str:
    """The file that `place` names, on this machine; what stands behind `#` stays.

    What was fetched is kept as long as this process runs. Raises `refused` where there is no such object, `StoreError`
    where it cannot be reached.
    """
    if not in_object_store(place):
        return str(place)
    address, mark, key = str(of_store(place, refused)).partition("#")
    try:
        return f"{_fetched(address)}{mark}{key}"
    except FileNotFoundError:
        raise refused(f"{address} is not there.") from None


@cache
def _fetched(address: str) -> Path:
    """A copy of an object, whole."""
    folder, _, name = address.rpartition("/")
    backend = ObjectBackend(folder)
    target = _folder() / f"{abs(hash(address)):x}" / name
    target.parent.mkdir()
    with target.open("wb") as file:
        while piece := backend.range(name, file.tell(), file.tell() + PIECE):
            file.write(piece)
            if len(piece) < PIECE:
                break
    if piece is None:
        raise FileNotFoundError(address)
    return target


@cache
def _folder() -> Path:
    made = tempfile.mkdtemp(prefix="atlas-")
    atexit.register(shutil.rmtree, made, ignore_errors=True)
    return Path(made)
