"""The web app's sources: their types, and a lock file that names packages and no addresses."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import playwright
import pytest

VIEWER = Path(__file__).parents[2] / "atlas" / "viewer"


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


@pytest.mark.browser
def test_the_types_of_the_web_app_are_right() -> None:
    checker = VIEWER / "node_modules" / "svelte-check" / "bin" / "svelte-check"
    if not checker.is_file():
        pytest.fail("The web app's tools are not installed. Install them: make viewer", pytrace=False)
    # Playwright brings a Node of its own.
    node = next((Path(playwright.__file__).parent / "driver").glob("node*"))
    command = [str(node), str(checker), "--tsconfig", "tsconfig.json", "--fail-on-warnings", "--output", "machine"]
    done = subprocess.run(command, check=False, cwd=VIEWER, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
