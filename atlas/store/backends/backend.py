"""What every place for a store's objects promises.

    key -> bytes, whole or in ranges

A key is a path of segments joined by `/`. `put` is atomic and durable: after it returns, the object
survives a power cut; before, none of it can be seen. Readers never see half an object.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator

PROBES = "probe/"
"""Where it is tried what a place is good for: what lies there is nobody's."""
OLD = 3600.0
"""Seconds after which what nobody holds is taken for a dead writer's."""


class Backend(ABC):
    """A place for objects. Subclasses are cheap to pickle: workers get a copy."""

    settled = False
    """Whether there is a store here: then a place that is gone is not made anew."""

    @abstractmethod
    def get(self, key: str) -> bytes | None:
        """The object at `key`; None where there is none."""

    @abstractmethod
    def range(self, key: str, start: int, stop: int | None = None) -> bytes | None:
        """Bytes `start:stop` of the object, as in a slice (a negative start counts from the end)."""

    @abstractmethod
    def put(self, key: str, value: bytes) -> None:
        """Write an object, replacing one that is there. Raises `StoreFull` or `CannotWrite`."""

    @abstractmethod
    def put_new(self, key: str, value: bytes) -> bool:
        """Write an object unless one is there; say whether it was written. One of many writers wins."""

    @abstractmethod
    def put_if(self, key: str, value: bytes, there: bytes | None) -> bool:
        """Write an object where what is there is still `there` (None: nothing is); say whether it was written."""

    @abstractmethod
    def delete(self, key: str) -> None:
        """Remove an object; no error where there is none."""

    @abstractmethod
    def list(self, prefix: str = "") -> Iterator[str]:
        """Every key that starts with `prefix`, sorted."""

    def get_all(self, keys: Iterable[str]) -> Iterator[bytes | None]:
        """The objects at `keys`, in their order."""
        return map(self.get, keys)

    def delete_all(self, keys: Iterable[str]) -> None:
        """Remove objects, as `delete`."""
        for key in keys:
            self.delete(key)

    def update(self, key: str, make: Callable[[bytes | None], bytes]) -> bytes:
        """Replace an object by what `make` makes of it, and lose no other writer's doing; say what is there then.

        `make` is asked again where somebody else was faster, so it reads anew all that it rests on.
        """
        while True:
            there = self.get(key)
            value = make(there)
            if value == there or self.put_if(key, value, there):
                return value

    def sweep(self, older: float = OLD) -> int:  # noqa: ARG002 (most places have no such pieces)
        """Remove what writers that died left behind, `older` than so many seconds by the clock of the place itself.

        Says how many pieces went. Nothing that lives is touched.
        """
        return 0

    def fault(self) -> str:
        """What no build could live with here, as found by trying; empty where all is well."""
        return ""
