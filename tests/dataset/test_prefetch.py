"""Threads ahead of a forward pass: order, bounds, errors."""

from __future__ import annotations

import threading
import time

import pytest

from atlas.dataset import prefetch


def test_results_come_in_order_however_long_each_takes() -> None:
    def slow(number: int) -> int:
        time.sleep(0.02 if number % 3 == 0 else 0)
        return number * number

    assert list(prefetch(slow, range(40), workers=4)) == [number * number for number in range(40)]
    assert list(prefetch(slow, [], workers=4)) == []


@pytest.mark.parametrize("ahead", [1, 3, 16])
def test_only_so_many_are_taken_ahead_of_the_reader(ahead: int) -> None:
    taken: list[int] = []
    items = (taken.append(number) or number for number in range(200))  # type: ignore[func-returns-value]
    for asked, _ in enumerate(prefetch(lambda number: number, items, workers=4, ahead=ahead), start=1):
        assert len(taken) - asked <= ahead
    assert asked == len(taken) == 200


def test_several_work_at_once() -> None:
    together = threading.Barrier(3, timeout=10)
    assert len(list(prefetch(lambda _: together.wait(), range(3), workers=3))) == 3


def test_an_error_comes_in_its_turn_and_ends_the_rest() -> None:
    done: list[int] = []

    def fails(number: int) -> int:
        if number == 5:
            raise RuntimeError("the fifth")
        done.append(number)
        return number

    results = prefetch(fails, range(1_000), workers=2, ahead=4)
    assert [next(results) for _ in range(5)] == [0, 1, 2, 3, 4]
    with pytest.raises(RuntimeError, match="the fifth"):
        next(results)
    assert max(done) <= 5 + 4


def test_who_stops_early_leaves_no_thread() -> None:
    before = threading.active_count()
    results = prefetch(lambda number: number, range(10**9), workers=4)
    assert next(results) == 0
    results.close()  # type: ignore[attr-defined]
    assert threading.active_count() == before
