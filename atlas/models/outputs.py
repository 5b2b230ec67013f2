"""Names of activations: `PATH[@CALL][#ITEM]`.

    name -> Place        module output -> (item, Tensor) ...        network's output -> (path, Tensor) ...

>>> Place.parse("layer1.0.relu@2")
Place(path='layer1.0.relu', call=2, item='')
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote

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
        return _spelled(self.path) + (f"@{self.call}" if self.call > 1 else "") + (f"#{self.item}" if self.item else "")

    @classmethod
    def parse(cls, name: str) -> Place:
        path, _, item = name.partition("#")
        match = re.fullmatch(r"(?P<path>.*)@(?P<call>\d+)", path)
        path, call = (match["path"], int(match["call"])) if match else (path, 1)
        return cls(unquote(path) if SPELLED.search(path) else path, call, item)


MISTAKEN = re.compile(r"#|@\d+$|%(23|25|40)")
"""What in a module's path would be taken for an item or a call."""
SPELLED = re.compile(r"%(23|25|40)")


def _spelled(path: str) -> str:
    """The path of a module as names of its activations hold it: as it is, but where it could be mistaken."""
    if not MISTAKEN.search(path):
        return path
    return path.replace("%", "%25").replace("#", "%23").replace("@", "%40")


DEEP = 8
"""How deep outputs are looked into: some hold themselves."""


def items(output: Any) -> Iterator[tuple[str, Tensor]]:
    """The tensors directly in a module's output, each with its item name."""
    if isinstance(output, Tensor):
        yield "", output
        return
    pairs = enumerate(output) if isinstance(output, tuple | list) else _fields(output)
    yield from ((str(key), value) for key, value in pairs if isinstance(value, Tensor))


def nested(output: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, Tensor]]:
    """Every tensor anywhere in a network's output: its keys and indices, joined by dots, and itself.

    Unlike an item of a layer, a named tuple's field goes by its name, and any object's attributes count.
    """
    if isinstance(output, Tensor):
        yield ".".join(path), output
    elif len(path) < DEEP:
        if isinstance(output, tuple | list):
            pairs: Iterable[tuple[Any, Any]] = zip(getattr(output, "_fields", range(len(output))), output, strict=False)
        else:
            pairs = _fields(output) or getattr(output, "__dict__", {}).items()
        for key, value in pairs:
            yield from nested(value, (*path, str(key)))


def _fields(output: Any) -> Iterable[tuple[Any, Any]]:
    """The keys and values of a mapping or a data class; none of anything else."""
    if isinstance(output, Mapping):
        return list(output.items())
    if not dataclasses.is_dataclass(output) or isinstance(output, type):
        return []
    named = {field.name: getattr(output, field.name, None) for field in dataclasses.fields(output)}
    return list((named | getattr(output, "__dict__", {})).items())
