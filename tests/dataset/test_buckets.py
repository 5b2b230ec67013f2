"""Images in object stores: the same list as in a folder, nothing read twice, faults of servers, copies."""

from __future__ import annotations

import io
import os
import pickle
import tarfile
import uuid
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from atlas.dataset import (
    Copies,
    Hashes,
    ImageList,
    ImageSource,
    about,
    buckets,
    counted,
    files,
    list_images,
    look,
    open_images,
    require_one,
)
from atlas.errors import AtlasError, ImagesError
from atlas.store import backend_at
from atlas.store.backends import object_store
from atlas.units import ImageStatus
from tests.dataset.made import encoded, pixels
from tests.object_stores import KEYS, SERVERS, Server, counted_by_a_proxy, server_called
from tests.proxies import Fault, Proxy

pytestmark = pytest.mark.builder

FAULTS: list[Fault] = ["500", "503", "reset", "cut", "short"]


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with server_called(request.param, tmp_path_factory.mktemp("server")) as found:
        yield found


@pytest.fixture
def between(server: Server) -> Iterator[Proxy]:
    """The server behind a proxy that counts."""
    with counted_by_a_proxy(server) as made:
        yield made


@pytest.fixture
def place(server: Server, between: Proxy) -> str:
    return f"{server.bucket}/{uuid.uuid4().hex[:8]}"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(object_store, "PATIENCE", timedelta(seconds=1))
    monkeypatch.setattr(object_store, "PAUSE", 0.01)


def pictures(count: int = 7) -> dict[str, bytes]:
    named = {f"{'ab'[number % 2]}/ä {number}%20.png": encoded(pixels(number)) for number in range(count)}
    return named | {"b/notes.txt": b"no picture", "empty.png": b""}


def tar_of(members: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w") as tar:
        for name, data in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return file.getvalue()


def put(place: str | Path, files: dict[str, bytes]) -> None:
    if isinstance(place, str):
        backend = backend_at(place)
        for name, data in files.items():
            backend.put(name, data)
        return
    for name, data in files.items():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        (place / name).write_bytes(data)


@dataclass
class Listed:
    source: ImageSource
    images: ImageList


@pytest.fixture
def cache(tmp_path: Path) -> Path:
    return tmp_path / "cache"


@pytest.fixture
def listed(cache: Path) -> Callable[..., Listed]:
    """Lists images as a build does."""

    def made(*given: str | Path, gigabytes: float = 1.0) -> Listed:
        copies, hashes = Copies(str(cache), gigabytes), Hashes(cache)
        source = open_images(list(given), copies=copies, hashes=hashes)
        images = list_images(source, hashes=hashes)
        require_one(source, images, hashes)
        return Listed(source, images)

    return made


def same(one: ImageList, other: ImageList) -> bool:
    return one.names == other.names and one.hash == other.hash and np.array_equal(one.sha256, other.sha256)


def test_the_list_is_that_of_the_folder(place: str, tmp_path: Path, listed: Callable[..., Listed]) -> None:
    files = pictures() | {"deep/s.tar": tar_of(pictures(3))}
    put(place, files)
    put(tmp_path / "here", files)
    here, there = listed(tmp_path / "here"), listed(place)
    assert same(here.images, there.images)
    for ours, theirs in zip(here.source.entries, there.source.entries, strict=True):
        assert here.source.read(ours) == there.source.read(theirs)
    assert counted(there.source) == counted(here.source)
    assert same(listed(f"{place}/").images, here.images)
    assert same(list_images(pickle.loads(pickle.dumps(there.source))), here.images)


def test_a_single_object_and_several_places_are_named_as_files_are(place: str, tmp_path: Path) -> None:
    files = {"x/1.png": encoded(pixels(1)), "y/1.png": encoded(pixels(2))}
    put(place, files)
    put(tmp_path, files)
    for some in (["x/1.png"], ["x", "y"], ["x/1.png", "y/1.png"], ["x", "y/1.png"]):
        here, there = (list_images(open_images([f"{top}/{one}" for one in some])) for top in (tmp_path, place))
        assert same(here, there), some
    mixed = list_images(open_images([f"{place}/x", str(tmp_path / "y")]))
    assert same(mixed, list_images(open_images([str(tmp_path / "x"), str(tmp_path / "y")])))


def test_a_second_listing_reads_no_image(place: str, between: Proxy, listed: Callable[..., Listed]) -> None:
    put(place, pictures() | {"s.tar": tar_of(pictures(3))})
    between.forget()
    first = listed(place, gigabytes=0)
    assert len(between.read) >= 9
    between.forget()
    assert same(listed(place, gigabytes=0).images, first.images)
    assert between.read == []
    put(place, {"b/new.png": encoded(pixels(50))})
    between.forget()
    assert len(listed(place, gigabytes=0).images) == len(first.images) + 1
    assert [path.rpartition("/")[2].partition("?")[0] for path, _ in between.read] == ["new.png"]


def test_a_second_listing_of_a_folder_reads_no_file(
    tmp_path: Path, listed: Callable[..., Listed], monkeypatch: pytest.MonkeyPatch
) -> None:
    files = pictures() | {"s.tar": tar_of(pictures(3))}
    put(tmp_path / "here", files)
    first = listed(tmp_path / "here")
    opened: list[bytes] = []
    real = os.open

    def noted(path: bytes | Path, *more: int) -> int:
        opened.extend([path] if isinstance(path, bytes) else [])
        return real(path, *more)

    monkeypatch.setattr("atlas.dataset.guarded.os.open", noted)
    assert same(listed(tmp_path / "here").images, first.images)
    assert opened == []
    (tmp_path / "here" / "a" / "ä 0%20.png").write_bytes(files["b/ä 1%20.png"])
    state = (tmp_path / "here" / "b" / "ä 3%20.png").stat()
    (tmp_path / "here" / "b" / "ä 3%20.png").write_bytes(bytes(state.st_size))
    os.utime(tmp_path / "here" / "b" / "ä 3%20.png", ns=(state.st_atime_ns, state.st_mtime_ns))
    again = listed(tmp_path / "here").images
    assert len(opened) == 2
    assert same(again, list_images(open_images(tmp_path / "here")))


def test_an_object_that_changed_is_read_anew(place: str, between: Proxy, listed: Callable[..., Listed]) -> None:
    put(place, pictures())
    first = listed(place)
    entry = next(one for one in first.source.entries if one.name == "a/ä 0%20.png")
    number = first.images.names.index(entry.name)
    sha256 = first.images.sha256[number].tobytes()
    size = len(pictures()["a/ä 0%20.png"])
    put(place, {entry.name: bytes(size)})
    other = open_images(place, copies=Copies(gigabytes=0))
    changed = next(one for one in other.entries if one.name == entry.name)
    assert look(other, changed, sha256).status == ImageStatus.CHANGED
    again = listed(place)
    assert again.images.hash != first.images.hash
    assert np.flatnonzero((again.images.sha256 != first.images.sha256).any(axis=1)).tolist() == [number]
    # What the copy was of has gone: the first list still shows what it listed.
    assert look(first.source, entry, sha256).status == ImageStatus.OK


def test_an_object_that_has_gone_is_said_to_have_changed(place: str, listed: Callable[..., Listed]) -> None:
    put(place, pictures())
    first = listed(place, gigabytes=0)
    number = first.images.names.index("a/ä 0%20.png")
    backend_at(place).delete("a/ä 0%20.png")
    answer = look(first.source, first.source.entries[number], first.images.sha256[number].tobytes())
    assert answer.status == ImageStatus.CHANGED


def test_what_was_hashed_before_a_stop_is_not_read_again(
    place: str, between: Proxy, listed: Callable[..., Listed], impatient: None
) -> None:
    put(place, {f"{number:02d}.png": encoded(pixels(number)) for number in range(60)})
    between.forget()
    between.wrong = lambda method, path, _: "503" if "/59.png" in path and method == "GET" else ""
    with pytest.raises(ImagesError, match=r"59\.png cannot be reached") as error:
        listed(place, gigabytes=0)
    assert "\n" not in str(error.value)
    assert not any(secret in str(error.value) for secret in (*KEYS.values(), between.endpoint, "127.0.0.1"))
    assert len({path for path, _ in between.read}) == 60
    between.wrong = lambda *_: ""
    between.forget()
    assert len(listed(place, gigabytes=0).images) == 60
    left = {path.rpartition("/")[2] for path, _ in between.read}
    assert left == {"59.png", "00.png"}, "of a whole list it is seen whether one can be shown"


def test_shards_by_braces_and_stars_are_read_once(
    place: str, between: Proxy, tmp_path: Path, listed: Callable[..., Listed], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(buckets, "BLOCK", 4096)
    shards = {f"s-{shard:03d}.tar": tar_of(pictures(9) | {"0.cls": b"7"}) for shard in range(12)}
    put(place, shards)
    put(tmp_path, shards)
    between.forget()
    there = listed(f"{place}/s-{{000..011}}.tar")
    asked = {name: [size for path, size in between.read if name in path] for name in shards}
    for name, data in shards.items():
        assert sum(asked[name]) <= len(data) + 4096, "no byte of it twice"
    assert same(there.images, list_images(open_images(f"{tmp_path}/s-{{000..011}}.tar")))
    between.forget()
    contents = [there.source.read(entry) for entry in there.source.entries]
    assert between.read == [], "they were copied on the way"
    assert contents == [source_bytes(tmp_path, name) for name in there.images.names]
    assert same(listed(f"{place}/s-*.tar").images, there.images)
    assert between.read == []
    without = open_images(f"{place}/s-0{{00..02}}.tar", copies=Copies(gigabytes=0))
    between.forget()
    assert [without.read(entry) for entry in without.entries] == contents[: len(without.entries)]
    assert sum(size for _, size in between.read) == sum(entry.size for entry in without.entries)
    with pytest.raises(ImagesError, match=r"s-012\.tar`: nothing lies there"):
        open_images(f"{place}/s-{{011..012}}.tar")


def source_bytes(folder: Path, name: str) -> bytes:
    shard, _, member = name.partition("/")
    with tarfile.open(folder / shard) as tar:
        found = tar.extractfile(member)
        assert found is not None
        return found.read()


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_now_and_then_moves_nothing(
    place: str,
    between: Proxy,
    tmp_path: Path,
    listed: Callable[..., Listed],
    fault: Fault,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(object_store, "PAUSE", 0.01)
    files = pictures() | {"s.tar": tar_of(pictures(5))}
    put(place, files)
    put(tmp_path / "here", files)
    listing = fault not in ("cut", "short")  # a list of objects that is cut is no list at all
    times = Counter[str]()

    def every_other(_: str, path: str, __: int) -> Fault:
        times[path] += 1
        return fault if times[path] % 2 and (listing or "list-type" not in path) else ""

    between.wrong = every_other
    there = listed(place, gigabytes=0)
    assert same(there.images, list_images(open_images(tmp_path / "here")))
    for entry, sha256 in zip(there.source.entries, there.images.sha256, strict=True):
        assert look(there.source, entry, sha256.tobytes()).status != ImageStatus.CHANGED


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_that_stays_is_one_line_and_never_a_wrong_list(
    place: str, between: Proxy, listed: Callable[..., Listed], fault: Fault, impatient: None
) -> None:
    for there in ({"one.png": encoded(pixels(1))}, {"s.tar": tar_of(pictures(3))}):
        put(place, there)
        between.wrong = lambda method, path, _: fault if method == "GET" and "list-type" not in path else ""
        with pytest.raises(ImagesError) as error:
            listed(place, gigabytes=0)
        assert len(str(error.value).splitlines()) == 1
        assert not any(secret in str(error.value) for secret in (*KEYS.values(), "127.0.0.1"))
        between.wrong = lambda *_: ""


def test_what_is_not_there_or_denied_is_one_line(place: str, between: Proxy) -> None:
    bucket = f"s3://atlas-nowhere-{uuid.uuid4().hex[:8]}"
    for given, told in ((place, "nothing lies there"), (f"{bucket}/x", "is not there"), ("s3://", "s3://BUCKET/NAME")):
        with pytest.raises(AtlasError, match=told) as error:
            open_images(given)
        assert len(str(error.value).splitlines()) == 1


def test_folders_of_consoles_are_no_images(place: str, server: Server) -> None:
    import boto3  # type: ignore[import-untyped]

    keys = {"aws_access_key_id": KEYS["AWS_ACCESS_KEY_ID"], "aws_secret_access_key": KEYS["AWS_SECRET_ACCESS_KEY"]}
    client = boto3.client("s3", endpoint_url=server.endpoint, region_name="us-east-1", **keys)
    bucket, _, folder = place.removeprefix("s3://").partition("/")
    for key in ("", "sub/", "nothing/"):
        client.put_object(Bucket=bucket, Key=f"{folder}/{key}", Body=b"")
    put(place, {"sub/1.png": encoded(pixels(1))})
    assert [entry.name for entry in open_images(place).entries] == ["sub/1.png"]


def test_a_plan_estimates_what_lies_in_large_tars(
    place: str, between: Proxy, listed: Callable[..., Listed], monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    shards = {f"{shard}.tar": tar_of({f"{n}.png": encoded(pixels(n)) for n in range(100)}) for shard in range(3)}
    put(place, shards | {"one.png": encoded(pixels(1))})
    size = sum(map(len, shards.values()))
    monkeypatch.setattr(files, "SAMPLE", size // 20)
    between.forget()
    guessed = open_images(place, hashes=Hashes(cache), counting=True)
    assert counted(guessed)[0] == pytest.approx(301, rel=0.1)
    assert about(guessed) == counted(guessed)[0] - 1
    assert sum(read for _, read in between.read) <= size // 5
    listed(place)
    known = open_images(place, hashes=Hashes(cache), counting=True)
    assert (counted(known), about(known)) == ((301, 0), 0)


def test_hashes_may_be_noted_in_the_object_store_too(place: str, between: Proxy, server: Server) -> None:
    put(place, {f"{number}.png": encoded(pixels(number)) for number in range(5)})
    cache = f"{server.bucket}/cache-{uuid.uuid4().hex[:8]}"
    found = []
    for _ in range(3):
        source, hashes = open_images(place, copies=Copies(gigabytes=0)), Hashes(cache)
        between.forget()
        found.append(list_images(source, hashes=hashes).hash)
        assert hashes.trouble == ""
        read = {path for path, _ in between.read if "/cache-" not in path}
        assert len(read) == (5 if len(found) == 1 else 0)
    assert len(set(found)) == 1
    away = Hashes("s3://atlas-nowhere-at-all/cache")
    assert list_images(open_images(place), hashes=away).hash == found[0]
    assert "is not there" in away.trouble
    assert len(away.trouble.splitlines()) == 1
