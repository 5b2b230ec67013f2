"""A place in an object store: S3, Google Cloud Storage, Azure.

    s3://bucket/prefix -> ObjectBackend

Credentials come by the platform's own means alone: its environment variables, its profiles, the machine's role. Nothing
of them is kept here, so nothing of them is pickled, stored or told.
"""

from __future__ import annotations

import os
import re
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from importlib.util import find_spec
from itertools import chain, islice
from pathlib import PurePosixPath
from typing import Any, TypeVar
from urllib.parse import quote

import obstore
from obstore.exceptions import (
    AlreadyExistsError,
    BaseError,
    PermissionDeniedError,
    PreconditionError,
    UnauthenticatedError,
)
from obstore.store import from_url

from atlas.errors import CannotWrite, StoreError
from atlas.store.backends.backend import PROBES, Backend

T = TypeVar("T")
# What the machine believes about file names is not asked: some believe that .js is plain text.
KINDS = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
}
PATIENCE = timedelta(seconds=60)
"""How long a request is tried again that failed for reasons of the network or of the server."""
TRIES = 3
"""How often bytes are asked for whose answers break off."""
BROKEN = "request or response body error"
"""What is said of an answer that broke off."""
REPEATS = 6
"""How often a request is made whose answer breaks off."""
PAUSE = 0.1
"""Seconds before the first of them; each next pause is twice as long."""
HOST = re.compile(r"https?://[^\s\"')]+")
"""The address of a server in what an error says: it is no business of a log's."""
OUTSIDE = re.compile(r"\b416\b|range", re.IGNORECASE)
"""What is said of bytes that an object does not have."""
WRITER = "writer"
"""The metadata of an object that was written on a condition: who wrote it."""
WRITERS = 8
"""Writers of the proof that one of many wins."""
ABREAST = 32
"""Requests that wait for their answers at a time, where there are many."""
NO_BUCKET = ("NoSuchBucket", "ContainerNotFound", "The specified bucket does not exist")
"""What servers say of a bucket that is not there."""
SAID = (re.compile("Code>(.*?)<"), re.compile("Message>(.*?)<"))
"""What of the body of an answer is told."""
METADATA = "169.254.169.254"
"""Where a machine of a cloud is asked for the credentials of its role, when there are no others."""
CREDENTIALS = {
    "s3": "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile of ~/.aws (with boto3), or the machine's role; "
    "the region from AWS_REGION, the address of a server of your own from AWS_ENDPOINT_URL",
    "gs": "GOOGLE_APPLICATION_CREDENTIALS, `gcloud auth application-default login`, or the machine's role",
    "az": "AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY, or the machine's identity",
}
"""What each scheme's own means are."""


@dataclass(frozen=True)
class Part:
    """Bytes of an object, and what is known of the whole."""

    data: bytes
    start: int
    """Where in the object they begin."""
    size: int
    """Bytes of the whole object."""
    mark: str
    """What tells this state of the object from others: its ETag."""


@dataclass(frozen=True)
class Found:
    """An object, as a server lists it."""

    key: str
    size: int
    mark: str
    """What tells this state of the object from others: its ETag. Empty where the server gives none."""


class ObjectBackend(Backend):
    """The objects below a prefix of a bucket; keys of the store are names below it. Pickled as its address."""

    def __init__(self, address: str) -> None:
        self.address = address.rstrip("/")

    def __str__(self) -> str:
        return self.address

    @property
    def _scheme(self) -> str:
        return self.address.partition(":")[0]

    @property
    def _store(self) -> Any:
        try:
            return _opened(self.address, os.getpid())
        except (BaseError, ValueError) as error:
            raise StoreError(f"{self}: {_line(error)}.{self._hint(error)}") from None

    def get(self, key: str) -> bytes | None:
        found = self._asked(key)
        return None if found is None else found[0]

    def get_all(self, keys: Iterable[str]) -> Iterator[bytes | None]:
        rest = iter(keys)
        with ThreadPoolExecutor(ABREAST) as pool:
            while some := [*islice(rest, 16 * ABREAST)]:
                yield from pool.map(self.get, some)

    def _asked(self, key: str, **options: Any) -> tuple[bytes, Any] | None:
        """An object's bytes, and what the server says of it; None where there is none."""
        with self._explained(key):
            try:
                return _repeated(lambda: _with_bytes(obstore.get(self._store, key, **options)))
            except FileNotFoundError as error:
                if _lacks_bucket(error):
                    raise  # it is a mistake, not a store that is yet to be made
                return None

    def range(self, key: str, start: int, stop: int | None = None) -> bytes | None:
        if start == 0 and stop is None:
            return self.get(key)
        if start < 0 and stop is None:
            return self._end(key, -start)
        if not 0 <= start < (stop or 0):
            return self._slice(key, start, stop)
        try:
            return bytes(obstore.get_range(self._store, key, start=start, end=stop))
        except FileNotFoundError:
            return None
        except BaseError:  # outside of the object, perhaps: its size tells
            return self._slice(key, start, stop)

    def _end(self, key: str, length: int) -> bytes | None:
        try:
            return bytes(obstore.get(self._store, key, options={"range": {"suffix": length}}).bytes())
        except FileNotFoundError:
            return None
        except BaseError:  # of an empty object there is no end, and not every server knows such a range
            return self._slice(key, -length, None)

    def _slice(self, key: str, start: int, stop: int | None) -> bytes | None:
        """Bytes of an object whose size is asked for first."""
        with self._explained(key):
            try:
                if (size := self._size(key)) is None:
                    return None
                begin, end, _ = slice(start, stop).indices(size)
                if begin >= end:
                    return b""
                return _repeated(lambda: bytes(obstore.get_range(self._store, key, start=begin, end=end)))
            except FileNotFoundError:
                return None

    def part(self, key: str, wanted: Any = None) -> Part | None:
        """A part of an object, as obstore names it: `(start, stop)`, `{"offset": n}`, `{"suffix": n}`, None for all.

        None where there is no object. A part that lies outside of it is empty.
        """
        with self._explained(key):
            try:
                options: Any = {} if wanted is None else {"range": wanted}
                data, found = _repeated(lambda: _with_bytes(obstore.get(self._store, key, options=options)))
                return Part(data, found.range[0], found.meta["size"], found.meta["e_tag"] or "")
            except FileNotFoundError:
                return None
            except BaseError:
                if wanted is None or (size := self._size(key)) is None:
                    raise
                return Part(b"", 0, size, "")

    def exactly(self, key: str, start: int, stop: int) -> Part | None:
        """Bytes `start:stop` of an object: fewer only where the object itself ends before. None where there is none.

        An answer that breaks off is asked for again; raises `StoreError` where all of them do.
        """
        pause = PAUSE
        with self._explained(key):
            for turn in range(TRIES):
                if turn:
                    time.sleep(pause)
                    pause *= 2
                part = self._answered(key, start, stop, last=turn == TRIES - 1)
                if part is None or len(part.data) == min(stop, max(part.size, start)) - start:
                    return part
        raise StoreError(
            f"{self}: {key} cannot be read: {TRIES} responses in a row were cut off. Run the same command again later."
        )

    def _answered(self, key: str, start: int, stop: int, *, last: bool) -> Part | None:
        """What the server answers, whole or not. What breaks off on the way is empty, unless it was the `last` time."""
        try:
            found = obstore.get(self._store, key, options={"range": (start, stop)})
        except FileNotFoundError:
            return None
        except BaseError as error:
            if OUTSIDE.search(str(error)) is None:
                raise
            # Where the object ends before: its size tells.
            if (size := self._size(key)) is not None and size > start:
                raise
            return None if size is None else Part(b"", start, size, "")
        try:
            data = bytes(found.bytes())
        except BaseError:
            if last:
                raise
            data = b""
        if found.range[0] != start:
            data = b""  # of another place
        return Part(data, start, found.meta["size"], found.meta["e_tag"] or "")

    def at(self, key: str) -> Found | None:
        """What the server says of one object; None where there is none."""
        with self._explained(key):
            try:
                return _found(obstore.head(self._store, key))
            except FileNotFoundError:
                return None

    def below(self, folder: str) -> Iterator[Found]:
        """Every object in a folder and the folders in it, in no order; those that only stand for a folder left out."""
        with self._explained(folder):
            for several in obstore.list(self._store, folder or None, chunk_size=1000):
                for one in several:
                    # What stands for a folder has a slash at its end, which is not told here.
                    if one["size"] or self.at(one["path"]) is not None:
                        yield _found(one)

    def _size(self, key: str) -> int | None:
        try:
            return int(obstore.head(self._store, key)["size"])
        except FileNotFoundError:
            return None

    def put(self, key: str, value: bytes) -> None:
        with self._explained(key, CannotWrite):
            # A browser that reads from the bucket goes by the kind.
            kind = KINDS.get(PurePosixPath(key).suffix)
            obstore.put(self._store, key, value, attributes={"Content-Type": kind} if kind else None)

    def put_new(self, key: str, value: bytes) -> bool:
        return self._put_on_condition(key, value, "create")

    def put_if(self, key: str, value: bytes, there: bytes | None) -> bool:
        if there is None:
            return self.put_new(key, value)
        found = self._asked(key)
        if found is None or found[0] != there:
            return False
        told = {name: found[1].meta[name] for name in ("e_tag", "version")}
        return self._put_on_condition(key, value, {name: mark for name, mark in told.items() if mark is not None})

    def _put_on_condition(self, key: str, value: bytes, mode: Any) -> bool:
        """Write an object where the server finds the condition met; say whether it was.

        An answer that is lost is asked for again, and then the object is there: it says whose it is.
        """
        writer = uuid.uuid4().hex
        with self._explained(key, CannotWrite):
            try:
                told: Any = {"attributes": {WRITER: writer}, "use_multipart": False}
                _repeated(lambda: obstore.put(self._store, key, value, mode=mode, **told))
            except (AlreadyExistsError, PreconditionError):
                found = self._asked(key)
                return found is not None and found[1].attributes.get(WRITER) == writer
            except FileNotFoundError:
                if mode == "create":
                    raise  # there is no bucket
                return False
            return True

    def delete(self, key: str) -> None:
        with self._explained(key, CannotWrite):
            try:
                _repeated(lambda: obstore.delete(self._store, key))
            except FileNotFoundError:
                return

    def delete_all(self, keys: Iterable[str]) -> None:
        with ThreadPoolExecutor(ABREAST) as pool:
            for _ in pool.map(self.delete, keys):
                pass

    def list(self, prefix: str = "") -> Iterator[str]:
        # A server lists by whole names of folders.
        folder = prefix.rpartition("/")[0]
        with self._explained(prefix):
            return iter(_repeated(lambda: self._sorted(folder, prefix)))

    def _sorted(self, folder: str, prefix: str) -> Sequence[str]:
        found = chain.from_iterable(obstore.list(self._store, folder or None))
        # Not every server lists in order.
        return sorted(one["path"] for one in found if one["path"].startswith(prefix))

    def fault(self) -> str:
        """Whether one of many writers wins: on that rests that nothing is done twice or lost."""
        key = f"{PROBES}{uuid.uuid4().hex}"
        try:
            with ThreadPoolExecutor(WRITERS) as pool:
                won = sum(pool.map(lambda number: self.put_new(key, b"%d" % number), range(WRITERS)))
            won += self.put_new(key, b"again") + self.put_if(key, b"other", b"again")
        finally:
            self.delete(key)
        if won == 1:
            return ""
        return (
            f"of {WRITERS + 2} writers of one new object {won} were told that they were the first. This server ignores "
            "conditional writes (If-None-Match), without which results are lost. Take a newer version, or another one."
        )

    @contextmanager
    def _explained(self, key: str, kind: type[StoreError] = StoreError) -> Iterator[None]:
        """Tell of what a server answers in one line.

        The error itself is left out of the traceback, which may be kept: it names addresses of machines.
        """
        try:
            yield
        except ValueError as error:  # an empty name in it, or one that leads out
            raise kind(f"{key!r} is no key of a store: {error}") from None
        except (UnauthenticatedError, PermissionDeniedError):
            means = CREDENTIALS[self._scheme]
            raise kind(f"{self}: access is denied to {key or 'it'}. Credentials are taken from {means}.") from None
        except (FileNotFoundError, BaseError) as error:
            if isinstance(error, FileNotFoundError) or _lacks_bucket(error):
                raise kind(f"{self} is not there: make the bucket first, or name another.") from None
            raise kind(f"{self}: {key or 'it'} cannot be reached: {_line(error)}.{self._hint(error)}") from None

    def _hint(self, error: Exception) -> str:
        """Where credentials are looked for, where it is their lack that an error tells of."""
        asked = any(name in str(error) for name in (METADATA, "credential", "token", "Account"))
        return f" Credentials are taken from {CREDENTIALS[self._scheme]}." if asked else ""


def _lacks_bucket(error: Exception) -> bool:
    """Whether it is the bucket that is not there."""
    return any(name in str(error) for name in NO_BUCKET)


def _repeated(ask: Callable[[], T]) -> T:
    """What a request gives. The client goes on with an object that breaks off, but with no list and no refusal."""
    pause = PAUSE
    for _ in range(REPEATS - 1):
        try:
            return ask()
        except BaseError as error:
            if BROKEN not in str(error):
                raise
        time.sleep(pause)
        pause *= 2
    return ask()


def _with_bytes(found: Any) -> tuple[bytes, Any]:
    return bytes(found.bytes()), found


def _found(meta: Any) -> Found:
    return Found(meta["path"], meta["size"], meta["e_tag"] or "")


def _line(error: Exception) -> str:
    """What an error of the object store says, in one line.

    Of a server's answer only code and message: S3 repeats a session token that has expired, and what was signed.
    """
    text, _, body = " ".join(str(error).partition("\n\nDebug source")[0].split()).partition("<")
    told = ": ".join(found[1] for found in (tag.search(body) for tag in SAID) if found)
    return HOST.sub("the server", f"{text}{told}").rstrip(". ")


@cache
def _opened(address: str, _process: int) -> Any:
    """The connection to a store: one a process, as a child cannot use its parent's."""
    scheme, _, place = address.partition("://")
    endpoint = os.environ.get("AWS_ENDPOINT_URL", "") if address.startswith("s3:") else ""
    return from_url(
        f"{scheme}://{quote(place)}",  # names are taken as they are, a `%20` too
        client_options={"allow_http": True} if endpoint.startswith("http:") else None,
        retry_config={"retry_timeout": PATIENCE},
        credential_provider=_profile(address),
    )


def _profile(address: str) -> Any:
    """Credentials of a profile of ~/.aws, which boto3 reads; None where the environment or the machine has them."""
    if not address.startswith("s3:") or "AWS_ACCESS_KEY_ID" in os.environ or find_spec("boto3") is None:
        return None
    from boto3 import Session  # type: ignore[import-untyped]
    from obstore.auth.boto3 import Boto3CredentialProvider

    session = Session()
    return None if session.get_credentials() is None else Boto3CredentialProvider(session)
