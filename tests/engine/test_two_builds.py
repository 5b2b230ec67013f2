"""Two builds of one store in a bucket, by two drivers of one Ray cluster or two processes: shared, refused, taken over.

The combination of what `test_builders` and `test_object_store` try by themselves.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import uuid
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import atlas
from atlas.store import Store, backend_at, verify
from atlas.store.builders import BUILDERS
from atlas.store.bundles import BUNDLES
from tests.builds import contents
from tests.engine.test_builders import until
from tests.engine.test_clusters import head, ours
from tests.object_stores import KEYS, seaweed

pytestmark = [pytest.mark.builder, pytest.mark.slow]

PIPELINE = ("tests.networks:broad", "--set=size=32", "--set=draws=1", "--set=redirected=0", "--crops=1", "--device=cpu")
LAYERS = 4
UNDER_WAY = 4
"""Tasks that a driver has under way, each of a shard or two: see `AHEAD`."""


@dataclass
class Ground:
    """A bucket, a cluster that reaches it, and images."""

    bucket: str
    address: str
    images: Path
    environment: dict[str, str]

    def begin(self, place: str, *words: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "atlas", "build", *PIPELINE, "--images", str(self.images), "--store", place]
        return subprocess.Popen(
            [*command, "--layers", ",".join(f"beside.{number}.1" for number in range(LAYERS)), *words],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def told(self, process: subprocess.Popen[str], code: int = 0) -> str:
        """What a build printed."""
        out, err = process.communicate(timeout=500)
        assert process.returncode == code, out + err
        assert "Traceback" not in err
        assert KEYS["AWS_SECRET_ACCESS_KEY"] not in out + err
        return out + err


@pytest.fixture(scope="module")
def ground(tmp_path_factory: pytest.TempPathFactory, images: Path) -> Iterator[Ground]:
    (home := tmp_path_factory.mktemp("home") / "home").mkdir()
    with (
        tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as short,
        seaweed(tmp_path_factory.mktemp("seaweed")) as server,
        server.reached(),
    ):
        environment = ours(home, RAY_TMPDIR=short, RAY_memory_monitor_refresh_ms="0")
        with head(environment, "--include-dashboard=false", "--num-cpus=2") as (address, _):
            yield Ground(server.bucket, address, images, environment)


@pytest.fixture(params=["ray", pytest.param("processes", marks=pytest.mark.full)])
def how(request: pytest.FixtureRequest, ground: Ground) -> list[str]:
    """How a driver has its work done."""
    return ["--ray", ground.address] if request.param == "ray" else ["--local"]


def check(ground: Ground, place: str, quiet: Path, *words: str) -> None:
    """Nothing is damaged or left over, and every byte is as a quiet build in a folder leaves it."""
    ground.told(ground.begin(str(quiet), "--local", *words))
    backend = backend_at(place)
    assert not verify(Store.open(place)).findings
    assert not [*backend.list(BUNDLES), *backend.list(BUILDERS)]
    assert contents(backend) == contents(backend_at(quiet))


def test_two_of_one_plan_share_it(ground: Ground, how: list[str], tmp_path: Path) -> None:
    place = f"{ground.bucket}/{uuid.uuid4().hex[:8]}.atlas"
    both = [ground.begin(place, *how, "--set=steps=40") for _ in range(2)]
    for process in both:
        ground.told(process)
    runs = atlas.open(place).runs
    assert len(runs) == 2
    done = [[line for line in run.events() if line["event"] == "shard done"] for run in runs]
    made = Counter(line["what"] for some in done for line in some if not line.get("found"))
    assert set(made) == {str(shard) for plan in Store.open(place).plans() for shard in plan.shards}
    assert made.total() - len(made) <= 4 * UNDER_WAY, "at most what both had under way"
    assert min(sum(not line.get("found") for line in some) for some in done) > 0, "both did something"
    check(ground, place, tmp_path / "quiet.atlas", "--set=steps=40")


def test_another_plan_is_refused_while_one_lives_and_takes_its_place_after_kill_9(
    ground: Ground, how: list[str], tmp_path: Path
) -> None:
    place = f"{ground.bucket}/{uuid.uuid4().hex[:8]}.atlas"
    backend = backend_at(place)
    first = ground.begin(place, *how, "--set=steps=100000")
    until(lambda: next(backend.list("plans/features/"), None), 300)
    before = contents(backend)
    refused = ground.told(ground.begin(place, *how, "--set=steps=3"), code=1)
    errors = [line for line in refused.splitlines() if line.startswith("error:")]
    assert len(errors) == 1, refused
    assert "another build of this store is running" in errors[0]
    assert "recipe.steps: 100000 here, 3 asked" in errors[0]
    assert before.items() <= contents(backend).items()
    assert first.poll() is None, first.communicate()
    first.kill()
    first.communicate()
    ground.told(ground.begin(place, *how, "--set=steps=3"))
    check(ground, place, tmp_path / "quiet.atlas", "--set=steps=3")


@pytest.mark.full
def test_one_that_is_killed_is_made_up_for_by_the_other(ground: Ground, how: list[str], tmp_path: Path) -> None:
    place = f"{ground.bucket}/{uuid.uuid4().hex[:8]}.atlas"
    backend = backend_at(place)
    both = [ground.begin(place, *how, "--set=steps=60") for _ in range(2)]
    until(lambda: len(list(backend.list(BUILDERS))) == 2 and next(backend.list("receipts/features/"), None), 300)
    both[0].kill()
    both[0].communicate()
    ground.told(both[1])
    assert Store.open(place).whole(Store.open(place).plans()[0])
    ground.told(ground.begin(place, *how, "--set=steps=60"))
    backend.delete_all(list(backend.list(BUILDERS)))  # of the one that was killed
    check(ground, place, tmp_path / "quiet.atlas", "--set=steps=60")
