"""Which Ray a build runs on: one of its own on this machine, or a running one that was named.

    address or none -> connected, for the length of a block

A cluster of our own is nobody else's: it has its own folder, its own token and ports of chance, whatever other Ray runs
on the machine, and leaves nothing behind. A running one is first tried by another process: where something is wrong
Ray writes pages, waits for minutes or ends the process that asked.
"""

from __future__ import annotations

import atexit
import logging
import os
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # before ray is imported: it reads this once

import ray
from ray.core.generated import gcs_pb2
from ray.exceptions import AuthenticationError, RayError

from atlas.errors import AtlasError, ClusterLost
from atlas.words import parameter

QUIET: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR, "configure_logging": True}
STORE = 512 * 2**20
"""Bytes of memory for the weights and the list of images, which all tasks of a machine share."""
SOCKETS = "/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store"
"""What Ray puts below its folder: the path of a socket has a limit."""
LONGEST = 103 if sys.platform == "darwin" else 107
"""Bytes of a socket's path."""
TRIAL = "import ray, sys; ray.init(sys.argv[1], log_to_driver=False); print(ray.get_runtime_context().gcs_address)"
ANSWER = 60.0
"""Seconds that a cluster has to answer."""
OTHERS = ("RAY_REDIS_ADDRESS", "RAY_GCS_SERVER_PORT", "RAY_JOB_CONFIG_JSON_ENV_VAR")
"""What is said in the environment of another cluster, and would be taken for one of our own."""
START = "Start one: ray start --head"
HEAD = 30.0
"""Seconds without an answer after which a head where nothing listens counts as gone; at 60 Ray ends the process."""
FROZEN = 180.0
"""Seconds without an answer after which one where something listens does."""
LEAVE = 5.0
"""Seconds to take leave of a head that is gone."""
BEAT = 3.0
"""Seconds between two questions to the head."""
GO_ON = "What is finished is kept. Once Ray runs again, run the same command to resume."
TOKEN = (
    "the cluster asks for another token than this machine has. Give it the one that `ray get-auth-token` "
    "prints on the cluster's head: RAY_AUTH_TOKEN=TOKEN, or the file ~/.ray/auth_token"
)
Told = Callable[[str], None]


@contextmanager
def connect(
    address: str | None = None, *, workers: int | None = None, folder: str | None = None, told: Told = lambda _: None
) -> Iterator[None]:
    """A Ray cluster for the length of a block: the one at `address`, or one of its own on this machine.

    `address` is HOST:PORT, `auto` for the cluster that runs on this machine, or `local` for one of its own. Where none
    is said it is that of RAY_ADDRESS, which is set inside a submitted Ray job. `folder` holds the files of an own
    cluster (short: sockets lie there). `told` hears what the user did not say. Raises `AtlasError` where there is no
    such cluster, or none can be started.
    """
    if ray.is_initialized():
        yield
        return
    # Of every worker that dies Ray prints a page, which no option turns off; the executor tells of it in a line.
    private: Any = ray._private.worker
    private.print_to_stdstream = lambda *_, **__: None
    address, said = _meant(address, told)
    with _own(workers, folder) if address == "local" else _joined(address, said):
        gone = False
        try:
            yield
        except ClusterLost:
            gone = True
            raise
        finally:
            _leave() if gone else ray.shutdown()


def joins(address: str | None) -> bool:
    """Whether `connect` with this address joins a cluster that is there, instead of starting one of its own."""
    return ray.is_initialized() or _meant(address, lambda _: None)[0] != "local"


def _leave() -> None:
    """Take leave of a cluster whose head is gone: Ray would wait for its answer, now and when this process ends."""
    atexit.unregister(ray.shutdown)
    leaving = Thread(target=ray.shutdown, daemon=True)
    leaving.start()
    leaving.join(LEAVE)


def _meant(address: str | None, told: Told) -> tuple[str, str]:
    """The address that was meant, and how it was said."""
    if address is not None:
        return address, parameter("ray", address)
    known = os.environ.get("RAY_ADDRESS") or "local"
    said = f"RAY_ADDRESS={known}"
    if known.startswith(("http://", "https://")):
        told(f"{said} is where jobs are submitted: this build runs on this machine alone.")
        return "local", said
    if known != "local" and not _submitted():
        told(f"Joining the Ray cluster of {said}; for one of its own: {parameter('ray', 'local')}")
    return known, said


def _submitted() -> bool:
    """Whether this process is a submitted Ray job, which finds its cluster by itself."""
    return "RAY_JOB_CONFIG_JSON_ENV_VAR" in os.environ


@contextmanager
def _own(workers: int | None, folder: str | None) -> Iterator[None]:
    """A cluster of our own. Its token stands in the environment of its processes alone.

    Ray would write one into the home folder, by which a later `ray start` asks everybody for it.
    """
    with (
        _folder(folder) as place,
        environment(RAY_AUTH_TOKEN=secrets.token_hex(32), **dict.fromkeys(OTHERS)),
    ):
        _started({"num_cpus": workers, "include_dashboard": False, "_temp_dir": place, "object_store_memory": STORE})
        yield


def _started(settings: dict[str, Any]) -> None:
    """Start a cluster; on a machine that is so busy that Ray runs out of patience, again."""
    for last in (False, False, True):
        try:
            ray.init("local", **settings, **QUIET)
        except Exception as error:
            ray.shutdown()
            if last or "timed out during startup" not in str(error):
                raise AtlasError(
                    f"Ray does not start on this machine: {_last_line(str(error))}. To build without it: "
                    f"{parameter('local', True)}"
                ) from error
        else:
            return


@contextmanager
def _folder(given: str | None) -> Iterator[str]:
    """A folder for Ray's files whose path is short enough, gone afterwards; one that was given stays."""
    if given is not None:
        yield given
        return
    made = _made([os.environ.get("RAY_TMPDIR"), tempfile.gettempdir(), "/tmp", "/var/tmp", "/dev/shm"])
    try:
        yield made
    finally:
        shutil.rmtree(made, ignore_errors=True)


def _made(parents: list[str | None]) -> str:
    tried = [str(Path(parent).absolute()) for parent in parents if parent]
    for parent in dict.fromkeys(tried):
        if len(os.fsencode(f"{parent}/ray-xxxxxxxx{SOCKETS}")) <= LONGEST:
            with suppress(OSError):
                return tempfile.mkdtemp(prefix="ray-", dir=parent)
    raise AtlasError(
        f"Ray needs a folder that can be written and whose path is short: none of {', '.join(dict.fromkeys(tried))} "
        f"is. Name one: RAY_TMPDIR=FOLDER, or build without Ray: {parameter('local', True)}"
    )


@contextmanager
def environment(**values: str | None) -> Iterator[None]:
    """Variables set, or with None unset, for the length of a block; what Ray sets of its token is undone too."""
    names = [*values, "RAY_AUTH_MODE"]
    before = {name: os.environ.get(name) for name in names}
    _set(values)
    try:
        yield
    finally:
        _set(before)


def _set(values: dict[str, str | None]) -> None:
    for name, value in values.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    # Ray keeps the first token it reads, and whether it needs one; in public there is no way to have it look again.
    raylet: Any = ray._raylet
    with suppress(AttributeError):
        raylet.Config.initialize("")
        raylet.AuthenticationTokenLoader.instance().reset_cache()


@contextmanager
def _joined(address: str, said: str) -> Iterator[None]:
    """The running cluster at an address. A submitted job is told by its cluster where it is and what it asks for."""
    values: dict[str, str | None] = {"RAY_ADDRESS": None}
    found = address
    if not _submitted():
        found, values["RAY_AUTH_MODE"] = _tried(address, said)
    with environment(**values):
        try:
            ray.init(found, **QUIET)
        except Exception as error:
            raise AtlasError(f"{said}: {_reason(str(error))}") from error
        yield


def has_token() -> bool:
    """Whether this machine has a token to show to a cluster."""
    named = {"RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & os.environ.keys()
    return bool(named) or (Path.home() / ".ray" / "auth_token").is_file()


def _tried(address: str, said: str) -> tuple[str, str]:
    """The address of the cluster that answered at `address`, and the mode (RAY_AUTH_MODE) it works in.

    Asked without a token first. Who shows one asks for one too: a cluster that has none would let the process in, and
    its workers' answers would be turned away for ever.
    """
    _answers(address, said)
    meant = os.environ.get("RAY_AUTH_MODE", "").lower()
    shown = meant or ("token" if has_token() else "disabled")
    for mode in dict.fromkeys(("disabled", shown)):
        found, why = _asked(address, said, mode)
        if found and meant not in ("", mode):
            raise AtlasError(
                f"{said}: the cluster works without tokens, but RAY_AUTH_MODE={meant} asks for one: unset it"
            )
        if found:
            return found, mode
        if not asks_for_a_token(why):
            break
    raise AtlasError(f"{said}: {_reason(why)}")


def _asked(address: str, said: str, mode: str) -> tuple[str, str]:
    """The address of the cluster, empty where it does not let another process in; and what that process wrote."""
    command = [sys.executable, "-c", TRIAL, address]
    environment = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    environment |= {"RAY_AUTH_MODE": mode, "RAY_NUM_REDIS_GET_RETRIES": "3"}  # else it shows a wrong token 20 times
    try:
        ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=ANSWER, env=environment)
    except subprocess.TimeoutExpired as error:
        raise AtlasError(
            f"{said}: what listens there does not answer as a Ray cluster within {ANSWER:.0f} s. Give the "
            "port of Ray itself (6379 by default)."
        ) from error
    return ("" if ran.returncode else ran.stdout.split()[-1]), ran.stdout + ran.stderr


def _answers(address: str, said: str) -> None:
    """Raise `AtlasError` for what is no address, and where nothing listens; Ray itself tries for minutes."""
    if address == "auto":
        return
    if "://" in address:
        raise AtlasError(
            f"{said}: a build joins a cluster from one of its machines, by HOST:PORT (port 6379 by default) or "
            f"auto. From elsewhere, use atlas submit with {parameter('address', 'http://HOST:8265')}."
        )
    host, _, port = address.rpartition(":")
    if not host or not port.isdecimal() or not 0 < int(port) < 2**16:
        raise AtlasError(f"{said} is no address: give HOST:PORT, as 127.0.0.1:6379, or auto, or local.")
    if error := _unreachable(address):
        raise AtlasError(f"{said}: no Ray cluster answers there ({error}). {START}") from error


def _unreachable(address: str) -> OSError | None:
    """Why nothing listens at HOST:PORT; None where something does."""
    host, _, port = address.rpartition(":")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except OSError as error:
        return error
    return None


def _reason(text: str) -> str:
    """Why a cluster could not be joined, from pages of Ray's."""
    if asks_for_a_token(text):
        return TOKEN
    if "Could not find any running Ray instance" in text:
        return f"no Ray cluster runs on this machine. {START}"
    if "ersion mismatch" in text:
        told = [line.strip() for line in text.splitlines() if line.strip().startswith(("Ray:", "Python:"))]
        return f"the cluster has another version of Ray or Python than this process: {', then '.join(told)}"
    return _last_line(text)


def asks_for_a_token(text: str) -> bool:
    """Whether a cluster that said `text` wants a token, or another one."""
    return "InvalidAuthToken" in text or "AuthenticationError" in text


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else "it says nothing"


@contextmanager
def machines() -> Iterator[Machines]:
    """The machines of the cluster that this process is connected to, watched for the length of a block."""
    watched = Machines()
    try:
        yield watched
    finally:
        watched.over.set()


class Machines:
    """The machines of a cluster, as its head tells of them.

    A thread asks: where the head is gone, who asks does not return. It sees what is lost before Ray does, which ends
    this process without a word of its own.
    """

    def __init__(self) -> None:
        self.over = Event()
        context = ray.get_runtime_context()
        try:
            nodes = _nodes()
        except RayError as error:
            raise ClusterLost(f"The Ray cluster's head, {context.gcs_address}, is gone. {GO_ON}") from error
        self._own, self._head = context.get_node_id(), context.gcs_address
        own = nodes.get(self._own)
        self._door = own and f"{own.node_manager_address}:{own.node_manager_port}"
        """Where Ray listens on this machine."""
        self._alive = _resources(nodes)
        self._known = frozenset(self._alive)
        self._heard = time.monotonic()
        self._lost = ""
        """What of the cluster is lost, in words."""
        Thread(target=self._ask, daemon=True).start()

    def alive(self) -> frozenset[str]:
        """Their ids. Raises `ClusterLost` where the head is gone or another, or Ray has ended on this machine."""
        silent = time.monotonic() - self._heard
        if self._lost:
            raise ClusterLost(f"{self._lost}. {GO_ON}")
        if silent > FROZEN or (silent > HEAD and _unreachable(self._head)):
            raise ClusterLost(f"The Ray cluster's head, {self._head}, has not answered for {silent:.0f} s. {GO_ON}")
        if self._own not in self._alive:
            raise ClusterLost(f"Ray has ended on this machine, or the cluster's head does not reach it. {GO_ON}")
        return frozenset(self._alive)

    def has(self, resource: str) -> float:
        """How much of a resource they have together: it grows where a cluster does."""
        return sum(machine.get(resource, 0.0) for machine in self._alive.values())

    def having(self, resource: str) -> list[str]:
        """Ids of the machines that have any of a resource."""
        return [key for key, machine in self._alive.items() if machine.get(resource)]

    def lost(self) -> bool:
        """Whether one has vanished since this was asked last."""
        before, self._known = self._known, frozenset(self._alive)
        return bool(before - self._known)

    def _ask(self) -> None:
        while not self.over.wait(BEAT):
            if self._door and isinstance(_unreachable(self._door), ConnectionRefusedError):
                self._lost = "Ray has ended on this machine"
            with suppress(Exception):  # no answer: the next one may come
                try:
                    self._alive, self._heard = _resources(_nodes()), time.monotonic()
                except AuthenticationError:
                    self._lost = f"The Ray cluster's head, {self._head}, was restarted and no longer knows this build"


def _nodes() -> dict[str, Any]:
    """What the head tells of every machine that is there, by its id.

    `ray.nodes` ends this process where the head was restarted; what it asks raises.
    """
    worker: Any = ray._private.worker.global_worker
    messages: Any = gcs_pb2
    nodes = worker.gcs_client.get_all_node_info(timeout=HEAD).items()
    return {key.hex(): node for key, node in nodes if node.state == messages.GcsNodeInfo.ALIVE}


def _resources(nodes: dict[str, Any]) -> dict[str, dict[str, float]]:
    return {key: dict(node.resources_total) for key, node in nodes.items()}
