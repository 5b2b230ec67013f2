"""The log of a run: small objects that are appended while it goes on, and how they are read.

    lines, one a happening -> logs/RUN/000000.jsonl, 000001.jsonl, ... -> Run

An object is written once and never again. Its last line has a hash of the others and the sums so far, so that the end
of a log tells the whole. One that has failures in it says so in its name: who looks for them reads no others.

Runs are numbered in the order in which they begin, as the store shows it; no clocks are compared. What lines say of the
time of day is for people.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import groupby
from threading import Event, Lock, Thread
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from atlas.errors import StoreError, UnknownName
from atlas.plans import known
from atlas.store import layout
from atlas.store.seals import Seal, fits, found, seal_of, sealed
from atlas.store.totals import Totals

if TYPE_CHECKING:
    from atlas.store.store import Store

OFTEN, SELDOM = 5.0, 30.0
"""Seconds between two objects of a log: of a run that has just begun, and of a long one, or there would be too many."""
MANY = 1_000
"""Lines after which an object is written at once."""
MOST = 10_000
"""Lines that are held while the store cannot be written; more are only counted."""
LINES = ".jsonl"
FAILURES = f".failed{LINES}"
Line = dict[str, Any]
OLD = {"seconds": (int, float), "events": [dict]}
"""What is taken for granted of a log of before, which is one object."""


class Log:
    """Writes the log of a run. What is told is written by a thread of its own, every few seconds."""

    def __init__(self, store: Store) -> None:
        self.id = f"{1 + max((run.number for run in runs(store)), default=0):06}-{uuid4().hex[:6]}"
        self.totals = Totals()
        self._backend, self._began = store.backend, time.monotonic()
        self._lines: list[Line] = []
        self._left_out = self._count = 0
        self._due: tuple[str, bytes] | None = None
        """The object that is being written: what was not to be written stays as it is until it is."""
        self._lock, self._wake, self._over = Lock(), Event(), False
        self._thread = Thread(target=self._go_on, daemon=True)

    def begin(self, **told: Any) -> None:
        """Tell what is begun, which is written at once."""
        self.tell("begun", **told)
        self._thread.start()
        self._wake.set()

    def tell(self, event: str, **told: Any) -> None:
        """Note what happened."""
        self.totals.seconds = time.monotonic() - self._began
        stamp = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S.%f}"[:-3]
        line = {"event": event, "at": f"{stamp}Z", "after": round(self.totals.seconds, 3), **told}
        with self._lock:
            self.totals.take(line)
            if len(self._lines) < MOST:
                self._lines.append(line)
            else:
                self._left_out += 1
        if len(self._lines) == MANY:  # not at each line above: it may be the store that holds them up
            self._wake.set()

    def close(self) -> None:
        """Write what is left. Raises `StoreError` where that is not to be."""
        self._over = True
        self._wake.set()
        if self._thread.ident is not None:
            self._thread.join()
        while self._due or self._lines:
            self._write()

    def _go_on(self) -> None:
        while not self._over:
            self._wake.wait(min(max(OFTEN, self.totals.seconds / 200), SELDOM))
            self._wake.clear()
            with suppress(StoreError):  # who works in the store hears of it; the log waits until it can be written
                self._write()

    def _write(self) -> None:
        if self._due is None:
            self._due = self._packed()
        if self._due is not None:
            self._backend.put(*self._due)
            self._due = None

    def _packed(self) -> tuple[str, bytes] | None:
        """What was told and is not written yet, as an object; None where that is nothing."""
        with self._lock:
            lines, totals, self._lines = self._lines, self.totals.to_dict(), []
            if self._left_out:
                lines.append({"event": "left out", "lines": self._left_out})
                self._left_out = 0
        if not lines:
            return None
        kind = FAILURES if any(_is_failure(line) for line in lines) else LINES
        self._count += 1
        return f"{layout.LOGS}{self.id}/{self._count - 1:06}{kind}", packed(lines, totals)


@dataclass(frozen=True)
class Run:
    """A run of a build, as its log tells of it: also one that goes on, or was killed."""

    store: Store
    id: str
    keys: tuple[str, ...]
    """The objects of its log, in their order."""

    @property
    def number(self) -> int:
        """Which run of the store it was; 0 of those that are not numbered."""
        return 0 if self._old else int(self.id.partition("-")[0])

    @property
    def _old(self) -> bool:
        return not self.keys[0].endswith(LINES)

    def events(self, after: int = 0) -> Iterator[Line]:
        """What happened, in its order: all of it, or what came `after` so many objects; and what of it is damaged."""
        return self._told(self.keys[after:])

    def failures(self, after: int = 0) -> Iterator[Line]:
        """What failed, as `events`; the rest of the log is not read."""
        return filter(_is_failure, self._told(key for key in self.keys[after:] if self._old or key.endswith(FAILURES)))

    def _told(self, keys: Iterable[str]) -> Iterator[Line]:
        for key in keys:
            lines = self._read(key)
            yield from [{"event": "damaged", "what": key}] if lines is None else lines

    @property
    def begun(self) -> Line:
        """What was begun: versions, plans, workers. Empty where that is not to be read."""
        return next((line for line in self._told(self.keys[:1]) if line["event"] == "begun"), {})

    @property
    def ended(self) -> bool:
        """Whether it came to an end, good or bad; else it goes on, or was killed."""
        return any(line["event"] == "ended" for line in self._told(self.keys[-1:]))

    @property
    def totals(self) -> Totals:
        """What it did so far."""
        trailer = None if self._old else _parsed(self.store.backend.get(self.keys[-1]))
        told = None if trailer is None else Totals.of(trailer[1].get("totals"))
        return self._counted() if told is None else told

    def _counted(self) -> Totals:
        """What it did, counted line by line."""
        totals = Totals()
        for line in self.events():
            totals.take(line)
            totals.seconds = line.get("after", totals.seconds)
        return totals

    def again(self) -> Run:
        """The same run, with what its log has now."""
        return Run(self.store, self.id, tuple(self.store.backend.list(f"{layout.LOGS}{self.id}")))

    def _read(self, key: str) -> list[Line] | None:
        """What an object of a log says; None where it is damaged."""
        if key.endswith(LINES):
            read = _parsed(self.store.backend.get(key))
            return None if read is None else read[0]
        old = self.store.get_json(key)
        if not fits(old, OLD):
            return None
        return [*map(_renamed, old["events"]), {"event": "ended", "after": old["seconds"]}]

    def __str__(self) -> str:
        told = self.totals
        return "\n".join([*("  ".join(filter(None, row)) for row in told.rows()), *told.lines()])


def runs(store: Store) -> list[Run]:
    """Every run of a store that left a log, in the order in which they began."""
    keys = groupby(store.backend.list(layout.LOGS), lambda key: key.removeprefix(layout.LOGS).partition("/")[0])
    found = [Run(store, name.removesuffix(".json"), tuple(some)) for name, some in keys if _is_run(name)]
    return sorted(found, key=lambda run: (run.number, run.id))


def run_called(store: Store, name: str = "") -> Run:
    """The run of a number or with an id, the last one unless said. Raises `UnknownName`, offering the nearest."""
    all_ = runs(store)
    if not all_:
        raise UnknownName(f"{store} has no log of a run yet.")
    for run in reversed(all_):
        if not name or name == run.id or (name.isdecimal() and int(name) == run.number):
            return run
    known = [str(run.number or run.id) for run in all_]
    raise UnknownName.among("run", name, known, hint=f"{store} has {len(known)}, of which {known[-1]} is the last.")


def packed(lines: Sequence[Line], totals: dict[str, Any]) -> bytes:
    """An object of a log: a line each, then what it all comes to, and a hash of the whole."""
    body = b"".join(map(_line, lines))
    return body + _line(sealed({"event": "so far", "totals": totals, "lines": hashlib.sha256(body).hexdigest()}))


def whole(data: bytes | None) -> bool:
    """Whether an object of a log says what was written."""
    return _parsed(data) is not None


def _parsed(data: bytes | None) -> tuple[list[Line], Line] | None:
    """The lines of an object, and its last; None where it is not what was written."""
    body, end, last = (data or b"").removesuffix(b"\n").rpartition(b"\n")
    body, trailer = body + end, found(last)
    if seal_of(trailer) is not Seal.WHOLE or trailer.get("lines") != hashlib.sha256(body).hexdigest():
        return None
    return [found(line) for line in body.splitlines()], trailer


def _line(told: Line) -> bytes:
    return json.dumps(told, allow_nan=False).encode() + b"\n"


def _is_run(name: str) -> bool:
    """Whether what lies below `logs/` under a name is a log: of before, or of now."""
    number, dash, _ = name.partition("-")
    return name.endswith(".json") or bool(dash and number.isdecimal())


def _is_failure(line: Line) -> bool:
    return line["event"] in ("failed", "divided")


def _renamed(old: Line) -> Line:
    """A line of a log of before, as they are now."""
    name = next((name for name in ("done", "failed", "retried", "divided", "silent") if name in old), "")
    what, rest = str(old.get(name, "")), {key: value for key, value in old.items() if key != name}
    if name == "done":
        name = "layer done" if "items" in old else "shard done"
        if not isinstance(old.get("seconds"), dict):
            return {"event": "finished" if "seconds" in old else name, "what": what}
        rest["work"] = known(what.partition(" ")[0]).work
    return {"event": name, "what": what, **rest}
