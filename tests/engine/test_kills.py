"""Workers and drivers killed -9, at named points and at random: the store comes out the same, byte for byte."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from atlas.engine.planning.images import ListedImages
from atlas.models import load_model
from atlas.store import LocalBackend, MemoryBackend, Store, verify
from tests.builds import build_in, charting_plans, collecting_plans, contents, tiny_plans
from tests.dataset.made import encoded, pixels
from tests.faults import Fault, FaultyBackend

pytestmark = pytest.mark.builder

DATA = r"layers/.*/image/c/{}/.*"
RECEIPT = r"receipts/features/{}/0000{}\.json"
WORKER = [
    *(Fault(point, DATA.format(index)) for point in ("before", "inside", "after") for index in (0, 1)),
    *(Fault(point, RECEIPT.format("second.1", index)) for point in ("before", "inside", "after") for index in (0, 2)),
    *(Fault(point, r"layers/.*/(mean|thumb)/c/.*") for point in ("before", "inside", "after")),
    *(Fault(point, r"receipts/columns/.*") for point in ("before", "inside", "after")),
    *(Fault(point, r"manifests/.*") for point in ("before", "inside", "after")),
    Fault("before", r"delete receipts/features/second.1/00001\.json"),
]
COLLECTING = [
    Fault("inside", r"images/path/c/0/.*"),
    Fault("before", r"receipts/list\.json"),
    Fault("after", r"plans/images\.json"),
    *(Fault(point, r"images/(status|thumb)/c/1.*") for point in ("before", "inside", "after")),
    *(Fault(point, r"receipts/images/00000\.json") for point in ("before", "inside", "after")),
    *(Fault(point, r"layers/second\.1/statistics/(partial|maxima)/c/0/.*") for point in ("before", "inside", "after")),
    *(Fault(point, r"receipts/statistics/first\.1/00001\.json") for point in ("before", "inside", "after")),
    *(Fault(point, r"receipts/columns/statistics/head\.json") for point in ("before", "inside", "after")),
    *(Fault(point, r"layers/second\.1/examples/picture/c/1/.*") for point in ("before", "inside", "after")),
    *(Fault(point, r"layers/.*/statistics/neighbour_unit/c/.*") for point in ("before", "inside")),
    *(Fault(point, r"receipts/relations\.json") for point in ("before", "inside", "after")),
    Fault("after", r"manifests/statistics/.*"),
    Fault("before", r"delete layers/first\.1/statistics/partial/c/1/.*"),
]
GRID = r"layers/second\.1/atlas/all/10"
CHARTING = [
    *(Fault(point, r"layers/second\.1/activations/(vector|logit)/c/1.*") for point in ("before", "inside", "after")),
    *(Fault(point, r"receipts/activations/second\.1/00000\.json") for point in ("before", "inside", "after")),
    *(Fault(point, r"layers/second\.1/atlas/all/(xy|quality)/c/.*") for point in ("before", "inside", "after")),
    *(Fault(point, r"receipts/columns/layout/second\.1/.*") for point in ("before", "inside", "after")),
    *(Fault(point, rf"{GRID}/(direction|strength)/c/[03]/.*") for point in ("before", "inside", "after")),
    *(Fault(point, r"receipts/columns/cells/second\.1/all/5\.json") for point in ("before", "inside", "after")),
    *(Fault(point, r"plans/icons/second\.1/all/10\.json") for point in ("inside", "after")),
    *(Fault(point, rf"{GRID}/patches/picture/c/1/.*") for point in ("before", "inside", "after")),
    *(Fault(point, rf"{GRID}/icons/(image|answer)/c/0/.*") for point in ("before", "inside", "after")),
    *(Fault(point, r"receipts/icons/second\.1/all/10/00001\.json") for point in ("before", "inside", "after")),
    *(Fault(point, r"receipts/columns/icons/second\.1/strongest-3/5\.json") for point in ("before", "inside")),
    *(Fault(point, r"manifests/(icons|patches)/second\.1/.*") for point in ("before", "inside", "after")),
    *(Fault(point, rf"{GRID}/tiles/(tile|mask)/c/.*") for point in ("before", "inside", "after")),
    *(Fault(point, r"receipts/columns/tiles/second\.1/all/.*") for point in ("before", "inside", "after")),
]
DRIVER = [
    Fault("before", r"zarr\.json"),
    Fault("inside", r"layers/first.1/features/thumb/zarr\.json"),
    Fault("after", r"layers/second.1/features/image/zarr\.json"),
    Fault("inside", r"plans/features/second.1\.json"),
    Fault("after", r"plans/features/first.1\.json"),
    Fault("before", r"catalogue\.json"),
    Fault("inside", r"catalogue\.json"),
    Fault("after", r"catalogue\.json"),
]

every = pytest.mark.parametrize(
    "step", [pytest.param(4, marks=pytest.mark.slow), pytest.param(1, marks=pytest.mark.full)], ids=["some", "all"]
)


@pytest.fixture(scope="module")
def uninterrupted() -> dict[str, bytes]:
    """What a build that nothing disturbs leaves behind."""
    model = load_model("tests.networks:tiny")
    backend = MemoryBackend()
    build_in(backend, model, tiny_plans(model))
    return contents(backend)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """More images than a shard holds, so that there are two."""
    folder = tmp_path_factory.mktemp("shown")
    for number in range(1100):
        (folder / f"{number:04d}.png").write_bytes(encoded(pixels(number, (12, 12))))
    return folder


@pytest.fixture(scope="module")
def collected(shown: Path) -> dict[str, bytes]:
    """What a build with images that nothing disturbs leaves behind."""
    model, backend, images = load_model("tests.networks:tiny"), MemoryBackend(), ListedImages.open([str(shown)])
    build_in(backend, model, [*tiny_plans(model), *collecting_plans(model, images)], images=images)
    return contents(backend)


@pytest.fixture(scope="module")
def charted(shown: Path) -> dict[str, bytes]:
    """What a build of atlases that nothing disturbs leaves behind."""
    model, backend, images = load_model("tests.networks:tiny"), MemoryBackend(), ListedImages.open([str(shown)])
    _, report = build_in(backend, model, charting_plans(model, images), images=images)
    assert not report.failed
    return contents(backend)


def drive(
    store: Path, marks: Path, faults: list[Fault], ray_folder: Path, shown: Path | None = None, *more: str
) -> subprocess.Popen[str]:
    texts = json.dumps([fault.to_dict() for fault in faults])
    command = [sys.executable, "-m", "tests.drive", str(store), str(marks), str(ray_folder), texts]
    command += [str(shown), *more] if shown else []
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)


def until_done(
    store: Path,
    marks: Path,
    faults: list[Fault],
    ray_folder: Path,
    *more: str,
    limit: int,
    shown: Path | None = None,
) -> None:
    """Start the driver again each time it dies, or gives up on a task whose worker died too often."""
    output = ""
    for _ in range(limit):
        driver = drive(store, marks, faults, ray_folder, shown, *more)
        output, _ = driver.communicate(timeout=900)
        if driver.returncode == 0:
            return
        assert driver.returncode in {1, -signal.SIGKILL}, output
    pytest.fail(f"not done after {limit} drivers: {output}")


def assert_same(store: Path, uninterrupted: dict[str, bytes]) -> None:
    found = contents(LocalBackend(store))
    assert found.keys() == uninterrupted.keys()
    different = [key for key in found if found[key] != uninterrupted[key]]
    assert not different
    assert not verify(Store.open(store)).findings


def test_a_worker_and_the_driver_killed(tmp_path: Path, ray_folder: Path, uninterrupted: dict[str, bytes]) -> None:
    faults = [WORKER[1], WORKER[3], WORKER[9], DRIVER[3]]
    until_done(tmp_path / "store", tmp_path / "marks", faults, ray_folder, limit=3)
    assert FaultyBackend(tmp_path / "store", faults, tmp_path / "marks").struck() == len(faults)
    assert_same(tmp_path / "store", uninterrupted)


@pytest.mark.slow
def test_workers_killed_at_every_named_point(tmp_path: Path, ray_folder: Path, uninterrupted: dict[str, bytes]) -> None:
    until_done(tmp_path / "store", tmp_path / "marks", WORKER, ray_folder, limit=4)
    assert FaultyBackend(tmp_path / "store", WORKER, tmp_path / "marks").struck() == len(WORKER) >= 20
    assert_same(tmp_path / "store", uninterrupted)


@pytest.mark.slow
def test_drivers_killed_at_every_named_point(tmp_path: Path, ray_folder: Path, uninterrupted: dict[str, bytes]) -> None:
    until_done(tmp_path / "store", tmp_path / "marks", DRIVER, ray_folder, limit=len(DRIVER) + 2)
    assert FaultyBackend(tmp_path / "store", DRIVER, tmp_path / "marks").struck() == len(DRIVER)
    assert_same(tmp_path / "store", uninterrupted)


@every
def test_collecting_killed_at_named_points(
    tmp_path: Path, ray_folder: Path, collected: dict[str, bytes], shown: Path, step: int
) -> None:
    place, marks, faults = tmp_path / "store", tmp_path / "marks", COLLECTING[::step]
    until_done(place, marks, faults, ray_folder, limit=9, shown=shown)
    assert FaultyBackend(place, faults, marks).struck() == len(faults) >= 20 // step
    assert_same(place, collected)


@every
def test_charting_killed_at_named_points(
    tmp_path: Path, ray_folder: Path, charted: dict[str, bytes], shown: Path, step: int
) -> None:
    place, marks, faults = tmp_path / "store", tmp_path / "marks", CHARTING[::step]
    until_done(place, marks, faults, ray_folder, "charted", limit=16, shown=shown)
    assert FaultyBackend(place, faults, marks).struck() == len(faults) >= 36 // step
    assert_same(place, charted)


@pytest.mark.slow
def test_workers_and_drivers_killed_at_random(
    tmp_path: Path, ray_folder: Path, collected: dict[str, bytes], shown: Path
) -> None:
    chance = random.Random(0)
    kills = 0
    for _ in range(12):
        driver = drive(tmp_path / "store", tmp_path / "marks", [], ray_folder, shown)
        deadline = time.monotonic() + chance.uniform(5, 14)
        while driver.poll() is None and time.monotonic() < deadline:
            time.sleep(chance.uniform(0.2, 1.0))
            if workers := workers_of(driver.pid):
                os.kill(chance.choice(workers), signal.SIGKILL)
                kills += 1
        if driver.poll() is None:
            driver.kill()
            kills += 1
        driver.communicate(timeout=60)
        if kills >= 12:
            break
    assert kills >= 10
    until_done(tmp_path / "store", tmp_path / "marks", [], ray_folder, limit=1, shown=shown)
    assert_same(tmp_path / "store", collected)


def workers_of(driver: int) -> list[int]:
    """Processes below `driver` that carry out our tasks."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            name, parent = (
                (folder / "cmdline").read_text(),
                int((folder / "stat").read_text().rsplit(")")[-1].split()[1]),
            )
            grandparent = int(Path(f"/proc/{parent}/stat").read_text().rsplit(")")[-1].split()[1])
        except OSError:
            continue
        if name.startswith("ray::") and "IDLE" not in name and driver in {parent, grandparent}:
            found.append(int(folder.name))
    return found
