"""Attempts that take turns at every operation of a store, as a schedule says.

    backend, works, schedule -> each work's result

An attempt whose turns are over stays frozen until all others have ended, and then goes on: a late writer. One that is
to be killed never does.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from atlas.store import Backend


class Killed(BaseException):
    """What ends an attempt before its next operation."""


class Scheduled(Backend):
    """Another backend, every operation of which waits for its turn, where a schedule is on."""

    def __init__(self, inner: Backend) -> None:
        self.inner = inner
        self.turn: Callable[[], None] = lambda: None

    def __str__(self) -> str:
        return str(self.inner)

    def get(self, key: str) -> bytes | None:
        self.turn()
        return self.inner.get(key)

    def range(self, key: str, start: int, stop: int | None = None) -> bytes | None:
        self.turn()
        return self.inner.range(key, start, stop)

    def put(self, key: str, value: bytes) -> None:
        self.turn()
        self.inner.put(key, value)

    def put_new(self, key: str, value: bytes) -> bool:
        self.turn()
        return self.inner.put_new(key, value)

    def put_if(self, key: str, value: bytes, there: bytes | None) -> bool:
        self.turn()
        return self.inner.put_if(key, value, there)

    def delete(self, key: str) -> None:
        self.turn()
        self.inner.delete(key)

    def list(self, prefix: str = "") -> Iterator[str]:
        self.turn()
        return self.inner.list(prefix)

    def pause(self, at: int, meanwhile: Callable[[], None]) -> None:
        """Do something else before the operation number `at` from now, once."""
        left = [at]

        def turn() -> None:
            left[0] -= 1
            if left[0] == -1:
                self.resume()
                meanwhile()

        self.turn = turn

    def resume(self) -> None:
        """No turns any more."""
        self.turn = lambda: None


class _Schedule:
    """Whose turn it is: attempts run in threads, one at a time."""

    def __init__(self, spans: Sequence[tuple[int, int]], count: int, killed: int | None) -> None:
        self.spans, self.killed = [list(span) for span in spans], killed
        self.living = set(range(count))
        self.changed = threading.Condition()
        self.me = threading.local()
        self.steps = [0] * count

    @property
    def current(self) -> int:
        """Who runs: as long as its span lasts and it lives, then the next; in the end whoever is left, in order."""
        while self.spans and (not self.spans[0][1] or self.spans[0][0] not in self.living):
            self.spans.pop(0)
        return self.spans[0][0] if self.spans else min(self.living, default=-1)

    def turn(self) -> None:
        number = getattr(self.me, "number", None)
        if number is None:
            return
        with self.changed:
            assert self.changed.wait_for(lambda: self.current == number, 60)
            if number == self.killed and not self.spans:
                raise Killed
            if self.spans:
                self.spans[0][1] -= 1
            self.steps[number] += 1
            self.changed.notify_all()

    def run(self, number: int, work: Callable[[], Any], results: dict[int, Any]) -> None:
        self.me.number = number
        try:
            results[number] = work()
        except BaseException as error:  # noqa: BLE001 (told to who asks)
            results[number] = error
        finally:
            with self.changed:
                self.living.discard(number)
                self.changed.notify_all()


def carried_out(
    backend: Scheduled, works: Sequence[Callable[[], Any]], spans: Sequence[tuple[int, int]], killed: int | None = None
) -> tuple[list[Any], list[int]]:
    """What each of `works` gives, or the error it ends with, and how many operations it took.

    `spans` are (who, how many operations) in their order; afterwards those that are left run to their end one after the
    other, but the one that is `killed` dies.
    """
    schedule, results = _Schedule(spans, len(works), killed), dict[int, Any]()
    backend.turn = schedule.turn
    threads = [threading.Thread(target=schedule.run, args=(at, work, results)) for at, work in enumerate(works)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
        assert not thread.is_alive()
    backend.resume()
    return [results[number] for number in range(len(works))], schedule.steps
