"""Builds of images in object stores: the same bytes as of a folder, listed by a cluster, stopped, gone on with."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from atlas.dataset import Copies, Hashes, list_images, listing, open_images
from atlas.dataset.copies import _trouble
from atlas.engine.clusters import connect
from atlas.engine.events import Event, Remarked
from atlas.engine.executors import InProcess
from atlas.engine.on_ray import each
from atlas.engine.planning.images import ListedImages
from atlas.engine.run import build, describe
from atlas.engine.spreading import spread
from atlas.errors import AtlasError, ImagesError
from atlas.models import load_model
from atlas.pipeline import Pipeline
from atlas.store import MemoryBackend, Store, backend_at
from atlas.store.backends import object_store
from tests.builds import build_in, collecting_plans, contents
from tests.dataset.made import encoded, pixels, write_tar
from tests.object_stores import KEYS, SERVERS, Server, counted_by_a_proxy, server_called
from tests.proxies import Proxy

pytestmark = pytest.mark.builder

HASTY = ("--set=size=32", "--set=steps=2", "--set=eval_draws=1", "--set=relu_redirect_steps=0", "--crops=2")
COUNT = 9


@pytest.fixture(scope="module", params=SERVERS)
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with server_called(request.param, tmp_path_factory.mktemp("server")) as found:
        yield found


@pytest.fixture
def between(server: Server) -> Iterator[Proxy]:
    with counted_by_a_proxy(server) as made:
        yield made


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some images, one of them twice, one that is none, and a shard."""
    place = tmp_path_factory.mktemp("images")
    for number in range(COUNT):
        (place / f"{number}.png").write_bytes(encoded(pixels(number, (40, 40))))
    (place / "same.png").write_bytes((place / "3.png").read_bytes())
    (place / "notes.txt").write_text("none")
    write_tar(place / "s.tar", {f"{number}.png": encoded(pixels(70 + number, (40, 40))) for number in range(3)})
    return place


@pytest.fixture
def place(server: Server, between: Proxy, folder: Path) -> str:
    """The same in a bucket."""
    address = f"{server.bucket}/{uuid.uuid4().hex[:8]}"
    backend = backend_at(address)
    for path in folder.iterdir():
        backend.put(path.name, path.read_bytes())
    between.forget()
    return address


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs `atlas ARGUMENTS` in this process, without Ray; gives what it prints."""
    from atlas.cli import main

    def command(*words: object) -> str:
        monkeypatch.setattr(sys, "argv", ["atlas", *map(str, words)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as stopped:
            main()
        told = "".join(capfd.readouterr())
        assert not stopped.value.code, told
        return told

    return command


def test_the_same_bytes_as_of_a_folder_and_no_secret(
    place: str, folder: Path, tmp_path: Path, between: Proxy, run: Callable[..., str]
) -> None:
    here, there, cache = tmp_path / "here.atlas", tmp_path / "there.atlas", f"--cache={tmp_path / 'cache'}"
    words = ("build", "tests.networks:tiny", *HASTY, cache, "--local")
    told = run(*words, "--store", str(here), "--images", str(folder))
    told += run(*words, "--store", str(there), "--images", place, "--cache-size=1")
    assert contents(backend_at(here)) == contents(backend_at(there))
    read = [path for path, _ in between.read]
    assert len(read) == len(set(read)) >= COUNT, "each is read once: shown from its copy"
    between.forget()
    before = contents(backend_at(there))
    told += run("build", str(here), "--images", place, cache, "--local")
    told += run("plan", str(there), "--images", place, cache, "--save", str(tmp_path / "plan.yaml"))
    assert between.read == []
    assert contents(backend_at(there)) == before
    assert "14 images" in told
    secrets = [*(KEYS[name] for name in ("AWS_SECRET_ACCESS_KEY", "AWS_ACCESS_KEY_ID")), "127.0.0.1", str(tmp_path)]
    assert not [secret for secret in secrets[:3] if secret in told + (tmp_path / "plan.yaml").read_text()]
    for path in [*here.rglob("*"), *there.rglob("*"), *(tmp_path / "cache").rglob("*")]:
        if path.is_file():
            assert not [secret for secret in [*secrets, place] if secret.encode() in path.read_bytes()], path


def test_without_copies_images_are_read_ahead_and_the_bytes_are_the_same(place: str, folder: Path) -> None:
    model = load_model("tests.networks:tiny")
    stores = []
    for given in (str(folder), place):
        found = ListedImages.open([given], copies=Copies(gigabytes=0))
        backend = MemoryBackend()
        build_in(backend, model, collecting_plans(model, found), images=found)
        stores.append(contents(backend))
    assert stores[0] == stores[1]


def test_a_server_that_fails_fails_shards_and_the_next_build_makes_them(
    place: str, folder: Path, between: Proxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    from datetime import timedelta

    monkeypatch.setattr(object_store, "PATIENCE", timedelta(seconds=1))
    model = load_model("tests.networks:tiny")
    found = ListedImages.open([place], copies=Copies(gigabytes=0))
    backend, plans = MemoryBackend(), collecting_plans(model, found)
    between.wrong = lambda _, path, __: "503" if path.endswith("/5.png") else ""
    _, report = build_in(backend, model, plans, images=found)
    assert report.failed
    assert all("cannot be reached" in line and "127.0.0.1" not in line for line in report.failed)
    logs = b"".join(backend.get(key) or b"" for key in backend.list("logs/"))
    assert b"127.0.0.1" not in logs
    between.wrong = lambda *_: ""
    _, report = build_in(backend, model, plans, images=found)
    assert report.failed == []
    quiet = MemoryBackend()
    same = ListedImages.open([str(folder)])
    build_in(quiet, model, collecting_plans(model, same), images=same)
    assert contents(backend) == contents(quiet)


def test_where_no_copies_can_be_kept_one_line_says_so_and_all_goes_on(
    place: str, tmp_path: Path, run: Callable[..., str]
) -> None:
    (tmp_path / "file").write_bytes(b"")
    model = load_model("tests.networks:tiny")
    copies = Copies(str(tmp_path / "file"), 1.0)
    found = ListedImages.open([place], copies=copies)
    assert copies.trouble
    heard: list[Event] = []
    store = Store.create(MemoryBackend(), model.identity, describe(model))
    report = build(store, model, collecting_plans(model, found), InProcess(), images=found, watch=heard.append)
    assert report.failed == []
    assert {event.text for event in heard if isinstance(event, Remarked)} == {copies.trouble}
    _trouble.clear()
    words = ("--cache", str(tmp_path / "file"), "--store", str(tmp_path / "x.atlas"), "--no-pictures", "--local")
    told = run("build", "tests.networks:tiny", "--images", place, *words)
    assert "Images cannot be cached" in told
    assert "Hashes of images cannot be saved" in told


# -- listing -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def cluster(server: Server, ray_folder: Path) -> Iterator[None]:
    """Two workers that reach the server."""
    with server.reached(), connect("local", workers=2, folder=str(ray_folder)):
        yield


def test_workers_of_a_cluster_list_it(
    place: str, folder: Path, tmp_path: Path, cluster: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listing, "PART", 2)
    here = list_images(open_images(folder))
    for number, given in enumerate((str(folder), place)):
        done: list[int] = []
        kept = str(tmp_path / str(number))
        there = ListedImages.open([given], done.append, copies=Copies(kept), hashes=Hashes(kept), carry=each)
        assert there.listed.hash == here.hash
        assert done[-1] == len(here)
        assert Hashes(kept).find(there_marks(there))[0].sum() == len(here)


def there_marks(images: ListedImages) -> Any:
    return listing._array(b"".join(listing._marks(images.source)))  # type: ignore[arg-type]


def die_once(given: tuple[Path, int]) -> int:
    mark, number = given
    if number == 3 and not mark.exists():
        mark.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if number < 0:
        raise ImagesError("it is negative")
    return number * number


def test_a_worker_that_dies_is_no_end(tmp_path: Path, cluster: None) -> None:
    mark = tmp_path / "died"
    assert list(each(die_once, [(mark, number) for number in range(20)])) == [number**2 for number in range(20)]
    assert mark.exists()
    with pytest.raises(AtlasError, match="it is negative"):
        list(each(die_once, [(mark, 1), (mark, -1)]))


def test_a_cluster_that_is_named_lists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray.is_initialized", lambda: False)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert spread(Pipeline("m"), print) is None
    assert spread(Pipeline("m", ray="local"), print) is None
    assert spread(Pipeline("m", ray="auto"), print) is not None
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert spread(Pipeline("m"), print) is not None
    assert spread(Pipeline("m", local=True), print) is None
    monkeypatch.setenv("RAY_ADDRESS", "http://10.0.0.1:8265")
    assert spread(Pipeline("m"), print) is None
    monkeypatch.setattr("ray.is_initialized", lambda: True)
    assert spread(Pipeline("m"), print) is not None, "one that was joined before"
    assert spread(Pipeline("m", local=True), print) is None


def test_a_listing_that_is_killed_goes_on(server: Server, between: Proxy, tmp_path: Path) -> None:
    address = f"{server.bucket}/{uuid.uuid4().hex[:8]}"
    for number in range(80):
        backend_at(address).put(f"{number:02d}.png", encoded(pixels(number)))
    between.forget()

    def slow(method: str, path: str, _: int) -> Any:
        time.sleep(1.0 if path.endswith(".png") else 0)  # 16 at once
        return ""

    between.wrong = slow
    code = f"from atlas.engine.planning.images import ListedImages; print(ListedImages.open([{address!r}]).listed.hash)"
    command = [sys.executable, "-c", code]
    said = os.environ | {"ATLAS_CACHE": str(tmp_path)}
    killed = subprocess.Popen(command, env=said, stdout=subprocess.PIPE)
    while len(between.read) < 60:
        assert killed.poll() is None
        time.sleep(0.05)
    killed.kill()
    killed.wait()
    known = sum(path.stat().st_size // 48 for path in (tmp_path / "hashes").glob("*.rows"))
    assert 10 < known < 80
    between.wrong = lambda *_: ""
    first = {path for path, _ in between.read}
    between.forget()
    ran = subprocess.run(command, env=said, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == list_images(open_images(address)).hash
    again = [path for path, _ in between.read[: 80 - known + 1]]
    assert first
    assert len(again) == len(set(again)) <= 80 - known + 1
