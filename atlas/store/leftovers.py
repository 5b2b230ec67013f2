"""Taking out what builds that died left behind, while others run.

    Store -> how much went

Nothing is judged by its age but half-written files, by the clock of the place that stamps them (`Backend.sweep`).
Bundles are listed first, then plans and receipts are read: one that no plan of the store asks for then, or whose work
is done, nobody will put in place. Those builders are dead whose counter does not rise while one looks (`builders`).
"""

from __future__ import annotations

from dataclasses import dataclass

from atlas.errors import StoreError
from atlas.store import layout
from atlas.store.backends.backend import OLD
from atlas.store.builders import bury
from atlas.store.bundles import BUNDLES, folder_of
from atlas.store.missing import lost
from atlas.store.store import Store


@dataclass(frozen=True)
class Collected:
    """What was taken out."""

    partial: int
    """Files that writers were at when they died; of a place that has such."""
    bundles: int
    """Shards, and what follows them, that were put in place by others, or are asked for no more."""
    builders: int = 0
    """Builders that died without a word."""


def collect(store: Store, older: float = OLD) -> Collected:
    """Take out what nobody needs any more; of half-written files those `older` than so many seconds.

    What it does is safe while builds of the store run. Raises `StoreError` where a plan cannot be read or is gone:
    nothing goes.
    """
    bundles = set(store.backend.list(BUNDLES))
    plans = store.plans()
    for key in lost(store):
        raise StoreError(
            f"{store}: plans/{key} is gone, so nothing can be removed safely. Run the atlas build that made "
            "it, then try again."
        )
    dropped = sum(map(store.drop_bundles, plans))
    theirs = {folder_of(plan.receipts) for plan in plans} | {folder_of(layout.columns_receipt(plan)) for plan in plans}
    for key in sorted(bundles & set(store.backend.list(BUNDLES))):
        if not key.startswith(tuple(theirs)) and _over(store, key):
            store.backend.delete(key)
            dropped += 1
    return Collected(store.backend.sweep(older), dropped, bury(store.backend))


def _over(store: Store, key: str) -> bool:
    """Whether a bundle that is of no plan is over: of the list of images, the relations and the tables, done ones."""
    folder, _, plan = key.rpartition("/")
    name = folder.removeprefix(BUNDLES)
    if not f"receipts/{name}.json".startswith((layout.LIST, layout.RELATIONS, layout.TABLE_RECEIPTS)):
        return True
    done = store.reduced(f"receipts/{name}.json")
    return done is not None and done.plan[:16] == plan
