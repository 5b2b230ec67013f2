"""Jobs on a Ray cluster, by the address at which its head takes them.

(Pipeline, http://HOST:8265) -> Submission, which is followed, asked and stopped

A job runs once. What is submitted again is attached to while it is alive; what failed is followed by the next attempt,
which goes on with the store.
"""

from __future__ import annotations

import logging
import os
import re
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atlas.engine.clusters import TOKEN, asks_for_a_token, environment, has_token
from atlas.engine.submitting import ENTRYPOINT, Parcel, whole
from atlas.errors import AtlasError, JobFailed
from atlas.terminal import say
from atlas.version import VERSION
from atlas.words import brief, command, parameter

ALIVE = ("PENDING", "RUNNING")
BEAT = 2.0
"""Seconds between two looks at a job's log."""
RATE = 50_000
"""Letters of a log a second at most: the whole of it comes every time."""
PATIENCE = 120.0
"""Seconds without an answer after which a job is no longer followed."""
CHATTY = ("ray.dashboard.modules.dashboard_sdk", "ray.dashboard.modules.job.sdk", "ray._private.runtime_env.packaging")
"""What tells of each package that it packs and sends."""
COMMAND = "Job entrypoint command failed"
"""How Ray begins where the job's own command failed: the end of its log follows."""
ABSENT = re.compile(r"No module named '?atlas\b|python: (command )?not found")
"""What a machine says that has no atlas."""
UNKNOWN = "does not exist"
"""What Ray says of a job that it does not know."""
UNBUFFERED = {"PYTHONUNBUFFERED": "1"}
"""All that the environment of a job is told: credentials are the cluster's own."""


@dataclass(frozen=True)
class Submission:
    """A build that was submitted to a cluster."""

    jobs: Jobs
    id: str
    place: str
    """Where its store lies."""
    began: bool
    """Whether this call submitted it; else it was under way."""

    @property
    def status(self) -> str:
        """PENDING, RUNNING, SUCCEEDED, FAILED or STOPPED."""
        return self.jobs.status(self.id)

    @property
    def stopping(self) -> str:
        """The command that stops it."""
        return command("ray", "job", "stop", "--address", self.jobs.address, self.id)

    def follow(self, told: Callable[[str], None] = say) -> None:
        """Tell every line of its log until it ends. Ctrl-C leaves it running.

        Raises `JobFailed` where it failed or was stopped, and `AtlasError` where its cluster no longer answers.
        """
        status, message = self.jobs.follow(self.id, told)
        if status != "SUCCEEDED":
            raise JobFailed(
                f"{self.id} {'failed' if status == 'FAILED' else 'was stopped'}: {message}. What is finished is kept. "
                "To resume, submit it again."
            )

    def stop(self) -> None:
        """Stop it. What is finished is kept."""
        self.jobs.asked(lambda client: client.stop_job(self.id))


@dataclass(frozen=True)
class Found:
    """What is known of a parcel on a cluster before it is submitted."""

    attempt: int
    """The last one; 0 where there was none."""
    status: str = ""

    @property
    def alive(self) -> bool:
        return self.status in ALIVE

    def done(self, sent: Parcel) -> bool:
        """Whether nothing is left to do, as far as can be seen from here."""
        return self.status == "SUCCEEDED" and whole(sent.place)


class Jobs:
    """The jobs of one cluster. Raises `AtlasError` where nobody takes jobs at `address`."""

    def __init__(self, address: str) -> None:
        self.address = _checked(address)
        self._client = _client(self.address)

    def asked(self, question: Callable[[Any], Any]) -> Any:
        """What the cluster answers. Raises `AtlasError` where it does not, or refuses."""
        try:
            return question(self._client)
        except (OSError, RuntimeError) as error:  # of requests, and Ray's own
            raise AtlasError(f"{parameter('address', self.address)}: {_line(error)}") from error

    def found(self, sent: Parcel) -> Found:
        """The last attempt at a parcel."""
        began = f"{sent.name}-"
        jobs = [job for job in self.asked(lambda client: client.list_jobs()) if job.submission_id]
        numbers = {job.submission_id.removeprefix(began): job for job in jobs if job.submission_id.startswith(began)}
        last = max((int(number) for number in numbers if number.isdigit()), default=0)
        return Found(last, str(numbers[str(last)].status.value)) if last else Found(0)

    def submit(self, sent: Parcel, found: Found) -> Submission:
        """Begin the attempt that follows `found`, or attach to that one where it is alive.

        Who begins the same attempt at the same time attaches to it too.
        """
        if found.alive:
            return Submission(self, f"{sent.name}-{found.attempt}", sent.place, began=False)
        name = f"{sent.name}-{found.attempt + 1}"
        with tempfile.TemporaryDirectory(prefix="atlas-job-") as folder:
            sent.pack(Path(folder))
            began = self.asked(lambda client: _begun(client, name, folder, sent))
        return Submission(self, name, sent.place, began)

    def status(self, name: str) -> str:
        """How a job is."""
        return str(self.asked(lambda client: client.get_job_status(name)).value)

    def follow(self, name: str, told: Callable[[str], None]) -> tuple[str, str]:
        """Tell a job's log line by line until it ends; say how it ended, and in what words."""
        lines, heard = 0, time.monotonic()
        while True:
            log = ""
            try:
                info = self.asked(lambda client: client.get_job_info(name))
                log = self.asked(lambda client: client.get_job_logs(name))
                heard = time.monotonic()
            except AtlasError as error:
                if UNKNOWN in str(error):
                    raise JobFailed(
                        f"{name} is lost: the cluster's head was restarted and no longer knows the job. What is "
                        "finished is kept. To resume, submit it again."
                    ) from error
                if time.monotonic() - heard > PATIENCE:
                    raise
            else:
                over = str(info.status.value) not in ALIVE
                every = log.splitlines() if over or log.endswith("\n") else log.splitlines()[:-1]
                for line in every[lines:]:
                    told(line)
                lines = len(every)
                if over:
                    return str(info.status.value), _ended(info.message or "it says nothing")
            time.sleep(max(BEAT, len(log) / RATE))


def submitted(sent: Parcel, address: str) -> Submission | None:
    """Submit a parcel, or attach to the job that builds it; None where its job succeeded and its store is whole."""
    jobs = Jobs(address)
    found = jobs.found(sent)
    return None if found.done(sent) else jobs.submit(sent, found)


def _begun(client: Any, name: str, folder: str, sent: Parcel) -> bool:
    """Submit a job; say whether it is new."""
    try:
        client.submit_job(
            entrypoint=ENTRYPOINT,
            submission_id=name,
            runtime_env={"working_dir": folder, "env_vars": UNBUFFERED},
            metadata={"atlas": VERSION, "store": sent.place},
        )
    except RuntimeError as error:
        if "already exists" not in str(error):
            raise
        return False
    return True


# -- the address -------------------------------------------------------------------------------------------------------


def _checked(address: str) -> str:
    if not address.startswith(("http://", "https://")):
        raise AtlasError(
            f"{parameter('address', address)}: give the address of the cluster's dashboard, http://HOST:8265. For a "
            "cluster started with `ray up`, run `ray dashboard FILE.yaml` and give http://127.0.0.1:8265"
        )
    return address.partition("#")[0].rstrip("/")  # a browser shows the dashboard at /#/jobs


def _client(address: str) -> Any:
    """A client of the cluster, with the token of this machine where it asks for one."""
    mode = os.environ.get("RAY_AUTH_MODE", "").lower()
    for shown in dict.fromkeys([mode or "disabled", "token" if has_token() else "disabled"]):
        try:
            return _connected(address, shown)
        except Exception as error:
            if _asks(error) and shown != "token" and has_token():
                continue
            raise AtlasError(f"{parameter('address', address)}: {_why(error)}") from error
    raise AssertionError


def _connected(address: str, mode: str) -> Any:
    try:
        import aiohttp  # noqa: F401  # Ray finds out too late
        from ray.job_submission import JobSubmissionClient
    except ImportError as error:
        raise AtlasError("Submitting needs ray[default]: pip install 'atlas-builder[cluster]'") from error
    for name in CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    # Ray takes its own word for the address from the environment, whatever it is told.
    with environment(RAY_AUTH_MODE=mode, RAY_ADDRESS=None, RAY_API_SERVER_ADDRESS=None):
        return JobSubmissionClient(address)


def _asks(error: Exception) -> bool:
    return asks_for_a_token(f"{type(error).__name__}: {error}")


def _why(error: Exception) -> str:
    if isinstance(error, AtlasError):
        return str(error)
    if _asks(error):
        return TOKEN
    if "Version check returned" in str(error):
        return "what answers there takes no jobs. Give the address of the cluster's dashboard alone: http://HOST:8265"
    if isinstance(error, ConnectionError | OSError):
        return (
            "no Ray cluster takes jobs there. Check that the cluster's dashboard is running and that the address is "
            "right."
        )
    return _line(error)


def _ended(message: str) -> str:
    """How a job ended, in one line: in the last words of its log, or, where Ray itself ended it, Ray's first."""
    words = _line(message).removeprefix("error: ") if message.startswith(COMMAND) else message.strip().splitlines()[0]
    lacking = f". Install atlas-builder {VERSION} on every machine of the cluster" if ABSENT.search(words) else ""
    return brief(words, 300).rstrip(".") + lacking


def _line(error: object) -> str:
    """What Ray says, in one line."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    with suppress(IndexError):
        return lines[-1].rstrip(".")
    return type(error).__name__
