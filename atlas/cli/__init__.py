"""The command line: `atlas COMMAND`.

    arguments -> calls of the library -> lines, tables, exit code

An error of the user's is one line and exit code 1; Ctrl-C is exit code 130 and the line that goes on; anything else is
a bug and keeps its traceback.
"""

from __future__ import annotations

import os
import shlex
import sys

import typer

from atlas.cli import building, looking, querying, reading
from atlas.cli.printing import complain, program
from atlas.errors import AtlasError

app = typer.Typer(
    name="atlas",
    help="A browsable catalogue of what a trained vision model has learned.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    add_completion=False,
)
for module in (looking, building, reading, querying):
    module.register(app)


INTERRUPTED = 130
"""Exit code of Ctrl-C, as shells have it."""


def main() -> None:
    """Run the command in `sys.argv`."""
    try:
        code = app(standalone_mode=False) or 0
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
        complain(f"Stopped. What is finished is kept; to go on: {command()}")
    sys.exit(code)


def command() -> str:
    """The command line that started this process, to be run again."""
    return f"{program()} {shlex.join(sys.argv[1:])}"
