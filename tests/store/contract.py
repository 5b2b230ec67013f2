"""What every backend promises; the tests of each one subclass this.

class TestMyBackend(BackendContract):
    @pytest.fixture
    def backend(self, tmp_path): return MyBackend(...)
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from itertools import product
from threading import Barrier

import pytest

from atlas.store import Backend

EDGES = range(-12, 13)
VALUE = b"0123456789"


class BackendContract:
    """Whole objects and ranges of them; one of many writers wins; keys in order."""

    def test_an_object_is_there_once_it_is_put(self, backend: Backend) -> None:
        assert backend.get("a/b/c") is None
        backend.put("a/b/c", VALUE)
        assert backend.get("a/b/c") == VALUE
        backend.put("a/b/c", b"")
        assert backend.get("a/b/c") == b""

    def test_a_folder_is_no_object(self, backend: Backend) -> None:
        backend.put("a/b/c", VALUE)
        assert backend.get("a/b") is None
        assert backend.range("a/b", 0, 4) is None
        assert backend.get("a/b/c/d") is None
        assert backend.range("a/b/c/d", -4) is None

    def test_a_range_is_a_slice(self, backend: Backend) -> None:
        backend.put("key", VALUE)
        for start, stop in product(EDGES, (None, *EDGES)):
            assert backend.range("key", start, stop) == VALUE[start:stop], (start, stop)
            assert backend.range("nothing", start, stop) is None

    def test_put_new_writes_once(self, backend: Backend) -> None:
        assert backend.put_new("receipts/1", b"first")
        assert not backend.put_new("receipts/1", b"second")
        assert backend.get("receipts/1") == b"first"
        backend.delete("receipts/1")
        assert backend.put_new("receipts/1", b"third")

    def test_one_of_many_threads_wins(self, backend: Backend) -> None:
        together = Barrier(8)

        def write(number: int, turn: int) -> bool:
            together.wait()
            return backend.put_new(f"turn/{turn}", b"%d" % number * 50_000)

        with ThreadPoolExecutor(8) as pool:
            for turn in range(10):
                won = list(pool.map(write, range(8), [turn] * 8))
                assert won.count(True) == 1
                assert backend.get(f"turn/{turn}") == b"%d" % won.index(True) * 50_000

    def test_put_if_writes_where_what_is_there_is_what_was_thought(self, backend: Backend) -> None:
        assert not backend.put_if("a/b", b"second", b"first")
        assert backend.get("a/b") is None
        assert backend.put_if("a/b", b"first", None)
        assert not backend.put_if("a/b", b"other", None)
        assert not backend.put_if("a/b", b"other", b"second")
        assert backend.get("a/b") == b"first"
        assert backend.put_if("a/b", b"second", b"first")
        assert backend.get("a/b") == b"second"

    def test_updates_of_many_threads_lose_nothing(self, backend: Backend, monkeypatch: pytest.MonkeyPatch) -> None:
        together, get = Barrier(8), backend.get

        def slowly(key: str) -> bytes | None:
            value = get(key)
            time.sleep(0.005)  # one that compares first and writes later is found out
            return value

        monkeypatch.setattr(backend, "get", slowly)

        def count_up(_: int) -> None:
            together.wait()
            for _ in range(5):
                backend.update("count", lambda there: b"%d" % (int(there or b"0") + 1))

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(count_up, range(8)))
        assert get("count") == b"40"

    def test_readers_beside_a_writer_never_see_half_an_object(self, backend: Backend) -> None:
        backend.put("key", b"0" * 400_000)
        with ThreadPoolExecutor(2) as pool:
            writing = pool.submit(lambda: [backend.put("key", b"%d" % (turn % 10) * 400_000) for turn in range(40)])
            while not writing.done():
                value = backend.get("key") or b""
                assert len(value) == 400_000
                assert value == value[:1] * 400_000
                assert "key" in list(backend.list())

    def test_keys_are_listed_in_order_by_prefix(self, backend: Backend) -> None:
        keys = ["a.b", "a/z.json", "a/b/1", "a/b-c", "a/b/10", "a/b/2", "ab", "zarr.json", "a/%C3%A4 b/#"]
        for key in keys:
            backend.put(key, b"")
        assert list(backend.list()) == sorted(keys)
        for prefix in ("", "a", "a/", "a/b", "a/b/", "a/b/1", "nothing", "nothing/at/all", "a.b/"):
            assert list(backend.list(prefix)) == sorted(key for key in keys if key.startswith(prefix)), prefix

    def test_what_is_deleted_is_gone(self, backend: Backend) -> None:
        backend.put("a/b", VALUE)
        backend.delete("a/b")
        backend.delete("a/b")
        backend.delete("a/b/c")
        assert backend.get("a/b") is None
        assert list(backend.list()) == []

    def test_sweeping_touches_nothing_that_lives(self, backend: Backend) -> None:
        backend.put("a/b", VALUE)
        assert backend.sweep() == 0
        assert list(backend.list()) == ["a/b"]

    def test_a_backend_says_where_it_is(self, backend: Backend) -> None:
        assert str(backend)
