"""The backends at hand: a folder and a dictionary."""

from __future__ import annotations

import errno
import multiprocessing
import os
import pickle
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from multiprocessing.queues import SimpleQueue
from multiprocessing.synchronize import Barrier
from pathlib import Path

import pytest

from atlas.errors import CannotWrite, NotAStore, StoreError, StoreFull
from atlas.store import Backend, LocalBackend, MemoryBackend, ObjectBackend, backend_at
from atlas.store.backends import PARTIAL
from atlas.store.backends.local import _explained
from tests.store.contract import BackendContract

MEGABYTE = 2**20
TURNS = 25

pytestmark = pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")


class TestMemory(BackendContract):
    @pytest.fixture
    def backend(self) -> Backend:
        return MemoryBackend()


class TestLocal(BackendContract):
    @pytest.fixture
    def backend(self, tmp_path: Path) -> LocalBackend:
        return LocalBackend(tmp_path / "some" / "where")

    def test_one_of_many_processes_wins(self, backend: LocalBackend) -> None:
        fork = multiprocessing.get_context("fork")
        together, won = fork.Barrier(4), fork.SimpleQueue()
        writers = [fork.Process(target=write_new, args=(backend, name, together, won)) for name in range(4)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join(60)
        winners = [won.get() for _ in range(TURNS)]
        assert won.empty()
        for turn, name in winners:
            assert backend.get(f"turn/{turn}") == b"%d" % name * 1000

    def test_a_writer_killed_at_any_moment_leaves_no_torn_object(self, backend: LocalBackend) -> None:
        random.seed(0)
        backend.put("key", b"0" * MEGABYTE)
        for _ in range(25):
            kill_soon(lambda: put_again(backend, "key"))
            value = backend.get("key") or b""
            assert len(value) == MEGABYTE + int(value[:1])
            assert value == value[:1] * len(value)
            assert list(backend.list()) == ["key"]
        assert list((backend.root / PARTIAL).iterdir()), "no kill landed inside a write: the test shows nothing"

    def test_a_receipt_writer_killed_at_any_moment_leaves_it_whole_or_absent(self, backend: LocalBackend) -> None:
        random.seed(1)
        for kill in range(10):
            kill_soon(lambda: [backend.put_new(f"{kill}/{turn}", b"x" * MEGABYTE) for turn in range(50)])  # noqa: B023
        values = [backend.get(key) for key in backend.list()]
        assert values
        assert all(value == b"x" * MEGABYTE for value in values)

    def test_leftovers_are_swept_once_no_writer_can_still_live(self, backend: LocalBackend) -> None:
        backend.put("a/b", b"1")
        old, young = (backend.root / PARTIAL / name for name in ("old", "young"))
        for path in (old, young):
            path.write_bytes(b"half")
        os.utime(old, (time.time() - 7200,) * 2)
        assert list(backend.list()) == ["a/b"]
        assert backend.sweep() == 1
        assert young.exists()
        assert not old.exists()

    def test_what_a_writer_that_lives_holds_is_never_swept(self, backend: LocalBackend) -> None:
        """Neither a clock that is wrong nor a write that takes for ever makes it a leftover."""
        backend.put("a/b", b"1")
        with backend._partial() as (partial, file):
            file.write(b"half")
            file.flush()
            os.utime(partial, (time.time() - 7200,) * 2)
            assert backend.sweep() == 0
            assert partial.exists()

    @pytest.mark.parametrize("ahead", [7200, -7200])
    def test_leftovers_are_judged_by_the_clock_that_stamps_them(
        self, backend: LocalBackend, monkeypatch: pytest.MonkeyPatch, ahead: int
    ) -> None:
        """Not by that of the machine that sweeps."""
        backend.put("a/b", b"1")
        young, old = (backend.root / PARTIAL / name for name in ("young", "old"))
        for path in (young, old):
            path.write_bytes(b"half")
        os.utime(old, (time.time() - 5400,) * 2)
        now = time.time()
        monkeypatch.setattr(time, "time", lambda: now + ahead)
        assert backend.sweep() == 1
        assert young.exists()

    def test_a_store_that_was_moved_away_leaves_nothing_at_its_old_place(
        self, backend: LocalBackend, tmp_path: Path
    ) -> None:
        backend.put("a/b", b"1")
        backend.settled = True
        travelled = pickle.loads(pickle.dumps(backend))
        backend.root.rename(tmp_path / "moved")
        for write in (backend.put, backend.put_new, travelled.put, lambda key, data: backend.put_if(key, data, None)):
            with pytest.raises(CannotWrite, match="is gone: it was moved or deleted") as caught:
                write("a/c", b"2")
            assert len(str(caught.value).splitlines()) == 1
        assert not backend.root.exists()
        assert backend.sweep() == 0

    def test_an_object_is_replaced_only_where_nobody_else_did(self, backend: LocalBackend) -> None:
        fork = multiprocessing.get_context("fork")
        writers = [fork.Process(target=count_up, args=(backend,)) for _ in range(4)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join(60)
        assert backend.get("count") == b"%d" % (4 * TURNS)

    def test_it_travels_to_workers(self, backend: LocalBackend) -> None:
        backend.put("a", b"1")
        assert pickle.loads(pickle.dumps(backend)).get("a") == b"1"

    def test_a_file_in_the_way_of_the_store_is_one_line(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("mine")
        for root in (tmp_path / "file", tmp_path / "file" / "below"):
            for write in (LocalBackend(root).put, LocalBackend(root).put_new):
                with pytest.raises(CannotWrite, match="a file lies where a folder is needed") as caught:
                    write("a/b", b"1")
                assert len(str(caught.value).splitlines()) == 1
        assert (tmp_path / "file").read_text() == "mine"

    def test_a_file_in_the_way_of_an_object_is_no_other_writer(self, backend: LocalBackend) -> None:
        backend.put("a", b"file")
        with pytest.raises(CannotWrite):
            backend.put_new("a/b", b"1")

    def test_a_folder_in_the_way_of_an_object_is_one_line(self, backend: LocalBackend) -> None:
        backend.put("a/b", b"1")
        with pytest.raises(CannotWrite, match=r"where|a cannot be written"):
            backend.put("a", b"1")
        with pytest.raises(CannotWrite):
            backend.delete("a")

    def test_what_cannot_be_read_is_one_line(self, backend: LocalBackend) -> None:
        backend.put("a", b"1")
        (backend.root / "loop").symlink_to("loop")
        with pytest.raises(StoreError, match="loop cannot be read"):
            backend.get("loop")

    def test_a_full_disk_is_one_line_and_keeps_what_is_there(self, small_disk: Path) -> None:
        backend = LocalBackend(small_disk / "store")
        backend.put("small", b"1" * 1000)
        for write in (backend.put, backend.put_new):
            with pytest.raises(StoreFull, match="No space is left") as caught:
                write("large", b"1" * 2 * MEGABYTE)
            assert len(str(caught.value).splitlines()) == 1
        assert list(backend.list()) == ["small"]
        assert backend.get("small") == b"1" * 1000
        assert list((backend.root / PARTIAL).iterdir()) == [], "a failed write takes no room"
        assert backend.put_new("next", b"2" * 1000)


def test_full_disks_and_quotas_are_told_from_the_rest() -> None:
    for number, kind in {errno.ENOSPC: StoreFull, errno.EDQUOT: StoreFull, errno.EROFS: CannotWrite}.items():
        assert type(_explained(OSError(number, os.strerror(number)), Path("x"))) is kind


def test_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    memory = MemoryBackend()
    monkeypatch.setenv("HOME", str(tmp_path))
    assert backend_at(memory) is memory
    for place in (tmp_path / "a", str(tmp_path / "a"), f"file://{tmp_path}/a", "~/a"):
        assert str(backend_at(place)) == str(tmp_path / "a")
    for address in ("s3://bucket/store", "gs://bucket/a b/%20", "az://container/x"):
        assert isinstance(backend_at(address), ObjectBackend)
        assert str(backend_at(address)) == address
    assert str(backend_at("S3://bucket/x")) == "s3://bucket/x"
    for wrong in ("https://example.com/x", "s3://", "s3:///", "s3:/bucket/x"):
        with pytest.raises(NotAStore):
            backend_at(wrong)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of one megabyte: as root a tmpfs of its own, else what is left of a quota cannot be made, and says so."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)]
    if os.geteuid() != 0:
        mount = []
    made = subprocess.run(mount or ["true"], capture_output=True, text=True, check=False)
    assert made.returncode == 0, f"root may not mount a small tmpfs here: {made.stderr}"
    yield disk
    if mount:
        subprocess.run(["umount", str(disk)], check=True)


def write_new(backend: Backend, name: int, together: Barrier, won: SimpleQueue[tuple[int, int]]) -> None:
    """Try to be the first to write, again and again, beside others who do the same; tell every turn that was won."""
    for turn in range(TURNS):
        together.wait(60)
        if backend.put_new(f"turn/{turn}", b"%d" % name * 1000):
            won.put((turn, name))


def count_up(backend: Backend) -> None:
    """Add one to what is there, again and again, beside others who do the same."""
    for _ in range(TURNS):
        backend.update("count", lambda there: b"%d" % (int(there or b"0") + 1))


def put_again(backend: Backend, key: str) -> None:
    """Objects of ten lengths and contents under one key."""
    for turn in range(10):
        backend.put(key, b"%d" % turn * (MEGABYTE + turn))


def kill_soon(work: Callable[[], object]) -> None:
    """Do `work` again and again in a process of its own, which is killed -9 after some milliseconds."""
    child = os.fork()
    if child == 0:
        try:
            while True:
                work()
        finally:
            os._exit(1)
    time.sleep(random.uniform(0.002, 0.03))
    os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "the writer ended by itself"


def test_a_folder_that_begins_with_a_dash_is_no_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    place = LocalBackend(Path("-n.atlas"))
    assert not str(place).startswith("-")
    assert (tmp_path / str(place)).resolve() == tmp_path / "-n.atlas"
