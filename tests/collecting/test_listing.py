"""The list of images: counts add up, and the hash moves with the content alone."""

from __future__ import annotations

import hashlib
import threading
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from atlas.collecting import Entry, ImageList, ListedImage, Problem, contents, index, load, open_images
from atlas.units import ImageStatus
from tests.collecting.made import bomb, encoded, good, photographs, pixels, write_tar


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Good images of every mode, and one bad one of every kind."""
    for number, data in enumerate(good().values()):
        (tmp_path / f"good-{number:02d}.dat").write_bytes(data)
    jpeg = encoded(pixels(1, (64, 64)), "JPEG")
    (tmp_path / "bad-cut.jpg").write_bytes(jpeg[:-300])
    (tmp_path / "bad-empty.jpg").write_bytes(b"")
    (tmp_path / "bad-note.jpg").write_text("no picture")
    (tmp_path / "bad-bomb.png").write_bytes(bomb())
    (tmp_path / "same.png").write_bytes(good()["PNG"])
    (tmp_path / "wrong-suffix.png").write_bytes(jpeg)
    write_tar(tmp_path / "shard.tar", {"a.jpg": encoded(pixels(2), "JPEG")})
    return tmp_path


def test_every_image_is_right_or_a_reason_and_the_counts_add_up(folder: Path) -> None:
    images = index(open_images(folder))
    count = len(good())
    told = f"{count + 7} images: {count + 2} used, 5 skipped"
    assert images.summary() == f"{told} (2 not an image, 1 too large, 1 truncated, 1 duplicate)"
    rows = [images[number] for number in range(len(images))]
    for row in rows:
        used = row.status == ImageStatus.OK
        assert used == (not row.name.startswith(("bad", "same")))
        assert used != bool(row.reason)
        assert (row.width > 0) == (row.height > 0) == (used or row.status == ImageStatus.DUPLICATE)
    assert {row.name: row.reason for row in rows}["same.png"].startswith("the same as good-")
    assert [rows[number] for number in images.usable] == [row for row in rows if row.status == ImageStatus.OK]
    data = (folder / "good-00.dat").read_bytes()
    assert {row.name: row.sha256 for row in rows}["good-00.dat"] == hashlib.sha256(data).digest()


def test_threads_move_neither_order_nor_hash(folder: Path) -> None:
    one, four = index(open_images(folder), workers=1), index(open_images(folder), workers=4)
    assert one.names == four.names
    assert one.hash == four.hash == contents(open_images(folder))
    assert one.reasons == four.reasons
    for column in ("sha256", "width", "height", "status"):
        np.testing.assert_array_equal(getattr(one, column), getattr(four, column))


@pytest.mark.parametrize("name", ["good-00.dat", "bad-note.jpg", "shard.tar", "wrong-suffix.png"])
def test_any_change_of_content_is_another_hash(folder: Path, name: str) -> None:
    before = index(open_images(folder)).hash
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2 if name != "shard.tar" else 700] ^= 1
    (folder / name).write_bytes(data)
    assert index(open_images(folder)).hash == contents(open_images(folder)) != before


def test_a_name_more_or_less_or_other_is_another_hash(folder: Path) -> None:
    hashes = {index(open_images(folder)).hash}
    (folder / "same.png").rename(folder / "other.png")
    hashes.add(index(open_images(folder)).hash)
    (folder / "other.png").unlink()
    hashes.add(index(open_images(folder)).hash)
    (folder / "new.png").write_bytes(encoded(pixels(9)))
    hashes.add(index(open_images(folder)).hash)
    assert len(hashes) == 4


def test_an_image_that_changed_since_is_not_taken_for_the_listed_one(folder: Path) -> None:
    source = open_images(folder)
    images = index(source)
    entry, row = source.entries[images.usable[0]], images[images.usable[0]]
    assert isinstance(load(source, entry, row.sha256), np.ndarray)
    (folder / row.name).write_bytes(encoded(pixels(77)))
    answers = [load(source, entry, row.sha256)]
    (folder / row.name).unlink()
    answers.append(load(source, entry, row.sha256))
    assert [answer.status for answer in answers if isinstance(answer, Problem)] == [ImageStatus.CHANGED] * 2


def test_progress_counts_to_the_end(folder: Path) -> None:
    done: list[int] = []
    images = index(open_images(folder), told=done.append)
    assert done == list(range(1, len(images) + 1))


@pytest.mark.builder
def test_the_photographs_are_all_used() -> None:
    images = index(open_images(sorted(photographs().glob("imagenet_*.jpg"))))
    assert images.summary() == "20 images"
    assert images.names[0] == "imagenet_00_243.jpg"
    assert images.width.min() >= 224
    assert images.usable == list(range(20))


def test_a_hundred_thousand_rows_take_little_room() -> None:
    count = 100_000

    def rows() -> Iterator[ListedImage]:
        for number in range(count):
            sha256 = hashlib.sha256(str(number % (count - 5)).encode()).digest()
            yield ListedImage(f"{number:08d}", sha256, 8, 8, ImageStatus.OK)

    tracemalloc.start()
    images = ImageList.of(rows(), count)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 300 * count
    assert images.summary() == "100,000 images: 99,995 used, 5 skipped (5 duplicate)"
    assert images[count - 1].reason == "the same as 00000004"


def test_threads_never_hold_more_than_a_few_pictures() -> None:
    class Made:
        """Images that are counted while they live between reading and the end of their turn."""

        entries = open_images("tests.collecting.test_sources:million").entries[:400]
        alive, most, lock = 0, 0, threading.Lock()

        def read(self, entry: Entry) -> bytes:
            assert entry in self.entries
            with self.lock:
                self.alive += 1
                self.most = max(self.most, self.alive)
            return data

    data = encoded(pixels())
    source = Made()

    def told(_: int) -> None:
        with source.lock:
            source.alive -= 1

    index(source, workers=3, told=told)
    assert source.alive == 0
    assert source.most <= 7
