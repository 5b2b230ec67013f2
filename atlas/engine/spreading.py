"""Whether a pipeline's work is done by a cluster that is there already, and who reads and hashes the images it lists.

Pipeline -> bool; Carry, or None where there is nobody else
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

from atlas.pipeline import Pipeline

if TYPE_CHECKING:
    from atlas.dataset import Carry
    from atlas.dataset.prefetch import Item, Result


def joins_cluster(pipeline: Pipeline) -> bool:
    """Whether the work is done by a cluster that is there already."""
    if pipeline.local:
        return False
    from atlas.engine.clusters import joins

    return joins(pipeline.ray)


def spread(pipeline: Pipeline, told: Callable[[str], None]) -> Carry | None:
    """The workers of the running cluster that `pipeline` names, joined when there is something to do.

    None where it names none: a cluster of this machine's own has no more cores than this process's threads.
    """
    if not joins_cluster(pipeline):
        return None

    def carry(function: Callable[[Item], Result], items: Sequence[Item]) -> Iterator[Result]:
        if not items:
            return
        from atlas.engine.clusters import connect
        from atlas.engine.on_ray import each

        with connect(pipeline.ray, workers=pipeline.workers, told=told):
            yield from each(function, items)

    return carry
