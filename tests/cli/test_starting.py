"""Ctrl-C while the command line is still importing itself."""

from __future__ import annotations

import signal
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
STOPPED = """
import signal, sys, time

class Stopped:
    def find_spec(self, name, path=None, target=None):
        if name == {name!r}:
            print("begun", flush=True)
            time.sleep(60)

signal.signal(signal.SIGINT, signal.default_int_handler)
sys.meta_path.insert(0, Stopped())
sys.argv = ["atlas", "--version"]
"""
"""A program that waits where it imports something for the first time."""


def entry() -> str:
    """What the script `atlas` runs, as pip writes it."""
    module, _, function = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]["atlas"].partition(
        ":"
    )
    return f"from {module} import {function}\nsys.exit({function}())"


@pytest.mark.parametrize("name", ["atlas.cli", "typer", "rich", "zarr", "duckdb", "atlas.errors", "atlas.store"])
def test_ctrl_c_before_anything_has_begun_is_quiet(name: str) -> None:
    command = [sys.executable, "-c", STOPPED.format(name=name) + entry()]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as ran:
        assert ran.stdout is not None
        assert ran.stdout.readline() == "begun\n"
        ran.send_signal(signal.SIGINT)
        said, complained = ran.communicate(timeout=60)
    assert (ran.returncode, said, complained) == (130, "", "")
