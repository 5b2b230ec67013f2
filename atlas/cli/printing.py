"""What is printed, and where: results to standard output, progress and complaints to standard error.

values -> lines and tables
"""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal

from rich.console import Console
from rich.table import Table

WIDE = 200
"""Columns where nobody watches: a table in a pipe or a file is not cut."""

out = Console(soft_wrap=True, highlight=False, width=None if sys.stdout.isatty() else WIDE)
err = Console(stderr=True, soft_wrap=True, highlight=False)


def complain(line: str) -> None:
    """One line to standard error."""
    err.print(f"[red]error:[/red] {_plain(line)}")


def remark(line: str) -> None:
    """One line beside the results, to standard error."""
    err.print(_plain(line))


def program() -> str:
    """How the user can call us again: `atlas` where the shell finds it, else the way they did."""
    called = Path(sys.argv[0])
    if called.name == "__main__.py":
        return "python -m atlas"
    return "atlas" if shutil.which("atlas") or not called.is_file() else shlex.quote(str(called))


def say(line: str) -> None:
    """One line to standard output."""
    out.print(_plain(line))


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table to standard output; columns whose name ends in `>` are set right."""
    made = Table(box=None, pad_edge=False)
    for name in columns:
        number = name.endswith(">")
        justify: Literal["left", "right"] = "right" if number else "left"
        made.add_column(name.removesuffix(">"), justify=justify, no_wrap=number, overflow="fold")
    for row in rows:
        made.add_row(*(_plain(str(cell)) for cell in row))
    out.print(made)


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


def _plain(text: str) -> str:
    """`text` with nothing in it that rich would take for markup."""
    return text.replace("[", "\\[")
