"""A page for a store, at an address of this machine.

    (store, host, port) -> http://host:port/

    /            the built web app: index.html, assets/
    /store/      the store, byte for byte, with ranges

Nothing is computed here. The same tree - index.html, assets/ and the store as store/ - works on any static host that
answers range requests with 206.
"""

from __future__ import annotations

import contextlib
import socket
import webbrowser
from collections.abc import Callable
from pathlib import Path

import uvicorn
from starlette.applications import Starlette
from starlette.routing import Mount

from atlas.errors import AtlasError, NotAStore
from atlas.serve.files import KINDS, Files

APP = Path(__file__).parent.parent / "viewer" / "dist"
"""The built web app. Wheels carry it; `make viewer` builds it in a checkout."""
PORT = 8000
TRIES = 100
"""Ports tried, one after the other, where the first is taken."""


def app_of(store: Path, app: Path = APP) -> Starlette:
    """The web application for the store in the folder `store`. Raises `NotAStore`, or `AtlasError` without a page."""
    if not (app / "index.html").is_file():
        raise AtlasError(f"The page is not built: there is no {app / 'index.html'}. Build it: make viewer")
    if not (store / "zarr.json").is_file():
        raise NotAStore(f"{store} is no atlas store. Build one: atlas build MODEL --store {store}")
    return Starlette(
        routes=[
            # A store is data: nothing in it is ever shown as a page of this address.
            Mount("/store", Files(store, kinds={".json": KINDS[".json"]})),
            Mount("/", Files(app, kinds=KINDS, html=True)),
        ]
    )


def serve(
    store: Path,
    host: str = "127.0.0.1",
    port: int = PORT,
    open_browser: bool = False,
    announce: Callable[[str], None] = print,
    app: Path = APP,
) -> None:
    """Show the store in the folder `store` until Ctrl-C, at `port` or the next free one.

    Raises `AtlasError` where the page is not built, the address is not this machine's or no port is free;
    `NotAStore` where there is no store.
    """
    application = app_of(Path(store), app)
    with listen(host, port) as door:
        address = address_of(door, host)
        announce(f"{store} at {address}   (Ctrl-C ends it)")
        if open_browser:
            webbrowser.open(address)
        settings = uvicorn.Config(
            application, log_level="warning", access_log=False, lifespan="off", timeout_graceful_shutdown=1
        )
        with contextlib.suppress(KeyboardInterrupt):  # how one ends it
            uvicorn.Server(settings).run(sockets=[door])


def listen(host: str, port: int) -> socket.socket:
    """A listening socket at the first free port from `port` on. Raises `AtlasError` where there is none."""
    try:
        family, *_, where = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
    except OSError as error:
        raise AtlasError(f"--host {host}: {error.strerror}. Name an address of this machine, as 127.0.0.1.") from None
    taken: OSError | None = None
    for candidate in range(port, min(port + TRIES, 65536)):
        try:
            return socket.create_server((where[0], candidate), family=family)
        except OSError as error:
            taken = error
    raise AtlasError(
        f"No port from {port} to {min(port + TRIES, 65536) - 1} of {host} can be listened on: "
        f"{taken.strerror if taken else 'none was tried'}. Name another with --port."
    )


def address_of(door: socket.socket, host: str) -> str:
    """What to type into a browser on this machine to reach `door`."""
    everywhere = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}
    name = everywhere.get(host, host)
    return f"http://{f'[{name}]' if ':' in name else name}:{door.getsockname()[1]}/"
