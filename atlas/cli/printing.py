"""How numbers, and the program itself, are called in what is printed.

values -> words
"""

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


def count(number: float) -> str:
    """A large number in few letters: 1.2 G, 340 M.

    >>> count(1_234_000_000)
    '1.23 G'
    """
    for size, letter in ((1e15, " P"), (1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if number >= size:
            return f"{number / size:.3g}{letter}"
    return f"{number:g}"


def duration(seconds: float) -> str:
    """A time in few letters: 42 s, 3 min 5 s, 2 h 10 min."""
    whole = round(seconds)
    if whole < 100:
        return f"{whole} s"
    if whole < 6000:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
