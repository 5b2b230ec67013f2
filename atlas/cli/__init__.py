"""The command line: `atlas COMMAND`.

    arguments -> calls of the library -> lines, tables, exit code

An error of the user's is one line and exit code 1; Ctrl-C is exit code 130 and the line that goes on; anything else is
a bug and keeps its traceback.
"""

from __future__ import annotations

import inspect
import logging
import os
import re
import sys
from typing import Annotated

import typer

from atlas import __version__
from atlas.cli import building, copying, looking, querying, reading, removing, submitting
from atlas.cli.options import as_options
from atlas.cli.submitting import again
from atlas.errors import AtlasError
from atlas.store.layout import VERSION
from atlas.terminal import complain, forgiving, remark, say, worded

app = typer.Typer(
    name="atlas",
    help="A browsable catalogue of what a trained vision model has learned.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
)
for module in (looking, building, submitting, reading, querying, copying, removing):
    for each in module.COMMANDS:
        app.command()(each)


def version(asked: bool) -> None:
    """Say which version this is."""
    if asked:
        say(f"atlas-builder {__version__}, writes stores of version {VERSION}")
        raise typer.Exit


def unwrapped(text: str) -> str:
    r"""The help of a command with a line a paragraph: the terminal wraps it.

    >>> unwrapped("One.\n\nTwo\nlines.")
    'One.\n\nTwo lines.'
    """
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in text.split("\n\n"))


for registered in app.registered_commands:
    registered.help = unwrapped(inspect.getdoc(registered.callback) or "")


@app.callback()
def common(
    _: Annotated[
        bool, typer.Option("--version", callback=version, is_eager=True, help="Say which version this is.")
    ] = False,
) -> None:
    """A browsable catalogue of what a trained vision model has learned."""


COMMENT = re.compile(r"--[^\s=]*\s")
INTERRUPTED = 130
"""Exit code of Ctrl-C, as shells have it."""


def main() -> None:
    """Run the command in `sys.argv`."""
    forgiving()
    worded(as_options)
    _show_warnings()
    try:
        code = app(arguments(), standalone_mode=False) or 0
    except AtlasError as error:
        complain(str(error))
        code = 1
    except (KeyboardInterrupt, typer.Abort):
        code = INTERRUPTED
    except BrokenPipeError:
        # The reader of our output went away, as in `atlas layers MODEL | head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except Exception as error:
        # Click's own errors know how to show themselves: usage and exit code 2.
        show = getattr(error, "show", None)
        if show is None:
            raise
        show()
        code = getattr(error, "exit_code", 2)
    if code == INTERRUPTED:
        complain(f"Stopped. What is finished is kept; to resume: {again()}")
    sys.exit(code)


class _Remarks(logging.Handler):
    """Shows what the library warns of as lines beside the results."""

    def emit(self, record: logging.LogRecord) -> None:
        remark(record.getMessage())


def _show_warnings() -> None:
    log = logging.getLogger("atlas")
    if not log.hasHandlers():
        log.addHandler(_Remarks(logging.WARNING))


def arguments() -> list[str]:
    """What the user typed. SQL may begin with a comment, which is no option: those have no spaces in their names."""
    typed = sys.argv[1:]
    return [f" {one}" if typed[0] == "query" and COMMENT.match(one) else one for one in typed]
