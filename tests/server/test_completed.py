"""What an older store lacks of what is derived, as `atlas serve` makes it up: byte for byte what a repair writes."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import pytest

from atlas.catalogue.mending import mend
from atlas.server import app_of
from atlas.store import Store
from tests.hosts import atlas_host
from tests.server.test_server import Host
from tests.store.make_fixture import FIXTURES

LAYER = "layers/stage.1%230"


@pytest.fixture(scope="module")
def old(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store of before with statistics and an atlas."""
    place = tmp_path_factory.mktemp("old") / "old.atlas"
    shutil.copytree(FIXTURES / "1.2", place)
    return place


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """What a repair of it writes."""
    place = tmp_path_factory.mktemp("mended") / "mended.atlas"
    shutil.copytree(FIXTURES / "1.2", place)
    mend(Store.open(place), ())
    files = (path for path in place.glob("layers/*/derived/**/*") if path.is_file())
    return {path.relative_to(place).as_posix(): path.read_bytes() for path in files}


@pytest.fixture
def host(old: Path, tmp_path: Path) -> Iterator[Host]:
    (tmp_path / "index.html").write_text("<!doctype html><title>page</title>")
    with atlas_host(app_of(old, tmp_path)) as address:
        yield Host(address)


def at(key: str) -> str:
    return f"/store/{quote(key)}"


def test_every_object_is_what_would_be_written(host: Host, old: Path, written: dict[str, bytes]) -> None:
    assert {key.split("/")[3] for key in written} >= {"dead", "ratio", "atlas", "zarr.json"}
    for key, data in written.items():
        answer = host.ask(at(key))
        assert (answer.status, answer.body) == (200, data), key
        assert answer.headers["accept-ranges"] == "bytes"
    assert not list(old.glob("layers/*/derived")), "nothing is written"


def test_ranges_lengths_and_marks(host: Host, written: dict[str, bytes]) -> None:
    key = f"{LAYER}/derived/ratio/c/0/0"
    data = written[key]
    for asked, part, span in (
        ("bytes=8-15", data[8:16], f"bytes 8-15/{len(data)}"),
        ("bytes=-4", data[-4:], f"bytes {len(data) - 4}-{len(data) - 1}/{len(data)}"),
        (f"bytes=40-{10**6}", data[40:], f"bytes 40-{len(data) - 1}/{len(data)}"),
    ):
        answer = host.ask(at(key), Range=asked)
        assert (answer.status, answer.body, answer.headers["content-range"]) == (206, part, span)
    assert host.ask(at(key), Range=f"bytes={len(data)}-").status == 416
    head = host.ask(at(key), "HEAD")
    assert (head.status, head.headers["content-length"], head.body) == (200, str(len(data)), b"")
    mark = host.ask(at(key)).headers["etag"]
    assert host.ask(at(key), If_None_Match=mark).status == 304
    assert host.ask(at(f"{LAYER}/derived/zarr.json")).headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "path",
    [
        f"{LAYER}/derived/nothing/c/0",
        f"{LAYER}/derived/zarr.json/x",
        "layers/other/derived/zarr.json",
        "layers/../derived/zarr.json",
        "layers/a\0b/derived/zarr.json",
        f"layers/{'x' * 5000}/derived/zarr.json",
        f"{LAYER}/derived/../zarr.json",
    ],
)
def test_what_is_not_derived_is_not_found(host: Host, path: str) -> None:
    assert host.ask(at(path)).status == 404


def test_what_is_stored_is_served_as_it_is(host: Host, old: Path, written: dict[str, bytes]) -> None:
    group = old / LAYER / "derived"
    try:
        for key, data in written.items():
            (old / key).parent.mkdir(parents=True, exist_ok=True)
            (old / key).write_bytes(data)
        (group / "dead/c/0").write_bytes(b"\1" * 6)
        assert host.ask(at(f"{LAYER}/derived/dead/c/0")).body == b"\1" * 6
        (group / "dead/c/0").unlink()
        assert host.ask(at(f"{LAYER}/derived/dead/c/0")).status == 404, "what is lost is damage"
    finally:
        shutil.rmtree(group, ignore_errors=True)


def test_where_a_number_is_damaged_nothing_is_made_up(host: Host, old: Path, written: dict[str, bytes]) -> None:
    number = old / LAYER / "statistics/example_value/c/0/0/0"
    whole = number.read_bytes()
    number.write_bytes(whole[:-5])
    try:
        assert host.ask(at(f"{LAYER}/derived/zarr.json")).status == 404
    finally:
        number.write_bytes(whole)
    assert host.ask(at(f"{LAYER}/derived/zarr.json")).body == written[f"{LAYER}/derived/zarr.json"]
