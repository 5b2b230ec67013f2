"""What Prometheus reads of a run, at the port that a machine of a real cluster shows it at."""

from __future__ import annotations

import re
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import ray

from atlas.engine.clusters import connect
from atlas.engine.events import Event, Retried, ShardDone, ShardFailed, Task
from atlas.engine.metrics import COUNTERS, Metrics, counted
from atlas.engine.on_ray import OnRay
from atlas.engine.run import build, describe
from atlas.models import load_model
from atlas.store import LocalBackend, Store
from tests.builds import tiny_plans

pytestmark = [pytest.mark.builder, pytest.mark.slow]

PATIENCE = 60.0


@pytest.fixture
def cluster(ray_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("RAY_metrics_report_interval_ms", "500")
    with connect("local", workers=2, folder=str(ray_folder)):
        yield


def scraped() -> dict[str, float]:
    """What this machine shows of ours: values by name and tags of our own."""
    (node,) = ray.nodes()  # type: ignore[no-untyped-call]
    with urllib.request.urlopen(f"http://{node['NodeManagerAddress']}:{node['MetricsExportPort']}/metrics") as answer:
        text = answer.read().decode()
    found: dict[str, float] = {}
    for name, tags, value in re.findall(r"^ray_(atlas_\w+)_total\{(.*)\} (\S+)$", text, re.MULTILINE):
        own = [tag for tag in re.findall(r'(\w+)="([^"]*)"', tags) if tag[0] in ("stage", "phase", "kind")]
        found[" ".join([name, *(told for _, told in sorted(own))])] = float(value)
    return found


def test_a_machine_shows_what_the_run_did(cluster: None, tmp_path: Path) -> None:
    tiny = load_model("tests.networks:tiny")
    plans = tiny_plans(tiny)
    store = Store.create(LocalBackend(tmp_path / "store"), tiny.identity, describe(tiny))
    metrics, heard = Metrics(), list[Event]()
    shard, task = plans[0].shard(0), Task((plans[0],), (0,))
    told: list[Event] = [
        *(Retried(task, number, "it crashed", "crash", "host-7") for number in (1, 2)),
        ShardFailed(shard, "no derivative", kind="error"),
        ShardDone(shard, {}, {"seconds": {"render": 99.0}}, units=32, bytes=99, found=True),
    ]
    for event in told:
        metrics.take(event)
    report = build(store, tiny, plans, OnRay(plans[0].numerics, 2), watch=counted(heard.append))
    assert report.failed == []
    assert report.totals.worker_seconds == pytest.approx(2 * report.totals.seconds, rel=0.2), "two slots, all the time"
    assert sum(isinstance(event, ShardDone) for event in heard) == 5
    receipts = [receipt for plan in plans for receipt in store.receipts(plan).values()]
    expected = {
        "atlas_units features": 110.0,
        "atlas_bytes features": float(sum(one.size for receipt in receipts for one in receipt.objects)),
        "atlas_retries crash": 2.0,
        "atlas_failures error": 1.0,
    } | {
        f"atlas_seconds {phase} features": pytest.approx(sum(one.record["seconds"][phase] for one in receipts))
        for phase in ("render", "score", "write")
    }
    began = time.monotonic()
    while (found := scraped()) != expected and time.monotonic() - began < PATIENCE:
        time.sleep(0.5)
    assert found == expected
    assert {name.split()[0] for name in found} == COUNTERS.keys()
