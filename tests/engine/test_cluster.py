"""A build that joins a cluster, and what its plan and its tasks go by there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

import atlas

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
