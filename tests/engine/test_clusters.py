"""Which Ray a build runs on, beside another one, without a home or a short folder for temporary files, with a token."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import ray

from atlas.engine import clusters
from atlas.engine.clusters import connect
from atlas.errors import AtlasError

pytestmark = pytest.mark.builder

ROOT = Path(__file__).parents[2]
HASTY = ["--layers", "first.1", "--set=size=32", "--set=steps=2", "--set=draws=1", "--workers", "2"]
BUILD = [sys.executable, "-m", "atlas", "build", "tests.networks:tiny", *HASTY]


def free_port() -> int:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        return int(door.getsockname()[1])


def ours(home: Path, **more: str) -> dict[str, str]:
    """An environment with a home of its own, in which nothing is said of Ray but `more`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    said = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_worker_niceness": "0"}
    return kept | {"HOME": str(home), "PYTHONPATH": str(ROOT)} | said | more


def said_of_ray() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith("RAY_")}


@contextmanager
def head(environment: dict[str, str], *more: str, port: int = 0) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Somebody's `ray start --head`: its address and the process, with which the others of it end."""
    port, process = started(environment, more or ("--include-dashboard=false",), port)
    try:
        yield f"127.0.0.1:{port}", process
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


def started(environment: dict[str, str], more: Sequence[str], wanted: int = 0) -> tuple[int, subprocess.Popen[str]]:
    """The port and process of a head; a test machine may be so busy that Ray runs out of patience."""
    told: list[str] = []
    for _ in range(3):
        port = wanted or free_port()
        ports = [f"--port={port}", f"--ray-client-server-port={free_port()}", "--min-worker-port=0"]
        ports += ["--max-worker-port=0", f"--dashboard-agent-listen-port={free_port()}"]
        small = ["--num-cpus=1", f"--object-store-memory={80 * 2**20}"]
        process = subprocess.Popen(
            [sys.executable, "-m", "ray.scripts.scripts", "start", "--head", "--block", *ports, *small, *more],
            env=environment | {"RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        assert process.stdout is not None
        for line in process.stdout:
            told.append(line)
            if "--block" in line:  # the last thing it says
                Thread(target=process.stdout.read, daemon=True).start()
                return port, process
        process.wait(60)
    raise AssertionError("".join(told))


def built(environment: dict[str, str], store: Path, *more: str) -> subprocess.CompletedProcess[str]:
    command = [*BUILD, "--store", str(store), *more]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=500)


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """This process with a home of its own, in which nothing is said of Ray."""
    for name in [name for name in os.environ if name.startswith("RAY_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


# -- a cluster of one's own --------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_build_beside_another_ray_and_beside_what_a_killed_one_left(
    tmp_path: Path, ray_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    environment = ours(home, RAY_TMPDIR=str(ray_folder))
    with head(environment) as (_, process):
        left = ray_folder / "ray" / "ray_current_cluster"
        assert left.exists()
        ran = built(environment, tmp_path / "beside.atlas")
        assert ran.returncode == 0, ran.stderr
        process.kill()
        process.wait(30)
    assert left.exists()
    monkeypatch.setenv("RAY_TMPDIR", str(ray_folder))
    with connect(workers=1):
        assert ray.cluster_resources()["CPU"] == 1  # type: ignore[no-untyped-call]
    left.unlink()
    assert [path.name for path in home.iterdir()] == []


def test_no_home_and_a_long_folder_for_temporary_files(
    alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = tmp_path / ("long" * 20)
    long.mkdir()
    monkeypatch.setenv("HOME", "/dev/null")
    monkeypatch.setenv("TMPDIR", str(long))
    monkeypatch.setattr(tempfile, "tempdir", None)
    before = said_of_ray()

    with connect(workers=1):
        node: Any = ray._private.worker._global_node
        place = Path(node.get_session_dir_path())
        assert place.is_dir()
        assert ray.cluster_resources()["CPU"] == 1  # type: ignore[no-untyped-call]
    assert not place.parent.exists()
    assert said_of_ray() == before


def test_nowhere_to_put_sockets(alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AtlasError, match=r"short: none of /proc, .* is.*RAY_TMPDIR=FOLDER"):
        clusters._made(["/proc", str(tmp_path / ("long" * 20)), None])


def test_a_cluster_that_does_not_start_is_one_line(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a machine with too little memory for what Ray keeps for itself."""
    monkeypatch.setattr(clusters, "STORE", 1000)
    with (
        pytest.raises(AtlasError, match=r"Ray does not start on this .*`local=yes`") as raised,
        connect(workers=1),
    ):
        pass
    assert len(str(raised.value).splitlines()) == 1


# -- a cluster that runs -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("junk", "`ray=junk` is no address: give HOST:PORT"),
        ("", "is no address"),
        ("127.0.0.1:", "is no address"),
        ("127.0.0.1:99999", "is no address"),
        (":6379", "is no address"),
        ("http://127.0.0.1:8265", "use atlas submit with"),
        ("ray://127.0.0.1:10001", "HOST:PORT"),
        ("127.0.0.1:9", "no Ray cluster answers there"),
        ("nowhere.invalid:6379", "no Ray cluster answers there"),
    ],
)
def test_no_cluster_is_one_line(alone: Path, address: str, words: str) -> None:
    with pytest.raises(AtlasError, match=words) as raised, connect(address):
        pass
    assert len(str(raised.value).splitlines()) == 1


def test_something_else_listens_there(alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clusters, "ANSWER", 4.0)
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        address = f"127.0.0.1:{server.server_address[1]}"
        with pytest.raises(AtlasError, match="does not answer as a Ray cluster"), connect(address):
            pass
        server.shutdown()


def test_what_ray_address_means(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    assert clusters._meant(None, told.append) == ("local", "RAY_ADDRESS=local")
    monkeypatch.setenv("RAY_ADDRESS", "")
    assert clusters._meant(None, told.append)[0] == "local"
    assert clusters._meant("auto", told.append) == ("auto", "`ray=auto`")
    assert not told
    monkeypatch.setenv("RAY_ADDRESS", "http://127.0.0.1:8265")
    assert clusters._meant(None, told.append)[0] == "local"
    assert "this build runs on this machine alone" in told.pop()
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    with pytest.raises(AtlasError, match=r"RAY_ADDRESS=127.0.0.1:9: no Ray cluster answers"), connect(told=told.append):
        pass
    assert "`ray=local`" in told.pop()
    with connect("local", workers=1):
        assert ray.cluster_resources()["CPU"] == 1  # type: ignore[no-untyped-call]
    assert os.environ["RAY_ADDRESS"] == "127.0.0.1:9"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ConnectionError: Could not find any running Ray instance. Please", "no Ray cluster runs on this machine"),
        ("W 1 1] Unauthenticated: InvalidAuthToken: missing\nConnectionError: Failed", "ray get-auth-token"),
        (
            "RuntimeError: Version mismatch: The cluster was started with:\n    Ray: 2.44.0\n    Python: 3.12.1\n"
            "This process on node 10.0.0.2 was started with:\n    Ray: 2.60.0\n    Python: 3.11.7\n",
            "Ray: 2.44.0, then Python: 3.12.1, then Ray: 2.60.0, then Python: 3.11.7",
        ),
        ("one\n\nConnectionError: Failed to connect.\n", "ConnectionError: Failed to connect"),
        ("", "it says nothing"),
    ],
)
def test_pages_of_ray_become_a_line(text: str, words: str) -> None:
    found = clusters._reason(text)
    assert words in found
    assert len(found.splitlines()) == 1


@pytest.mark.slow
def test_a_token_is_asked_for_and_given(alone: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token = "of-this-cluster-" * 4
    with (
        tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as folder,
        head(ours(alone, RAY_TMPDIR=folder, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=token)) as (address, _),
    ):
        with pytest.raises(AtlasError, match=r"asks for another token.*ray get-auth-token"), connect(address):
            pass
        (alone / ".ray").mkdir()
        (alone / ".ray" / "auth_token").write_text(token)
        with connect(address):
            assert ray.cluster_resources()["CPU"] == 1  # type: ignore[no-untyped-call]
        with connect("local", workers=1):
            assert ray.cluster_resources()["CPU"] == 1  # type: ignore[no-untyped-call]
        assert "RAY_AUTH_MODE" not in os.environ
        assert (alone / ".ray" / "auth_token").read_text() == token


@pytest.mark.slow
def test_a_token_that_the_cluster_has_not_is_said(alone: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray would let the process in, and turn away every answer of a worker."""
    with (
        tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as folder,
        head(ours(alone, RAY_TMPDIR=folder)) as (at, _),
    ):
        monkeypatch.setenv("RAY_AUTH_TOKEN", "of-another-cluster-" * 3)
        monkeypatch.setenv("RAY_AUTH_MODE", "token")
        with pytest.raises(AtlasError, match=r"works without tokens, but RAY_AUTH_MODE=token .*unset it"), connect(at):
            pass


@pytest.mark.slow
def test_a_build_then_a_cluster_then_joining_and_submitting_in_a_fresh_home(tmp_path: Path) -> None:
    """A build of one's own leaves nothing behind that changes a later cluster."""
    pytest.importorskip("aiohttp", reason="ray job submit needs ray[default]")
    home = tmp_path / "home"
    home.mkdir()
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as folder:
        environment = ours(home, RAY_TMPDIR=folder)
        alone = built(environment, tmp_path / "alone.atlas")
        assert alone.returncode == 0, alone.stderr
        dashboard = free_port()
        with head(environment, "--include-dashboard=true", f"--dashboard-port={dashboard}") as (address, _):
            joined = built(environment, tmp_path / "joined.atlas", "--ray", address)
            assert joined.returncode == 0, joined.stderr
            submit = [sys.executable, "-m", "ray.scripts.scripts", "job", "submit"]
            job = [*submit, "--address", f"http://127.0.0.1:{dashboard}", "--", *BUILD]
            ran = subprocess.run(
                [*job, "--store", str(tmp_path / "submitted.atlas")],
                env=environment,
                capture_output=True,
                text=True,
                check=False,
                timeout=500,
            )
            assert ran.returncode == 0, ran.stdout + ran.stderr
    for store in ("alone", "joined", "submitted"):
        assert (tmp_path / f"{store}.atlas" / "catalogue.json").exists()
