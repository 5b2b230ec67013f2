"""What is printed, and where: results to standard output, progress and complaints to standard error.

    values -> lines and tables

The one way to a terminal. What a store says is data there: no markup, no emoji, and no sign that steers the terminal.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from io import StringIO
from typing import Literal

from rich.console import Console
from rich.table import Table
from rich.text import Text

from atlas.words import shown

WIDE = 200
"""Columns where nobody watches: a table in a pipe or a file is not cut."""
FOLDED = 16
"""Columns that words are folded to at least."""
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


def table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """A table to standard output; columns whose name ends in `>` are set right.

    Where nobody watches it is as wide as it has to be. In a terminal words are folded to fit; of what does not fit even
    so, every row is told column by column.
    """
    heads = [line(name.removesuffix(">")) for name in columns]
    right = [name.endswith(">") for name in columns]
    cells = [[line(str(cell)) for cell in row] for row in rows]
    widths = [max(text.cell_len for text in column) for column in zip(heads, *cells, strict=True)]
    least = [width if number else min(width, FOLDED) for width, number in zip(widths, right, strict=True)]
    gaps = 2 * len(columns)
    if not out.is_terminal:
        _table(heads, right, least, cells, console(width=max(out.width, sum(widths) + gaps)))
    elif sum(least) + gaps <= out.width or not cells:
        _table(heads, right, least, cells, out)
    else:
        _records(heads, cells)


def text_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """The same table as a text, as wide as it has to be."""
    into = StringIO()
    heads = [line(name.removesuffix(">")) for name in columns]
    cells = [[line(str(cell)) for cell in row] for row in rows]
    widths = [max(text.cell_len for text in column) for column in zip(heads, *cells, strict=True)]
    wide = Console(file=into, width=sum(widths) + 2 * len(columns), highlight=False, markup=False, emoji=False)
    _table(heads, [name.endswith(">") for name in columns], widths, cells, wide)
    return "\n".join(text.rstrip() for text in into.getvalue().splitlines())


def _table(
    heads: Sequence[Text], right: Sequence[bool], least: Sequence[int], cells: Sequence[Sequence[Text]], on: Console
) -> None:
    made = Table(box=None, pad_edge=False)
    for head, number, narrow in zip(heads, right, least, strict=True):
        justify: Literal["left", "right"] = "right" if number else "left"
        made.add_column(head, justify=justify, no_wrap=number, overflow="fold", min_width=narrow)
    for row in cells:
        made.add_row(*row)
    on.print(made)


def _records(heads: Sequence[Text], cells: Sequence[Sequence[Text]]) -> None:
    """Rows too wide for a table, each column a line of its own."""
    widest = max((head.cell_len for head in heads), default=0)
    for number, row in enumerate(cells, 1):
        out.print(line((f"row {number}", "bold")))
        for head, cell in zip(heads, row, strict=True):
            out.print(Text("  ") + head + " " * (widest - head.cell_len + 2) + cell)


def forgiving() -> None:
    """Let both streams spell out what their encoding lacks, where they would give up."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="backslashreplace")
