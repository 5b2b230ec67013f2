"""The Ray executor.

Plain tasks that stream their events. The driver keeps at most twice as many tasks under way as there are slots, which
are counted as a cluster grows. It hands a task out again when its worker or machine dies; an error of our own is no
reason to try again.

A stream alone is not trusted: of a machine that vanished without closing its connections it says nothing for minutes.
So now and then the tasks under way are compared with the machines that Ray knows, and what is silent is looked after.
"""

from __future__ import annotations

import os
import socket
import time
from collections import deque
from collections.abc import Callable, Collection, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from typing import Any, TypeVar

import ray
from ray.exceptions import (
    NodeDiedError,
    ObjectLostError,
    OutOfMemoryError,
    RayError,
    RayTaskError,
    TaskCancelledError,
    WorkerCrashedError,
)
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from atlas.engine import vitals
from atlas.engine.clusters import Machines, machines
from atlas.engine.events import Event, Kind, Retried, ShardFailed, Silent, Task, TaskFailed, Tried
from atlas.engine.executors import Staff
from atlas.engine.numerics import Hardware, checked, here
from atlas.engine.vitals import Vitals
from atlas.engine.work import perform
from atlas.engine.worker import Job, Supplies
from atlas.errors import AtlasError, ModelError
from atlas.factories import guarded
from atlas.recipe import Numerics
from atlas.words import parameter, without_addresses

Item = TypeVar("Item")
Result = TypeVar("Result")
DIED = (WorkerCrashedError, NodeDiedError, ObjectLostError, OutOfMemoryError, TaskCancelledError)
"""Errors of the machinery, not of the work."""
ATTEMPTS = 5
"""How often a task is handed out before its shards count as failed."""
TRIALS = 2
"""The same of some units of a shard that failed, which are tried by themselves."""
MACHINES = 20
"""How many machines may vanish under one task; they are not counted as attempts."""
PATIENCE = 5.0
"""Seconds between looks at a silent cluster; `ray.wait` without a time limit can miss its wake-up."""
SILENCE = 60.0
"""Seconds without a word after which a task is looked after, and again each time as many have passed."""
COMING = 1800.0
"""Seconds in which a cluster that scales from zero must have brought its first worker."""
WANTED: dict[str, dict[str, Any]] = {"GPU": {"num_cpus": 0, "num_gpus": 1}, "CPU": {"num_cpus": 1}}
"""What the question what workers have asks for."""
STUCK = 600.0
"""Seconds in which a silent worker has neither computed nor read after which it is killed."""
AHEAD = 4
"""Tasks under way at least, however few slots there are: an autoscaler adds machines for those that wait."""
ANSWER = 5.0
"""Seconds in which a machine says how a process of it is. All wait for it: one that is gone must not cost much."""


@dataclass(frozen=True)
class _At:
    """Where a task runs: what its stream says first."""

    node: str
    host: str
    pid: int
    kills: int
    """Processes that the machine had killed for want of memory by then."""

    def __str__(self) -> str:
        return f"{self.host} (process {self.pid})"


@dataclass(eq=False)
class _UnderWay:
    """A task and what became of it so far."""

    task: Task
    attempt: int = 1
    lost: int = 0
    """Machines that vanished under it."""
    at: _At | None = None
    heard: float = 0.0
    """When its stream last said something, or it was handed out."""
    looked: float = 0.0
    """When it was last looked after, or said something."""
    seen: Vitals | None = None
    """What its process was like then."""
    worked: float = 0.0
    """When its process was last seen to have done something."""


class OnRay:
    """Tasks on a Ray cluster that this process is connected to. See `atlas.engine.clusters`."""

    def __init__(self, numerics: Numerics, workers: int | None = None) -> None:
        self._numerics, self._asked = numerics, workers
        with machines() as nodes:
            self.workers = workers or slots(nodes, numerics) or AHEAD  # a cluster that has none is one that grows
            self.staff = Staff(self._employed(nodes))
        self._vanished = 0
        """Machines that Ray lost in this run."""

    def run(self, job: Job, supplies: Supplies, queue: deque[Task]) -> Generator[Event, None, None]:
        put = [ray.put(supplies.state()), ray.put(supplies.images()), _sent(supplies)]
        running: dict[Any, _UnderWay] = {}
        again: deque[_UnderWay] = deque()
        looked = time.monotonic()
        with machines() as nodes, _cancelled(running):
            while queue or again or running:
                self.staff.are(self._employed(nodes))
                while (queue or again) and len(running) < self._window(nodes):
                    one = again.popleft() if again else _UnderWay(queue.popleft())
                    running[self._submit(job, one, put)] = one
                ready, _ = ray.wait(list(running), num_returns=1, timeout=PATIENCE, fetch_local=False)
                nodes.alive()
                for stream in ready:
                    yield from self._advance(stream, running, again, nodes)
                if time.monotonic() - looked > PATIENCE:
                    yield from self._withdraw(running, again, nodes)
                    yield from _look_after(running.values())
                    looked = time.monotonic()

    def _window(self, nodes: Machines) -> int:
        """How many tasks are kept under way: twice the slots of now keeps every worker busy.

        A number that was asked for is kept to.
        """
        return self._asked or max(2 * slots(nodes, self._numerics), AHEAD)

    def _employed(self, nodes: Machines) -> int:
        """How many slots there are now for what is handed out."""
        there = slots(nodes, self._numerics)
        return min(there, self._asked or there)

    def _submit(self, job: Job, one: _UnderWay, supplies: list[Any]) -> Any:
        one.at, one.seen = None, None
        one.heard = one.looked = time.monotonic()
        options: dict[str, Any] = {
            "num_cpus": self._numerics.threads,
            "name": str(one.task),
            "scheduling_strategy": "SPREAD",
        }
        if self._vanished:
            # Ray goes on asking a machine that vanished for a place, and holds all tasks of one shape back until it is
            # answered. A byte of memory, which no machine lacks, makes another shape of them.
            options["memory"] = self._vanished
        if self._numerics.device == "cuda" and one.task.on_device:
            options["num_gpus"] = 1
        return _perform.options(**options).remote(job, one.task, supplies)

    def _advance(
        self, stream: Any, running: dict[Any, _UnderWay], again: deque[_UnderWay], nodes: Machines
    ) -> Iterator[Event]:
        """The next event of one task, or its end."""
        one = running[stream]
        one.heard = one.looked = time.monotonic()
        one.seen = None
        try:
            event = ray.get(next(stream))
            if isinstance(event, _At):
                one.at = event
            else:
                yield event
            return
        except StopIteration:
            del running[stream]
        except DIED as error:
            del running[stream]
            if isinstance(error, NodeDiedError) or (one.at and one.at.node not in nodes.alive()):
                yield from _hand_again(one, again, "its machine died", _where(one.at))
            else:
                yield from _try_again(one, again, *_why(error, one.at), _where(one.at))
        except RayTaskError as error:
            del running[stream]
            if isinstance(error.cause, AtlasError):
                raise error.cause from None
            yield from _gave_up(one.task, _last_line(error), "error")

    def _withdraw(self, running: dict[Any, _UnderWay], again: deque[_UnderWay], nodes: Machines) -> Iterator[Event]:
        """Take back what is on machines that vanished, and what has not begun: it may wait for one of them.

        What is on its way already is heard first: a machine that ended in good order has told all.
        """
        alive = nodes.alive()
        if not nodes.lost():
            return
        self._vanished += 1
        for stream, one in list(running.items()):
            while stream in running and _gone(one, alive) and _speaks(stream):
                yield from self._advance(stream, running, again, nodes)
            if stream in running and _gone(one, alive):
                del running[stream]
                ray.cancel(stream, force=True)
                if one.at is None:
                    again.append(one)  # nothing of it is lost
                else:
                    yield from _hand_again(one, again, "its machine vanished", _where(one.at))


def _gone(one: _UnderWay, alive: Collection[str]) -> bool:
    """Whether a task is on none of the machines that are there."""
    return one.at is None or one.at.node not in alive


def _speaks(stream: Any) -> bool:
    """Whether something of a stream has come that was not heard yet."""
    return bool(ray.wait([stream], timeout=0, fetch_local=False)[0])


@contextmanager
def _cancelled(running: Iterable[Any]) -> Iterator[None]:
    """What is under way when a block is left is no longer wanted."""
    try:
        yield
    finally:
        for stream in running:
            ray.cancel(stream, force=True)


@ray.remote(max_calls=0, max_retries=0, num_returns="streaming")
def _perform(job: Job, task: Task, supplies: list[Any]) -> Iterator[Event | _At]:
    """The body of every Ray task. `max_calls=0`: GPU tasks would otherwise get a new process, and model, a call.

    Weights and images come as references in a list, which Ray leaves alone: they are fetched where they are needed.
    """
    yield _At(ray.get_runtime_context().get_node_id(), socket.gethostname(), os.getpid(), vitals.memory_kills())
    state, images, network = supplies
    got = Supplies(lambda: ray.get(state), lambda: _images(images), lambda: ray.get(network))
    yield from perform(job, task, got)


def _sent(supplies: Supplies) -> Any:
    """A network that no spec makes, on its way to the workers; None for any other."""
    network = supplies.network()
    with guarded(
        "the network cannot be sent to workers", ModelError, f"{parameter('local', True)} builds in this process"
    ):
        return ray.put(network)


@lru_cache(maxsize=1)
def _images(source: Any) -> Any:
    """The images of a run, fetched once a process: of a million files the list alone takes a second."""
    return ray.get(source)


# -- the same work on many things --------------------------------------------------------------------------------------


def each(function: Callable[[Item], Result], items: Iterable[Item]) -> Iterator[Result]:
    """`function` of every item, in their order, on the cores of the connected cluster; of dead workers once more.

    Raises the `AtlasError` of a task, one that names any other error, and `ClusterLost`.
    """
    rest, window = iter(items), deque[Any]()
    with machines() as nodes, _cancelled(window):
        while True:
            free = max(1, 2 * int(nodes.has("CPU"))) - len(window)
            window.extend(_call.remote(function, item) for item in islice(rest, free))
            if not window:
                return
            yield _result(window[0], nodes)
            window.popleft()


def _result(task: Any, nodes: Machines) -> Any:
    while not ray.wait([task], timeout=PATIENCE, fetch_local=False)[0]:
        nodes.alive()
    try:
        return ray.get(task)
    except RayTaskError as error:
        if isinstance(error.cause, AtlasError):
            raise error.cause from None
        raise AtlasError(f"A task of the cluster failed: {_last_line(error)}") from error
    except RayError as error:
        raise AtlasError(f"A task of the cluster failed {ATTEMPTS} times: {_first_line(error)}") from error


@ray.remote(num_cpus=1, max_calls=0, max_retries=ATTEMPTS - 1, scheduling_strategy="SPREAD")
def _call(function: Callable[[Any], Any], item: Any) -> Any:
    return function(item)


# -- what is silent, and what died -------------------------------------------------------------------------------------


def _look_after(running: Collection[_UnderWay]) -> Iterator[Event]:
    """Name what was silent for too long and does nothing, as its machine says; what does nothing at all is killed.

    What computes or reads is left in peace, however long it takes, and so is what waits while others run.
    """
    now, begun = time.monotonic(), any(one.at for one in running)
    silent = [one for one in running if now - one.looked > SILENCE and (one.at or not begun)]
    found = _asked({one.at for one in silent if one.at})
    for one in silent:
        known, since, one.looked = found.get(one.at), now - one.looked, now
        if known and (one.seen is None or known.advanced(one.seen, since)):
            one.worked = now
        if known is None or known.stopped or one.worked < now:
            what = _told(one, known)
            if known and one.at and now - one.worked > STUCK:
                _end.options(**_on(one.at)).remote(one.at.pid)
                what += ". The process is killed and its task retried"
            yield Silent(one.task, f"no progress for {now - one.heard:.0f} s: {what}", _where(one.at))
        one.seen = known or one.seen


def _told(one: _UnderWay, known: Vitals | None) -> str:
    """What is known of a task that is silent."""
    if one.at is None:
        return "it has not started: the cluster has no free slot, or the worker is still starting"
    if known is None:
        return "its machine does not answer"
    return f"its process is {'stopped' if known.stopped else 'alive but idle' if known.alive else 'gone'}"


def _where(at: _At | None) -> str:
    """Where a task runs, for who watches; of one that has not begun nothing."""
    return "" if at is None else str(at)


def _asked(places: Collection[_At]) -> dict[_At | None, Vitals]:
    """What machines say of their processes; nothing of those that do not answer in time. This one needs no asking."""
    here = ray.get_runtime_context().get_node_id()
    found: dict[_At | None, Vitals] = {place: vitals.vitals(place.pid) for place in places if place.node == here}
    asked = {_vitals.options(**_on(place)).remote(place.pid): place for place in places if place not in found}
    if not asked:
        return found
    answered, waiting = ray.wait(list(asked), num_returns=len(asked), timeout=ANSWER)
    for late in waiting:
        ray.cancel(late, force=True)
    for ready in answered:
        with suppress(RayError):
            found[asked[ready]] = ray.get(ready)
    return found


def _on(place: _At) -> dict[str, Any]:
    return {"scheduling_strategy": NodeAffinitySchedulingStrategy(place.node, soft=False)}


@ray.remote(num_cpus=0, max_retries=0)
def _vitals(pid: int) -> Vitals:
    return vitals.vitals(pid)


@ray.remote(num_cpus=0, max_retries=0)
def _end(pid: int) -> None:
    vitals.end(pid)


def _hand_again(one: _UnderWay, again: deque[_UnderWay], reason: str, where: str) -> Iterator[Event]:
    """Hand a task out again whose machine vanished: no fault of the task's."""
    one.lost += 1
    if one.lost > MACHINES:
        yield from _gave_up(one.task, f"given up after {MACHINES} lost machines: {reason}", "machine")
    else:
        again.append(one)
        yield Retried(one.task, one.attempt, reason, "machine", where)


def _try_again(one: _UnderWay, again: deque[_UnderWay], kind: Kind, reason: str, where: str) -> Iterator[Event]:
    """Hand a task out again whose worker died, as often as may be: shard by shard, so that the others are not to blame.

    A trial is there to fail: twice is enough.
    """
    attempts = TRIALS if one.task.kind == "trial" else ATTEMPTS
    if one.attempt < attempts:
        one.attempt += 1
        shared = len(one.task.indices) > 1
        again.extend([_UnderWay(task, one.attempt, one.lost) for task in one.task.single] if shared else [one])
        yield Retried(one.task, one.attempt - 1, reason, kind, where)
    else:
        yield from _gave_up(one.task, f"its worker died {attempts} times: {reason}", kind)


def _why(error: BaseException, at: _At | None) -> tuple[Kind, str]:
    """Why a worker died: memory is named, which Ray does only where it killed the worker itself.

    Ray's own words are left out: they name addresses of machines, and the store keeps this.
    """
    known = None if at is None or isinstance(error, OutOfMemoryError) else _asked([at]).get(at)
    if isinstance(error, OutOfMemoryError) or (at and known and known.kills > at.kills):
        smaller = f"Try fewer {parameter('workers')} or a smaller {parameter('batch')}"
        return "memory", f"its worker was killed because the machine ran out of memory. {smaller}"
    how = "crashed or was killed" if isinstance(error, WorkerCrashedError) else f"was lost ({type(error).__name__})"
    return "crash", f"its worker {how}"


def _gave_up(task: Task, reason: str, kind: Kind) -> Iterator[Event]:
    reason = without_addresses(reason)  # it is kept
    if not task.on_device:
        yield TaskFailed(task, reason, kind=kind)
    for shard in task.shards:
        yield Tried(shard, task.rows, reason, kind) if task.rows else ShardFailed(shard, reason, kind=kind)


def slots(nodes: Machines, numerics: Numerics) -> int:
    """How many tasks the machines of now run side by side; none where a cluster has no workers yet."""
    name, each = ("GPU", 1) if numerics.device == "cuda" else ("CPU", numerics.threads)
    return int(nodes.has(name) // each)


# -- what the workers have ---------------------------------------------------------------------------------------------


def hardware(device: str, told: Callable[[str], None], *, waits: bool = True) -> Hardware:
    """What the workers of the connected cluster compute on, as one of them says that has what shards are given.

    Where a cluster scales from zero the question brings the first worker, which takes minutes; `told` hears why. Where
    it is not to wait and no worker is free, they are taken for what the cluster says it has, with the torch of here.
    Raises `AtlasError` where none comes, where it cannot build, and where nobody says what there will be.
    """
    with machines() as nodes:
        wanted = _wanted(device, nodes)
        if waits or _free(wanted, nodes):
            found = _answer(_hardware.options(**_question(wanted, nodes)).remote(), wanted, nodes, told)
        else:
            found = replace(here(), cuda=True)
            told(f"No {wanted} of the cluster is free to be asked: torch {found.torch} is assumed, as on this machine.")
        cuda = wanted == "GPU" and found.cuda
        found = replace(found, cuda=cuda, slots=int(nodes.has("GPU" if cuda else "CPU")))
    if wanted == "CPU" and device == "auto":
        ask = parameter("device", "cuda")
        told(f"The cluster has no GPU now, so the build uses CPUs. To wait for GPUs: {ask}")
    if wanted == "GPU" and device == "auto" and not cuda:
        told(f"The cluster has GPUs, but torch sees none of them {found.where}, so the build uses CPUs.")
    return found


def _wanted(device: str, nodes: Machines) -> str:
    """The resource that shards will ask for on `device`; with `auto`, of what there is."""
    if checked(device) != "auto":
        return "GPU" if device == "cuda" else "CPU"
    if not (nodes.has("GPU") or nodes.has("CPU")):
        raise AtlasError(
            "The cluster has no workers yet, so the device is unknown. Set "
            f"{parameter('device', 'cuda')} or {parameter('device', 'cpu')}"
        )
    return "GPU" if nodes.has("GPU") else "CPU"


def _question(wanted: str, nodes: Machines) -> dict[str, Any]:
    """What the question asks for. A CPU that is there need not be free; a GPU must, or torch sees none."""
    there = nodes.having(wanted)
    if wanted == "CPU" and there:
        return {"num_cpus": 0, "scheduling_strategy": NodeAffinitySchedulingStrategy(there[0], soft=True)}
    return WANTED[wanted]


def _free(wanted: str, nodes: Machines) -> bool:
    """Whether the question is answered without waiting."""
    if wanted == "CPU":
        return bool(nodes.having(wanted))
    return bool(ray.available_resources().get(wanted, 0) >= 1)  # type: ignore[no-untyped-call]


def _answer(asked: Any, wanted: str, nodes: Machines, told: Callable[[str], None]) -> Hardware:
    """What a worker answered, waited for as long as one may come."""
    began = said = time.monotonic()
    while not ray.wait([asked], timeout=PATIENCE)[0]:
        nodes.alive()
        now = time.monotonic()
        if now - began > COMING and not nodes.has(wanted):
            ray.cancel(asked, force=True)
            raise AtlasError(
                f"The cluster has had no {wanted} for {now - began:.0f} s. Check that the cluster can start one."
            )
        if now - said > SILENCE:
            said = now
            told(f"Waiting for a free {wanted} of the cluster; it has {nodes.has(wanted):g} now.")
    try:
        return ray.get(asked)  # type: ignore[no-any-return]
    except RayError as error:
        raise AtlasError(
            f"A worker of the cluster cannot build: {_last_line(error)}. Every machine needs atlas-builder[build], of "
            "one version."
        ) from None


@ray.remote(max_retries=3)
def _hardware() -> Hardware:
    return replace(here(), where=f"on {socket.gethostname()}")


def _first_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _last_line(error: BaseException) -> str:
    return str(error).strip().splitlines()[-1]
