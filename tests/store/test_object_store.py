"""Object stores: the contract of every backend, on a server of tests and on a real one; what is told of faults."""

from __future__ import annotations

import pickle
import threading
import uuid
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import obstore
import pytest

from atlas.errors import CannotWrite, NotAStore, StoreError
from atlas.store import Backend, ObjectBackend, Store, backend_at
from atlas.store.backends import object_store
from tests.object_stores import KEYS, Server, counted_by_a_proxy, environment, moto, seaweed
from tests.store.contract import BackendContract

pytestmark = pytest.mark.builder


@pytest.fixture(scope="module")
def moto_server() -> Iterator[Server]:
    with moto() as server:
        yield server


@pytest.fixture(scope="module")
def seaweed_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with seaweed(tmp_path_factory.mktemp("seaweed")) as server:
        yield server


@pytest.fixture
def mocked(moto_server: Server) -> Iterator[str]:
    with moto_server.reached():
        yield moto_server.bucket


@pytest.fixture
def real(seaweed_server: Server) -> Iterator[str]:
    with seaweed_server.reached():
        yield seaweed_server.bucket


class TestMoto(BackendContract):
    @pytest.fixture
    def backend(self, mocked: str) -> Backend:
        return backend_at(f"{mocked}/{uuid.uuid4().hex}/some where/ä%20")


@pytest.mark.slow
class TestSeaweed(BackendContract):
    @pytest.fixture
    def backend(self, real: str) -> Backend:
        return backend_at(f"{real}/{uuid.uuid4().hex}/some where/ä%20")


def test_it_is_pickled_as_its_address(mocked: str) -> None:
    backend = backend_at(f"{mocked}/pickled/")
    backend.put("a", b"1")
    data = pickle.dumps(backend)
    assert KEYS["AWS_SECRET_ACCESS_KEY"].encode() not in data
    again = pickle.loads(data)
    assert isinstance(again, ObjectBackend)
    assert (str(again), again.get("a")) == (f"{mocked}/pickled", b"1")


def test_a_create_whose_answer_was_lost_is_ones_own(mocked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = backend_at(f"{mocked}/{uuid.uuid4().hex}")
    put = obstore.put

    def twice(*args: Any, **options: Any) -> object:
        put(*args, **options)
        return put(*args, **options)

    monkeypatch.setattr(obstore, "put", twice)
    assert backend.put_new("receipts/1", b"mine")
    assert not backend.put_new("receipts/1", b"mine")
    assert backend.put_if("receipts/1", b"newer", b"mine")
    assert not backend.put_if("receipts/1", b"newest", b"mine")
    assert backend.get("receipts/1") == b"newer"


def test_a_server_that_ignores_conditions_is_refused(mocked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    backend = backend_at(f"{mocked}/{uuid.uuid4().hex}")
    assert backend.fault() == ""
    assert list(backend.list()) == []
    put = obstore.put

    def careless(store: Any, key: str, value: bytes, **_: Any) -> object:
        return put(store, key, value)

    monkeypatch.setattr(obstore, "put", careless)
    assert "ignores conditional writes" in backend.fault()


def test_what_is_denied_or_not_there_is_one_line_without_a_secret(mocked: str, monkeypatch: pytest.MonkeyPatch) -> None:
    nowhere = backend_at("s3://atlas-no-such-bucket/x")
    asking = (lambda: list(nowhere.list()), lambda: nowhere.put("a", b"1"), lambda: Store.open(nowhere))
    for ask in asking:
        with pytest.raises(StoreError, match=r"is not there: make the bucket first") as error:
            ask()
        assert "\n" not in str(error.value)
    with pytest.raises(NotAStore, match="atlas build"):
        Store.open(f"{mocked}/nothing")


class Expired(BaseHTTPRequestHandler):
    """Answers as S3 does where a session token has expired: with the token."""

    def _answer(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        body = (
            b'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>ExpiredToken</Code><Message>The provided token has '
        )
        body += b"expired.</Message><Token-0>" + self.headers["x-amz-security-token"].encode() + b"</Token-0></Error>"
        self.send_response(400)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass

    do_GET = do_PUT = do_POST = do_DELETE = _answer  # noqa: N815


def test_a_token_that_has_expired_is_said_and_not_shown() -> None:
    token = "a-session-token-that-must-not-be-told"
    with ThreadingHTTPServer(("127.0.0.1", 0), Expired) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        endpoint = f"http://127.0.0.1:{server.server_address[1]}"
        with environment(AWS_ENDPOINT_URL=endpoint, AWS_SESSION_TOKEN=token, **KEYS):
            place = backend_at(f"s3://atlas-expired-{uuid.uuid4().hex[:6]}/x")
            for ask in (lambda: Store.open(place), lambda: list(place.list()), lambda: place.put_new("a", b"1")):
                with pytest.raises(StoreError) as error:
                    ask()
                told = str(error.value)
                assert "ExpiredToken: The provided token has expired. Credentials are taken from" in told
                assert token not in told
                assert "127.0.0.1" not in told
                assert "\n" not in told
        server.shutdown()


def test_a_server_that_is_away_is_told_of_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_store, "PATIENCE", timedelta(seconds=1))
    with environment(AWS_ENDPOINT_URL="http://127.0.0.1:9", **KEYS), pytest.raises(CannotWrite) as error:
        backend_at(f"s3://atlas-away-{uuid.uuid4().hex[:6]}/x").put("a", b"1")
    assert "cannot be reached" in str(error.value)
    assert "\n" not in str(error.value)
    assert KEYS["AWS_SECRET_ACCESS_KEY"] not in str(error.value)


def test_an_answer_that_breaks_off_now_and_then_is_asked_for_again(moto_server: Server) -> None:
    """Lists, and what is said of objects that are there or are not; the client itself goes on with objects alone."""
    with counted_by_a_proxy(moto_server) as between:
        backend = backend_at(f"{moto_server.bucket}/{uuid.uuid4().hex}")
        between.wrong = lambda _method, _path, number: "cut" if number % 3 else ""
        value = bytes(range(256)) * 40
        for number in range(4):
            backend.put(f"a/{number}", value)
            assert backend.get(f"b/{number}") is None
            assert backend.put_new(f"b/{number}", value)
            assert not backend.put_new(f"b/{number}", b"another")
            assert backend.put_if(f"b/{number}", value[1:], value)
            assert backend.get(f"b/{number}") == value[1:]
            assert backend.range(f"a/{number}", 3, 300) == value[3:300]
            assert backend.range(f"a/{number}", -7) == value[-7:]
            assert backend.range(f"a/{number}", 9) == value[9:]
        assert list(backend.list("a/")) == [f"a/{number}" for number in range(4)]
        backend.delete("a/0")
        assert backend.get("a/0") is None
