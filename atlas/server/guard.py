"""Who is answered: by which names, how many at once, and how long they may take.

    application, names -> the same application for requests that ask for one of the names
    handles -> how many connections they last for -> a protocol that keeps to it

A page that another site made the browser ask for (DNS rebinding) comes with that site's name. Whoever connects and
says nothing, or does not read what was asked for, is let go, so that nobody is kept out for long.
"""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import socket
import time
from collections.abc import Collection
from typing import Any

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from atlas.words import command, shown

log = logging.getLogger("atlas.server")

LOCAL = "localhost"
EVERYWHERE = {"0.0.0.0", "::", ""}
"""Addresses to listen on that are all of this machine's."""
ANY = "*"

MOST = 4096
"""Connections at once, where there are handles for as many."""
SPARE = 256
"""Handles for all else: libraries, sockets that are taken in a burst, and what is looked up."""
BACKLOG = 100
"""Connections that are taken in one go."""
FRESH = 2.0
"""Seconds for which a new connection is not let go for a newer one."""
PATIENCE = 15.0
"""Seconds in which a whole request has to come, or what was answered has to be read on."""
QUIET = 60.0
"""Seconds between two lines about the same trouble."""


class Named:
    """An application that answers only where it is asked for by one of its names."""

    def __init__(self, app: ASGIApp, host: str, more: Collection[str] = ()) -> None:
        self.app = app
        own = {socket.gethostname(), socket.getfqdn()} if host in EVERYWHERE else ()  # what others call this machine
        self.names = {_bare(name) for name in (*more, host, *own)}
        self.everywhere = host in EVERYWHERE

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        asked = Headers(scope=scope).get("host")
        if asked is None or self.known(asked):  # browsers always say it
            await self.app(scope, receive, send)
            return
        answering = command("atlas", "serve", "--allow-host", "NAME")
        line = f"This page is not served as {shown(asked)}. To have it answer: {answering}"
        await PlainTextResponse(f"{line}\n", 403)(scope, receive, send)

    def known(self, asked: str) -> bool:
        """Whether a `Host` header names this page."""
        name = _bare(asked)
        if name in self.names or ANY in self.names or name == LOCAL or name.endswith(f".{LOCAL}"):
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        # No site can make a browser ask for its page by a number.
        return address.is_loopback or self.everywhere


def _bare(host: str) -> str:
    """A host's name without port, brackets and a last dot, in small letters.

    >>> [_bare(host) for host in ("Localhost.:8000", "[::1]:8000", "::1", "a.example")]
    ['localhost', '::1', '::1', 'a.example']
    """
    text = host.strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return (text if text.count(":") > 1 else text.partition(":")[0]).removesuffix(".")


def room(most: int = MOST) -> int:
    """How many connections there are handles for, of which each may open a file; the system is asked for more."""
    try:
        import resource
    except ImportError:  # not a system with such a limit
        return min(most, 200)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * most + SPARE
    with contextlib.suppress(ValueError, OSError):
        soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        if soft != resource.RLIM_INFINITY and soft < wanted:
            more = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, more), hard))
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    return most if soft == resource.RLIM_INFINITY else max(8, min(most, (soft - SPARE) // 2))


async def busy(scope: Scope, receive: Receive, send: Send) -> None:
    """The application that says that there is no room."""
    told = "Too many ask at once. Try again.\n"
    await PlainTextResponse(told, 503, headers={"retry-after": "1", "connection": "close"})(scope, receive, send)


class Guarded(H11Protocol):
    """A connection that is let go where its request does not come, or its answer is not read."""

    most = MOST
    patience = PATIENCE

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self.since = time.monotonic()
        self._deadline: asyncio.TimerHandle | None = None
        self._stuck: asyncio.TimerHandle | None = None
        if len(self.connections) > self.most + BACKLOG:
            transport.abort()
        elif len(self.connections) > self.most and not self._make_room():
            complain("Too many connections at once: some are told to try again.")
            self.app = busy
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._deadline, self._stuck):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        self.since = time.monotonic()
        super().on_response_complete()
        self._wait()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stuck = self.loop.call_later(self.patience, self.transport.abort)

    def resume_writing(self) -> None:
        if self._stuck is not None:
            self._stuck.cancel()
        super().resume_writing()

    @property
    def idle(self) -> bool:
        """Whether nothing is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def _wait(self) -> None:
        """Give the next request time to come."""
        if self._deadline is not None:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(self.patience, self._late)

    def _late(self) -> None:
        if self.idle:
            self.transport.abort()

    def _make_room(self) -> bool:
        """Let the connection go that has been idle longest, unless it is fresh; say whether there was one."""
        idle = [other for other in self.connections if isinstance(other, Guarded) and other.idle and other is not self]
        oldest = min(idle, key=lambda other: other.since, default=None)
        if oldest is None or time.monotonic() - oldest.since < FRESH:
            return False
        oldest.transport.abort()
        return True


def protocol(most: int) -> type[Guarded]:
    """The protocol for at most `most` connections at once."""
    return type("Guarded", (Guarded,), {"most": most})


_told: dict[str, float] = {}


def complain(line: str) -> None:
    """A line to whoever serves, and for a while not again."""
    now = time.monotonic()
    if now - _told.get(line, -QUIET) >= QUIET:
        _told[line] = now
        log.warning(line)


def trouble(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """What becomes of an error that nobody waits for: of the system's a line, of ours what asyncio makes of it."""
    error = context.get("exception")
    if isinstance(error, OSError):
        complain(f"The system refuses: {error.strerror or error}.")
    else:
        loop.default_exception_handler(context)
