"""Whether metadata that is there says what the plans say: the whole of it.

    planned, there -> bool

Zarr's versions may add to it, and older stores of ours say less; anything else that differs is damage. A key that
changed its name is one that is missing.
"""

from __future__ import annotations

import re
from typing import Any

from atlas.store import layout

LATER = {"scratch", "unsupported", "beside"}
"""Attributes, and statuses of images, that came after the first stores, and that no reader needs."""
EMPTY = {"attributes", "storage_transformers", "dimension_names", "consolidated_metadata"}
"""Fields that Zarr's versions write or leave out where there is nothing to say."""
ADDED = {"must_understand": False}
"""What a field carries that a newer Zarr added and a reader may ignore."""


def agree(planned: Any, there: Any) -> bool:
    """Whether the metadata that is `there` says what is `planned`, and nothing else."""
    if isinstance(planned, dict) and isinstance(there, dict):
        ours, theirs = _said(planned), _said(there)
        missing, added = ours.keys() - theirs.keys(), theirs.keys() - ours.keys()
        if missing - LATER or not all(
            isinstance(theirs[name], dict) and theirs[name].items() >= ADDED.items() for name in added
        ):
            return False
        return all(_same(name, ours[name], theirs[name]) for name in ours.keys() & theirs.keys())
    if isinstance(planned, list) and isinstance(there, list):
        return len(planned) == len(there) and all(map(agree, planned, there))
    # To Python, True is 1.
    return isinstance(planned, bool) == isinstance(there, bool) and bool(planned == there)


def _said(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value or name not in EMPTY}


def _same(name: str, planned: Any, there: Any) -> bool:
    """Whether a field says what is planned; a store that an older minor began says so in its groups."""
    if name == "encoding-version":
        return re.fullmatch(r"[0-9]+\.[0-9]+", str(there)) is not None and not newer(str(there))
    return agree(planned, there)


def newer(version: str) -> bool:
    """Whether a version of the store, MAJOR.MINOR, is newer than ours."""
    theirs, ours = (tuple(map(int, text.split("."))) for text in (version, layout.VERSION))
    return theirs > ours
