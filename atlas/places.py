"""Places that a person names: folders and files of this machine; of stores and images, also addresses in object stores.

    text or path -> Path        s3://bucket/x, where a store is meant -> the same        else -> AtlasError

An address of elsewhere is refused wherever a file is taken: as a path it would be a folder called `s3:`.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote

from atlas.errors import AtlasError

ADDRESS = re.compile(r"(?P<scheme>[A-Za-z][\w+.@:-]+):(?P<rest>/.*)", re.DOTALL)
"""SCHEME:/..., of which `Path` leaves one slash; a drive has one letter."""


OBJECT_STORES = ("s3", "gs", "az")
"""Schemes of the addresses at which stores and images may lie."""


def in_object_store(place: str | Path) -> bool:
    """Whether `place` is an address in an object store."""
    address = ADDRESS.fullmatch(str(place))
    return address is not None and address["scheme"].lower() in OBJECT_STORES


def of_store(place: str | Path, refused: type[AtlasError] = AtlasError) -> Path | str:
    """Where a store, or images, lie that `place` names: an address in an object store as it is, all else as `local`.

    >>> of_store("s3://bucket/resnet50.atlas")
    's3://bucket/resnet50.atlas'
    """
    if not in_object_store(place):
        return local(place, refused)
    scheme, _, rest = str(place).partition(":")
    if not rest.startswith("//") or not rest.strip("/"):
        raise refused(f"{place}: an address in an object store is {scheme.lower()}://BUCKET/NAME.")
    return f"{scheme.lower()}:{rest}"


def local(place: str | Path, refused: type[AtlasError] = AtlasError) -> Path:
    """The folder or file of this machine that `place` names, as `~/x`, `x` or `file:///x`.

    Raises `refused` for an address of elsewhere.

    >>> local("file:///data/my%20photos").as_posix()
    '/data/my photos'
    """
    text = str(place)
    address = ADDRESS.fullmatch(text)
    if address is None:
        return Path(text).expanduser()
    if address["scheme"].lower() == "file":
        return _of_file(text, address["rest"], refused)
    raise refused(
        f"{text}: {address['scheme']}:// is not supported here. Stores and images may lie at "
        f"{', '.join(f'{one}://' for one in OBJECT_STORES)}, other files on this machine alone. Name a local path."
    )


def cache_folder(given: str | Path = "") -> Path:
    """The folder for what can be had again: that `given`, else ATLAS_CACHE, else atlas in the user's own cache.

    Raises `RuntimeError` where there is no home to have one.
    """
    named = str(given) or os.environ.get("ATLAS_CACHE")
    if named:
        return Path(named).expanduser().absolute()
    usual = os.environ.get("XDG_CACHE_HOME")
    return (Path(usual) if usual else Path.home() / ".cache") / "atlas"


def _of_file(text: str, rest: str, refused: type[AtlasError]) -> Path:
    """The path of an address `file:...`, of which a `Path` has lost whether a host is named."""
    host, _, path = rest.removeprefix("//").partition("/")
    if not rest.startswith("//") or host not in ("", "localhost"):
        raise refused(f"{text}: a file of this machine is file:///FOLDER/FILE, with three slashes, or just a path.")
    return Path("/" + unquote(path))
