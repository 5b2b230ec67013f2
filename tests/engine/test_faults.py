"""A cluster in miniature under faults, as `benchmarks.faults` has it: every store is that of a quiet run."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.namespaces import hindrance

pytestmark = pytest.mark.builder

ROOT = Path(__file__).parents[2]


def faults(*words: str) -> str:
    """What the benchmark prints; it says itself whether anything is wrong."""
    if why := hindrance():
        pytest.skip(f"No cluster in miniature: {why}")
    command = [sys.executable, "-m", "benchmarks.faults", *words]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    ran = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout[-20_000:] + ran.stderr[-5_000:]
    assert "Nothing lost, nothing torn" in ran.stdout
    return ran.stdout


@pytest.mark.slow
def test_twenty_faults_of_every_kind() -> None:
    told = faults("--faults=20", "--layers=2", "--without-atlas")
    struck = {name for name, count in re.findall(r"^(\w+) +(\d+) +\d+ ", told, re.MULTILINE) if int(count)}
    assert len(struck) == 13


@pytest.mark.full
def test_a_job_whose_head_is_killed_goes_on_when_it_is_submitted_again() -> None:
    told = faults("--submit", "--faults=1", "--kinds=head", "--layers=1")
    assert re.search(r"is whole, after [2-9] starts: nothing wrong", told)


@pytest.mark.full
def test_a_hundred_faults() -> None:
    assert "100 faults" in faults("--faults=100", "--layers=4", "--seed=1")
