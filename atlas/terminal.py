"""What is printed, and where: results to standard output, progress and complaints to standard error.

    values -> lines and tables

The one way to a terminal. What a store says is data there: no markup, no emoji, and no sign that steers the terminal.
"""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from io import StringIO
from pathlib import Path
from typing import Literal

from rich.cells import cell_len
from rich.console import Console
from rich.progress import Progress as Bar
from rich.table import Table
from rich.text import Text

from atlas.words import shown

WIDE = 200
"""Columns where nobody watches: a table in a pipe or a file is not cut."""
FOLDED = 16
"""Columns that words are folded to at least."""
GAP = 2
"""Columns between two of a table's."""
Words = str | tuple[str, str]
"""Plain, or with a style."""


def console(*, stderr: bool = False, width: int | None = None) -> Console:
    """A console that takes nothing it is given for markup."""
    return Console(stderr=stderr, width=width, soft_wrap=True, highlight=False, markup=False, emoji=False)


out = console(width=None if sys.stdout.isatty() else WIDE)
err = console(stderr=True)
_worded: Callable[[str], str] = str


def line(*parts: Words) -> Text:
    """One line of `parts`, each plain or with a style."""
    return Text.assemble(*((shown(part), "") if isinstance(part, str) else (shown(part[0]), part[1]) for part in parts))


def rephrased(text: str) -> str:
    """What the library says, in the words of whoever says it; see `worded`."""
    return _worded(text)


def complain(text: str) -> None:
    """One line to standard error."""
    err.print(line(("error:", "red"), " ", rephrased(text)))


def remark(text: str) -> None:
    """One line beside the results, to standard error."""
    err.print(line(rephrased(text)))


def worded(how: Callable[[str], str]) -> None:
    """Let `how` put complaints, remarks and progress into other words: a command line calls parameters by options."""
    global _worded  # noqa: PLW0603 - one process has one way to talk to its user
    _worded = how


def say(text: str) -> None:
    """One line to standard output."""
    out.print(line(text))


def anew() -> None:
    """Let what follows begin at the top of the terminal; where there is none, set it off by an empty line."""
    out.clear() if out.is_terminal else out.print()


@contextmanager
def counting(what: str) -> Iterator[Callable[[int, int], None]]:
    """A bar on standard error where somebody watches; what is given hears how many of how many are done."""
    with Bar(console=err, disable=not err.is_terminal, transient=True) as bar:
        task = bar.add_task(what, total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table to standard output; columns whose name ends in `>` are set right.

    Where nobody watches it is as wide as it has to be. In a terminal words are folded to fit; of what does not fit even
    so, every row is told column by column.
    """
    made, whole = _made(columns, rows)
    least = sum((column.min_width or 0) + GAP for column in made.columns)
    if not out.is_terminal:
        console(width=max(out.width, whole)).print(made)
    elif least <= out.width or not made.rows:
        out.print(made)
    else:
        _print_records(made)


def text_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """The same table as a text, as wide as it has to be."""
    made, whole = _made(columns, rows)
    plain = Console(file=StringIO(), width=whole, force_terminal=False, force_jupyter=False, color_system=None)
    with plain.capture() as drawn:
        plain.print(made)
    return "\n".join(text.rstrip() for text in drawn.get().splitlines())


def _made(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> tuple[Table, int]:
    """A table, whose columns say how far they can be folded, and how wide it is unfolded."""
    cells = [[line(str(cell)) for cell in row] for row in rows]
    made, whole = Table(box=None, pad_edge=False), 0
    for name, *column in zip(columns, *cells, strict=True):
        head, number = line(name.removesuffix(">")), name.endswith(">")
        width = max(text.cell_len for text in (head, *column))
        justify: Literal["left", "right"] = "right" if number else "left"
        least = width if number else min(width, FOLDED)
        made.add_column(head, justify=justify, no_wrap=number, overflow="fold", min_width=least)
        whole += width + GAP
    for row in cells:
        made.add_row(*row)
    return made, whole


def _print_records(made: Table) -> None:
    """The rows of a table that is too wide, each column a line of its own."""
    heads = [str(column.header) for column in made.columns]
    widest = max(map(cell_len, heads), default=0)
    for number, row in enumerate(zip(*(column.cells for column in made.columns), strict=True), 1):
        out.print(line((f"row {number}", "bold")))
        for head, cell in zip(heads, row, strict=True):
            out.print(Text(f"  {head}{' ' * (widest - cell_len(head) + 2)}{cell}"))


def program() -> str:
    """How the user can call us again: `atlas` where the shell finds it, else the way they did."""
    called = Path(sys.argv[0])
    if called.name == "__main__.py":
        return "python -m atlas"
    return "atlas" if shutil.which("atlas") or not called.is_file() else shlex.quote(str(called))


def forgiving() -> None:
    """Let both streams spell out what their encoding lacks, where they would give up."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
