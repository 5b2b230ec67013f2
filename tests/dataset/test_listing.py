"""The list of images: counts add up, and the hash moves with the content alone."""

from __future__ import annotations

import hashlib
import threading
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from atlas.dataset import Entry, ImageList, list_images, look, open_images
from atlas.units import ImageStatus
from tests.dataset.made import bomb, encoded, good, index, photographs, pixels, write_tar


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
    for name, looked in zip(images.names, images.looked, strict=True):
        used = looked.status == ImageStatus.OK
        assert used == (not name.startswith(("bad", "same")))
        assert used != bool(looked.reason)
        assert used == (looked.picture is not None)
    reasons = {images.names[number]: reason for number, reason in images.reasons.items()}
    assert reasons["same.png"].startswith("the same as good-")
    data = (folder / "good-00.dat").read_bytes()
    assert images.sha256(images.names.index("good-00.dat")) == hashlib.sha256(data).digest()


def test_threads_move_neither_order_nor_hash(folder: Path) -> None:
    one, four = (list_images(open_images(folder), workers=workers) for workers in (1, 4))
    assert one.names == four.names
    assert one.hash == four.hash
    np.testing.assert_array_equal(one.sha256, four.sha256)
    np.testing.assert_array_equal(one.same_as, four.same_as)


@pytest.mark.parametrize("name", ["good-00.dat", "bad-note.jpg", "shard.tar", "wrong-suffix.png"])
def test_any_change_of_content_is_another_hash(folder: Path, name: str) -> None:
    before = list_images(open_images(folder)).hash
    data = bytearray((folder / name).read_bytes())
    data[len(data) // 2 if name != "shard.tar" else 700] ^= 1
    (folder / name).write_bytes(data)
    assert list_images(open_images(folder)).hash != before


def test_a_name_more_or_less_or_other_is_another_hash(folder: Path) -> None:
    hashes = {list_images(open_images(folder)).hash}
    (folder / "same.png").rename(folder / "other.png")
    hashes.add(list_images(open_images(folder)).hash)
    (folder / "other.png").unlink()
    hashes.add(list_images(open_images(folder)).hash)
    (folder / "new.png").write_bytes(encoded(pixels(9)))
    hashes.add(list_images(open_images(folder)).hash)
    assert len(hashes) == 4


def test_an_image_that_changed_since_is_not_taken_for_the_listed_one(folder: Path) -> None:
    source = open_images(folder)
    listed = list_images(source)
    number = listed.names.index("good-00.dat")
    entry, sha256 = source.entries[number], listed.sha256[number].tobytes()
    assert look(source, entry, sha256).picture is not None
    (folder / entry.name).write_bytes(encoded(pixels(77)))
    answers = [look(source, entry, sha256)]
    (folder / entry.name).unlink()
    answers.append(look(source, entry, sha256))
    assert [answer.status for answer in answers] == [ImageStatus.CHANGED] * 2


def test_what_cannot_be_read_is_no_duplicate(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).symlink_to(tmp_path / "nowhere")
    (tmp_path / "c").write_bytes(b"")
    (tmp_path / "d").write_bytes(b"")
    assert list(list_images(open_images(tmp_path)).same_as) == [-1, -1, -1, 2]


def test_progress_counts_to_the_end(folder: Path) -> None:
    done: list[int] = []
    images = list_images(open_images(folder), told=done.append)
    assert done == list(range(1, len(images) + 1))


@pytest.mark.builder
def test_the_photographs_are_all_used() -> None:
    images = index(open_images(sorted(photographs().glob("imagenet_*.jpg"))))
    assert images.summary() == "20 images"
    assert images.names[0] == "imagenet_00_243.jpg"
    assert images.usable == list(range(20))


def test_a_hundred_thousand_rows_take_little_room() -> None:
    count = 100_000
    tracemalloc.start()
    contents = [hashlib.sha256(str(number % (count - 5)).encode()).digest() for number in range(count)]
    sha256 = np.frombuffer(b"".join(contents), np.uint8).reshape(count, 32)
    del contents
    tracemalloc.reset_peak()
    images = ImageList([f"{number:08d}" for number in range(count)], sha256)
    same = images.same_as
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert most < 300 * count
    assert list(np.flatnonzero(same >= 0)) == list(range(count - 5, count))
    assert list(same[-5:]) == list(range(5))


def test_threads_never_hold_more_than_a_few_pictures() -> None:
    class Made:
        """Images that are counted while they live between reading and the end of their turn."""

        entries = open_images("tests.dataset.test_sources:million").entries[:400]
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

    list_images(source, workers=3, told=told)
    assert source.alive == 0
    assert source.most <= 7
