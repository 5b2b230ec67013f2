"""What a run leaves behind of itself: its log, whatever ended it, and the sums of it."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

import atlas
from atlas.engine.events import Event, Retried, ShardDone, ShardFailed, Silent, Task
from atlas.engine.executors import InProcess, Staff
from atlas.engine.planning.images import ListedImages
from atlas.engine.record import Record
from atlas.engine.run import build, describe
from atlas.engine.worker import Job, Supplies
from atlas.models import Model, load_model
from atlas.plans import known
from atlas.store import MemoryBackend, Run, Store, runs, verify
from tests.builds import HASTY, build_in, charting_plans, collecting_plans, tiny_plans
from tests.cli.conftest import Ran, run
from tests.dataset.made import encoded, pixels
from tests.networks import POISON

pytestmark = pytest.mark.builder

__all__ = ["run"]
TINY = "tests.networks:tiny"
QUICK = [f"--set={setting}" for setting in ("size=32", "steps=2", "draws=1", "redirected=0")]
SLOW = [f"--set={setting}" for setting in ("size=64", "steps=32", "draws=1", "redirected=0")]
BUILD = (
    "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); import atlas.store.logs; "
    "atlas.store.logs.OFTEN = 0.05; from atlas.cli import main; main()"
)
"""A build whose log is written more often, so that a test need not wait, and that heeds Ctrl-C wherever tests run."""


@pytest.fixture(scope="module")
def tiny() -> Model:
    return load_model(TINY)


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> ListedImages:
    folder = tmp_path_factory.mktemp("images")
    for index in range(30):
        (folder / f"{index}.png").write_bytes(encoded(pixels(index)))
    return ListedImages.open([str(folder)])


def bytes_of_logs(store: Store) -> bytes:
    return b"".join(store.backend.get(key) or b"" for key in store.backend.list("logs/"))


def happened(run: Run) -> Counter[str]:
    return Counter(line["event"] for line in run.events())


@pytest.fixture
def going_on(tmp_path: Path) -> Iterator[tuple[Path, subprocess.Popen[str]]]:
    """A store that a process builds, some shards of which are done."""
    place = tmp_path / "s"
    command = [sys.executable, "-c", BUILD, "build", TINY, "--layers", "second.1", "--store", str(place), "--local"]
    process = subprocess.Popen([*command, *SLOW], stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    began = time.monotonic()
    while not (place.is_dir() and list(place.glob("receipts/features/second.1/*.json"))):
        assert process.poll() is None, process.communicate()
        assert time.monotonic() - began < 120
        time.sleep(0.05)
    yield place, process
    if process.poll() is None:
        process.kill()
    process.communicate()


def done_in(store: Store) -> set[str]:
    return {str(plan.shard(index)) for plan in store.plans() for index in store.receipts(plan)}


def logged_in(store: Store) -> set[str]:
    return {line["what"] for line in runs(store)[-1].events() if line["event"] == "shard done"}


def test_a_killed_driver_leaves_what_was_done_until_then(
    going_on: tuple[Path, subprocess.Popen[str]], run: Callable[..., Ran]
) -> None:
    place, driver = going_on
    store, began = Store.open(place), time.monotonic()
    while not logged_in(store):
        assert time.monotonic() - began < 5, "a shard that is done is in the log a moment later"
        time.sleep(0.05)
    shown = run("log", place)
    assert driver.poll() is None, "the log was read while it was written"
    assert "shard done  features second.1:0-31" in shown.out
    assert "Begun 20" in shown.out
    assert "3 of 3 shards to make" in shown.out
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    logged = logged_in(store)
    assert logged <= done_in(store)
    assert "features second.1:0-31" in logged
    (last,) = runs(store)
    assert not last.ended
    assert last.totals.shards == len(logged)
    assert f"{last.totals.seconds:.0f} s so far: it is running, or was killed." in run("status", place).out
    assert not verify(store).damage
    assert run("build", TINY, "--layers", "second.1", "--store", place, "--local", *SLOW).code == 0
    first, second = atlas.open(place).runs
    assert second.ended
    assert {line["what"] for one in (first, second) for line in one.events() if line["event"] == "shard done"} == (
        done_in(store)
    )


def test_ctrl_c_is_in_the_log(going_on: tuple[Path, subprocess.Popen[str]]) -> None:
    place, driver = going_on
    driver.send_signal(signal.SIGINT)
    assert driver.wait(60) == 130
    (only,) = runs(Store.open(place))
    *_, stopped, ended = only.events()
    assert (stopped["event"], stopped["by"]) == ("stopped", "Ctrl-C")
    assert (ended["event"], ended["left"]) == ("ended", None)
    assert only.ended


def test_time_that_is_up_is_in_the_log(run: Callable[..., Ran], tmp_path: Path) -> None:
    command = ("build", TINY, "--store", tmp_path / "s", "--layers", "first.1", "--local", *QUICK)
    run(*command, "--max-hours", "0")
    (only,) = runs(Store.open(tmp_path / "s"))
    told = {line["event"]: line for line in only.events()}
    assert told["time up"]["left"] == told["ended"]["left"] == 2
    run(*command)
    assert "time up" not in happened(runs(Store.open(tmp_path / "s"))[-1])


def test_what_fails_is_in_the_log_with_its_trace(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, run: Callable[..., Ran]
) -> None:
    (tmp_path / "units").write_text("17 raise")
    monkeypatch.setenv(POISON, str(tmp_path / "units"))
    place = tmp_path / "s"
    build = ("build", "tests.networks:poisoned", "--layers", "second.1:0-39", "--store", place, "--local", *QUICK)
    ran = run(*build)
    assert ran.code == 1
    assert "2 shards, " in ran.out
    assert "no retries, 1 (1 unit) failures." in ran.out
    (only,) = runs(Store.open(place))
    (divided,) = only.failures()
    assert divided["event"] == "divided"
    assert divided["kind"] == "error"
    assert "ArithmeticError: no derivative of this one" in divided["reason"]
    assert "Traceback" in divided["trace"]
    holed = next(line for line in only.events() if line.get("holes"))
    assert list(holed["holes"]) == ["17"]
    assert only.totals.failed == {"unit": 1}
    shown = run("log", place, "--failed").out
    assert "divided  features second.1:0-31" in shown
    assert "Traceback (most recent call last)" in shown
    assert "shard done" not in shown
    assert "Traceback" not in run("log", place).out
    assert run("log", place, "--run", "7").complaints == [
        f"error: There is no run '7'. {place} has 1, of which 1 is the last."
    ]


@pytest.mark.parametrize("charted", [False, pytest.param(True, marks=pytest.mark.slow)])
def test_the_sums_are_those_of_the_receipts(tiny: Model, images: ListedImages, charted: bool) -> None:
    plans = [*tiny_plans(tiny), *collecting_plans(tiny, images, crops=1)]
    plans += charting_plans(tiny, images) if charted else []
    plans = list({plan.names: plan for plan in plans}.values())
    store = Store.create(MemoryBackend(), tiny.identity, describe(tiny))
    heard: list[Event] = []
    report = build(store, tiny, plans, InProcess(), images=images, price=0.5, watch=heard.append)
    assert report.failed == []
    took, units, size, shards = Counter[str](), Counter[str](), 0, 0
    for plan in store.plans():
        for receipt in store.receipts(plan).values():
            seconds, shards = receipt.record.get("seconds", {}), shards + 1
            took[known(plan.stage).work] += sum(seconds.values())
            units[known(plan.stage).work] += (receipt.units[1] - receipt.units[0]) if seconds else 0
            size += sum(one.size for one in receipt.objects)
    more = {"sampling", "patches", "cells"} if charted else set()
    assert took.keys() - {""} == {"rendering", "collecting", "examples"} | more
    totals = report.totals
    made = {work: sum(totals.done[work].values()) for work in took if work}
    assert made == {work: count for work, count in units.items() if work}
    for work, seconds in took.items():
        assert not work or sum(totals.took[work].values()) == pytest.approx(seconds)
    assert (totals.shards, totals.bytes, totals.found) == (shards, size, 0)
    assert totals.worked <= totals.worker_seconds == pytest.approx(totals.seconds, rel=0.1)
    assert totals.hours == pytest.approx(totals.worker_seconds / 3600)
    (only,) = runs(store)
    counted = only._counted()
    assert only.totals.to_dict() == totals.to_dict()
    assert (counted.took, counted.done, counted.shards, counted.bytes) == (
        *(totals.took, totals.done, totals.shards, totals.bytes),
    )
    assert sum(isinstance(event, ShardDone) for event in heard) == shards == happened(only)["shard done"]
    shares = [float(share.rstrip("%")) for _, _, share, *_ in totals.rows()]
    assert sum(shares) == pytest.approx(100, abs=len(shares))


def test_what_others_made_meanwhile_is_not_of_this_run(tiny: Model) -> None:
    """Two drivers of a store: each counts what its own workers did."""
    plans, backend = tiny_plans(tiny), MemoryBackend()

    class Overtaken(InProcess):
        def run(self, job: Job, supplies: Supplies, queue: deque[Task]) -> Generator[Event, None, None]:
            build_in(backend, tiny, plans)
            yield from super().run(job, supplies, queue)

    _, report = build_in(backend, tiny, plans, Overtaken())
    assert (report.totals.shards, report.totals.found, report.totals.bytes) == (0, 5, 0)
    other, ours = sorted((found.totals for found in runs(Store.open(backend))), key=lambda one: -one.shards)
    assert (other.shards, other.found, ours.shards, ours.found) == (5, 0, 0, 5)
    assert "rendering" not in ours.took


def test_no_log_names_a_machine(tiny: Model) -> None:
    store = Store.create(MemoryBackend(), tiny.identity, describe(tiny))
    (plan,) = store.prepare(tiny_plans(tiny, "first.1"))
    record = Record(store, {plan: 2}, Staff(2), 80, 80)
    shard, task = plan.shard(0), Task((plan,), (0,))
    address = "no route to 10.1.2.3:8333, nor to http://store.internal:9000/bucket/key?X-Amz-Signature=abc"
    for event in (
        ShardDone(shard, {"ok": 64}, {"seconds": {"render": 1.0}, "host": "host-7", "pid": 4321, "machine": "x86_64"}),
        Retried(task, 1, "its worker crashed or was killed", "crash", "host-7 (process 4321)"),
        Silent(task, "no progress for 60 s: its process is stopped", "host-7 (process 4321)"),
        ShardFailed(shard, address, f"Traceback: ip-10-1-2-3.ec2.internal, {address}", "error"),
    ):
        record.take(event)
    record.stopped(RuntimeError(address))
    record.close()
    text = bytes_of_logs(store).decode()
    assert "/bucket/key" in text, "what happened is told"
    for word in ("host-7", "4321", "10.1.2.3", "10-1-2-3", "8333", "store.internal", "Signature", socket.gethostname()):
        assert word not in text, word
    assert str(os.getpid()) not in [line.get("pid") for line in runs(store)[0].events()]


def test_workers_are_counted_over_time(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("atlas.engine.executors.time.monotonic", lambda: now[0])
    staff = Staff(0)
    now[0] += 60
    staff.are(2)
    now[0] += 10
    assert staff.seconds == 20
    staff.are(5)
    now[0] += 1
    assert staff.seconds == 25


def test_a_build_and_a_status_say_where_the_time_went(run: Callable[..., Ran], tmp_path: Path) -> None:
    command = ("build", TINY, "--store", tmp_path / "s", "--layers", "first.1", "--local", *QUICK)
    ran = run(*command, "--price", "7200000")
    lines = ran.out.splitlines()
    (head,) = (number for number, line in enumerate(lines) if line.startswith("work "))
    assert lines[head].split() == ["work", "worker", "time", "share", "done", "a", "second"]
    assert {line.split()[0] for line in lines[head + 1 : head + 5]} == {"rendering", "merging", "relations", "waiting,"}
    assert "40 units" in next(line for line in lines if line.startswith("rendering"))
    cost = next(line for line in lines if " core-hours, " in line)
    hours, money = float(cost.split()[0]), float(cost.split()[2].replace(",", ""))
    assert money == pytest.approx(hours * 7_200_000, rel=0.01)
    assert cost.endswith("at 7.2e+06 an hour; 1.0 workers on average.")
    shown = run("status", tmp_path / "s").out.splitlines()
    at = shown.index(lines[head])
    assert shown[at:] == lines[head : head + len(shown) - at]
    again = run(*command)
    assert "worker time" not in again.out, "it had nothing to do"
    assert "core-hours" not in run("status", tmp_path / "s").out


def test_a_plan_and_a_submission_reckon_money_alike(run: Callable[..., Ran], tmp_path: Path) -> None:
    plan = ("plan", TINY, "--layers", "first.1", "--device", "cpu", *QUICK)
    assert "hours" not in run(*plan).out
    assert "core-hours, 0.00 at 2 an hour (an estimate for a nominal core; measure" in run(*plan, "--price", "2").out
    assert HASTY.steps == 3


def test_no_receipt_names_a_machine(tiny: Model) -> None:
    backend = MemoryBackend()
    build_in(backend, tiny, tiny_plans(tiny))
    for key in (key for key in backend.list() if key.endswith(".json")):
        assert f'"{socket.gethostname()}"'.encode() not in (backend.get(key) or b""), key
