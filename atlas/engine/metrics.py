"""What Prometheus reads of a run: Ray's metrics, which each machine of a cluster shows at a port of its own.

events -> ray_atlas_units_total{stage}, ray_atlas_seconds_total{stage, phase}, ...

The driver counts what it hears, as its log and its progress do: once, and not what an attempt says again. Workers would
count what others throw away, and each would be a series of its own. Nothing else of a run knows of metrics.
"""

from __future__ import annotations

from collections.abc import Callable

from ray.util.metrics import Counter

from atlas.engine.events import Event, Retried, ShardDone, ShardFailed, TaskFailed
from atlas.store.totals import OTHER, UNIT

COUNTERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "atlas_units": ("Units, images or cells that are done.", ("stage",)),
    "atlas_seconds": ("Seconds that workers worked, as receipts say.", ("stage", "phase")),
    "atlas_bytes": ("Bytes that shards put into the store.", ("stage",)),
    "atlas_retries": ("Tasks that were handed out again.", ("kind",)),
    "atlas_failures": ("Shards and layers that failed, and units that could not be made.", ("kind",)),
}
"""What is counted, and by what it is told apart; Ray puts `ray_` before a name and `_total` behind it."""


class Metrics:
    """Counts the events of a run. Made once Ray is there."""

    def __init__(self) -> None:
        self._counters = {name: Counter(name, *of) for name, of in COUNTERS.items()}

    def take(self, event: Event) -> None:
        """Count an event."""
        match event:
            case ShardDone(found=False):
                stage, seconds = event.shard.stage, event.record.get("seconds") or {}
                self._add("atlas_units", event.units, stage=stage)
                self._add("atlas_bytes", event.bytes, stage=stage)
                for phase, took in seconds.items():
                    self._add("atlas_seconds", took, stage=stage, phase=phase)
                self._add("atlas_failures", len(event.holes), kind=UNIT)
            case Retried(kind=kind):
                self._add("atlas_retries", 1, kind=kind or OTHER)
            case ShardFailed(kind=kind) | TaskFailed(kind=kind):
                self._add("atlas_failures", 1, kind=kind or OTHER)

    def _add(self, name: str, count: float, **tags: str) -> None:
        if count > 0:  # Ray refuses nothing
            self._counters[name].inc(count, tags)


def counted(watch: Callable[[Event], None]) -> Callable[[Event], None]:
    """What counts each event before `watch` hears of it."""
    metrics = Metrics()

    def both(event: Event) -> None:
        metrics.take(event)
        watch(event)

    return both
