"""How the program itself is called in what is printed."""

from __future__ import annotations

import shlex
import shutil
import sys
from pathlib import Path


def program() -> str:
    """How the user can call us again: `atlas` where the shell finds it, else the way they did."""
    called = Path(sys.argv[0])
    if called.name == "__main__.py":
        return "python -m atlas"
    return "atlas" if shutil.which("atlas") or not called.is_file() else shlex.quote(str(called))
