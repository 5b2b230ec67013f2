"""A page for a store, at an address of this machine.

    (store, host, port) -> http://host:port/

    /            the built web app: index.html, assets/
    /store/      the store, byte for byte, with ranges; of older ones also what they lack of what is derived

Else nothing is computed here. The same tree - index.html, assets/ and the store as store/ - works on any static host
that answers range requests with 206.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import webbrowser
from collections.abc import Callable, Sequence
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp

from atlas.errors import AtlasError, NotAStore
from atlas.server.completed import Completed
from atlas.server.files import StaticFolder
from atlas.server.guard import BACKLOG, EVERYWHERE, Named, protocol, room, trouble
from atlas.server.objects import Objects
from atlas.store import Backend, LocalBackend, ObjectBackend, backend_at
from atlas.store.backends.object_store import KINDS
from atlas.words import command, parameter, shown

APP = Path(__file__).parent.parent / "viewer" / "dist"
"""The built web app. Wheels carry it; `make viewer` builds it in a checkout."""
PORT = 8000
TRIES = 100
"""Ports tried, one after the other, where the first is taken."""


def app_of(store: str | Path, app: Path = APP) -> Starlette:
    """The web application for the store at `store`. Raises `NotAStore`, or `AtlasError` without a page."""
    _require_page(app)
    backend = backend_at(store)
    if backend.get("zarr.json") is None:
        build = command("atlas", "build", "MODEL", "--store", backend)
        raise NotAStore(f"{backend} is no atlas store. Build one: {build}")
    return Starlette(
        routes=[
            # A store is data: nothing in it is ever shown as a page of this address.
            Mount("/store", _objects(backend)),
            Mount("/", StaticFolder(app, kinds=KINDS, html=True)),
        ]
    )


def _objects(backend: Backend) -> ASGIApp:
    """What answers with the objects of a store."""
    kinds = {".json": KINDS[".json"]}
    if isinstance(backend, ObjectBackend):
        return Completed(Objects(backend, kinds=kinds), backend, kinds=kinds)
    if isinstance(backend, LocalBackend):
        return Completed(StaticFolder(backend.root, kinds=kinds), backend, kinds=kinds)
    raise NotAStore(f"{backend}: only a store in a folder or in an object store can be served.")


def put_page(place: str | Path | Backend, app: Path = APP) -> None:
    """Write the page to `place`, from where a static host serves it; it reads the store in the folder `store` there.

    Raises `AtlasError` where the page is not built.
    """
    _require_page(app)
    backend = backend_at(place)
    files = (path for path in app.rglob("*") if path.is_file())
    for path in sorted(files, key=lambda path: path.name == "index.html"):  # last: it names the others
        backend.put(path.relative_to(app).as_posix(), path.read_bytes())


def _require_page(app: Path) -> None:
    """Raise `AtlasError` where the page is not built."""
    if not (app / "index.html").is_file():
        raise AtlasError(f"The page is not built: there is no {app / 'index.html'}. Build it: make viewer")


def serve(
    store: str | Path,
    host: str = "127.0.0.1",
    port: int = PORT,
    open_browser: bool = False,
    announce: Callable[[str], None] = print,
    app: Path = APP,
    allow_hosts: Sequence[str] = (),
) -> None:
    """Show the store at `store`, a folder or an address in an object store, until Ctrl-C, at the first free port from
    `port` on.

    It answers by `localhost`, the loopback addresses, `host`, and the names in `allow_hosts` (`*` for any).

    Raises `AtlasError` where the page is not built, the address is not this machine's or no port is free;
    `NotAStore` where there is no store.
    """
    application = Named(app_of(store, app), host, allow_hosts)
    with listen(host, port) as door:
        address = address_of(door, host)
        announce(f"{shown(store)} at {address}   (Ctrl-C ends it)")
        if open_browser:
            webbrowser.open(address)
        with contextlib.suppress(KeyboardInterrupt):  # how one ends it
            Server(settings_of(application)).run(sockets=[door])


def settings_of(application: ASGIApp) -> uvicorn.Config:
    """How an application is served: as many connections at once as there are handles for."""
    return uvicorn.Config(
        application,
        loop="asyncio",
        http=protocol(room()),
        ws="none",
        backlog=BACKLOG,
        log_level="error",  # what others send is theirs
        access_log=False,
        lifespan="off",
        timeout_graceful_shutdown=1,
    )


class Server(uvicorn.Server):
    """Tells of what goes wrong beside its answers in a line."""

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        asyncio.get_running_loop().set_exception_handler(trouble)
        await super().serve(sockets)


def listen(host: str, port: int) -> socket.socket:
    """A listening socket at the first free port from `port` on. Raises `AtlasError` where there is none."""
    try:
        family, *_, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise AtlasError(
            f"{parameter('host', host)}: {error.strerror}. Name an address of this machine, as 127.0.0.1."
        ) from None
    taken: OSError | None = None
    for candidate in range(port, min(port + TRIES, 65536)):
        try:
            return socket.create_server((where[0], candidate), family=family)
        except OSError as error:
            taken = error
    raise AtlasError(
        f"No port from {port} to {min(port + TRIES, 65536) - 1} of {host} can be listened on: "
        f"{taken.strerror if taken else 'none was tried'}. Name another {parameter('port')}."
    )


def address_of(door: socket.socket, host: str) -> str:
    """What to type into a browser on this machine to reach `door`."""
    name = ("::1" if host == "::" else "127.0.0.1") if host in EVERYWHERE else host
    return f"http://{f'[{name}]' if ':' in name else name}:{door.getsockname()[1]}/"
