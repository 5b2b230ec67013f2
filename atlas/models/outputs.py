"""Names of activations: `PATH[@CALL][#ITEM]`.

    name -> Place        module output -> (item, Tensor) ...

>>> Place.parse("layer1.0.relu@2")
Place(path='layer1.0.relu', call=2, item='')
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor


@dataclass(frozen=True)
class Place:
    """Where in a forward pass an activation appears."""

    path: str
    """Of the module whose output it is."""
    call: int = 1
    """Which of the module's calls: modules may be used more than once."""
    item: str = ""
    """Index or key in an output that is a tuple or a mapping; empty where it is a tensor."""

    def __str__(self) -> str:
        return self.path + (f"@{self.call}" if self.call > 1 else "") + (f"#{self.item}" if self.item else "")

    @classmethod
    def parse(cls, name: str) -> Place:
        path, _, item = name.partition("#")
        match = re.fullmatch(r"(?P<path>.*)@(?P<call>\d+)", path)
        return cls(match["path"], int(match["call"]), item) if match else cls(path, 1, item)


def items(output: Any) -> Iterator[tuple[str, Tensor]]:
    """The tensors directly in a module's output, each with its item name."""
    if isinstance(output, Tensor):
        yield "", output
        return
    if isinstance(output, Mapping):
        pairs: Any = output.items()
    elif dataclasses.is_dataclass(output):
        pairs = vars(output).items()
    else:
        pairs = enumerate(output) if isinstance(output, tuple | list) else ()
    yield from ((str(key), value) for key, value in pairs if isinstance(value, Tensor))
