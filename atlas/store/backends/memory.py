"""A place in this process's memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator

from atlas.errors import StoreError
from atlas.store.backends.backend import Backend
from atlas.words import parameter


class MemoryBackend(Backend):
    """A dictionary: for tests and notebooks. It lives and dies with its process."""

    def __init__(self) -> None:
        self._objects: dict[str, bytes] = {}
        self._lock = threading.Lock()

    def __str__(self) -> str:
        return "memory"

    def __reduce__(self) -> str:
        raise StoreError(
            "A store in memory cannot be handed to another process: build with "
            f"{parameter('local', True)}, or in a folder."
        )

    def get(self, key: str) -> bytes | None:
        return self._objects.get(key)

    def range(self, key: str, start: int, stop: int | None = None) -> bytes | None:
        value = self._objects.get(key)
        return None if value is None else value[start:stop]

    def put(self, key: str, value: bytes) -> None:
        with self._lock:
            self._objects[key] = bytes(value)

    def put_new(self, key: str, value: bytes) -> bool:
        with self._lock:
            if key in self._objects:
                return False
            self._objects[key] = bytes(value)
            return True

    def put_if(self, key: str, value: bytes, there: bytes | None) -> bool:
        with self._lock:
            if self._objects.get(key) != there:
                return False
            self._objects[key] = bytes(value)
            return True

    def delete(self, key: str) -> None:
        with self._lock:
            self._objects.pop(key, None)

    def list(self, prefix: str = "") -> Iterator[str]:
        with self._lock:
            return iter(sorted(key for key in self._objects if key.startswith(prefix)))
