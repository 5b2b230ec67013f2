"""The store: the only floor that knows Zarr. It needs no torch."""

from atlas.store.backends import Backend, LocalBackend, MemoryBackend, backend_at
from atlas.store.codec import as_stored
from atlas.store.receipts import Receipt, Stored, digest_of
from atlas.store.store import Store, check_version

__all__ = [
    "Backend",
    "LocalBackend",
    "MemoryBackend",
    "Receipt",
    "Store",
    "Stored",
    "as_stored",
    "backend_at",
    "check_version",
    "digest_of",
]
