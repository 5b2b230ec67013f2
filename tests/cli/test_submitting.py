"""`atlas submit`, `atlas status --watch` and `atlas clusters` without a cluster."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from atlas.cli import reading
from atlas.shipped import CLUSTERS
from atlas.store import Store
from tests.cli.conftest import Ran
from tests.cli.test_building import HASTY, TINY, one_line

pytestmark = pytest.mark.builder

Command = Callable[..., Ran]
NOBODY = ("--address", "http://127.0.0.1:9")


def test_what_no_job_can_do_is_refused_before_anybody_is_asked(run: Command, tmp_path: Path) -> None:
    one_line(run("submit", TINY, *NOBODY), "--store is missing")
    one_line(run("submit", TINY, "--store", "s", *NOBODY), "--store s would lie in the job's own folder")
    one_line(run("submit", TINY, "--store", tmp_path, "--local", *NOBODY), "--local with --address")
    one_line(run("submit", TINY, "--store", tmp_path, "--ray", "auto", *NOBODY), "--ray auto with --address")
    one_line(run("submit", tmp_path / "none.yaml", *NOBODY), "No such file")
    assert list(tmp_path.iterdir()) == []


def test_nobody_takes_jobs(run: Command, tmp_path: Path) -> None:
    one_line(run("submit", TINY, "--store", tmp_path / "s", *NOBODY), "--address http://127.0.0.1:9: no Ray cluster")
    one_line(run("submit", TINY, "--store", tmp_path / "s", "--address", "127.0.0.1:8265"), "http://HOST:8265")
    assert run("submit", TINY, "--store", tmp_path / "s").code == 2, "an address must be said"


def test_submitting_needs_nothing_that_builds(tmp_path: Path) -> None:
    """A laptop with the extra `cluster` alone."""
    code = (
        "import sys; sys.modules |= dict.fromkeys(['torch', 'torchvision', 'timm', 'numba', 'umap', 'safetensors']);"
        f"sys.argv = ['atlas', 'submit', 'squeezenet', '--store', {str(tmp_path / 's')!r}, *{NOBODY!r}];"
        "from atlas.cli import main; main()"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert ran.stderr.startswith("error: --address http://127.0.0.1:9: no Ray cluster takes jobs there"), ran.stderr


def test_a_store_is_watched_until_it_is_done(run: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = tmp_path / "s"
    build = ("build", TINY, "--layers", "head", "--store", place, "--local", *HASTY)
    assert run(*build).code == 0
    once = run("status", place, "--watch").out.splitlines()
    store = Store.open(place)
    (plan,) = store.plans()
    store.forget(plan, {0})
    waited: list[float] = []

    def build_it(seconds: float) -> None:
        waited.append(seconds)
        if len(waited) == 2:
            run(*build)

    monkeypatch.setattr(time, "sleep", build_it)
    ran = run("status", place, "--watch")
    assert ran.code == 0
    assert waited == [reading.WATCHING] * 2
    assert ran.out.splitlines()[1:3] == once[:2]


def test_files_that_start_clusters_are_listed_and_copied(run: Command, tmp_path: Path) -> None:
    listed = run("clusters").out
    for name in CLUSTERS.names():
        assert name in listed
        assert len(CLUSTERS.about(name)) > 20, name
    for said, name in (("aws", "aws.yaml"), ("Dockerfile", "Dockerfile")):
        assert run("clusters", said, "--into", tmp_path).code == 0
        assert (tmp_path / name).read_bytes() == (CLUSTERS.folder() / name).read_bytes()
    one_line(run("clusters", "aws", "--into", tmp_path), "is there already")
    one_line(run("clusters", "gcp", "--into", tmp_path), "There are: Dockerfile, aws.yaml, kuberay.yaml, own.yaml")
