"""`atlas submit` against a real cluster's head: followed, attached to, detached from, failed, gone on with."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import atlas
from atlas.cli.options import as_options
from atlas.engine import jobs
from atlas.engine.jobs import Jobs
from atlas.errors import AtlasError, JobFailed
from atlas.store import Store
from tests.engine.test_clusters import free_port, head, ours

pytestmark = pytest.mark.builder

SECRET = "a-secret-that-must-not-travel"
NETWORK = """
import os, time
from pathlib import Path
import torch
from torch import nn
from helpers import WIDTH
from atlas.models import Preprocessing

HERE = Path({flags!r})
IN_A_JOB = Path("atlas-job.yaml").exists()

class Held(nn.Module):
    def forward(self, x):
        while IN_A_JOB and (HERE / "held").exists() and any(HERE.glob("second.atlas/receipts/**/*.json")):
            time.sleep(0.1)
        return x

def net():
    if IN_A_JOB and (HERE / "broken").exists():
        raise ValueError("broken on purpose")
    torch.manual_seed(0)
    layers = [Held(), nn.Conv2d(3, WIDTH, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(WIDTH, 4)]
    return nn.Sequential(*layers), Preprocessing.parse("size=32 mean=0.5,0.5,0.5 std=0.5,0.5,0.5")
"""
PIPELINE = """
model: mypackage.models:net
layers: "1"
settings: {{size: 32, steps: 4, draws: 1, redirected: 0}}
device: cpu
store: {store}
"""
HEED = "import signal; signal.signal(signal.SIGINT, signal.default_int_handler); from atlas.cli import main; main()"
"""A shell's background jobs ignore Ctrl-C; a user's command does not."""


@dataclass
class Desk:
    """A user's folder with a package of theirs, and a cluster that takes jobs."""

    folder: Path
    address: str
    environment: dict[str, str]

    def pipeline(self, name: str) -> Path:
        """A pipeline file whose store is called `name`."""
        file = self.folder / f"{name}.yaml"
        file.write_text(PIPELINE.format(store=self.folder / f"{name}.atlas"))
        return file

    def flag(self, name: str, *, up: bool = True) -> None:
        (self.folder / name).touch() if up else (self.folder / name).unlink()

    def begin(self, *words: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", HEED, "submit", *map(str, words), "--address", self.address]
        return subprocess.Popen(
            command,
            cwd=self.folder / "work",
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            text=True,
        )

    def submit(self, *words: object, code: int = 0) -> str:
        """What `atlas submit` prints."""
        process = self.begin(*words)
        out, _ = process.communicate(timeout=400)
        assert process.returncode == code, out
        assert SECRET not in out
        return out

    def jobs(self, pipeline: Path) -> list[Any]:
        """All jobs that build a pipeline's store, the first attempt first."""
        found = Jobs(self.address).asked(lambda client: client.list_jobs())
        mine = [job for job in found if (job.metadata or {}).get("store") == str(pipeline.with_suffix(".atlas"))]
        return sorted(mine, key=lambda job: str(job.submission_id))


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Desk]:
    folder = tmp_path_factory.mktemp("desk")
    (folder / "home").mkdir()
    (folder / "work" / "mypackage").mkdir(parents=True)
    (folder / "work" / "mypackage" / "models.py").write_text(NETWORK.format(flags=str(folder)))
    (folder / "work" / "helpers.py").write_text("WIDTH = 200\n")
    (folder / "work" / ".env").write_text(SECRET)
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as short:
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
        environment = ours(folder / "home", RAY_TMPDIR=short, PATH=path, RAY_memory_monitor_refresh_ms="0")
        dashboard = free_port()
        with head(environment, "--include-dashboard=true", f"--dashboard-port={dashboard}"):
            secret = {"AWS_SECRET_ACCESS_KEY": SECRET}
            yield Desk(folder, f"http://127.0.0.1:{dashboard}", environment | secret)


@pytest.mark.slow
def test_a_build_is_submitted_with_the_users_package_followed_and_whole(desk: Desk) -> None:
    file = desk.pipeline("first")
    refused = desk.submit(file, "--price", "2", code=1)
    assert "core-hours, 0.00 at 2 an hour (an estimate" in refused
    assert "needs confirmation, but input is not a terminal: add --yes" in refused
    assert desk.jobs(file) == []
    out = desk.submit(file, "--yes")
    (job,) = desk.jobs(file)
    assert f"Submitted {job.submission_id}, which builds {desk.folder}/first.atlas" in out
    assert "Files sent: mypackage, helpers.py." in out
    assert "400 pictures" in out
    assert f"{job.submission_id} succeeded." in out
    assert atlas.verify(desk.folder / "first.atlas").whole
    assert [layer.done for layer in atlas.open(desk.folder / "first.atlas")] == [200]
    told = str(job.runtime_env) + str(job.metadata) + job.entrypoint
    assert SECRET not in told
    assert str(desk.folder / "work") not in told
    again = desk.submit(file, "--yes")
    assert "is complete: there is nothing to do" in again
    assert len(desk.jobs(file)) == 1


@pytest.mark.slow
def test_ctrl_c_detaches_a_second_one_attaches_and_what_was_stopped_goes_on(desk: Desk) -> None:
    file = desk.pipeline("second")
    desk.flag("held")  # once a shard is done
    first = desk.begin(file, "--yes")
    store = desk.folder / "second.atlas"
    while not list((store / "receipts").rglob("*.json")):
        assert first.poll() is None, first.communicate()
        time.sleep(0.1)
    first.send_signal(signal.SIGINT)
    out, _ = first.communicate(timeout=60)
    assert first.returncode == 0, out
    (job,) = desk.jobs(file)
    assert f"Detached: {job.submission_id} is still running. To follow it again: " in out
    assert re.search(r"To stop it: ray job stop --address http://127\.0\.0\.1:\d+ atlas-[0-9a-f]{12}-1", out)
    assert "Traceback" not in out
    assert str(job.status.value) == "RUNNING"

    attached = desk.submit(file, "--workers=1", "--no-follow")  # who does the work changes nothing; nobody is asked
    assert f"Attached to {job.submission_id}, which already builds {store}." in attached
    assert len(desk.jobs(file)) == 1

    following = desk.begin(file)
    assert following.stdout is not None
    assert "Attached to" in following.stdout.readline()
    Jobs(desk.address).asked(lambda client: client.stop_job(job.submission_id))
    out, _ = following.communicate(timeout=120)
    assert following.returncode == 1
    assert f"{job.submission_id} was stopped: " in out
    assert "To resume, submit it again" in out

    desk.flag("held", up=False)
    done = sum(map(len, (Store.open(store).receipts(plan) for plan in Store.open(store).plans())))
    out = desk.submit(file, "--yes")
    assert [str(job.status.value) for job in desk.jobs(file)] == ["STOPPED", "SUCCEEDED"]
    assert desk.jobs(file)[1].submission_id == job.submission_id[:-1] + "2"
    assert 0 < done < 7
    assert re.search(r"[1-9]\d* were there before", out)
    assert atlas.verify(store).whole


@pytest.mark.slow
def test_an_attempt_that_failed_is_followed_by_the_next_and_time_that_is_up_by_another(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = desk.pipeline("third")
    desk.flag("broken")
    out = desk.submit(file, "--yes", code=1)
    assert "broken on purpose" in out
    assert out.splitlines()[-1].startswith("error: atlas-")
    assert "-1 failed: mypackage.models:net failed: ValueError: broken on purpose" in out.splitlines()[-1]
    desk.flag("broken", up=False)
    monkeypatch.chdir(desk.folder / "work")
    made = atlas.submit(file, address=desk.address, max_hours=0)
    assert made is not None
    assert (made.id[-2:], made.began) == ("-2", True)
    told: list[str] = []
    made.follow(told.append)
    assert made.status == "SUCCEEDED"
    assert "--max-hours 0: the time limit was reached. 7 shards are left" in "\n".join(told)
    assert "0 pictures" in "\n".join(told)
    last = atlas.submit(str(file), address=desk.address)
    assert last is not None
    last.follow(told.append)
    assert last.id[-2:] == "-3"
    assert atlas.verify(desk.folder / "third.atlas").whole
    assert atlas.submit(str(file), address=desk.address) is None


@pytest.mark.slow
def test_a_cluster_with_a_token(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    token, dashboard = "of-this-cluster-" * 4, free_port()
    for name in [name for name in os.environ if name.startswith("RAY_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as short:
        environment = ours(tmp_path, RAY_TMPDIR=short, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=token)
        with head(environment, "--include-dashboard=true", f"--dashboard-port={dashboard}"):
            address = f"http://127.0.0.1:{dashboard}"
            with pytest.raises(AtlasError, match=r"asks for another token.*ray get-auth-token"):
                Jobs(address)
            (tmp_path / ".ray").mkdir()
            (tmp_path / ".ray" / "auth_token").write_text(token)
            assert Jobs(address).asked(lambda client: client.list_jobs()) == []


def test_a_job_that_its_cluster_no_longer_knows_is_not_waited_for() -> None:
    class Anew:
        def get_job_info(self, name: str) -> None:
            raise RuntimeError(f"Request failed with status code 404: Job {name} does not exist.")

    jobs = object.__new__(Jobs)
    jobs.address, jobs._client = "http://127.0.0.1:8265", Anew()
    began = time.monotonic()
    with pytest.raises(JobFailed, match=r"atlas-1 is lost: the cluster's head was restarted.*submit it again"):
        jobs.follow("atlas-1", print)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("127.0.0.1:8265", "the address of the cluster's dashboard, http://HOST:8265"),
        ("ray://127.0.0.1:10001", "the address of the cluster's dashboard, http://HOST:8265"),
        ("http://127.0.0.1:9", "no Ray cluster takes jobs there"),
        ("http://nowhere.invalid:8265", "no Ray cluster takes jobs there"),
    ],
)
def test_no_cluster_is_one_line(address: str, told: str) -> None:
    with pytest.raises(AtlasError, match=told) as raised:
        Jobs(address)
    assert as_options(str(raised.value)).startswith(f"--address {address}: ")
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("last", "told"),
    [
        ("/usr/bin/python: No module named atlas", "Install atlas-builder"),
        ("/bin/sh: 1: python: not found", "Install atlas-builder"),
        ("ModuleNotFoundError: No module named 'helpers'", "No module named 'helpers'"),
        ("error: --images: nothing there.", "--images: nothing there"),
    ],
)
def test_how_a_job_ended_is_one_line(last: str, told: str) -> None:
    ended = jobs._ended(f"Job entrypoint command failed with exit code 1, last available logs:\nmore\n{last}\n")
    assert told in ended
    assert "\n" not in ended
    assert ("Install" in ended) == ("Install" in told)


def test_the_address_of_a_page_of_the_dashboard_is_that_of_the_dashboard() -> None:
    for text in ("http://a:8265", "http://a:8265/", "http://a:8265/#/jobs", "http://a:8265/#"):
        assert jobs._checked(text) == "http://a:8265"


def test_something_else_takes_requests_there(tmp_path: Path) -> None:
    from tests.hosts import static_host

    with static_host(tmp_path) as address, pytest.raises(AtlasError, match=r"takes no jobs.*dashboard alone") as raised:
        Jobs(address)
    assert len(str(raised.value).splitlines()) == 1
