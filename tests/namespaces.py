"""Machines in miniature: hosts with a network, a disk and a name of their own, all on this machine.

    if not inside(): enter("benchmarks.faults", ...)       # this process in namespaces of its own
    with switch() as yard: host = yard.host("node-1"); host.start([...]); host.link(up=False)

What `enter` begins lies in a network, a mount and a process namespace of Linux. Nothing there is seen from outside, and
all of it, processes, links, disks and files, goes with the first process, however that one ends.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from threading import Event, Thread
from typing import Any, NoReturn

NET = "10.77.0"
SWITCH = f"{NET}.1"
"""The address of this process, which all hosts reach."""
DISK = Path("/mnt")
"""Where each host has a disk of its own."""
SHARED = Path("/media")
"""Where all of them, and this process, see the same files."""
INSIDE = "ATLAS_TESTS_INSIDE"
OWN = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
REAPING = ["bash", "-c", '"$@"; exit $?', "bash"]
"""A first process of a process namespace that waits for what others leave behind."""
BEGIN = (
    'hostname "$1" && mount -t tmpfs -o size="$2" disk "$3" && ip link set lo up && echo ready && exec sleep infinity'
)


def hindrance() -> str:
    """Why no namespaces can be made here, in one line; empty where they can."""
    missing = [name for name in ("ip", "unshare", "nsenter", "hostname", "mount") if shutil.which(name) is None]
    if missing:
        return f"namespaces need {', '.join(missing)}, which this machine lacks"
    if os.geteuid() != 0:
        return "namespaces need root"
    tried = subprocess.run(
        [*OWN, "ip", "link", "add", "try", "type", "bridge"], capture_output=True, text=True, check=False
    )
    return f"namespaces cannot be made here: {tried.stderr.strip().splitlines()[-1]}" if tried.returncode else ""


def inside() -> bool:
    """Whether this process is in namespaces of its own."""
    return INSIDE in os.environ


def enter(module: str, *words: str) -> NoReturn:
    """Become `python -m MODULE WORDS` in namespaces of its own."""
    os.environ[INSIDE] = "1"
    os.execvp(OWN[0], [*OWN, *REAPING, sys.executable, "-m", module, *words])


@contextmanager
def switch() -> Iterator[Yard]:
    """What joins hosts; this process has an address there."""
    subprocess.run(["mount", "-t", "tmpfs", "shared", str(SHARED)], check=True)
    _ip("link", "set", "lo", "up")
    _ip("link", "add", "yard", "type", "bridge")
    _ip("addr", "add", f"{SWITCH}/24", "dev", "yard")
    _ip("link", "set", "yard", "up")
    yard = Yard()
    try:
        yield yard
    finally:
        for host in yard.hosts:
            host.end()
        _ip("link", "del", "yard")


class Yard:
    """The hosts at a switch."""

    def __init__(self) -> None:
        self.hosts: list[Host] = []
        self._count = 1

    def host(self, name: str, disk: str = "1g") -> Host:
        """A new host, with an address that none had before."""
        self._count += 1
        made = Host(name, self._count, disk)
        self.hosts.append(made)
        return made


class Host:
    """A machine in miniature. Its processes are those in its network namespace."""

    def __init__(self, name: str, number: int, disk: str) -> None:
        self.name, self.address = name, f"{NET}.{number}"
        self._port = f"port{number}"
        begin = ["unshare", "--net", "--mount", "--uts", "bash", "-c", BEGIN, "bash", name, disk, str(DISK)]
        self._holder = subprocess.Popen(begin, stdout=subprocess.PIPE, text=True)
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != "ready\n":
            raise OSError(f"host {name} cannot be made")
        self._net = self._network(self._holder.pid)
        self._enter = ["nsenter", "--target", str(self._holder.pid), "--net", "--mount", "--uts", "--"]
        _ip("link", "add", self._port, "type", "veth", "peer", "name", "eth0", "netns", str(self._holder.pid))
        _ip("link", "set", self._port, "master", "yard", "up")
        for words in (["addr", "add", f"{self.address}/24", "dev", "eth0"], ["link", "set", "eth0", "up"]):
            subprocess.run([*self._enter, "ip", *words], check=True)

    def __str__(self) -> str:
        return self.name

    def start(self, command: Sequence[str], **settings: Any) -> subprocess.Popen[Any]:
        """Run a command on this host; the process is the command's own."""
        return subprocess.Popen([*self._enter, *command], **settings)

    def link(self, *, up: bool) -> None:
        """Plug the cable in, or pull it."""
        _ip("link", "set", self._port, "up" if up else "down")

    def processes(self, begins: str = "") -> dict[int, str]:
        """Command lines of what runs on this host, by process: of those whose program begins so, as `ray::`."""
        found = {}
        for folder in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                words = (folder / "cmdline").read_bytes().decode(errors="replace").strip("\0").replace("\0", " ")
                there = words and int(folder.name) != self._holder.pid and self._network(int(folder.name)) == self._net
                if there and Path(words.partition(" ")[0]).name.startswith(begins):
                    found[int(folder.name)] = words
        return found

    def kill(self, *, stop: signal.Signals = signal.SIGKILL, but: int = 0) -> None:
        """Send a signal to all that runs on this host, but for one process."""
        for pid in self.processes().keys() - {but}:
            with suppress(ProcessLookupError):
                os.kill(pid, stop)

    @contextmanager
    def slow(self, share: float, period: float = 0.5) -> Iterator[None]:
        """All that runs on this host gets this share of the time, for the length of a block."""
        over = Event()

        def hold() -> None:
            while not over.is_set():
                self.kill(stop=signal.SIGSTOP)
                over.wait(period * (1 - share))
                self.kill(stop=signal.SIGCONT)
                time.sleep(period * share)

        holding = Thread(target=hold)
        holding.start()
        try:
            yield
        finally:
            over.set()
            holding.join()

    @contextmanager
    def full(self) -> Iterator[None]:
        """No byte of this host's disk is free, for the length of a block."""
        file = self.disk / "full"
        try:
            with suppress(OSError), file.open("wb", buffering=0) as ballast:
                while ballast.write(bytes(2**16)):
                    pass
            yield
        finally:
            file.unlink()

    @property
    def disk(self) -> Path:
        """Its disk, as this process sees it."""
        return Path(f"/proc/{self._holder.pid}/root{DISK}")

    def end(self) -> None:
        """Take the host away, and all that runs on it."""
        self.kill()
        self._holder.kill()
        self._holder.wait()
        with suppress(subprocess.CalledProcessError):  # with the last process its network goes, and the cable too
            _ip("link", "del", self._port)

    @staticmethod
    def _network(pid: int) -> str:
        return str(Path(f"/proc/{pid}/ns/net").readlink())


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)
