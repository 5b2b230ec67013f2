"""Where images come from: everything that was given is an image in order, or a listed reason."""

from __future__ import annotations

import os
import pickle
import random
import socket
import tarfile
import tempfile
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from atlas.dataset import Copies, Entry, ImageSource, Problem, list_images, open_images, require_one
from atlas.dataset.files import indexed
from atlas.dataset.folders import walk
from atlas.dataset.from_dataset import _opened as factory
from atlas.errors import AtlasError, ImagesError
from atlas.units import ImageStatus
from tests.dataset.made import encoded, good, index, pixels, write_tar

HERE = __name__


def fill(folder: Path, *names: str) -> Path:
    """`folder` with a picture of its own under every name."""
    for number, name in enumerate(names):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(encoded(pixels(number)))
    return folder


def names(source: ImageSource) -> list[str]:
    return [entry.name for entry in source.entries]


def problems(source: ImageSource) -> dict[str, str]:
    return {entry.name: raw.reason for entry in source.entries if isinstance(raw := source.read(entry), Problem)}


def test_a_folder_is_sorted_by_the_bytes_of_its_names(tmp_path: Path) -> None:
    given = ["b.png", "a/z.png", "a.png", "B.png", "a/1/2.png", "é.png", "10.png", "9.png", "Z/é.png"]
    random.Random(0).shuffle(given)
    assert names(open_images(fill(tmp_path, *given))) == sorted(given, key=str.encode)


def test_what_was_given_reads_back(tmp_path: Path) -> None:
    fill(tmp_path, "a.png", "b/c.png")
    source = open_images(str(tmp_path))
    assert [source.read(entry) for entry in source.entries] == [encoded(pixels(0)), encoded(pixels(1))]
    one = open_images(tmp_path / "b" / "c.png")
    assert names(one) == ["c.png"]
    assert one.read(one.entries[0]) == encoded(pixels(1))


def test_several_folders_keep_the_end_of_their_paths_and_no_order(tmp_path: Path) -> None:
    first, other = fill(tmp_path / "x" / "train", "a.png"), fill(tmp_path / "y" / "train", "a.png", "b.png")
    source = open_images([first, other, first])
    assert names(source) == ["x/train/a.png", "y/train/a.png", "y/train/b.png"]
    assert index(open_images([other, first])).hash == index(source).hash
    inner = open_images([tmp_path, first])
    assert [name for name in names(inner) if name.endswith(".png")] == names_below(tmp_path)
    assert list(problems(inner).values()) == ["a link to a folder that is listed already"]


def names_below(folder: Path) -> list[str]:
    return sorted(f"{folder.name}/{file.relative_to(folder)}" for file in folder.rglob("*.png"))


def test_the_place_of_a_folder_leaves_no_trace(tmp_path: Path) -> None:
    here, there = fill(tmp_path / "here", "a.png", "b/c.png"), fill(tmp_path / "there" / "deeper", "a.png", "b/c.png")
    assert index(open_images(here)).hash == index(open_images(there)).hash


def test_names_that_are_no_utf8_are_listed_and_read(tmp_path: Path) -> None:
    raw = [b"caf\xe9.png", b"caf\xff.png", b"new\nline.png", b"\x1b[31m.png", rb"caf\xe9.png", "smile😀.png".encode()]
    for number, name in enumerate(raw):
        Path(os.fsdecode(os.path.join(os.fsencode(tmp_path), name))).write_bytes(encoded(pixels(number)))  # noqa: PTH118
    images = index(open_images(tmp_path))
    assert images.summary() == "6 images"
    expected = ["\\x1b[31m.png", "caf\\xe9.png", "caf\\xe9.png (2)", "caf\\xff.png", "new\\x0aline.png", "smile😀.png"]
    assert images.names == expected
    assert all(name.encode() and name.isprintable() for name in images.names)


def test_links_are_followed_once(tmp_path: Path) -> None:
    fill(tmp_path, "a/1.png", "b/2.png")
    fill(tmp_path.parent / f"{tmp_path.name}-beside", "3.png")
    (tmp_path / "a" / "up").symlink_to(tmp_path)
    (tmp_path / "a" / "across").symlink_to(tmp_path / "b")
    (tmp_path / "b" / "across").symlink_to(tmp_path / "a")
    (tmp_path / "b" / "self").symlink_to("self")
    (tmp_path / "0beside").symlink_to(tmp_path.parent / f"{tmp_path.name}-beside")
    (tmp_path / "gone.png").symlink_to("nowhere.png")
    (tmp_path / "link.png").symlink_to("a/1.png")
    source = open_images(tmp_path)
    found = problems(source)
    assert [name for name in names(source) if name not in found] == [
        "0beside/3.png",
        "a/1.png",
        "b/2.png",
        "link.png",
    ]
    assert found == {
        "a/across/": "a link to a folder that is listed already",
        "a/up/": "a link to a folder that is listed already",
        "b/across/": "a link to a folder that is listed already",
        "b/self": "too many levels of symbolic links",
        "gone.png": "a link that leads nowhere, or a file that has just gone",
    }
    assert index(source).summary() == "9 images: 2 used, 7 skipped (5 unreadable, 2 duplicate)"


def test_what_is_no_file_does_not_hang(tmp_path: Path) -> None:
    fill(tmp_path, "a.png")
    os.mkfifo(tmp_path / "pipe.png")
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(tmp_path / "socket"))
        (tmp_path / "zero").symlink_to("/dev/zero")
        reasons = finished(lambda: problems(open_images(tmp_path)))
    assert reasons == {
        "pipe.png": "a pipe, not a file",
        "socket": "a socket, not a file",
        "zero": "a device, not a file",
    }


def test_a_file_that_becomes_a_pipe_does_not_hang(tmp_path: Path) -> None:
    source = open_images(fill(tmp_path, "a.png"))
    (tmp_path / "a.png").unlink()
    os.mkfifo(tmp_path / "a.png")
    assert finished(lambda: problems(source)) == {"a.png": "a pipe, not a file"}


def finished(work: Callable[[], Any]) -> Any:
    """What `work` answers within ten seconds."""
    answers: list[Any] = []
    thread = threading.Thread(target=lambda: answers.append(work()), daemon=True)
    thread.start()
    thread.join(10)
    assert not thread.is_alive(), "it hangs"
    return answers[0]


def test_what_goes_while_it_is_looked_at_is_a_reason(tmp_path: Path) -> None:
    fill(tmp_path, "a/1.png", "b/2.png", "c/3.png")
    walking = walk(os.fsencode(tmp_path), set())
    found = [next(walking)]
    for name in ("a", "b", "c"):
        for file in (tmp_path / name).glob("*"):
            file.unlink()
        (tmp_path / name).rmdir()
    assert found[0][1] is None
    assert [(path[1:], problem) for path, problem in walking] == [
        (b"/", Problem(ImageStatus.UNREADABLE, "no such file or directory"))
    ] * 2
    source = open_images(fill(tmp_path, "x.png"))
    (tmp_path / "x.png").unlink()
    assert problems(source) == {"x.png": "no such file or directory"}


@contextmanager
def without_rights() -> Iterator[None]:
    """As somebody who may not read everything, where the tests run as root."""
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)


def test_what_may_not_be_read_is_a_reason() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = fill(Path(name), "a.png", "closed/b.png", "secret.png", "shard.tar")
        folder.chmod(0o755)
        closed = [folder / "closed", folder / "secret.png", folder / "shard.tar"]
        for path in closed:
            path.chmod(0)
        with without_rights():
            images = index(open_images(folder))
            with pytest.raises(ImagesError, match=r"/closed`: cannot be read \(permission denied\)"):
                open_images(folder / "closed")
        for path in closed:
            path.chmod(0o755)
    assert images.summary() == "4 images: 1 used, 3 skipped (3 unreadable)"
    assert images.reasons == dict.fromkeys([1, 2, 3], "permission denied")
    assert images.names == ["a.png", "closed/", "secret.png", "shard.tar"]


def test_a_film_is_not_read(tmp_path: Path) -> None:
    with (tmp_path / "film.mp4").open("wb") as film:
        film.truncate(600 * 2**20)
    images = index(open_images(tmp_path))
    assert images[0].status == ImageStatus.TOO_LARGE
    assert images[0].reason == "0.6 GB; at most 0.5 GB are read"


def test_a_tar_lists_its_pictures_and_not_its_labels(tmp_path: Path) -> None:
    files = {"./1.jpg": encoded(pixels(1), "JPEG"), "2.PNG": encoded(pixels(2)), "deep/3": encoded(pixels(3))}
    beside = {"1.cls": b"7", "2.json": b"{}", "2.txt": b"a dog", "4.jpg": b"no picture"}
    write_tar(tmp_path / "shard-0.tar", files | beside)
    source = open_images(tmp_path)
    assert names(source) == [f"shard-0.tar/{name}" for name in sorted([*files, "4.jpg"])]
    contents = files | beside
    assert [source.read(entry) for entry in source.entries] == [contents[name] for name in sorted([*files, "4.jpg"])]
    assert index(source).summary() == "4 images: 3 used, 1 skipped (1 not an image)"


def test_masks_beside_pictures_in_a_tar_are_listed_skips(tmp_path: Path) -> None:
    pictures = ["a.jpg", "in.v2/b.jpeg", "c.image.png", "d.mask.png", "e.1.png", "e.2.png", "label.png"]
    masks = ["a.seg.png", "in.v2/b.mask_0.png", "in.v2/b.mask_1.png", "c.depth.png", "a.gt.0.png"]
    write_tar(tmp_path / "s.tar", {name: encoded(pixels(n)) for n, name in enumerate([*masks, *pictures])})
    images = index(open_images(tmp_path / "s.tar"))
    assert [images.names[number] for number in images.usable] == sorted(f"s.tar/{name}" for name in pictures)
    assert images.summary() == "12 images: 7 used, 5 skipped (5 beside)"
    reason = dict(zip(images.names, (looked.reason for looked in images.looked), strict=True))["s.tar/a.seg.png"]
    assert reason == "a mask or the like, by its name: the picture of its sample is a.jpg"


def test_shards_may_be_written_with_braces_or_a_star(tmp_path: Path) -> None:
    for number in range(3):
        write_tar(tmp_path / f"s-{number:03d}.tar", {"a.png": encoded(pixels(number))})
    expected = [f"s-{number:03d}.tar/a.png" for number in range(3)]
    assert names(open_images(str(tmp_path / "s-{000..002}.tar"))) == expected
    assert names(open_images(str(tmp_path / "s-*.tar"))) == expected
    with pytest.raises(ImagesError, match=r"s-003\.tar`: no such file"):
        open_images(str(tmp_path / "s-{000..003}.tar"))


def test_a_tar_cut_anywhere_keeps_what_is_whole_and_says_so_once(tmp_path: Path) -> None:
    members = {f"{number}.png": encoded(pixels(number, (12 + number, 12))) for number in range(6)}
    whole, cut = tmp_path / "whole.tar", tmp_path / "cut" / "s.tar"
    write_tar(whole, members)
    cut.parent.mkdir()
    data = whole.read_bytes()
    ends = [entry.start + entry.size for entry in open_images(whole).entries]
    for stop in [*range(0, ends[-1] + 600, 97), *ends, *(end - 1 for end in ends)]:
        cut.write_bytes(data[:stop])
        images = index(open_images(cut.parent), workers=1)
        before = sum(end <= stop for end in ends)
        ended = stop >= -(-ends[-1] // 512) * 512 + 512
        assert images.names == [*(["s.tar"] * (not ended)), *(f"s.tar/{number}.png" for number in range(before))], stop
        assert len(images.usable) == before
        if stop > 512 and not ended:
            assert images[0].status == ImageStatus.TRUNCATED
            assert images[0].reason == f"the tar is cut short at byte {stop}: {before} images are whole"


def test_a_damaged_tar_is_one_listed_skip(tmp_path: Path) -> None:
    write_tar(tmp_path / "s.tar", {f"{number}.png": encoded(pixels(number)) for number in range(3)})
    second = open_images(tmp_path).entries[1]
    data = bytearray((tmp_path / "s.tar").read_bytes())
    data[second.start - 512 : second.start] = b"\xff" * 512
    (tmp_path / "s.tar").write_bytes(data)
    (tmp_path / "no.tar").write_bytes(b"not a tar" * 100)
    (tmp_path / "packed.tar.gz").write_bytes(b"\x1f\x8b")
    images = index(open_images(tmp_path))
    assert images.names == ["no.tar", "packed.tar.gz", "s.tar", "s.tar/0.png"]
    assert [images[number].status.words for number in range(4)] == ["damaged", "unreadable", "damaged", "ok"]
    assert images[1].reason == "a compressed tar: unpack it to a .tar"


@pytest.mark.parametrize("trial", range(3))
def test_a_tar_with_any_bytes_wrong_never_ends_in_a_traceback(tmp_path: Path, trial: int) -> None:
    write_tar(tmp_path / "s.tar", {f"{number}.png": encoded(pixels(number, (4, 4))) for number in range(4)})
    data, chance = (tmp_path / "s.tar").read_bytes()[:8192], random.Random(trial)
    for _ in range(60):
        wrong = bytearray(data)
        for _ in range(chance.randint(1, 6)):
            wrong[chance.randrange(512 * 8)] = chance.choice([0, 0x80, 0xFF, chance.randrange(256)])
        (tmp_path / "s.tar").write_bytes(wrong)
        images = index(open_images(tmp_path), workers=1)
        assert len(images) == len(images.usable) + len(images.reasons)


def header(name: str, size: int, kind: bytes = tarfile.REGTYPE) -> bytes:
    """A tar's header of a member that claims `size` bytes, which may be absurd."""
    member = tarfile.TarInfo(name)
    member.type, member.size = kind, max(size, 0)
    block = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    if size < 0:
        block[124:136] = (2 ** (8 * 12) + size).to_bytes(12, "big")
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def pax(size: int, **fields: str) -> bytes:
    """A tar's extended header, padded with zeros to `size` bytes."""
    records = b"".join(b"%d %s=%s\n" % (len(k) + len(v) + 5, k.encode(), v.encode()) for k, v in fields.items())
    return header("pax", size or len(records), tarfile.XHDTYPE) + records.ljust(max(size, 512), b"\0")


HUGE = 20 * 10**9
"""A header that claims so many bytes is followed by a hole of as many, which takes no room on a disk."""


@pytest.mark.parametrize(
    "bad",
    [
        header("long", HUGE, tarfile.GNUTYPE_LONGNAME),
        header("link", HUGE, tarfile.GNUTYPE_LONGLINK),
        header("pax", HUGE, tarfile.XHDTYPE),
        header("all", HUGE, tarfile.XGLTYPE),
        pax(0, **{"GNU.sparse.major": "1", "GNU.sparse.minor": "0"}) + header("sparse", 9) + b"999999999\n",
        (header("long", 1, tarfile.GNUTYPE_LONGNAME) + bytes(512)) * 5000,
        (header("long", 1, tarfile.GNUTYPE_LONGNAME) + bytes(512)) * 900,
    ],
    ids=["long name", "long link", "pax", "for all", "sparse map", "many", "nested"],
)
def test_a_header_of_any_size_is_one_line_in_little_memory(tmp_path: Path, bad: bytes) -> None:
    write_tar(tmp_path / "s.tar", {"0.png": encoded(pixels(0))})
    with (tmp_path / "s.tar").open("r+b") as tar:
        tar.seek(open_images(tmp_path).entries[0].start + 512 * -(-len(encoded(pixels(0))) // 512))
        tar.write(bad)
        tar.truncate(tar.tell() + HUGE)
    tracemalloc.start()
    try:
        images = finished(lambda: index(open_images(tmp_path), workers=1))
        assert tracemalloc.get_traced_memory()[1] < 32 * 2**20
    finally:
        tracemalloc.stop()
    assert images.names == ["s.tar", "s.tar/0.png"]
    assert images[0].status in (ImageStatus.DAMAGED, ImageStatus.TRUNCATED)
    assert images[0].reason.endswith("1 images are whole")


@pytest.mark.parametrize("size", [-1, -512, -1024, 2**62])
def test_a_member_of_an_absurd_size_ends_its_tar(tmp_path: Path, size: int) -> None:
    """Of a negative size the next member would be this one again, for ever."""
    for before in (b"", header("0.png", 3) + b"abc".ljust(512, b"\0")):
        (tmp_path / "s.tar").write_bytes(before + header("a.png", size) + bytes(1024))
        images = finished(lambda: index(open_images(tmp_path), workers=1))
        assert images.names == ["s.tar", *(["s.tar/0.png"] if before else [])]
        assert images[0].status in (ImageStatus.DAMAGED, ImageStatus.TRUNCATED)


def test_a_tar_that_becomes_a_pipe_does_not_hang(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "s.tar")
    tar = Entry("", os.fsencode(tmp_path / "s.tar"))
    walked = finished(lambda: indexed((tar, Copies(), True)).members)
    assert walked == [(b"", 0, 0, Problem(ImageStatus.UNREADABLE, "a pipe, not a file"))]


def test_a_factory_gives_paths_of_ordinary_files_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(tmp_path, "a.png")
    os.mkfifo(tmp_path / "pipe")
    paths = [tmp_path / "a.png", tmp_path / "pipe", Path("/dev/zero"), tmp_path, 3]
    monkeypatch.setattr(f"{HERE}.pictures", lambda: Squares(*({"path": path} for path in paths)))
    factory.cache_clear()
    source = open_images(f"{HERE}:pictures")
    reasons = finished(lambda: problems(source))
    factory.cache_clear()
    assert list(reasons.values())[:3] == ["a pipe, not a file", "a device, not a file", "is a directory"]
    assert reasons["00000004"].startswith("the data set failed (TypeError")  # and is no number of an open file


class Squares:
    """A map-style data set of `items`."""

    def __init__(self, *items: Any) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, number: int) -> Any:
        if isinstance(self.items[number], Exception):
            raise self.items[number]
        return self.items[number]


def pictures() -> Squares:
    picture = Image.fromarray(pixels(1))
    return Squares(
        picture,
        (Image.fromarray(pixels(2)), 7),
        {"image": Image.fromarray(pixels(3)), "label": 7},
        encoded(pixels(4)),
        pixels(5),
        picture,
        RuntimeError("disk\ngone"),
        np.zeros((3, 4, 4), np.float32),
        None,
    )


def empty() -> Squares:
    return Squares()


def million() -> range:
    return range(10**6)


def no_data_set() -> int:
    return 5


def test_a_factory_gives_a_map_style_data_set() -> None:
    source = open_images(f"{HERE}:pictures")
    images = index(source)
    assert images.names == [f"{number:08d}" for number in range(9)]
    assert images.summary() == "9 images: 5 used, 4 skipped (2 not an image, 1 duplicate, 1 unreadable)"
    assert images[5].reason == "the same as 00000000"
    assert images[6].reason == "the data set failed (RuntimeError: disk gone)"
    assert images[7].reason == "the data set gives a ndarray, not a PIL image: take its transform off"
    assert index(pickle.loads(pickle.dumps(source))).hash == images.hash


def test_a_million_entries_take_no_room() -> None:
    entries = open_images(f"{HERE}:million").entries
    assert len(entries) == 10**6
    assert len(pickle.dumps(entries)) < 1_000
    assert [entry.name for entry in entries[-2:]] == ["00999998", "00999999"]
    assert entries[10**6 - 1] == entries[-1]
    with pytest.raises(IndexError):
        entries[10**6]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ("no/such/folder", "`images=no/such/folder`: no such file or directory"),
        ([], "No images: nothing lies in an empty list"),
        ("a\0b", "no name of a file"),
        (f"{HERE}:empty", "No images"),
        (f"{HERE}:no_data_set", "returned an int, not a data set with a length"),
        (f"{HERE}:picturess", "'picturess'.*'pictures'"),
        ("no.such.module:make", "cannot be imported.*ModuleNotFoundError"),
        ([f"{HERE}:pictures", "."], "is a data set: give it alone"),
    ],
)
def test_what_cannot_be_opened_is_one_line(given: Any, message: str) -> None:
    with pytest.raises(AtlasError, match=message) as caught:
        open_images(given)
    assert "\n" not in str(caught.value)


def test_a_folder_without_anything_is_an_error_and_one_without_images_too(tmp_path: Path) -> None:
    with pytest.raises(ImagesError, match="No images: nothing lies in"):
        open_images(tmp_path)
    (tmp_path / "notes.txt").write_text("no picture")
    with pytest.raises(ImagesError, match=r"No image can be used of 1 image: 0 used, 1 skipped \(1 not an image\)"):
        require_one(open_images(tmp_path), list_images(open_images(tmp_path)))


def test_a_source_is_sent_to_a_worker_as_it_is(tmp_path: Path) -> None:
    for name, data in good().items():
        (tmp_path / name.replace(";", "_")).write_bytes(data)
    source = open_images(tmp_path)
    assert index(pickle.loads(pickle.dumps(source))).hash == index(source).hash
