"""Where a store's objects lie: in a folder, in memory, in an object store.

place -> Backend: key -> bytes
"""

from pathlib import Path

from atlas.errors import NotAStore
from atlas.places import of_store
from atlas.store.backends.backend import PROBES, Backend
from atlas.store.backends.local import PARTIAL, LocalBackend
from atlas.store.backends.memory import MemoryBackend
from atlas.store.backends.object_store import ObjectBackend, Part

__all__ = ["PARTIAL", "PROBES", "Backend", "LocalBackend", "MemoryBackend", "ObjectBackend", "Part", "backend_at"]


def backend_at(place: str | Path | Backend) -> Backend:
    """The backend that `place` names: a folder's path, an address, or a backend already made.

    Raises `NotAStore` for an address of another kind.
    """
    if isinstance(place, Backend):
        return place
    where = of_store(place, NotAStore)
    return LocalBackend(where) if isinstance(where, Path) else ObjectBackend(where)
