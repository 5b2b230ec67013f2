"""Who builds a store at the moment, as the store itself tells: one small object a builder, with a counter that rises.

    Builder -> builders/NUMBER-ID.json: plans, under way, counter      Watch -> whose counter rises

A builder lives as long as its counter rises, by the clock of who looks alone. A process that is killed, stopped or
frozen raises none. That one lives proves that its process runs, not that its work gets on; and one that is taken for
dead may go on later. So nothing rests on it but order and courtesy: what a late writer does is harmless (`bundles`), it
tells of itself again, and who took its place has nothing to fear. Who runs where, nobody is told.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from types import TracebackType

from atlas.errors import StoreError
from atlas.store.backends import Backend
from atlas.store.seals import fits, found

BUILDERS = "builders/"
BEAT = 2.0
"""Seconds between two rises of a counter."""
PATIENCE = 10.0
"""Seconds without a rise after which a builder is taken for dead."""
SHAPE = {"plans": [str], "doing": {str: [int]}, "counter": int}
"""What is taken for granted of a builder's object."""

Piece = tuple[str, int]
"""The id of a plan, cut, and the index of a shard; `WHOLE` for what follows its shards."""
WHOLE = -1


def piece(plan: str, index: int = WHOLE) -> Piece:
    """What builders call a shard of the plan with that id, or what follows them."""
    return plan[:16], index


@dataclass
class Seen:
    """What another builder tells."""

    data: bytes
    since: float
    """When this was first read, by the clock of who read it."""
    plans: frozenset[str]
    """The ids of what it carries out, cut."""
    doing: frozenset[Piece]
    """What it is at."""
    risen: bool = False
    """Whether its counter rose before our eyes."""

    @classmethod
    def of(cls, data: bytes, since: float, *, risen: bool) -> Seen:
        told = found(data)
        if not fits(told, SHAPE):  # of a newer version, or damaged: it tells only that it is there
            return cls(data, since, frozenset(), frozenset(), risen)
        doing = {(plan, index) for plan, indices in told["doing"].items() for index in indices}
        return cls(data, since, frozenset(told["plans"]), frozenset(doing), risen)

    def makes(self, plan: str) -> bool:
        """Whether it carries out the plan with that id."""
        return plan[:16] in self.plans


class Watch:
    """The builders of a store, but for one's own, as they are seen by looking again and again."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self.own = ""
        """The key of one's own object, where one builds."""
        self.seen: dict[str, Seen] = {}
        """All that may live, by the keys of their objects."""
        self.dead: list[str] = []
        """Keys of those whose counter did not rise any more."""

    def look(self) -> None:
        """Look once more."""
        now, seen, dead = time.monotonic(), dict[str, Seen](), list[str]()
        for key in self._backend.list(BUILDERS):
            data = None if key == self.own else self._backend.get(key)
            if data is None:
                continue
            known = self.seen.get(key)
            if known is None or known.data != data:
                known = Seen.of(data, now, risen=known is not None)
            if now - known.since > PATIENCE:
                dead.append(key)
            seen[key] = known
        self.seen, self.dead = seen, dead

    @property
    def living(self) -> dict[str, Seen]:
        """Those that may live, by the keys of their objects."""
        return {key: one for key, one in self.seen.items() if key not in self.dead}


def at_work(backend: Backend, concerned: Callable[[Seen], bool] = lambda _: True) -> list[Seen]:
    """The builders of a store that live, of those that are `concerned`.

    It takes no time where there are none, that of a beat where they live, and `PATIENCE` where one is dead.
    """
    watch = Watch(backend)
    while True:
        watch.look()
        waiting = [one for one in watch.living.values() if concerned(one)]
        if all(one.risen for one in waiting):
            return waiting
        time.sleep(BEAT / 4)


def bury(backend: Backend) -> int:
    """Take out the objects of builders that died; say how many. One that was only frozen writes its own again."""
    watch = Watch(backend)
    watch.look()
    went = 0
    while any(not one.risen for one in watch.seen.values()):
        time.sleep(BEAT / 4)
        watch.look()
        for key in watch.dead:
            backend.delete(key)
            went += 1
    return went


class Builder:
    """A context: inside it the store tells that its plans are carried out, and of what is under way."""

    def __init__(self, backend: Backend, plans: Iterable[str]) -> None:
        self._backend, self._plans = backend, sorted({plan[:16] for plan in plans})
        self._watch = Watch(backend)
        self._doing: set[Piece] = set()
        self._counter = 0
        self._lock, self._over = threading.Lock(), threading.Event()
        self._thread = threading.Thread(target=self._go_on, name="builder", daemon=True)

    def __enter__(self) -> Builder:
        self._watch.look()
        numbers = (key.removeprefix(BUILDERS)[:5] for key in self._watch.seen)
        after = 1 + max((int(number) for number in numbers if number.isdecimal()), default=0)
        self._watch.own = f"{BUILDERS}{after:05d}-{uuid.uuid4().hex}.json"
        self._tell()  # before anything is planned: whoever finds our plans finds us
        self._watch.look()
        self._thread.start()
        return self

    @property
    def second(self) -> bool:
        """Whether this is the second of two that share plans, the fourth of four: who came first has the first key."""
        before = (one for key, one in self._watch.living.items() if key < self._watch.own)
        return sum(not one.plans.isdisjoint(self._plans) for one in before) % 2 == 1

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None, at: TracebackType | None) -> None:
        self._over.set()
        self._thread.join(PATIENCE)
        with suppress(StoreError):
            self._backend.delete(self._watch.own)

    def begins(self, pieces: Iterable[Piece]) -> None:
        """Tell that these are under way, at the next beat."""
        with self._lock:
            self._doing.update(pieces)

    def ended(self, one: Piece) -> None:
        """Tell that this is no longer."""
        with self._lock:
            self._doing.discard(one)

    def elsewhere(self, pieces: Iterable[Piece]) -> bool:
        """Whether another builder is at one of these."""
        return any(not one.doing.isdisjoint(pieces) for one in self._watch.living.values())

    def _go_on(self) -> None:
        while not self._over.wait(BEAT):
            with suppress(StoreError):  # who builds complains of it; the next beat may succeed
                self._tell()
                self._watch.look()
                for key in self._watch.dead:
                    self._backend.delete(key)

    def _tell(self) -> None:
        self._counter += 1
        told = {"plans": self._plans, "doing": dict(self._by_plan()), "counter": self._counter}
        self._backend.put(self._watch.own, json.dumps({"encoding-type": "builder"} | told).encode())

    def _by_plan(self) -> Iterator[tuple[str, list[int]]]:
        with self._lock:
            doing = sorted(self._doing)
        for plan in dict(doing):
            yield plan, [index for name, index in doing if name == plan]
