"""The command that sends a build to a cluster: submit."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer

from atlas.cli import options as o
from atlas.errors import AtlasError
from atlas.pipeline import Pipeline
from atlas.terminal import program, remark, say, table
from atlas.words import brief

if TYPE_CHECKING:
    from atlas.engine.jobs import Submission
    from atlas.engine.submitting import Parcel


@o.takes_pipeline
def submit(
    said: dict[str, Any],
    address: Annotated[
        str,
        typer.Option(
            o.SUBMITTING["address"],
            metavar="URL",
            parser=o.filled,
            help="Where the cluster takes jobs: http://HOST:8265, the address of its dashboard.",
        ),
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    follow: Annotated[
        bool, typer.Option("--follow/--no-follow", help="Show the log of the job until it ends. Ctrl-C detaches.")
    ] = True,
) -> None:
    """Run `atlas build` with the same options as a job on a Ray cluster. Needs ray[default] here and on the cluster.

    Shows the plan and its cost, asks for confirmation, and submits. Run the same command again to attach to the job. If
    the job failed, this submits the next attempt, which resumes.

    A model of your own (package.module:factory), labels and small files in the current folder are sent with the job.
    Put the store and large files where every machine of the cluster can read them.
    """
    with o.needing_build():
        from atlas.engine.jobs import Jobs
        from atlas.engine.planning.recorded import resolved
        from atlas.engine.submitting import parcel
    asked = resolved(said)
    sent = parcel(asked)
    jobs = Jobs(address)
    found = jobs.found(sent)
    if found.done(sent):
        say(f"{sent.name}-{found.attempt} succeeded, and {sent.place} is complete: there is nothing to do.")
        return
    if not found.alive:
        _show(asked)
        sent.contents()  # too much of it is said before anything is asked
        if not (yes or _agreed(sent, address)):
            say("Nothing was submitted.")
            return
    made = jobs.submit(sent, found)
    _introduce(made, sent)
    if follow:
        _follow(made)
    else:
        say(f"To follow it: {again()}")


def again() -> str:
    """The command line that was typed."""
    return f"{program()} {shlex.join(sys.argv[1:])}"


def _show(asked: Pipeline) -> None:
    """The plan and what it costs, or why it is made by the job."""
    from atlas.engine.submitting import planned

    found = planned(asked)
    if isinstance(found, str):
        remark(f"No plan is shown: {found.rstrip('.')}. The job makes the plan.")
        return
    columns, rows = found.table()
    if rows:
        table(columns, rows)
    for line in found.lines(here=False):
        say(line)


def _agreed(sent: Parcel, address: str) -> bool:
    if not sys.stdin.isatty():
        what = f"Submitting a build of {sent.place} to {address}"
        raise AtlasError(f"{what} needs confirmation, but input is not a terminal: add --yes")
    return typer.confirm(f"Submit it to {address}?")


def _introduce(made: Submission, sent: Parcel) -> None:
    if made.began:
        travels = f" Files sent: {brief(', '.join(sent.files), 200)}." if sent.files else ""
        say(f"Submitted {made.id}, which builds {made.place}.{travels}")
    else:
        say(f"Attached to {made.id}, which already builds {made.place}.")


def _follow(made: Submission) -> None:
    """Show the log of a job until it ends, or until Ctrl-C."""
    try:
        made.follow()
    except KeyboardInterrupt:
        remark(f"Detached: {made.id} is still running. To follow it again: {again()}")
        remark(f"To stop it: {made.stopping}")
        raise typer.Exit from None
    say(f"{made.id} succeeded.")


COMMANDS = (submit,)
