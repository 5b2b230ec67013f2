"""What happens while plans are carried out, as values.

Executors yield events, the driver counts them, the progress bar and the log show them. All are small:
pictures and activations never travel to the driver.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from atlas.plans import Plan, Shard, columns_of, known
from atlas.store import Receipt
from atlas.units import Status, status_name

Kind = Literal["", "error", "memory", "crash", "machine", "store"]
"""What kind of failure it was; see `atlas.engine.failures`. Empty where it is final whatever it was."""


@dataclass(frozen=True, slots=True)
class Task:
    """What one worker is handed at a time."""

    plans: tuple[Plan, ...] = ()
    """One of most stages; of those that show images to the network, all that one pass serves."""
    indices: tuple[int, ...] = ()
    """Shards to make of each of the plans, in order."""
    kind: Literal["shards", "trial", "reduce", "finish"] = "shards"
    """`reduce` writes what follows a plan's last shard, `finish` what rests on all layers; a `trial` writes nothing."""
    rows: tuple[int, int] | None = None
    """Of a trial: the first row of the shard, and the one after the last, that are to be made."""
    without: tuple[tuple[int, str], ...] = ()
    """Units that are left out of the shard, and why: they cannot be made."""

    @property
    def shards(self) -> list[Shard]:
        """Every shard it makes."""
        return [plan.shard(index) for index in self.indices for plan in self.plans]

    @property
    def on_device(self) -> bool:
        """Whether it computes with the network."""
        return self.kind in ("shards", "trial")

    @property
    def single(self) -> list[Task]:
        """The same, a shard at a time."""
        return [replace(self, indices=(index,)) for index in self.indices]

    def __str__(self) -> str:
        if self.kind == "finish":
            return "relations and tables"
        plan = self.plans[0]
        if self.kind == "reduce":
            return columns_of(plan)
        first, last = plan.shard(min(self.indices)), plan.shard(max(self.indices))
        start, stop = (first.start, last.stop) if self.rows is None else (first.start + row for row in self.rows)
        return str(replace(first, start=start, stop=stop))


def counted(stage: str, receipt: Receipt) -> dict[str, int]:
    """How many of a shard's pictures, or images, have which status; empty for stages without."""
    kind, codes = known(stage).statuses, Counter(int(c or 0) for row in receipt.numbers.get("status", ()) for c in row)
    if receipt.holes:
        del codes[Status.ABSENT]
    return {} if kind is None else {status_name(kind, code): count for code, count in sorted(codes.items())}


@dataclass(frozen=True)
class Advanced:
    """Some more of a shard exists in a worker's memory."""

    stage: str
    layer: str
    items: int
    """Pictures, images or examples."""


@dataclass(frozen=True)
class ShardDone:
    """A shard has its receipt."""

    shard: Shard
    statuses: dict[str, int]
    """How many of its pictures, or images, have which status."""
    record: dict[str, Any] = field(default_factory=dict, hash=False)
    holes: dict[int, str] = field(default_factory=dict, hash=False)
    """Units that are not in it, and why."""
    units: int = 0
    """How many units, images or cells are in it."""
    bytes: int = 0
    found: bool = False
    """Whether it was there already: another attempt or build has made it."""


@dataclass(frozen=True)
class ShardFailed:
    """A shard could not be made; the rest goes on."""

    shard: Shard
    reason: str
    trace: str = ""
    """Where it happened; for the log."""
    kind: Kind = ""


@dataclass(frozen=True)
class Tried:
    """Some units of a shard that failed were made by themselves, and thrown away; or failed too."""

    shard: Shard
    span: tuple[int, int]
    """Rows of the shard."""
    reason: str = ""
    """Why they failed; empty where they did not."""
    kind: Kind = ""


@dataclass(frozen=True)
class Divided:
    """A shard failed; its halves are tried by themselves."""

    failed: ShardFailed


@dataclass(frozen=True)
class LayerDone:
    """What follows a layer's last shard is written."""

    plan: Plan
    items: int
    """Pictures, images or examples it rests on."""
    seconds: float = 0.0
    """What that took."""


@dataclass(frozen=True)
class Finished:
    """What rests on all layers is written."""

    record: dict[str, Any] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class TaskFailed:
    """A reduce, or the last task, could not be done; what it reads is kept."""

    task: Task
    reason: str
    trace: str = ""
    kind: Kind = ""


@dataclass(frozen=True)
class Retried:
    """A worker or its machine died; the task is handed out again."""

    task: Task
    attempt: int
    reason: str
    kind: Kind = ""
    where: str = ""
    """Which machine and process, for who watches: what is kept names none."""


@dataclass(frozen=True)
class Silent:
    """Nothing was heard of a task for long, and it does not seem to work."""

    task: Task
    reason: str
    where: str = ""
    """As of `Retried`."""


@dataclass(frozen=True)
class Remarked:
    """What a worker has to say that stops nothing."""

    text: str


Event = (
    Advanced
    | ShardDone
    | ShardFailed
    | Tried
    | Divided
    | LayerDone
    | Finished
    | TaskFailed
    | Retried
    | Silent
    | Remarked
)
