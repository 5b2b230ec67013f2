"""Who builds a store: a counter that rises before one's eyes, and nothing else."""

from __future__ import annotations

import json
import socket
import time
from getpass import getuser

import pytest

from atlas.store import MemoryBackend, builders, verify
from atlas.store.builders import BUILDERS, Builder, Watch, at_work, bury, piece
from atlas.verification import verify as look
from tests.stores import make_store

ONE, OTHER = "1" * 64, "2" * 64


@pytest.fixture(autouse=True)
def fast(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builders, "BEAT", 0.02)
    monkeypatch.setattr(builders, "PATIENCE", 0.4)


def left_by(backend: MemoryBackend, plan: str = ONE) -> str:
    """The object of a builder that was killed."""
    with Builder(backend, [plan]):
        (key,) = backend.list(BUILDERS)
        data = backend.get(key) or b""
    backend.put(key, data)
    return key


def test_where_nobody_builds_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "sleep", lambda _: pytest.fail("waited"))
    assert at_work(MemoryBackend()) == []
    assert bury(MemoryBackend()) == 0


def test_one_that_lives_is_known_by_its_plans_and_by_what_it_is_at() -> None:
    backend = MemoryBackend()
    with Builder(backend, [ONE, OTHER]) as builder:
        builder.begins([piece(ONE, 3), piece(ONE, 4), piece(OTHER)])
        builder.ended(piece(ONE, 3))
        (seen,) = at_work(backend)
        assert seen.makes(ONE)
        assert not seen.makes("3" * 64)
        assert at_work(backend, lambda other: other.makes("3" * 64)) == []
        time.sleep(0.1)
        (seen,) = at_work(backend)
        assert seen.doing == {piece(ONE, 4), piece(OTHER)}
        assert bury(backend) == 0
    assert not list(backend.list())
    assert at_work(backend) == []


def test_its_object_names_no_machine_no_user_and_no_place() -> None:
    backend = MemoryBackend()
    with Builder(backend, [ONE]) as builder:
        builder.begins([piece(ONE, 0)])
        time.sleep(0.1)
        (key,) = backend.list(BUILDERS)
        told = backend.get(key) or b""
    assert json.loads(told).keys() == {"encoding-type", "plans", "doing", "counter"}
    assert not any(name and name.encode() in key.encode() + told for name in (socket.gethostname(), getuser()))


def test_one_that_died_is_dead_after_some_patience_and_is_taken_out() -> None:
    backend = MemoryBackend()
    key = left_by(backend)
    began = time.monotonic()
    assert at_work(backend) == []
    assert time.monotonic() - began > builders.PATIENCE
    assert list(backend.list()) == [key], "who only asks takes nothing out"
    assert bury(backend) == 1
    assert not list(backend.list())


def test_who_builds_takes_out_the_dead_and_leaves_the_living() -> None:
    backend = MemoryBackend()
    left_by(backend)
    with Builder(backend, [ONE]), Builder(backend, [ONE]) as other:
        time.sleep(3 * builders.PATIENCE)
        assert len(list(backend.list(BUILDERS))) == 2
        assert other.second
    assert not list(backend.list())


def test_every_other_one_of_a_plan_begins_at_the_other_end() -> None:
    backend = MemoryBackend()
    with Builder(backend, [ONE]) as first:
        with (
            Builder(backend, [ONE, OTHER]) as second,
            Builder(backend, [ONE]) as third,
            Builder(backend, [OTHER]) as fourth,
        ):
            assert [one.second for one in (first, second, third, fourth)] == [False, True, False, True]
        assert not first.second


def test_one_that_was_taken_for_dead_tells_of_itself_again() -> None:
    backend = MemoryBackend()
    with Builder(backend, [ONE]):
        (key,) = backend.list(BUILDERS)
        backend.delete(key)
        time.sleep(0.2)
        assert list(backend.list(BUILDERS)) == [key]
        assert len(at_work(backend)) == 1


@pytest.mark.parametrize("junk", [b"", b"junk", b"[1]", b'{"plans": 3}'])
def test_what_is_no_object_of_a_builder_is_nobody_that_lives(junk: bytes) -> None:
    backend = MemoryBackend()
    backend.put(f"{BUILDERS}x.json", junk)
    assert at_work(backend) == []
    assert bury(backend) == 1


def test_a_clock_that_stood_still_condemns_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who looks may be the one that was frozen: what changed meanwhile has changed."""
    backend = MemoryBackend()
    with Builder(backend, [ONE]):
        watch = Watch(backend)
        watch.look()
        time.sleep(0.1)
        later = time.monotonic() + 3600
        monkeypatch.setattr(time, "monotonic", lambda: later)
        watch.look()
        assert not watch.dead
        assert [one.risen for one in watch.living.values()] == [True]


class Flickering(MemoryBackend):
    """Answers once, for one object, as if it was just being replaced."""

    key = ""

    def get(self, key: str) -> bytes | None:
        if key == self.key:
            self.key = ""
            return b"of another time"
        return super().get(key)


def test_what_was_replaced_between_two_reads_of_a_store_that_is_built_is_no_damage() -> None:
    backend = Flickering()
    store = make_store(backend, layers={"a": 40}, size=16)
    key = "layers/a/features/image/c/0/0/0/0/0"
    backend.key = key
    assert [finding.key for finding in look(store).found.damage] == [key], "nobody builds: it is what it is"
    with Builder(backend, [ONE]):
        backend.key = key
        assert look(store, repair=True).found.damage == []
        assert not store.todo(store.plans()[0])
        backend.put(key, b"junk")
        assert [finding.key for finding in look(store, repair=True).found.damage] == [key]
    assert [shard.index for shard in store.todo(store.plans()[0])] == [0]


def test_a_builder_is_no_stranger_to_verify() -> None:
    store = make_store(MemoryBackend(), layers={"a": 3}, size=16)
    with Builder(store.backend, [ONE]):
        assert next(store.backend.list(BUILDERS))
        assert verify(store).findings == ()
