"""A store in an object store: built by two workers, stopped, gone on with, read, served, mended; the same bytes."""

from __future__ import annotations

import os
import subprocess
import sys
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

import atlas
from atlas.engine.clusters import connect
from atlas.engine.on_ray import OnRay
from atlas.models import Model, load_model
from atlas.server import app_of
from atlas.store import MemoryBackend, Store, backend_at
from tests.builds import build_in, collecting_plans, contents, tiny_plans
from tests.hosts import atlas_host
from tests.object_stores import KEYS, moto, seaweed

pytestmark = pytest.mark.builder

HASTY = ("--set=size=32", "--set=steps=2", "--set=eval_draws=1", "--set=relu_redirect_steps=0")


@pytest.fixture(scope="module", params=["moto", pytest.param("seaweed", marks=pytest.mark.slow)])
def bucket(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    running = moto() if request.param == "moto" else seaweed(tmp_path_factory.mktemp("seaweed"))
    with running as server, server.reached():
        yield server.bucket


@pytest.fixture(scope="module")
def built(bucket: str, images: Path) -> str:
    """What the command builds on two workers."""
    place = f"{bucket}/catalogues/tiny.atlas"
    run("build", "tests.networks:tiny", "--store", place, "--images", str(images), "--crops=2", *HASTY, "--workers=2")
    return place


def run(*words: str, code: int = 0) -> str:
    """What the command prints."""
    command = [sys.executable, "-m", "atlas", *words]
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert ran.returncode == code, ran.stderr
    assert KEYS["AWS_SECRET_ACCESS_KEY"] not in ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


def test_the_same_bytes_as_in_a_folder_and_no_secret(built: str, images: Path, tmp_path: Path) -> None:
    place = str(tmp_path / "tiny.atlas")
    run("build", "tests.networks:tiny", "--store", place, "--images", str(images), "--crops=2", *HASTY, "--local")
    there, here = backend_at(built), backend_at(place)
    assert contents(there) == contents(here)
    secrets = [KEYS["AWS_SECRET_ACCESS_KEY"], KEYS["AWS_ACCESS_KEY_ID"], os.environ["AWS_ENDPOINT_URL"]]
    for key in there.list():
        assert not [secret for secret in secrets if secret.encode() in (there.get(key) or b"")], key


def test_it_is_read_as_any_other(built: str) -> None:
    catalogue = atlas.open(built)
    assert [layer.done for layer in catalogue] == [40, 70]
    assert catalogue.unit("first.1:3").picture("positive").size == (32, 32)
    assert catalogue.sql("select count(*) from units").rows == [(110,)]
    assert "110" in run("query", built, "select count(*) from units")
    assert "first.1" in run("status", built)
    run("verify", built)


def test_a_build_of_the_same_goes_on_and_has_nothing_to_do(built: str, images: Path) -> None:
    before = contents(backend_at(built))
    run("build", built, "--images", str(images), "--local")
    assert contents(backend_at(built)) == before


def test_the_page_reads_it_by_ranges(built: str) -> None:
    backend = backend_at(built)
    key = next(key for key in backend.list("layers/") if "/c/" in key)
    value = backend.get(key) or b""
    with atlas_host(app_of(built)) as address:
        url = f"{address}store/{key.replace('%', '%25')}"
        parts = {"bytes=2-9": value[2:10], "bytes=-7": value[-7:], "bytes=5-": value[5:], "": value}
        for asked, part in parts.items():
            request = urllib.request.Request(url, headers={"Range": asked} if asked else {})
            with urllib.request.urlopen(request) as answer:
                assert answer.read() == part
                if asked:
                    assert answer.status == 206
                    assert answer.headers["Content-Range"].endswith(f"/{len(value)}")
        with urllib.request.urlopen(urllib.request.Request(url, method="HEAD")) as answer:
            assert int(answer.headers["Content-Length"]) == len(value)
            mark = answer.headers["ETag"]
        for headers, status in (({"If-None-Match": mark}, 304), ({"Range": "bytes=99999999-"}, 416)):
            with pytest.raises(urllib.error.HTTPError) as refused:
                urllib.request.urlopen(urllib.request.Request(url, headers=headers))
            assert refused.value.code == status
        for nothing in ("nothing", "../zarr.json", "%2e%2e/x"):
            with pytest.raises(urllib.error.HTTPError, match="404"):
                urllib.request.urlopen(f"{address}store/{nothing}")


def test_damage_is_found_mended_and_made_again(bucket: str) -> None:
    model = load_model("tests.networks:tiny")
    backend = backend_at(f"{bucket}/{uuid.uuid4().hex}")
    store, _ = build_in(backend, model, tiny_plans(model))
    whole = contents(backend)
    key = next(key for key in backend.list("layers/") if "/c/" in key)
    backend.put(key, (backend.get(key) or b"")[:-3])
    run("verify", str(backend), code=1)
    run("verify", "--repair", str(backend))
    build_in(backend, model, tiny_plans(model))
    assert contents(backend) == whole
    assert str(store) == str(backend)


def test_two_workers_of_a_cluster_build_it(bucket: str, images: Path, ray_folder: Path) -> None:
    from atlas.engine.planning.images import ListedImages

    model: Model = load_model("tests.networks:tiny")
    found = ListedImages.open([str(images)])
    plans = [*tiny_plans(model), *collecting_plans(model, found)]
    backend = backend_at(f"{bucket}/{uuid.uuid4().hex}")
    with connect("local", workers=2, folder=str(ray_folder)):  # its workers have the environment of now
        _, report = build_in(backend, model, plans, OnRay(plans[0].numerics, 2), images=found)
    assert report.failed == []
    quiet = MemoryBackend()
    build_in(quiet, model, plans, images=found)
    assert contents(backend) == contents(quiet)
    assert Store.open(str(backend)).identity == model.identity


def test_it_is_copied_there_and_back(built: str, bucket: str, tmp_path: Path) -> None:
    run("copy", built, str(tmp_path / "back"))
    there, back = backend_at(built), backend_at(tmp_path / "back")
    assert {key: there.get(key) for key in there.list()} == {key: back.get(key) for key in back.list()}
    run("publish", str(tmp_path / "back"), f"{bucket}/site")
    site = backend_at(f"{bucket}/site")
    assert "index.html" in set(site.list())
    assert contents(backend_at(f"{bucket}/site/store")) == contents(there)
