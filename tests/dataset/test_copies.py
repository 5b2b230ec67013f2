"""Copies of images: whole or none, never beyond their limit, whoever else writes, reads or makes room."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from atlas.dataset import Copies, Hashes
from atlas.dataset import copies as module
from atlas.dataset.hashes import mark_of, marks_of
from atlas.dataset.source import Problem
from atlas.units import ImageStatus

MB = 10**6


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_what_was_put_is_there_and_the_rest_is_not(tmp_path: Path) -> None:
    copies = Copies(str(tmp_path), 1.0)
    assert copies.get(b"a") is None
    copies.put(b"a", b"1")
    copies.put(b"empty", b"")
    assert (copies.get(b"a"), copies.get(b"empty"), copies.get(b"b")) == (b"1", b"", None)
    Copies(str(tmp_path), 0).put(b"b", b"2")
    assert copies.get(b"b") is None


def test_the_least_recently_read_goes_first(tmp_path: Path) -> None:
    copies = Copies(str(tmp_path), 10 * 1040e-9)
    for number in range(10):
        copies.put(b"%d" % number, bytes(1000))
        time.sleep(0.002)
    assert copies.get(b"0") is not None
    time.sleep(0.002)
    copies.put(b"new", bytes(1000))
    there = [number for number in range(10) if copies.get(b"%d" % number) is not None]
    assert there == [0, *range(3, 10)]
    assert size_of(tmp_path) <= 10 * 1040 + 100
    copies.put(b"vast", bytes(20_000))
    assert copies.get(b"vast") is None


def test_what_is_damaged_is_no_copy(tmp_path: Path) -> None:
    copies = Copies(str(tmp_path), 1.0)
    for name, how in ((b"a", bytes.lower), (b"b", lambda data: data[:-1]), (b"c", lambda _: b"")):
        copies.put(name, b"SOMETHING")
        path = copies._path(name)
        path.write_bytes(how(path.read_bytes()))
        assert copies.get(name) is None
        copies.put(name, b"SOMETHING")
        assert copies.get(name) == b"SOMETHING"


def writer(folder: str, number: int) -> int:
    """Puts and gets; says how often a copy was something else than what was put."""
    copies, wrong = Copies(folder, 2 * MB / 1e9), 0
    for turn in range(150):
        name = b"%d" % (turn * 7 % 90 + number % 2)
        data = name * 20_000
        found = copies.get(name)
        wrong += found not in (None, data)
        copies.put(name, data)
    return wrong + bool(copies.trouble)


def test_many_processes_share_it_and_it_stays_below_its_limit(tmp_path: Path) -> None:
    copies = Copies(str(tmp_path))
    copies._root.mkdir()
    with get_context("spawn").Pool(4) as pool:
        running = [pool.apply_async(writer, (str(tmp_path), number)) for number in range(4)]
        most = 0
        while not all(one.ready() for one in running):
            with copies._ledger():  # while one counts, nobody adds
                most = max(most, sum(size for _, size, _ in copies._all()))
            time.sleep(0.01)
        assert [one.get() for one in running] == [0, 0, 0, 0]
    assert 0 < most <= 2 * MB
    assert list((tmp_path / "copies" / "partial").iterdir()) == []


def test_a_reader_is_not_broken_by_who_makes_room(tmp_path: Path) -> None:
    copies = Copies(str(tmp_path), 1.0)
    copies.put(b"a", b"whole" * 1000)
    with copies._path(b"a").open("rb") as reading:
        first = reading.read(10)
        copies._make_room(0)
        assert copies.get(b"a") is None
        assert (first + reading.read())[32:] == b"whole" * 1000


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES])
def test_a_disk_that_is_full_is_told_of_once_and_all_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    copies = Copies(str(tmp_path / "full"), 1.0)
    copies.put(b"before", b"1")

    def fails(*_: Any) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "write_bytes", fails)
    copies.put(b"a", b"1")
    monkeypatch.undo()
    assert len(copies.trouble.splitlines()) == 1
    assert ("full" in copies.trouble) or ("can be kept" in copies.trouble)
    assert "`cache`" in copies.trouble
    assert copies.get(b"before") == b"1"
    copies.put(b"a", b"1")
    assert copies.get(b"a") is None


def test_a_disk_is_not_filled_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "SPARE", 2**62)
    copies = Copies(str(tmp_path / "spare"), 1.0)
    copies.put(b"a", b"1")
    assert copies.get(b"a") is None
    assert "The disk is full" in copies.trouble


def test_what_dead_writers_left_goes(tmp_path: Path) -> None:
    copies = Copies(str(tmp_path), 1.0)
    copies.put(b"a", b"1")
    for name, age in (("old", 7200.0), ("new", 0.0)):
        (tmp_path / "copies" / "partial" / name).write_bytes(b"half")
        os.utime(tmp_path / "copies" / "partial" / name, (time.time() - age,) * 2)
    copies._make_room(MB)
    assert [path.name for path in (tmp_path / "copies" / "partial").iterdir()] == ["new"]


def test_a_ledger_that_is_lost_is_counted_anew(tmp_path: Path) -> None:
    copies = Copies(str(tmp_path), 3 * 1032e-9)
    copies.put(b"a", bytes(1000))
    (tmp_path / "copies" / "ledger").write_bytes(b"torn")
    for number in range(5):
        copies.put(b"%d" % number, bytes(1000))
        assert sum(size for _, size, _ in copies._all()) <= 3 * 1032


# -- hashes ------------------------------------------------------------------------------------------------------------


def rows(count: int, seed: int = 0) -> tuple[Any, Any]:
    marks = marks_of([mark_of(seed, number) for number in range(count)])
    return marks, np.random.default_rng(seed).integers(1, 256, (count, 32), dtype=np.uint8)


def test_hashes_are_found_by_their_marks_alone(tmp_path: Path) -> None:
    marks, sha256 = rows(5000)
    Hashes(tmp_path).add(marks[:3000], sha256[:3000])
    Hashes(tmp_path).add(marks[3000:4000], sha256[3000:4000])
    known, found = Hashes(tmp_path).find(marks)
    assert known.tolist() == [True] * 4000 + [False] * 1000
    np.testing.assert_array_equal(found[known], sha256[:4000])
    assert not found[~known].any()
    Hashes(tmp_path).tidy(marks)
    assert len(list((tmp_path / "hashes").glob("*.rows"))) == 1
    np.testing.assert_array_equal(Hashes(tmp_path).find(marks)[1], found)


def test_a_damaged_file_of_hashes_is_left_out(tmp_path: Path) -> None:
    marks, sha256 = rows(10)
    Hashes(tmp_path).add(marks, sha256)
    (path,) = (tmp_path / "hashes").glob("*.rows")
    data = bytearray(path.read_bytes())
    for damaged in (data[:-7], data[:40] + b"?" + data[41:], b""):
        path.write_bytes(damaged)
        assert not Hashes(tmp_path).find(marks)[0].any()
    (tmp_path / "file").write_bytes(b"")
    nowhere = Hashes(tmp_path / "file")
    nowhere.add(marks, sha256)
    nowhere.tidy(marks)
    assert not nowhere.find(marks)[0].any()
    assert "cannot be saved" in nowhere.trouble
    assert len(nowhere.trouble.splitlines()) == 1


def test_of_too_many_rows_those_of_the_last_listing_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("atlas.dataset.hashes.MOST", 15)
    for seed in (1, 2):
        Hashes(tmp_path).add(*rows(10, seed))
    Hashes(tmp_path).tidy(rows(10, 2)[0])
    assert [Hashes(tmp_path).find(rows(10, seed)[0])[0].all() for seed in (1, 2)] == [False, True]


def test_what_a_tar_holds_is_kept_to_the_byte(tmp_path: Path) -> None:
    members = [(b"caf\xe9.jpg", 512, 3, None), (b"", 0, 0, Problem(ImageStatus.TRUNCATED, "cut short"))]
    Hashes(tmp_path).put_members(b"m" * 16, members)
    assert Hashes(tmp_path).members(b"m" * 16) == members
    assert Hashes(tmp_path).members(b"n" * 16) is None
    assert Hashes(tmp_path).members(b"") is None


@pytest.mark.parametrize("without", ["HOME", "nothing"])
def test_the_usual_place_is_the_users_own_cache(tmp_path: Path, without: str) -> None:
    code = "from atlas.dataset import Copies; print(Copies().place)"
    said = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(tmp_path / "x")}
    environment = {name: value for name, value in os.environ.items() if name != "ATLAS_CACHE"} | said
    ran = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == str(tmp_path / "x" / "atlas")
