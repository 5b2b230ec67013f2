"""`atlas serve` beside others: by which names it answers, how many at once, and whoever says nothing."""

from __future__ import annotations

import errno
import http.client
import os
import resource
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from atlas.server import app_of, files
from atlas.server.guard import Guarded, Named, room
from tests.hosts import atlas_host

DATA = bytes(range(256)) * 4096
"""A megabyte: several pieces."""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    root = tmp_path_factory.mktemp("served")
    store, app = root / "made.atlas", root / "dist"
    for folder in (store, app):
        folder.mkdir()
    (store / "zarr.json").write_text("{}")
    (store / "chunk").write_bytes(DATA)
    (app / "index.html").write_text("<!doctype html><title>page</title>")
    return store, app


def ask(place: str, path: str = "/store/chunk", **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(place, timeout=60)
    try:
        connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def to_the_end(client: socket.socket) -> int:
    """How many bytes come before the other side closes."""
    count = 0
    with suppress(ConnectionResetError):
        while piece := client.recv(1 << 20):
            count += len(piece)
    return count


@contextmanager
def named(folders: tuple[Path, Path], host: str = "127.0.0.1", *more: str) -> Iterator[str]:
    with atlas_host(Named(app_of(*folders), host, more)) as address:
        yield urlsplit(address).netloc


@pytest.mark.parametrize(
    "name",
    ["localhost", "localhost:8000", "LocalHost.", "127.0.0.1:1", "127.8.9.1", "[::1]:8000", "[::1]", "atlas.localhost"],
)
def test_it_answers_by_the_names_of_this_machine(folders: tuple[Path, Path], name: str) -> None:
    with named(folders) as place:
        assert ask(place, "/", Host=name)[0] == 200


@pytest.mark.parametrize(
    "name",
    [
        "evil.example",
        "evil.example:8000",
        "127.0.0.1.evil.example",
        "localhost.evil.example",
        "notlocalhost",
        "192.0.2.7",
        "[2001:db8::1]:8000",
        "localhost@evil.example",
        "",
    ],
)
def test_a_name_that_another_site_brought_is_refused(folders: tuple[Path, Path], name: str) -> None:
    with named(folders) as place:
        for path in ("/", "/store/zarr.json"):
            status, body = ask(place, path, Host=name)
            assert status == 403
            assert b"--allow-host" in body
            assert b"page</title>" not in body


def test_more_names_are_allowed_where_they_are_said(folders: tuple[Path, Path]) -> None:
    with named(folders, "127.0.0.1", "atlas.example") as place:
        assert ask(place, "/", Host="Atlas.Example:443")[0] == 200
        assert ask(place, "/", Host="evil.example")[0] == 403
    with named(folders, "127.0.0.1", "*") as place:
        assert ask(place, "/", Host="evil.example")[0] == 200
    with named(folders, "0.0.0.0") as place:
        for name in ("192.0.2.7:8000", socket.gethostname()):
            assert ask(place, "/", Host=name)[0] == 200
        assert ask(place, "/", Host="evil.example")[0] == 403


def refusing(number: int) -> Any:
    def refuse(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    return refuse


@pytest.mark.parametrize(
    ("number", "status"),
    [(errno.EMFILE, 503), (errno.ENFILE, 503), (errno.EACCES, 403), (errno.ENOENT, 404), (errno.EIO, 500)],
)
@pytest.mark.parametrize("step", ["_open", "_read"])
def test_a_file_that_cannot_be_opened_is_never_promised(
    folders: tuple[Path, Path], number: int, status: int, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, step, refusing(number))
    with named(folders) as place:
        for range_ in ({}, {"Range": "bytes=0-9"}):
            assert ask(place, **range_)[0] == status


def test_what_is_cut_short_while_it_is_sent_is_not_taken_for_whole(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    reading = os.pread
    monkeypatch.setattr(os, "pread", lambda handle, count, at: reading(handle, count, at) if at < files.PIECE else b"")
    with named(folders) as place, pytest.raises(http.client.IncompleteRead):
        ask(place, Range="bytes=10-900000")


def test_what_grew_since_it_was_looked_up_is_promised_as_it_is(
    folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    opening = files._open

    def late(path: Any) -> Any:
        Path(path).write_bytes(DATA + b"more")
        return opening(path)

    monkeypatch.setattr(files, "_open", late)
    with named(folders) as place:
        assert ask(place) == (200, DATA + b"more")
        assert ask(place, Range="bytes=-4") == (206, b"more")
        assert ask(place, Range="bytes=0-") == (206, DATA + b"more")
        assert ask(place, Range="bytes=0-1,4-5") == (200, DATA + b"more"), "of several ranges the whole file"
        assert ask(place, Range="bytes=0-1", If_Range='"old"') == (200, DATA + b"more")
    (folders[0] / "chunk").write_bytes(DATA)


@pytest.mark.parametrize("said", [b"", b"GET / HT", b"GET / HTTP/1.1\r\nHost: localhost\r\nX: "])
def test_who_does_not_end_a_request_is_let_go(
    folders: tuple[Path, Path], said: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Guarded, "patience", 0.3)
    with named(folders) as place, socket.create_connection(("127.0.0.1", int(place.split(":")[1]))) as silent:
        silent.settimeout(30)
        silent.sendall(said)
        assert to_the_end(silent) == 0, "closed, and nothing said"


def test_who_does_not_read_is_let_go(folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Guarded, "patience", 0.3)
    (folders[0] / "long").write_bytes(bytes(64 << 20))
    with named(folders) as place, socket.create_connection(("127.0.0.1", int(place.split(":")[1]))) as slow:
        slow.settimeout(30)
        slow.sendall(b"GET /store/long HTTP/1.1\r\nHost: localhost\r\n\r\n")
        time.sleep(3)
        assert to_the_end(slow) < 64 << 20
    (folders[0] / "long").unlink()


def test_a_request_takes_as_long_as_it_takes(folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Guarded, "patience", 0.3)
    opening = files._open

    def slow(path: Any) -> Any:
        time.sleep(1)
        return opening(path)

    monkeypatch.setattr(files, "_open", slow)
    with named(folders) as place:
        assert ask(place) == (200, DATA)


def test_the_system_is_asked_for_more_handles() -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (300, before[1]))
        assert room(500) == min(500, (before[1] - 256) // 2 if before[1] >= 0 else 500)
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] > 300
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


SERVE = """
import resource, sys
from pathlib import Path
resource.setrlimit(resource.RLIMIT_NOFILE, (400, 400))
from atlas.server import serve
serve(Path(sys.argv[1]), port=18900, announce=lambda line: print(line, flush=True), app=Path(sys.argv[2]))
"""


@contextmanager
def small_server(folders: tuple[Path, Path]) -> Iterator[tuple[int, Path]]:
    """A server with 400 handles in a process of its own: its port, and what it complains of."""
    said = folders[0].parent / "said"
    settings = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    with (
        said.open("wb") as errors,
        subprocess.Popen(
            [sys.executable, "-c", SERVE, *map(str, folders)],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            env=settings,
        ) as process,
    ):
        assert process.stdout is not None
        address = next(word for word in process.stdout.readline().split() if word.startswith("http://"))
        yield int(urlsplit(address).port or 0), said
        process.terminate()
        process.wait(30)


def test_more_clients_than_handles_get_the_right_bytes_or_are_told_to_try_again(folders: tuple[Path, Path]) -> None:
    counts: Counter[str] = Counter()

    def many(port: int, first: int) -> None:
        """Fifty connections at once, each of which asks for a range."""
        with ExitStack() as stack:
            opened = []
            for number in range(first, first + 50):
                client = stack.enter_context(socket.create_connection(("127.0.0.1", port), timeout=120))
                asked = (
                    f"GET /store/chunk HTTP/1.1\r\nHost: localhost\r\nRange: bytes={number}-{number + 299999}\r\n\r\n"
                )
                client.sendall(asked.encode())
                opened.append((number, client))
            for number, client in opened:
                counts[_outcome(client, DATA[number : number + 300000])] += 1

    with small_server(folders) as (port, said):
        threads = [threading.Thread(target=many, args=(port, first)) for first in range(0, 600, 50)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert ask(f"127.0.0.1:{port}") == (200, DATA), "and afterwards it is as before"
    assert set(counts) <= {"right", "busy", "closed"}, counts
    assert counts["right"] >= 50
    told = said.read_text()
    assert "Traceback" not in told
    assert len(told.splitlines()) < 10


def _outcome(client: socket.socket, wanted: bytes) -> str:
    """What came of a request: `right`, `busy`, `closed` without an answer, or what is wrong."""
    answer = http.client.HTTPResponse(client)
    try:
        answer.begin()
        body = answer.read()
    except (http.client.HTTPException, OSError):
        return "closed"
    return {206: "right" if body == wanted else "wrong body", 503: "busy"}.get(answer.status, str(answer.status))


def test_whoever_is_silent_makes_nobody_deaf(folders: tuple[Path, Path]) -> None:
    with small_server(folders) as (port, said), ExitStack() as stack:
        for _ in range(500):
            silent = stack.enter_context(socket.socket())
            silent.settimeout(120)
            silent.connect(("127.0.0.1", port))
            silent.setblocking(False)
        for _ in range(60):
            with socket.create_connection(("127.0.0.1", port), timeout=120) as client:
                client.sendall(b"GET /store/chunk HTTP/1.1\r\nHost: localhost\r\n\r\n")
                answer = http.client.HTTPResponse(client)
                try:
                    answer.begin()
                    if answer.status == 200:
                        assert answer.read() == DATA
                        break
                except (http.client.HTTPException, OSError):
                    pass
            time.sleep(0.5)
        else:
            pytest.fail("nobody was answered")
        assert "Traceback" not in said.read_text()
