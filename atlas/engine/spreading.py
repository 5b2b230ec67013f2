"""Who reads and hashes images that are listed: the cluster that a pipeline names, or this process.

Pipeline -> Carry, or None where there is nobody else
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from atlas.pipeline import Pipeline

if TYPE_CHECKING:
    from atlas.dataset import Carry
    from atlas.dataset.prefetch import Item, Result


def spread(pipeline: Pipeline, told: Callable[[str], None]) -> Carry | None:
    """The workers of the running cluster that `pipeline` names, joined when there is something to do.

    None where it names none: a cluster of this machine's own has no more cores than this process's threads.
    """
    named = pipeline.ray or os.environ.get("RAY_ADDRESS") or "local"
    if pipeline.local or named == "local" or named.startswith(("http://", "https://")):
        return None

    def carry(function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        if not items:
            return
        from atlas.engine.clusters import connect
        from atlas.engine.on_ray import each

        with connect(pipeline.ray, workers=pipeline.workers, told=told):
            yield from each(function, items)

    return carry
