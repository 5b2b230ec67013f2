"""Whether a store is whole, and mending it: what `atlas verify` does, from Python.

store -> Verification: what was read, what was found, what was done about it
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from atlas.catalogue.mending import examine, mend
from atlas.plans import Shard
from atlas.store import Backend, Finding, Store, Verified, cure
from atlas.store.builders import at_work


@dataclass(frozen=True)
class Verification:
    """What was found of a store. `print` shows it."""

    found: Verified
    """What was read, and every finding."""
    repaired: bool = False
    """Whether it was mended: damaged shards are forgotten, so that the next build makes them again."""
    again: tuple[Shard, ...] = ()
    """The shards that the next build makes again."""
    layers: int | None = None
    """Layers that are as the network has them; None where it was not asked."""
    wrong: dict[str, str] = field(default_factory=dict)
    """Layers that are not, each with what there is to be said."""

    @property
    def findings(self) -> tuple[Finding, ...]:
        """What is missing, torn, foreign or unfinished."""
        return self.found.findings

    @property
    def whole(self) -> bool:
        """Whether nothing is damaged (or was, and is mended), foreign or wrong."""
        return not ((self.found.damage and not self.repaired) or self.found.strange or self.wrong)

    def lines(self) -> Iterator[str]:
        """What was found, and what was done about it."""
        found = self.found
        for finding in found.findings:
            yield f"{finding.kind:10} {finding.key}: {finding.reason}"
        unfinished = len(found.findings) - len(found.damage) - len(found.strange) - len(found.holes)
        yield (
            f"{found.objects:,} objects, {found.shards:,} shards, {found.bytes / 1e6:,.1f} MB hashed; "
            f"{len(found.damage)} damaged, {unfinished} unfinished, {found.backoffs} retried at a smaller batch."
        )
        if found.holes:
            count = "1 unit" if len(found.holes) == 1 else f"{len(found.holes):,} units"
            yield f"{count} could not be made. To retry: atlas retry STORE"
        if self.repaired:
            for finding in found.damage:
                yield f"{finding.key}: {cure(finding)}."
            if found.damage:
                yield f"{len(self.again)} shards will be made again by the next atlas build."
            if found.bare:
                yield f"{len(found.bare)} objects that had no hash have one now."
        if self.layers is not None:
            yield f"{self.layers} layers are as the network has them, {len(self.wrong)} are not."

    def __str__(self) -> str:
        return "\n".join(self.lines())


def verify(
    store: str | Path | Backend | Store,
    *,
    repair: bool = False,
    model: bool = False,
    weights: str | Path | None = None,
) -> Verification:
    """Read and hash everything in a store again; say what is missing, torn or foreign.

    With `repair`, damaged shards are forgotten, so that the next build makes them again, and what is derived is made
    anew. With `model`, the layers are held against the network too (`weights` is its checkpoint, where it was built
    from one), and what establishes their axes is noted. Changes nothing otherwise. Raises `StoreError` where there is
    no store, or it is another network's.
    """
    opened = store if isinstance(store, Store) else Store.open(store)
    found = examine(opened)
    if found.damage and at_work(opened.backend):  # what was written between two reads looks damaged, and only once
        twice = set(examine(opened).findings)
        found = replace(found, findings=tuple(one for one in found.findings if one in twice))
    again = tuple(mend(opened, found.findings)) if repair else ()
    if not model:
        return Verification(found, repair, again)
    from atlas.engine.evidence import establish
    from atlas.models import Preprocessing, load_model

    how = Preprocessing.from_dict(opened.identity.preprocessing)
    right, wrong = establish(opened, load_model(opened.identity.model, weights=weights, preprocessing=how))
    return Verification(found, repair, again, len(right), wrong)
