"""Verifying and mending a store with what is derived in it: arrays, the index and the tables.

Store -> Verified      Store, findings -> shards to be made again
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from typing import Any

from atlas.catalogue.derived_arrays import misderived
from atlas.catalogue.index import make_index, write_index
from atlas.catalogue.tables import write_tables
from atlas.errors import StoreError
from atlas.plans import Shard
from atlas.store import Finding, Store, Verified, repair, verify
from atlas.store.layout import INDEX, TABLE_RECEIPTS, TABLES
from atlas.store.missing import lost
from atlas.store.seals import found


def examine(store: Store) -> Verified:
    """Verify a store; derived arrays, and an index without a hash of its own, are held against what they rest on."""
    verified = verify(store)
    known = {finding.key for finding in verified.findings}
    with suppress(StoreError):  # a plan is damaged, which was found
        more = tuple(finding for finding in misderived(store) if finding.key not in known)
        verified = replace(verified, findings=(*verified.findings, *more))
    if INDEX in verified.bare and not lost(store) and not _told(make_index(store), found(store.backend.get(INDEX))):
        torn = Finding("torn", INDEX, "it does not say what the plans and receipts say")
        verified = replace(verified, findings=(*verified.findings, torn))
    return verified


def mend(store: Store, findings: tuple[Finding, ...]) -> list[Shard]:
    """Repair a store, and make anew what is derived; say which shards the next build makes again."""
    tables = any(next(store.backend.list(folder), None) for folder in (TABLES, TABLE_RECEIPTS))
    shards = repair(store, findings)
    if tables:
        with suppress(StoreError):  # what they rest on is to be made again: so are they
            write_tables(store)
    write_index(store)
    return shards


def _told(ours: Any, theirs: Any) -> bool:
    """Whether a new index tells all that an older one does: those say less, and nothing else."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        said = theirs.keys() - {"encoding-version", "written-by"}
        return said <= ours.keys() and all(_told(ours[name], theirs[name]) for name in said)
    if isinstance(ours, list) and isinstance(theirs, list):
        return len(ours) == len(theirs) and all(map(_told, ours, theirs))
    return bool(ours == theirs)
