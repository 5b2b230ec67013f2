"""The store: the only floor that knows Zarr. It needs no torch."""

from atlas.store.backends import Backend, LocalBackend, MemoryBackend, ObjectBackend, Part, backend_at
from atlas.store.codec import as_stored
from atlas.store.copying import Copied, copy
from atlas.store.logs import Log, Run, run_called, runs
from atlas.store.receipts import Receipt, Stored, digest_of
from atlas.store.repair import cure, repair
from atlas.store.store import Data, Store, check_version
from atlas.store.totals import Totals
from atlas.store.verify import Finding, Verified, verify

__all__ = [
    "Backend",
    "Copied",
    "Data",
    "Finding",
    "LocalBackend",
    "Log",
    "MemoryBackend",
    "ObjectBackend",
    "Part",
    "Receipt",
    "Run",
    "Store",
    "Stored",
    "Totals",
    "Verified",
    "as_stored",
    "backend_at",
    "check_version",
    "copy",
    "cure",
    "digest_of",
    "repair",
    "run_called",
    "runs",
    "verify",
]
