"""Machines that vanish without a word, workers that stand still, workers killed for memory, a head that dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster
from ray.exceptions import AuthenticationError, NodeDiedError, OutOfMemoryError, TaskCancelledError, WorkerCrashedError

from atlas.engine import clusters, on_ray, vitals
from atlas.engine.clusters import connect
from atlas.engine.events import Event, Remarked, Retried, ShardDone, Silent, Task
from atlas.engine.numerics import numerics_for
from atlas.engine.on_ray import OnRay
from atlas.engine.record import Report
from atlas.engine.run import build, describe
from atlas.engine.vitals import Vitals
from atlas.errors import ClusterLost
from atlas.models import Model, load_model
from atlas.plans import Plan
from atlas.recipe import Recipe
from atlas.store import LocalBackend, MemoryBackend, Store
from tests.builds import build_in, contents, tiny_plans
from tests.engine.test_clusters import head, ours

pytestmark = pytest.mark.builder

UNHURRIED = Recipe.named("quick", size=32, steps=40, redirected=1, draws=2, jitter=2.0)
"""Tasks of some seconds, so that there is time to strike while they are under way."""
NOTICED = {
    "RAY_health_check_initial_delay_ms": "500",
    "RAY_health_check_period_ms": "1000",
    "RAY_health_check_timeout_ms": "1000",
    "RAY_health_check_failure_threshold": "5",
}
"""A cluster that gives a machine up sooner than it would by itself."""


@pytest.fixture(scope="module")
def tiny() -> Model:
    return load_model("tests.networks:tiny")


@pytest.fixture(scope="module")
def unhurried(tiny: Model) -> list[Plan]:
    return tiny_plans(tiny, recipe=UNHURRIED)


def offspring(pid: int) -> list[int]:
    """A process and all below it."""
    found = [pid]
    for parent in found:
        for listed in Path(f"/proc/{parent}/task").glob("*/children"):
            found += [int(child) for child in listed.read_text().split()]
    return found


@contextmanager
def two_machines() -> Iterator[tuple[Cluster, Any]]:
    """A cluster of two machines of one slot each, and the second of them."""
    small: dict[str, Any] = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    cluster = Cluster()
    try:
        started(cluster, include_dashboard=False, **small)
        second = started(cluster, **small)
        cluster.wait_for_nodes()
        yield cluster, second
    finally:
        cluster.shutdown()  # type: ignore[no-untyped-call]


def started(cluster: Cluster, **settings: Any) -> Any:
    """One more machine; a test machine may be so busy that Ray runs out of patience."""
    for _ in range(3):
        with suppress(Exception):
            return cluster.add_node(**settings)
    return cluster.add_node(**settings)


def watched(
    place: Path, model: Model, plans: list[Plan], strike: Callable[[Event], None], executor: OnRay | None = None
) -> tuple[Report, list[Event]]:
    """A build on the connected cluster in which `strike` hears of every event."""
    events: list[Event] = []

    def watch(event: Event) -> None:
        events.append(event)
        strike(event)

    store = Store.create(LocalBackend(place), model.identity, describe(model))
    return build(store, model, plans, executor or OnRay(plans[0].numerics), watch=watch), events


class Watchful(OnRay):
    """Calls as soon as a task has begun on one machine: what has not begun there loses nothing."""

    def __init__(self, plans: list[Plan], node: str, begun: Callable[[], None]) -> None:
        super().__init__(plans[0].numerics)
        self._node, self._begun = node, begun

    def _advance(self, stream: Any, running: dict[Any, Any], *rest: Any) -> Iterator[Event]:
        one = running[stream]
        yield from super()._advance(stream, running, *rest)
        if stream in running and one.at and one.at.node == self._node:
            self._begun()


@pytest.mark.slow
def test_a_machine_that_freezes_costs_little_and_nothing_of_the_task(
    tmp_path: Path, tiny: Model, unhurried: list[Plan], ray_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its raylet and workers stop at once, with all connections open: as where the plug is pulled."""
    for name, value in NOTICED.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(on_ray, "PATIENCE", 1.0)
    frozen: list[int] = []
    with two_machines() as (cluster, second):

        def strike() -> None:
            if not frozen:
                frozen.extend(offspring(second.all_processes["raylet"][0].process.pid))
                for pid in frozen:
                    os.kill(pid, signal.SIGSTOP)

        try:
            with connect(cluster.address):
                executor = Watchful(unhurried, second.node_id, strike)
                report, events = watched(tmp_path / "store", tiny, unhurried, lambda _: None, executor)
        finally:
            for pid in frozen:
                os.kill(pid, signal.SIGKILL)
    assert len(frozen) > 1
    assert not report.failed
    retried = [event for event in events if isinstance(event, Retried)]
    assert retried
    assert {event.attempt for event in retried} == {1}
    assert all("vanished" in event.reason for event in retried)
    plain = MemoryBackend()
    build_in(plain, tiny, unhurried)
    assert contents(LocalBackend(tmp_path / "store")) == contents(plain)


@pytest.mark.slow
def test_a_worker_that_stands_still_is_named_and_in_the_end_given_up(
    tmp_path: Path, tiny: Model, unhurried: list[Plan], ray_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"PATIENCE": 0.5, "SILENCE": 4.0, "STUCK": 6.0}.items():
        monkeypatch.setattr(on_ray, name, value)
    stopped: list[int] = []

    def strike(event: Event) -> None:
        if isinstance(event, ShardDone) and not stopped:
            stopped.append(event.record["pid"])
            os.kill(stopped[0], signal.SIGSTOP)

    with connect("local", workers=1, folder=str(ray_folder)):
        report, events = watched(tmp_path / "store", tiny, unhurried, strike)
    assert not report.failed
    silent = [f"{event.reason} {event.where}" for event in events if isinstance(event, Silent)]
    silent = [reason for reason in silent if "has not started" not in reason]  # as long as the worker starts
    assert "its process is stopped" in silent[0]
    assert silent[0].endswith(f"(process {stopped[0]})")
    assert "The process is killed and its task retried" in silent[-1]
    assert [event.attempt for event in events if isinstance(event, Retried)] == [1]


@pytest.mark.slow
def test_a_head_that_dies_is_one_line_that_says_how_to_go_on(tmp_path: Path, ray_folder: Path) -> None:
    with two_machines() as (cluster, _):
        settings = ["--layers", "first.1,second.1", "--set=size=32", "--set=steps=160", "--set=draws=1"]
        command = [sys.executable, "-m", "atlas", "build", "tests.networks:tiny", *settings]
        where = ["--ray", cluster.address, "--store", str(tmp_path / "tiny.atlas")]
        environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
        with subprocess.Popen([*command, *where], stderr=subprocess.PIPE, text=True, env=environment) as driver:
            while driver.poll() is None and not list((tmp_path / "tiny.atlas" / "receipts").glob("features/*/*.json")):
                time.sleep(0.1)
            head: Any = cluster.head_node
            for process in ("gcs_server", "raylet"):
                head.all_processes[process][0].process.kill()
            _, err = driver.communicate(timeout=300)
    lines = [line for line in err.splitlines() if line.startswith("error:")]
    assert (driver.returncode, len(lines)) == (1, 1), err
    assert "run the same command to resume" in lines[0]
    assert "Traceback" not in err


@pytest.mark.slow
@pytest.mark.parametrize("lost", ["all of it", "gcs_server", "raylet"])
def test_a_head_that_is_back_while_the_driver_asks_is_one_line_too(tmp_path: Path, ray_folder: Path, lost: str) -> None:
    """Ray itself would end the driver, with a page of C++ or without a word."""
    environment = ours(tmp_path, RAY_TMPDIR=str(ray_folder), RAY_memory_monitor_refresh_ms="0")
    store = tmp_path / "tiny.atlas"
    settings = ["--layers", "first.1,second.1", "--set=size=32", "--set=steps=3000", "--set=draws=1", "--device=cpu"]
    command = [sys.executable, "-m", "atlas", "build", "tests.networks:tiny", *settings, "--store", str(store)]
    with head(environment) as (address, first):
        driver = subprocess.Popen([*command, "--ray", address], stderr=subprocess.PIPE, text=True, env=environment)
        while not list((store / "builders").glob("*")):
            assert driver.poll() is None, driver.communicate()
            time.sleep(0.1)
        time.sleep(3)  # tasks are under way
        parts = {pid: Path(f"/proc/{pid}/comm").read_text().strip() for pid in offspring(first.pid)}
        for pid, name in parts.items():
            if lost in ("all of it", name):
                with suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
        first.wait(60)
        with head(environment, port=int(address.partition(":")[2])):
            _, err = driver.communicate(timeout=100)
        lines = err.splitlines()
        assert (driver.returncode, lines[-1][:6]) == (1, "error:"), err
        assert lines[-1].endswith("run the same command to resume.")
        assert not [line for line in lines[:-1] if not line.startswith("retry")], err


def test_who_does_not_know_us_any_more_is_known(ray_cluster: None, monkeypatch: pytest.MonkeyPatch) -> None:
    def refused() -> dict[str, Any]:
        raise AuthenticationError("WrongClusterID")

    monkeypatch.setattr(clusters, "BEAT", 0.02)
    with clusters.machines() as nodes:
        assert nodes.alive()
        monkeypatch.setattr(clusters, "_nodes", refused)
        time.sleep(1)
        with pytest.raises(ClusterLost, match=r"was restarted and no longer knows this build.*same command to resume"):
            nodes.alive()
    with pytest.raises(ClusterLost, match=r"is gone.*same command to resume"):
        clusters.Machines()


# -- what is said ------------------------------------------------------------------------------------------------------


AT = on_ray._At("node", "host-7", 4321, kills=2)
TASK = Task(kind="finish")


def looked_after(one: on_ray._UnderWay, answers: deque[Vitals | None], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is said of a task that was silent for two minutes."""

    def asked(places: set[on_ray._At]) -> dict[on_ray._At, Vitals]:
        answer = answers.popleft()
        return dict.fromkeys(places, answer) if answer else {}

    monkeypatch.setattr(on_ray, "_asked", asked)
    monkeypatch.setattr(on_ray, "SILENCE", -1.0)
    said: list[str] = []
    while answers:
        said += [f"{event.reason}, {event.where}" for event in on_ray._look_after([one]) if isinstance(event, Silent)]
    return said


def seen(cpu: float, moved: int = 0, **more: bool) -> Vitals:
    return Vitals(more.get("alive", True), more.get("stopped", False), cpu, moved, 0)


@pytest.mark.parametrize(
    ("at", "answers", "words"),
    [
        (None, [None], ["it has not started: the cluster has no free slot, or the worker is still starting, "]),
        (AT, [None], ["its machine does not answer, host-7 (process 4321)"]),
        (AT, [seen(5), seen(50), seen(99)], []),
        (AT, [seen(5), seen(5, 2**20)], []),
        (AT, [seen(5), seen(5)], ["its process is alive but idle, host-7 (process 4321)"]),
        (AT, [seen(5, stopped=True)], ["its process is stopped, host-7 (process 4321)"]),
        (AT, [seen(5), seen(5, alive=False)], ["its process is gone, host-7 (process 4321)"]),
    ],
)
def test_what_is_silent_is_named_and_what_works_is_left_in_peace(
    at: on_ray._At | None, answers: list[Vitals | None], words: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    one = on_ray._UnderWay(TASK, at=at, heard=time.monotonic() - 120)
    found = looked_after(one, deque(answers), monkeypatch)
    assert found == [f"no progress for 120 s: {word}" for word in words]


def test_what_waits_while_others_run_is_left_in_peace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_ray, "SILENCE", -1.0)
    monkeypatch.setattr(on_ray, "_asked", lambda places: dict.fromkeys(places, seen(5)))
    assert not list(on_ray._look_after([on_ray._UnderWay(TASK, at=AT), on_ray._UnderWay(TASK)]))


def test_a_worker_killed_for_memory_is_named_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux counts what it kills for want of memory, in containers too; Ray's own monitor says so itself."""

    def why(kills: int | None, error: Exception, at: on_ray._At | None = AT) -> str:
        known = None if kills is None else Vitals(False, False, 0, 0, kills)
        answer = {} if known is None else {at: known}
        monkeypatch.setattr(on_ray, "_asked", lambda _: answer)
        return on_ray._why(error, at)[1]

    by_ray = OutOfMemoryError("Task was killed due to the node running low on memory")  # type: ignore[no-untyped-call]
    assert "killed because the machine ran out of memory" in why(3, WorkerCrashedError())
    assert "`workers`" in why(3, WorkerCrashedError())
    assert "killed because the machine ran out of memory" in why(None, by_ray, None)
    for kills in (2, None):
        assert why(kills, WorkerCrashedError()) == "its worker crashed or was killed"
    assert why(None, WorkerCrashedError(), None) == "its worker crashed or was killed"
    assert why(2, TaskCancelledError()) == "its worker was lost (TaskCancelledError)"


class Died:
    """The stream of a task whose machine is dead, in Ray's own words."""

    def __next__(self) -> None:
        raise NodeDiedError("The node it was running on is dead. Node IP: 10.1.2.3")  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(("at", "where"), [(AT, "host-7 (process 4321)"), (None, "")])
def test_no_address_of_a_machine_that_died_is_told(at: on_ray._At | None, where: str) -> None:
    stream, one = Died(), on_ray._UnderWay(TASK, at=at)
    executor: OnRay = object.__new__(OnRay)
    assert list(executor._advance(stream, {stream: one}, deque(), Gone())) == [
        Retried(TASK, 1, "its machine died", "machine", where)
    ]


def test_what_machines_lose_is_not_counted_against_a_task_but_has_an_end() -> None:
    one, again = on_ray._UnderWay(TASK), deque[on_ray._UnderWay]()
    for _ in range(on_ray.MACHINES):
        (event,) = on_ray._hand_again(one, again, "its machine vanished", "host-7")
        assert isinstance(event, Retried)
        assert (event.attempt, one.attempt) == (1, 1)
    (event,) = on_ray._hand_again(one, again, "its machine vanished", "host-7")
    assert not isinstance(event, Retried)
    tried = [on_ray._try_again(one, again, "crash", "it crashed", "host-7") for _ in range(on_ray.ATTEMPTS)]
    attempts = [next(iter(events)) for events in tried]
    assert [getattr(event, "attempt", None) for event in attempts] == [1, 2, 3, 4, None]


class Gone(clusters.Machines):
    """A cluster of which all machines have just vanished."""

    def __init__(self) -> None:
        pass

    def alive(self) -> frozenset[str]:
        return frozenset()

    def lost(self) -> bool:
        return True


@ray.remote(num_returns="streaming")
def told() -> Iterator[Any]:
    yield AT
    yield Remarked("it is done")


def test_a_machine_that_ended_in_good_order_has_told_all(ray_cluster: None) -> None:
    """As after a drain: its last words may still wait for a driver that was busy when it ended."""
    stream: Any = told.remote()
    again = deque[on_ray._UnderWay]()
    ray.get(stream.completed())
    running = {stream: on_ray._UnderWay(TASK)}
    events = list(OnRay(numerics_for("cpu"))._withdraw(running, again, Gone()))
    assert (events, running, list(again)) == ([Remarked("it is done")], {}, [])


def test_what_has_not_begun_is_handed_out_again_without_a_word(ray_cluster: None) -> None:
    """However many machines vanish meanwhile: nothing of it is lost."""
    one, again = on_ray._UnderWay(TASK), deque[on_ray._UnderWay]()
    for _ in range(on_ray.MACHINES + 1):
        running = {told.options(num_cpus=99).remote(): one}
        assert list(OnRay(numerics_for("cpu"))._withdraw(running, again, Gone())) == []
        assert (running, again.pop(), one.lost) == ({}, one, 0)


def test_vitals_are_those_of_the_process() -> None:
    before = vitals.vitals(os.getpid())
    assert before.alive
    assert not before.stopped
    worked = sum(number**2 for number in range(2_000_000))
    assert worked
    after = vitals.vitals(os.getpid())
    assert after.cpu >= before.cpu
    assert not vitals.vitals(2**22 + 1).alive
    sleeper = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        os.kill(sleeper.pid, signal.SIGSTOP)
        while not vitals.vitals(sleeper.pid).stopped:
            time.sleep(0.01)
        vitals.end(sleeper.pid)
        assert sleeper.poll() is None, "what is no worker of Ray's is left alone"
    finally:
        sleeper.kill()
        sleeper.wait()
