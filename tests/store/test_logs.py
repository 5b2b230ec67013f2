"""The log of a run: written as it goes on, each object once, read at any time; logs of before are read as well."""

from __future__ import annotations

import gc
import json
import resource
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

import atlas
from atlas.catalogue.mending import mend
from atlas.errors import CannotWrite, UnknownName
from atlas.store import Log, MemoryBackend, Run, Store, Totals, copy, logs, run_called, runs, verify
from tests.stores import make_store

pytestmark = pytest.mark.builder

OLD = "logs/20260101T000000000000Z-abcdef.json"


class Noting(MemoryBackend):
    """Notes what is written and read; a store that cannot be written where it is told so."""

    def __init__(self) -> None:
        super().__init__()
        self.puts, self.gets = Counter[str](), Counter[str]()
        self.full = self.forgetful = False

    def put(self, key: str, value: bytes) -> None:
        if self.full:
            raise CannotWrite("the disk is full")
        self.puts[key] += 1
        if not self.forgetful:
            super().put(key, value)

    def get(self, key: str) -> bytes | None:
        self.gets[key] += 1
        return super().get(key)


@pytest.fixture
def store() -> Store:
    return make_store(Noting(), layers={"a": 40}, size=16)


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "OFTEN", 0.02)


def begun(store: Store) -> Log:
    """A log whose beginning is written."""
    log = Log(store)
    log.begin(atlas="0.1.0", torch="2.10", device="cpu", workers=2, cores=1, price=None, pictures=80, plans={})
    until(log, 1, store)
    return log


def done(log: Log, number: int, **more: object) -> None:
    """A shard is done, of a second's work."""
    told = {"work": "rendering", "over": "units", "units": 32, "bytes": 10, "seconds": {"render": 0.75, "write": 0.25}}
    log.tell("shard done", what=f"features a:{number}", **told | more)


def logged(store: Store) -> Iterator[str]:
    return store.backend.list("logs/")


def until(log: Log, count: int, store: Store) -> Run:
    """The run, once its log has so many objects."""
    for _ in range(1000):
        found = [run for run in runs(store) if run.id == log.id]
        if found and len(found[0].keys) >= count:
            return found[0]
        log._thread.join(0.01)
    raise AssertionError(f"the log has not got {count} objects")


def test_a_log_is_readable_while_it_is_written_and_no_object_is_written_twice(store: Store, hasty: None) -> None:
    log = begun(store)
    for number in range(3):
        done(log, number)
        run = until(log, number + 2, store)
        assert [line["event"] for line in run.events()] == ["begun", *["shard done"] * (number + 1)]
        assert not run.ended
        assert run.totals.shards == number + 1
        assert run.totals.took == {"rendering": {"render": 0.75 * (number + 1), "write": 0.25 * (number + 1)}}
    log.tell("ended")
    log.close()
    (run,) = runs(store)
    assert run.ended
    assert run.begun["torch"] == "2.10"
    assert [line["what"] for line in run.events() if "what" in line] == [f"features a:{number}" for number in range(3)]
    assert run.keys == tuple(f"logs/{log.id}/{number:06}.jsonl" for number in range(len(run.keys)))
    assert isinstance(store.backend, Noting)
    assert {store.backend.puts[key] for key in run.keys} == {1}
    assert not verify(store).findings
    times = [line["after"] for line in run.events()]
    assert times == sorted(times)


def test_lines_wait_for_company_but_not_for_many(store: Store) -> None:
    log = begun(store)
    for number in range(logs.MANY // 2):
        done(log, number)
    assert len(list(logged(store))) == 1, "one object for each line would be too many"
    for number in range(logs.MANY):
        done(log, number)
    until(log, 2, store)
    log.close()
    assert runs(store)[0].totals.shards == logs.MANY * 3 // 2


def test_a_hundred_thousand_shards_take_no_memory(store: Store) -> None:
    log = begun(store)
    assert isinstance(store.backend, Noting)
    store.backend.forgetful, sizes = True, []
    for number in range(100_001):
        done(log, number)
        if number % 25_000 == 0:
            while log._lines or log._due:
                log._wake.set()
                log._thread.join(0.01)
            gc.collect()
            sizes.append(resident())
    log.close()
    assert log.totals.shards == 100_001
    assert sizes[-1] - sizes[1] < 5_000_000, sizes  # to keep the lines would take 100 MB
    assert len([key for key in store.backend.puts if key.startswith("logs/")]) < 200


def resident() -> int:
    """Bytes that this process has in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()


def test_a_store_that_cannot_be_written_loses_no_line_and_stops_nobody(
    store: Store, hasty: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    backend = store.backend
    assert isinstance(backend, Noting)
    log = begun(store)
    backend.full = True
    for number in range(5):
        done(log, number)
        log._thread.join(0.03)
    backend.full = False
    run = until(log, 2, store)
    log.close()
    run = run.again()
    assert [line["what"] for line in run.events() if "what" in line] == [f"features a:{number}" for number in range(5)]
    backend.full = True
    monkeypatch.setattr(logs, "MOST", 3)
    for number in range(9):
        done(log, number)
    with pytest.raises(CannotWrite):
        log.close()
    assert log.totals.shards == 14, "what is too much to be held is counted all the same"
    backend.full = False
    log.close()
    *_, last = run.again().events()
    assert last == {"event": "left out", "lines": 6}
    assert run.again().totals.shards == 14


def test_of_failures_the_rest_of_a_log_is_not_read(store: Store, hasty: None) -> None:
    log = begun(store)
    for number in range(6):
        done(log, number)
        if number == 3:
            log.tell("failed", what="features a:3", reason="no derivative", kind="error", trace="line 1\nline 2")
            log.tell("divided", what="features a:4", reason="no derivative", kind="error", trace="")
        until(log, number + 2, store)
    log.close()
    (run,) = runs(store)
    assert isinstance(store.backend, Noting)
    store.backend.gets.clear()
    found = list(run.failures())
    assert [line["event"] for line in found] == ["failed", "divided"]
    assert found[0]["trace"] == "line 1\nline 2"
    assert sum(store.backend.gets.values()) == 1
    assert run.totals.failed == {"error": 1}
    assert sum(store.backend.gets.values()) == 2, "the last object has the sums"


def test_runs_come_in_the_order_of_their_numbers_after_those_of_before(store: Store) -> None:
    store.put_json(OLD, {"seconds": 1.5, "events": []})
    first = begun(store)
    second = begun(store)  # the first goes on
    for log in (second, first):
        log.close()
    third = begun(store)
    third.close()
    assert [run.id for run in runs(store)] == [OLD[5:-5], first.id, second.id, third.id]
    assert [run.number for run in runs(store)] == [0, 1, 2, 3]
    assert run_called(store).id == third.id
    assert run_called(store, "2").id == run_called(store, second.id).id == second.id
    with pytest.raises(UnknownName, match="no run '4'"):
        run_called(store, "4")
    with pytest.raises(UnknownName, match="no log of a run"):
        run_called(make_store(MemoryBackend(), layers={"a": 3}, size=16))
    assert [run.id for run in atlas.open(store.backend).runs] == [run.id for run in runs(store)]


def test_a_log_of_before_is_read(store: Store) -> None:
    lines = [
        {"done": "features a:0-31", "statuses": {"ok": 64}, "seconds": {"render": 2.0, "write": 1.0}, "host": "x"},
        {"retried": "features a:32-39", "attempt": 1, "reason": "its worker died"},
        {"divided": "features a:32-39", "reason": "no derivative", "trace": "line 1"},
        {"failed": "features a:32-39", "reason": "no derivative", "trace": "line 1"},
        {"silent": "features a:32-39", "reason": "no progress"},
        {"done": "columns of a", "items": 80},
        {"done": "relations and tables", "seconds": 0.5},
    ]
    store.put_json(OLD, {"seconds": 12.5, "events": lines})
    (run,) = runs(store)
    assert [line["event"] for line in run.events()] == [
        *("shard done", "retried", "divided", "failed", "silent", "layer done", "finished", "ended")
    ]
    assert [line["what"] for line in run.failures()] == ["features a:32-39"] * 2
    assert run.ended
    assert run.begun == {}
    totals = run.totals
    assert (totals.seconds, totals.shards) == (12.5, 1)
    assert totals.took == {"rendering": {"render": 2.0, "write": 1.0}}
    assert (totals.retried, totals.failed) == ({"other": 1}, {"other": 1})


@pytest.mark.parametrize("where", [0.0, 0.3, 0.6, 0.9, 1.0])
def test_a_damaged_part_of_a_log_is_found_said_and_taken_out(store: Store, where: float) -> None:
    log = begun(store)
    done(log, 1)
    log.close()
    key = runs(store)[0].keys[-1]
    data = bytearray(store.backend.get(key) or b"")
    at = int(where * (len(data) - 1))
    for bit in range(8):
        flipped = bytes([*data[:at], data[at] ^ (1 << bit), *data[at + 1 :]])
        store.backend.put(key, flipped)
        assert [(one.kind, one.key) for one in verify(store).damage] == [("torn", key)], flipped[at]
        assert [line["event"] for line in runs(store)[0].events()] == ["begun", "damaged"]
    assert runs(store)[0].totals.shards == 0, "counted from what is left"
    mend(store, verify(store).findings)
    assert not verify(store).damage
    assert [line["event"] for line in runs(store)[0].events()] == ["begun"]


def test_a_copy_has_the_logs_and_gets_what_came_since(store: Store) -> None:
    log = begun(store)
    store.put_json(OLD, {"seconds": 1.5, "events": []})
    target = Noting()
    copied = copy(store, target).store
    assert list(logged(copied)) == list(logged(store))
    done(log, 1)
    log.close()
    target.gets.clear()
    copy(store, target)
    assert list(logged(copied)) == list(logged(store))
    assert runs(copied)[1].totals == runs(store)[1].totals
    assert not [key for key in target.gets if key.endswith("000000.jsonl")], "what is written once is not compared"


def test_what_is_no_log_is_no_run(tmp_path: Path, store: Store) -> None:
    for key in ("logs/notes.txt", "logs/some/000000.jsonl", "logs/12-/000000.txt"):
        store.backend.put(key, b"x")
    assert [run.id for run in runs(store)] in ([], ["12-"])


def test_totals_are_told_in_a_few_lines() -> None:
    totals = Totals()
    totals.take({"event": "begun", "device": "cuda", "cores": 1, "price": 0.5})
    for number in range(4):
        work = {"work": "rendering", "over": "units", "units": 32, "bytes": 10**6, "seconds": {"render": 900.0}}
        totals.take({"event": "shard done", "what": f"a:{number}", **work})
    totals.take({"event": "shard done", "found": True, "seconds": {"render": 900.0}, "bytes": 10**6})
    totals.take({"event": "shard done", "holes": {"7": "no"}, "work": "x", "over": "units", "units": 31})
    totals.take({"event": "layer done", "work": "merging", "seconds": {"all": 60.0}})
    for kind in ("crash", "machine", "machine"):
        totals.take({"event": "retried", "kind": kind})
    totals.take({"event": "failed", "kind": "", "reason": "no"})
    totals.seconds, totals.worker_seconds = 1800.0, 2 * 3600.0
    assert list(totals.rows()) == [
        ("rendering", "60 min 0 s", "50%", "128 units", "0.0711"),
        ("merging", "60.0 s", "1%", "", ""),
        ("waiting, starting", "59 min 0 s", "49%", "", ""),
    ]
    assert list(totals.lines()) == [
        "2 GPU-hours, 1.00 at 0.5 an hour; 4.0 workers on average.",
        "5 shards, 4 MB written (1 more were there already); 3 (1 crash, 2 machine) retries, "
        "2 (1 unit, 1 other) failures.",
    ]
    assert Totals.of(json.loads(json.dumps(totals.to_dict()))) == totals
    assert Totals.of({"seconds": 1}) is None
