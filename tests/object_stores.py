"""Servers of object stores for the tests: moto in this process, and SeaweedFS, which is a real one.

with moto() as address: ...      # s3://BUCKET; the environment holds what reaches it
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.proxies import Proxy, proxy

if TYPE_CHECKING:
    from tests.namespaces import Host

SERVERS = ("moto", pytest.param("seaweed", marks=pytest.mark.slow))
KEYS = {
    "AWS_ACCESS_KEY_ID": "tested",
    "AWS_SECRET_ACCESS_KEY": "a-secret-that-must-not-be-told",
    "AWS_REGION": "us-east-1",
}


@dataclass(frozen=True)
class Server:
    """A server, and a new bucket on it."""

    endpoint: str
    bucket: str

    @contextmanager
    def reached(self) -> Iterator[None]:
        """Inside the block the environment says how to reach it."""
        with environment(AWS_ENDPOINT_URL=self.endpoint, **KEYS):
            yield


@contextmanager
def environment(**values: str) -> Iterator[None]:
    """What is set inside the block."""
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextmanager
def server_called(name: str, folder: Path) -> Iterator[Server]:
    """One of `SERVERS`; what it keeps on a disk lies in `folder`."""
    with moto() if name == "moto" else seaweed(folder) as found:
        yield found


@contextmanager
def counted_by_a_proxy(server: Server) -> Iterator[Proxy]:
    """The server behind a proxy, which is what the environment says how to reach inside the block."""
    from atlas.store.backends import object_store

    with proxy(server.endpoint) as made, environment(AWS_ENDPOINT_URL=made.endpoint, **KEYS):
        object_store._opened.cache_clear()
        yield made
    object_store._opened.cache_clear()


@contextmanager
def moto() -> Iterator[Server]:
    """A new bucket of moto's server."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield Server(f"http://{host}:{port}", bucket(f"http://{host}:{port}"))
    finally:
        server.stop()


@contextmanager
def seaweed(folder: Path, host: Host | None = None) -> Iterator[Server]:
    """A new bucket of a SeaweedFS server that keeps its data in `folder`; on a `host`, where one is said."""
    address, start = (host.address, host.start) if host else ("127.0.0.1", subprocess.Popen)
    ports = {name: free_port() for name in ("master.port", "volume.port", "filer.port", "s3.port")}
    allowed = {"name": "tests", "actions": ["Admin", "Read", "Write", "List", "Tagging"]}
    keys = {"accessKey": KEYS["AWS_ACCESS_KEY_ID"], "secretKey": KEYS["AWS_SECRET_ACCESS_KEY"]}
    (folder / "s3.json").write_text(json.dumps({"identities": [{**allowed, "credentials": [keys]}]}))
    words = [str(Path(sys.executable).with_name("weed")), "server", f"-dir={folder}", "-volume.max=100"]
    words += [f"-ip={address}", f"-ip.bind={address}", "-filer", "-s3"]
    words += [f"-{name}={port}" for name, port in ports.items()]
    words += [f"-{name}.port.grpc={free_port()}" for name in ("master", "volume", "filer", "s3")]
    words += ["-s3.port.iceberg=0", "-s3.port.lance=0", f"-s3.config={folder / 's3.json'}"]
    with (folder / "log").open("wb") as log:
        server = start(words, stdout=log, stderr=log)
        try:
            endpoint = f"http://{address}:{ports['s3.port']}"
            yield Server(endpoint, bucket(endpoint))
        finally:
            server.kill()  # it takes its time to end by itself
            server.wait()


def bucket(endpoint: str) -> str:
    """The address of a new bucket."""
    import boto3  # type: ignore[import-untyped]

    name = f"atlas-{uuid.uuid4().hex[:8]}"
    wait_for(endpoint)
    keys = {"aws_access_key_id": KEYS["AWS_ACCESS_KEY_ID"], "aws_secret_access_key": KEYS["AWS_SECRET_ACCESS_KEY"]}
    client = boto3.client("s3", endpoint_url=endpoint, region_name=KEYS["AWS_REGION"], **keys)
    for turn in range(60):
        try:
            client.create_bucket(Bucket=name)
            break
        except Exception:
            if turn == 59:
                raise
            time.sleep(0.5)
    return f"s3://{name}"


def wait_for(endpoint: str) -> None:
    """Until a server answers, whatever it answers."""
    for _ in range(120):
        try:
            urllib.request.urlopen(endpoint, timeout=2).close()
        except urllib.error.HTTPError:
            return
        except OSError:
            time.sleep(0.25)
        else:
            return
    raise TimeoutError(endpoint)


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
