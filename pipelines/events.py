"""What happens while a plan is carried out, as values.

Executors yield events, the driver counts them, the progress bar and the log show them. All are small:
pictures and activations never travel to the driver.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from atlas.plan import Plan, Shard


@dataclass(frozen=True)
class Task:
    """What one worker is handed at a time."""

    plan: Plan
    shards: tuple[Shard, ...] = ()
    """Of a map stage: the shards to make, in order. Empty for the reduce of the plan's layer."""

    @property
    def reduces(self) -> bool:
        return not self.shards

    def __str__(self) -> str:
        if self.reduces:
            return f"columns of {self.plan.layer.name}"
        return f"{self.plan.layer.name}:{self.shards[0].start}-{self.shards[-1].stop - 1}"


@dataclass(frozen=True)
class Rendered:
    """Some more pictures of a shard exist in a worker's memory."""

    layer: str
    pictures: int


@dataclass(frozen=True)
class ShardDone:
    """A shard has its receipt."""

    shard: Shard
    statuses: dict[str, int]
    """How many of its pictures have which status."""
    record: dict[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class ShardFailed:
    """A shard could not be made; the rest goes on."""

    shard: Shard
    reason: str
    trace: str = ""
    """Where it happened; for the log."""


@dataclass(frozen=True)
class LayerDone:
    """A layer's numbers and thumbnails are written."""

    plan: Plan
    pictures: int


@dataclass(frozen=True)
class LayerFailed:
    """A layer's numbers and thumbnails could not be written; its pictures are kept."""

    layer: str
    reason: str
    trace: str = ""


@dataclass(frozen=True)
class Retried:
    """A worker or its machine died; the task is handed out again."""

    task: Task
    attempt: int
    reason: str


Event = Rendered | ShardDone | ShardFailed | LayerDone | LayerFailed | Retried
