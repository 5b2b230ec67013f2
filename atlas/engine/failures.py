"""What becomes of a shard that fails: by the kind of its failure, and unit by unit.

a shard's failure -> halves of it, tried by themselves -> the units that cannot be made -> the shard without them

error      an exception of the network, or of ours: never tried again as it is, but divided
memory     too little of it: half the width first, in the worker, then divided
crash      its worker died: handed out again, a few times, then divided
machine    machines died under it: handed out again, which is not counted; given up after many
store      it could not be read or written: put at the end of the queue, a few times
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from atlas.engine.events import Kind, ShardFailed, Task, Tried
from atlas.errors import StoreError
from atlas.plans import Plan, Shard

FIRST = 3
"""How many shards, the first of a run, fail alike before it is taken for certain that all will."""
AGAIN = 3
"""How often a shard is put at the end of the queue where the store was the reason."""
HOPELESS = 16
"""How many parts of a shard fail alike, while none can be made, before it is given up as a whole: more than five bad
units cost before a part without them is met."""
DIVIDED = ("error", "memory", "crash")
"""Kinds that a single unit can be the reason of."""

Span = tuple[int, int]
"""Rows of a shard: the first, and the one after the last."""


def kind_of(error: BaseException) -> Kind:
    """What kind of failure an exception in a worker is."""
    from torch import OutOfMemoryError

    if isinstance(error, OutOfMemoryError | MemoryError):
        return "memory"
    # Its kinds are of the plan or of what lies there: to wait helps nothing.
    return "store" if type(error) is StoreError else "error"


def alike(one: ShardFailed | Tried, other: ShardFailed | Tried) -> bool:
    """Whether two failures look the same; of a worker's death the reason names its process."""
    return one.kind == other.kind and (one.reason == other.reason or one.kind != "error")


@dataclass
class Search:
    """The search for the units of one shard that cannot be made."""

    plan: Plan
    shard: Shard
    waiting: set[Span] = field(default_factory=set)
    """What is being tried."""
    bad: dict[int, str] = field(default_factory=dict)
    """Units that cannot be made, and why."""
    last: Tried | None = None
    """What failed last."""
    passed: bool = False
    """Whether anything of the shard can be made."""
    alike: int = 0
    """How many trials failed alike, one after the other."""

    def begin(self) -> Iterator[Task]:
        """Try both halves."""
        yield from self._halves((0, len(self.shard)))

    def took(self, event: Tried) -> Iterator[Task]:
        """Take in how a trial went; what is to be tried next."""
        self.waiting.discard(event.span)
        start, stop = event.span
        if not event.reason:
            self.passed = True
            return
        self.alike = self.alike + 1 if self.last is not None and alike(self.last, event) else 1
        self.last = event
        if stop - start == 1:
            self.bad[self.shard.start + start] = event.reason
        elif not self.hopeless:
            yield from self._halves(event.span)

    def _halves(self, span: Span) -> Iterator[Task]:
        start, stop = span
        middle = (start + stop) // 2
        for half in ((start, middle), (middle, stop)):
            if half[0] < half[1]:
                self.waiting.add(half)
                yield Task((self.plan,), (self.shard.index,), "trial", rows=half)

    @property
    def over(self) -> bool:
        """Whether nothing is left to be tried."""
        return self.hopeless or not self.waiting

    @property
    def hopeless(self) -> bool:
        """Whether it is taken for certain that nothing of the shard can be made."""
        return not self.passed and self.alike >= HOPELESS

    @property
    def reason(self) -> str:
        """Why nothing of the shard can be made."""
        reasons = dict.fromkeys([*self.bad.values(), *([self.last.reason] if self.last else [])])
        return f"every part of it fails: {'; '.join(reasons)}"

    @property
    def rest(self) -> Task | None:
        """The shard without the units that cannot be made; None where nothing is left of it."""
        if self.hopeless or len(self.bad) == len(self.shard):
            return None
        return Task((self.plan,), (self.shard.index,), without=tuple(sorted(self.bad.items())))
