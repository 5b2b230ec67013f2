"""Machines in miniature: apart but for a cable, each with its own disk, and gone with the process that made them."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.namespaces import DISK, Host, enter, hindrance, inside, switch

ROOT = Path(__file__).parents[1]
ASK = "import socket, sys; socket.create_connection((sys.argv[1], 8000), 1).close(); print(socket.gethostname())"


def asks(one: Host, other: Host) -> str:
    """The name of a host that reaches another; empty where it does not."""
    command = [sys.executable, "-c", ASK, other.address]
    return str(
        one.start(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True).communicate()[0]
    ).strip()


def say() -> None:
    """What is so inside, line by line; then sleep."""
    with switch() as yard:
        one, other = yard.host("one"), yard.host("other", "1m")
        serve = [sys.executable, "-m", "http.server", "--bind", other.address]
        served = other.start(serve, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not asks(one, other):
            time.sleep(0.1)
        print("reached by", asks(one, other))
        other.link(up=False)
        print("cut", asks(one, other) == "")
        other.link(up=True)
        print("reached by", asks(one, other))
        print("apart", list(other.processes("python")) == [served.pid], one.processes() == {})
        with other.full():
            print("full", other.start(["cp", sys.executable, str(DISK)], stderr=subprocess.DEVNULL).wait() != 0)
        print("room", other.start(["touch", str(DISK / "mine")]).wait() == 0, list(one.disk.iterdir()) == [])
        other.kill()
        print("killed", served.wait() == -signal.SIGKILL, flush=True)
        one.start(["sleep", "4321"])
        time.sleep(600)


def test_hosts_are_apart_and_nothing_outlives_them() -> None:
    if why := hindrance():
        pytest.skip(f"No hosts in miniature: {why}")
    command = [sys.executable, "-m", "tests.test_namespaces"]
    before = (Path("/proc/net/dev").read_text().count(":"), Path("/proc/mounts").read_text())
    with subprocess.Popen(
        command, env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, text=True
    ) as ran:
        assert ran.stdout is not None
        told = [ran.stdout.readline().strip() for _ in range(7)]
        ran.kill()
    assert told == [
        "reached by one",
        "cut True",
        "reached by one",
        "apart True True",
        "full True",
        "room True True",
        "killed True",
    ]
    for _ in range(100):
        left = [path for path in Path("/proc").glob("[0-9]*/cmdline") if b"sleep\x004321" in _read(path)]
        if not left:
            break
        time.sleep(0.1)
    assert left == []
    assert before == (Path("/proc/net/dev").read_text().count(":"), Path("/proc/mounts").read_text())


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


if __name__ == "__main__":
    if not inside():
        enter("tests.test_namespaces")
    say()
