"""`atlas serve`: files as they are, with ranges, and nothing outside the two folders."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit
from urllib.request import urlopen

import pytest

from atlas.errors import AtlasError, NotAStore
from atlas.server import app_of
from atlas.server.serving import listen
from tests.hosts import atlas_host

DATA = bytes(range(256)) * 40
STRANGE = "a%23b%2Fc"
"""A layer called `a#b/c`, as it lies on the disk."""


class Answer:
    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status, self.headers, self.body = response.status, response.headers, response.read()


class Host:
    """Asks for exactly the path that it is given: nothing is tidied on the way."""

    def __init__(self, address: str) -> None:
        self.place = urlsplit(address).netloc

    def ask(self, path: str, method: str = "GET", **headers: str) -> Answer:
        connection = http.client.HTTPConnection(self.place, timeout=10)
        connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        answer = Answer(connection.getresponse())
        connection.close()
        return answer


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A store and a built page, both only as far as a server looks at them, and a secret beside them."""
    root = tmp_path_factory.mktemp("served")
    store, app = root / "made.atlas", root / "dist"
    chunk = store / "layers" / STRANGE / "features" / "thumb" / "c" / "0" / "0"
    for folder in (chunk.parent, app / "assets"):
        folder.mkdir(parents=True)
    chunk.write_bytes(DATA)
    (store / "zarr.json").write_text("{}")
    (store / "page.html").write_text("<script>alert(1)</script>")
    (app / "index.html").write_text("<!doctype html><title>page</title>")
    (app / "assets" / "index-abc.js").write_text("1")
    (root / "secret").write_text("secret")
    (store / "out").symlink_to(root / "secret")
    (store / "folder-out").symlink_to(root)
    return store, app


@pytest.fixture(scope="module")
def host(folders: tuple[Path, Path]) -> Iterator[Host]:
    with atlas_host(app_of(*folders)) as address:
        yield Host(address)


CHUNK = f"/store/layers/{quote(STRANGE, safe='')}/features/thumb/c/0/0"


def test_a_key_is_encoded_once_more_in_an_address(host: Host) -> None:
    assert "a%2523b%252Fc" in CHUNK
    answer = host.ask(CHUNK)
    assert (answer.status, answer.body) == (200, DATA)
    assert answer.headers["accept-ranges"] == "bytes"
    assert host.ask(CHUNK.replace("%25", "%")).status == 404


@pytest.mark.parametrize(
    ("asked", "first", "after"),
    [
        ("0-99", 0, 100),
        ("100-100", 100, 101),
        ("10200-", 10200, 10240),
        ("-64", 10176, 10240),
        ("10000-99999", 10000, 10240),
    ],
)
def test_a_range_is_answered_with_206_and_exactly_its_bytes(host: Host, asked: str, first: int, after: int) -> None:
    answer = host.ask(CHUNK, Range=f"bytes={asked}")
    assert (answer.status, answer.body) == (206, DATA[first:after])
    assert answer.headers["content-range"] == f"bytes {first}-{after - 1}/{len(DATA)}"
    assert answer.headers["content-length"] == str(after - first)


def test_a_range_past_the_end_is_answered_with_416(host: Host) -> None:
    answer = host.ask(CHUNK, Range="bytes=10240-10300")
    assert answer.status == 416
    assert answer.headers["content-range"] == f"bytes */{len(DATA)}"


def test_head_tells_the_length_and_sends_nothing(host: Host) -> None:
    answer = host.ask(CHUNK, "HEAD")
    assert (answer.status, answer.body, answer.headers["content-length"]) == (200, b"", str(len(DATA)))
    assert host.ask("/store/nothing", "HEAD").status == 404


def test_kinds_do_not_depend_on_this_machine(host: Host) -> None:
    kinds = {
        path: host.ask(path).headers["content-type"]
        for path in ("/", "/assets/index-abc.js", "/store/zarr.json", CHUNK)
    }
    assert kinds == {
        "/": "text/html; charset=utf-8",
        "/assets/index-abc.js": "text/javascript; charset=utf-8",
        "/store/zarr.json": "application/json",
        CHUNK: "application/octet-stream",
    }


def test_nothing_in_a_store_is_shown_as_a_page(host: Host) -> None:
    answer = host.ask("/store/page.html")
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["x-content-type-options"] == "nosniff"


def test_a_rewritten_object_is_seen_at_once(host: Host, folders: tuple[Path, Path]) -> None:
    file = folders[0] / "catalogue.json"
    file.write_text("{}")
    first = host.ask("/store/catalogue.json")
    assert first.headers["cache-control"] == "no-cache"
    assert host.ask("/store/catalogue.json", If_None_Match=first.headers["etag"]).status == 304
    file.write_text('{"more": 1}')
    again = host.ask("/store/catalogue.json", If_None_Match=first.headers["etag"])
    assert (again.status, again.body) == (200, b'{"more": 1}')


def test_only_hashed_assets_are_kept(host: Host) -> None:
    assert "immutable" in host.ask("/assets/index-abc.js").headers["cache-control"]
    assert host.ask("/").headers["cache-control"] == "no-cache"


@pytest.mark.parametrize(
    "path",
    [
        "/../secret",
        "/store/../../secret",
        "/store/%2e%2e/secret",
        "/store/%2e%2e%2fsecret",
        "/store/..%2f..%2fsecret",
        "/store/..%5csecret",
        "/store//etc/passwd",
        "/store/%2fetc%2fpasswd",
        "/store/layers/../../secret",
        "/store/out",
        "/store/folder-out/secret",
        "/store/zarr.json%00",
        "/store/",
        "/store/layers",
        "/assets/",
        "/" + "x" * 5000,
    ],
)
def test_there_is_no_way_out(host: Host, path: str) -> None:
    answer = host.ask(path)
    assert answer.status == 404, answer.body
    assert b"secret" not in answer.body
    assert b"root:" not in answer.body


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_nothing_can_be_written(host: Host, method: str) -> None:
    assert host.ask("/store/zarr.json", method).status == 405


def test_without_a_built_page_the_error_says_how_to_build_it(folders: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(AtlasError, match="make viewer"):
        app_of(folders[0], tmp_path)


def test_a_folder_that_is_no_store_is_refused(folders: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(NotAStore, match="no atlas store"):
        app_of(tmp_path, folders[1])


def test_a_taken_port_gives_way_to_the_next_free_one() -> None:
    with listen("127.0.0.1", 18300) as first, listen("127.0.0.1", first.getsockname()[1]) as second:
        assert second.getsockname()[1] > first.getsockname()[1]


def test_an_address_of_another_machine_is_refused() -> None:
    with pytest.raises(AtlasError, match="`port`"):
        listen("192.0.2.1", 18300)


def test_it_serves_and_ends_cleanly_on_ctrl_c(folders: tuple[Path, Path]) -> None:
    program = (
        "import sys; from pathlib import Path; from atlas.server import serve; store, app = map(Path, sys.argv[1:]); "
        "serve(store, port=18500, announce=lambda line: print(line, flush=True), app=app)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, *map(str, folders)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert process.stdout is not None
    line = process.stdout.readline()
    address = next(word for word in line.split() if word.startswith("http://"))
    with urlopen(address + "store/zarr.json", timeout=10) as answer:
        assert answer.read() == b"{}"
    process.send_signal(signal.SIGINT)
    began = time.monotonic()
    _, said = process.communicate(timeout=15)
    assert time.monotonic() - began < 5
    assert (process.returncode, said) == (0, "")


def test_serving_needs_neither_torch_nor_ray() -> None:
    program = "import sys, atlas.server; sys.exit(bool({'torch', 'ray'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", program], check=False, cwd=Path(__file__).parents[2]).returncode == 0


def test_a_listening_port_is_free_again_afterwards() -> None:
    with listen("127.0.0.1", 18700) as door:
        port = door.getsockname()[1]
    with socket.create_server(("127.0.0.1", port)):
        pass
