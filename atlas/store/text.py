"""Names and reasons as arrays that every reader of Zarr understands.

[str] <-> uint8 [n, width]: UTF-8, filled up with zeros
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

Bytes = np.ndarray[Any, np.dtype[np.uint8]]
CUT = "…"
"""Stands for the beginning of a text that is too long."""


def written(texts: Sequence[str], width: int) -> Bytes:
    """`texts` as uint8 [n,width]; of one that is too long the end is kept, which tells names apart."""
    rows = np.zeros((len(texts), width), np.uint8)
    for row, text in zip(rows, texts, strict=True):
        data = text.encode()
        if len(data) > width:
            kept = data[len(data) - width + len(CUT.encode()) :].decode(errors="ignore")
            data = (CUT + kept).encode()
        row[: len(data)] = np.frombuffer(data, np.uint8)
    return rows


def texts(rows: Bytes) -> list[str]:
    """The texts in uint8 [n,width].

    >>> texts(written(["a", "späte"], 8))
    ['a', 'späte']
    """
    return [row.tobytes().rstrip(b"\0").decode(errors="replace") for row in rows]
