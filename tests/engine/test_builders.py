"""Two builds of one store at a time, as processes: one plan is shared, another is refused while its rival lives."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from atlas.engine.events import Task
from atlas.engine.sharing import Queue
from atlas.models import Model, load_model
from atlas.plans import STAGES
from atlas.store import LocalBackend, MemoryBackend, Store, builders, verify
from atlas.store.builders import BUILDERS, Builder
from atlas.store.leftovers import Collected, collect
from atlas.verification import verify as look
from tests.builds import build_in, contents
from tests.cli.conftest import Ran, run  # noqa: F401 (a fixture)
from tests.naps import NAPS, nap_plans

pytestmark = pytest.mark.builder

Started = Callable[..., subprocess.Popen[str]]
COUNT = 40
PICTURES = ["tests.networks:tiny", "--local", "--layers", "first.1", "--set", "size=32", "--set", "draws=1"]


@pytest.fixture(autouse=True)
def declared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(STAGES, NAPS.name, NAPS)
    monkeypatch.setattr(builders, "PATIENCE", 4.0)  # twice as long as others beat


@pytest.fixture(scope="module")
def tiny() -> Model:
    return load_model("tests.networks:tiny")


@pytest.fixture
def started() -> Iterator[Started]:
    """Starts processes of `python -m ...`, which end with the test."""
    running: list[subprocess.Popen[str]] = []

    def start(*words: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", *map(str, words)]
        running.append(subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True))
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.communicate()


def until(true: Callable[[], object], seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


def made(marks: Path) -> tuple[Counter[str], Counter[str]]:
    """How often each shard was made, and how many each process made."""
    words = [file.name.split("-") for file in marks.iterdir()]
    return Counter(index for index, *_ in words), Counter(process for _, process, _ in words)


def napped(tiny: Model) -> dict[str, bytes]:
    backend = MemoryBackend()
    build_in(backend, tiny, nap_plans(tiny, COUNT))
    return contents(backend)


def check(place: Path, wanted: dict[str, bytes]) -> None:
    """Nothing is damaged or left over, and every byte is as where nobody else was."""
    assert not verify(Store.open(place)).findings
    assert contents(LocalBackend(place)) == wanted


@pytest.mark.slow
def test_two_of_one_plan_share_its_shards(tiny: Model, tmp_path: Path, started: Started) -> None:
    place, marks = tmp_path / "made.atlas", tmp_path / "marks"
    marks.mkdir()
    both = [started("tests.naps", place, marks, 0.2, COUNT) for _ in range(2)]
    told = [process.communicate(timeout=100) for process in both]
    assert [process.returncode for process in both] == [0, 0], told
    each, shares = made(marks)
    assert len(each) == COUNT
    assert each.total() - COUNT <= 2, "at most what both had under way"
    assert len(shares) == 2
    assert min(shares.values()) >= COUNT // 4
    check(place, napped(tiny))


@pytest.mark.slow
def test_one_that_is_frozen_is_made_up_for_and_ends_well_later(tiny: Model, tmp_path: Path, started: Started) -> None:
    place, marks = tmp_path / "made.atlas", tmp_path / "marks"
    marks.mkdir()
    frozen = started("tests.naps", place, marks, 0.2, COUNT)
    until(lambda: len(list(marks.iterdir())) >= 3)
    frozen.send_signal(signal.SIGSTOP)
    store, report = build_in(LocalBackend(place), tiny, nap_plans(tiny, COUNT))
    assert not report.failed
    assert store.whole(store.plans()[0])
    frozen.send_signal(signal.SIGCONT)
    assert frozen.communicate(timeout=60) == ("", "")
    assert frozen.returncode == 0
    assert made(marks)[0].total() <= COUNT + 1
    check(place, napped(tiny))


@pytest.mark.slow
def test_another_plan_is_refused_while_one_lives_and_not_after_it_was_killed(
    tmp_path: Path,
    started: Started,
    run: Callable[..., Ran],  # noqa: F811
) -> None:
    place = tmp_path / "made.atlas"
    other = started("atlas", "build", *PICTURES, "--set", "steps=100000", "--store", place)
    until((place / "plans/features/first.1.json").exists)
    before = (place / "plans/features/first.1.json").read_bytes()
    refused = run("build", *PICTURES, "--set", "steps=3", "--store", place)
    assert (refused.code, len(refused.err.splitlines())) == (1, 1)
    for told in (
        "another build of this store is running",
        "features of first.1",
        "recipe.steps: 100000 here, 3 asked",
        "--store",
    ):
        assert told in refused.err
    assert (place / "plans/features/first.1.json").read_bytes() == before
    assert other.poll() is None
    assert "A build is running." in run("status", place).out
    assert "is running" in run("rm", place, "first.1", "--yes").err
    other.kill()
    other.wait()
    assert run("build", *PICTURES, "--set", "steps=3", "--store", place).code == 0
    assert run("gc", place).code == 0
    assert not list((place / BUILDERS).iterdir())
    assert not verify(Store.open(place)).findings
    assert run("rm", place, "first.1", "--yes").code == 0


@pytest.mark.slow
def test_who_thaws_after_another_plan_took_its_place_ends_with_one_line_and_harms_nothing(
    tmp_path: Path,
    started: Started,
    run: Callable[..., Ran],  # noqa: F811
) -> None:
    place = tmp_path / "made.atlas"
    frozen = started("atlas", "build", *PICTURES, "--set", "steps=400", "--store", place)
    until(lambda: (place / "plans/features/first.1.json").exists() and next((place / "layers").rglob("image"), None))
    frozen.send_signal(signal.SIGSTOP)
    assert run("build", *PICTURES, "--set", "steps=3", "--store", place).code == 0
    made = contents(LocalBackend(place))
    frozen.send_signal(signal.SIGCONT)
    _, told = frozen.communicate(timeout=100)
    assert frozen.returncode == 1
    assert "in another way meanwhile" in told.strip().splitlines()[-1]
    assert "Traceback" not in told
    check(place, made)


@pytest.mark.slow
def test_gc_repair_and_retry_beside_a_build(tiny: Model, tmp_path: Path, started: Started) -> None:
    place, marks = tmp_path / "made.atlas", tmp_path / "marks"
    marks.mkdir()
    other = started("tests.naps", place, marks, 0.2, COUNT)
    until(lambda: len(list((place / "receipts/naps/layer-0").glob("*"))) >= 5)
    store = Store.open(place)
    (plan,) = store.plans()
    store.backend.put("layers/layer-0/naps/slept/c/2", b"junk")
    turns = 0
    while other.poll() is None:
        assert collect(store) == Collected(0, 0, 0) or turns
        found = look(store, repair=True)
        assert [shard.index for shard in found.again] == ([] if turns else [2])
        store.reopen(plan)
        turns += 1
    assert turns > 1
    assert other.wait() == 0, other.communicate()
    assert store.todo(plan) == [plan.shard(2)], "nobody who had made it made it again"
    build_in(store.backend, tiny, nap_plans(tiny, COUNT))
    assert made(marks)[0].total() == COUNT
    check(place, napped(tiny))


def queue_of(builder: Builder) -> Queue:
    (plan,) = plans = nap_plans(load_model("tests.networks:tiny"), 12)
    queue = Queue(builder)
    queue.extend(Task(tuple(plans), (start, start + 1, start + 2)) for start in range(0, 9, 3))
    queue.appendleft(Task((plan,), kind="reduce"))
    return queue


def test_what_another_is_at_comes_last_and_the_second_goes_the_other_way_round(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builders, "BEAT", 0.02)
    backend, ids = MemoryBackend(), [plan.id for plan in nap_plans(load_model("tests.networks:tiny"), 12)]
    with Builder(backend, ids) as one:
        first = queue_of(one)
        assert [first.popleft().kind, first.popleft().indices] == ["reduce", (0, 1, 2)]
        time.sleep(0.1)
        with Builder(backend, ids) as two:
            second = queue_of(two)
            assert [second.popleft().indices for _ in range(2)] == [(8, 7, 6), (5, 4, 3)]
            second.extend([Task(second[0].plans, (9,)), Task(second[0].plans, (10,))])
            assert second.popleft().indices == (10,)
            time.sleep(0.1)
            assert [first.popleft().indices for _ in range(2)] == [(3, 4, 5), (6, 7, 8)], "what is left is made"
        assert [second.popleft().indices for _ in range(3)] == [(9,), (2, 1, 0), ()]
