"""A build that joins a cluster, and what its plan and its tasks go by there."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Any

import pytest
import ray
from ray.cluster_utils import Cluster

import atlas
from atlas.engine import clusters, on_ray
from atlas.engine.catalogue import computing
from atlas.engine.clusters import connect
from atlas.engine.numerics import WIDTH, Hardware, here, numerics_for
from atlas.engine.on_ray import OnRay
from atlas.engine.planning.prepared import prepared
from atlas.errors import AtlasError
from atlas.models import load_model
from atlas.pipeline import Pipeline
from atlas.store import LocalBackend
from tests.builds import build_in, tiny_plans

pytestmark = pytest.mark.builder

HERE = Path(__file__).parents[2]


def test_the_script_joins_a_running_cluster_of_two_machines(tmp_path: Path, ray_folder: Path) -> None:
    """One without tokens, from a home where another Ray has left one, as each `ray.init()` does."""
    (tmp_path / ".ray").mkdir()
    (tmp_path / ".ray" / "auth_token").write_text("of-another-cluster-" * 3)
    arguments = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 80 * 2**20}
    cluster = Cluster(initialize_head=True, head_node_args=arguments | {"temp_dir": str(ray_folder)})
    try:
        cluster.add_node(num_cpus=1, object_store_memory=80 * 2**20)
        cluster.wait_for_nodes()
        settings = [f"--set={setting}" for setting in ("size=32", "steps=2", "eval_draws=1")]
        command = [sys.executable, "-m", "atlas", "build", "tests.networks:tiny", "--layers", "first.1,second.1"]
        where = ["--ray", cluster.address, "--store", str(tmp_path / "tiny.atlas")]
        environment = os.environ | {"PYTHONPATH": str(HERE), "HOME": str(tmp_path)}
        ran = subprocess.run(
            [*command, *where, *settings], capture_output=True, text=True, check=False, env=environment, timeout=300
        )
        assert ran.returncode == 0, ran.stderr
    finally:
        cluster.shutdown()  # type: ignore[no-untyped-call]
    catalogue = atlas.open(tmp_path / "tiny.atlas")
    assert [layer.done for layer in catalogue] == [40, 70]


# -- what a plan goes by -----------------------------------------------------------------------------------------------

SMALL: dict[str, Any] = {"object_store_memory": 80 * 2**20}
CUDA = """
import sys

if any("default_worker" in word for word in sys.orig_argv):
    import torch

    torch.cuda.is_available = lambda: True
"""
"""Lets torch see a device in Ray's workers: there is none here."""


@ray.remote(num_cpus=1, max_retries=0)
def occupied() -> None:
    time.sleep(600)


@pytest.fixture
def headed(ray_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    """A cluster whose head computes nothing, and to which a test adds machines."""
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "0")
    cluster = Cluster()
    try:
        cluster.add_node(num_cpus=0, include_dashboard=False, **SMALL)
        yield cluster
    finally:
        cluster.shutdown()  # type: ignore[no-untyped-call]


@pytest.mark.slow
def test_what_the_workers_have_decides_not_the_head(
    headed: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    told: list[str] = []
    with connect(headed.address):
        with pytest.raises(AtlasError, match=r"no workers yet.*`device=cuda` or `device=cpu`"):
            on_ray.hardware("auto", told.append)
        with pytest.raises(AtlasError, match="there are auto, cpu and cuda"):
            on_ray.hardware("tpu", told.append)
        headed.add_node(num_cpus=1, **SMALL)
        headed.wait_for_nodes()
        busy = occupied.remote()
        assert on_ray.hardware("auto", told.append).cuda is False, "a busy worker can be asked"
        ray.cancel(busy, force=True)
        assert "The cluster has no GPU now, so the build uses CPUs." in told.pop()
        headed.add_node(num_cpus=1, num_gpus=1, resources={"blind": 1}, **SMALL)
        headed.wait_for_nodes()
        found = on_ray.hardware("auto", told.append)
        assert found.cuda is False
        assert found.torch == here().torch
        assert "The cluster has GPUs, but torch sees none of them on " in told.pop()
        with pytest.raises(AtlasError, match="`device=cuda`: torch sees no CUDA device on "):
            numerics_for("cuda", hardware=on_ray.hardware("cuda", told.append))


@pytest.mark.slow
def test_a_pipeline_is_planned_for_the_gpus_of_a_cluster_by_a_head_without(headed: Cluster, tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text(CUDA)
    headed.add_node(num_cpus=1, num_gpus=1, env_vars={"PYTHONPATH": f"{tmp_path}{os.pathsep}{HERE}"}, **SMALL)
    headed.wait_for_nodes()
    asked = Pipeline("tests.networks:tiny", tmp_path / "s", layers="head", ray=headed.address)
    assert not here().cuda
    with computing(asked) as hardware:
        ready = prepared(asked, hardware=hardware)
    assert {(plan.numerics.device, plan.numerics.batch) for plan in ready.plans} == {("cuda", WIDTH["cuda"])}
    with computing(replace(asked, device="cpu")) as hardware:
        assert hardware.cuda is False
    found = atlas.plan("tests.networks:tiny", tmp_path / "s", layers="head", ray=headed.address, price=2.0)
    assert {plan.numerics.device for plan in found.plans} == {"cuda"}
    told = str(found)
    assert "on one GPU of the cluster" in told
    assert "GPU-hours" in told
    assert not (tmp_path / "s").exists()


@pytest.mark.slow
def test_a_cluster_that_scales_from_zero_is_asked_waited_for_and_counted_as_it_grows(
    headed: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_ray, "PATIENCE", 1.0)
    monkeypatch.setattr(on_ray, "SILENCE", 2.0)
    model, told = load_model("tests.networks:tiny"), list[str]()
    plans = tiny_plans(model)
    with connect(headed.address):
        assert on_ray.hardware("cuda", told.append, waits=False) == replace(here(), cuda=True, slots=0)
        assert "No GPU of the cluster is free to be asked" in told.pop()
        found: list[Hardware] = []
        asking = Thread(target=lambda: found.append(on_ray.hardware("cpu", told.append)))
        asking.start()
        while not told:
            assert asking.is_alive()
            time.sleep(0.1)
        headed.add_node(num_cpus=1, **SMALL)
        asking.join(120)
        assert [one.cuda for one in found] == [False]
        assert told[0] == "Waiting for a free CPU of the cluster; it has 0 now."
        executor = OnRay(plans[0].numerics)
        with clusters.machines() as nodes:
            assert executor._window(nodes) == on_ray.AHEAD
            for _ in range(3):
                headed.add_node(num_cpus=1, **SMALL)
            headed.wait_for_nodes()
            while nodes.has("CPU") < 4:
                time.sleep(0.1)
            assert executor._window(nodes) == 8
            assert OnRay(plans[0].numerics, 3)._window(nodes) == 3
        store, report = build_in(LocalBackend(tmp_path / "s"), model, plans, executor)
    assert report.failed == []
    assert all(not store.todo(plan) for plan in plans)


@pytest.mark.slow
def test_a_cluster_that_brings_no_worker_is_given_up(headed: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_ray, "PATIENCE", 0.5)
    monkeypatch.setattr(on_ray, "COMING", 3.0)
    with connect(headed.address), pytest.raises(AtlasError, match="has had no GPU for 3 s"):
        on_ray.hardware("cuda", lambda _: None)
