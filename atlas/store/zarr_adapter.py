"""Zarr's view of a backend.

    Backend -> zarr.abc.store.Store

Zarr's own stores neither sync to disk nor write an object only where there is none, so its reads and
writes go through our seam; the rest of the library works on it unchanged.
"""

from __future__ import annotations

import warnings
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import zarr
from zarr.abc.store import ByteRequest, OffsetByteRequest, RangeByteRequest, Store, SuffixByteRequest

from atlas.store.backends import MemoryBackend

if TYPE_CHECKING:
    import numpy as np
    from zarr.core.buffer import Buffer, BufferPrototype

    from atlas.store.backends import Backend


class ZarrStore(Store):
    """A Zarr store over `backend`."""

    supports_writes = True
    supports_deletes = True
    supports_listing = True

    def __init__(self, backend: Backend, *, read_only: bool = False) -> None:
        super().__init__(read_only=read_only)
        self.backend = backend

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ZarrStore) and other.backend is self.backend

    def __hash__(self) -> int:
        return hash(id(self.backend))

    def __str__(self) -> str:
        return str(self.backend)

    def with_read_only(self, read_only: bool = False) -> ZarrStore:
        return ZarrStore(self.backend, read_only=read_only)

    async def get(
        self, key: str, prototype: BufferPrototype | None = None, byte_range: ByteRequest | None = None
    ) -> Buffer | None:
        from zarr.core.buffer import default_buffer_prototype

        data = self._read(key, byte_range)
        return None if data is None else (prototype or default_buffer_prototype()).buffer.from_bytes(data)

    async def get_partial_values(
        self, prototype: BufferPrototype, key_ranges: Iterable[tuple[str, ByteRequest | None]]
    ) -> list[Buffer | None]:
        return [await self.get(key, prototype, byte_range) for key, byte_range in key_ranges]

    async def exists(self, key: str) -> bool:
        return self.backend.range(key, 0, 0) is not None

    async def set(self, key: str, value: Buffer) -> None:
        self._check_writable()
        self.backend.put(key, value.to_bytes())

    async def delete(self, key: str) -> None:
        self._check_writable()
        self.backend.delete(key)

    async def list(self) -> AsyncIterator[str]:
        for key in self.backend.list():
            yield key

    async def list_prefix(self, prefix: str) -> AsyncIterator[str]:
        for key in self.backend.list(prefix):
            yield key

    async def list_dir(self, prefix: str) -> AsyncIterator[str]:
        start = f"{prefix.rstrip('/')}/" if prefix.strip("/") else ""
        for name in sorted({key[len(start) :].split("/")[0] for key in self.backend.list(start)}):
            yield name

    def _read(self, key: str, byte_range: ByteRequest | None) -> bytes | None:
        match byte_range:
            case None:
                return self.backend.get(key)
            case RangeByteRequest(start, end):
                return self.backend.range(key, start, end)
            case OffsetByteRequest(offset):
                return self.backend.range(key, offset)
            case SuffixByteRequest(suffix):
                return self.backend.range(key, -suffix) if suffix else b""
        raise TypeError(f"an unknown kind of byte range: {byte_range!r}")


def encoded(path: str, metadata: bytes, rows: slice, values: np.ndarray[Any, Any]) -> dict[str, bytes]:
    """The objects, by key, of the whole Zarr shards that are `rows` of the array at `path`.

    Made in memory, over nothing: Zarr would read what lies in a last shard and merge into it, so that a damaged one
    could never be written again.
    """
    made = MemoryBackend()
    made.put(f"{path}/zarr.json", metadata)
    array = zarr.open_array(ZarrStore(made), path=path, mode="r+")
    # Zarr leaves out chunks that equal the fill value, and drops a shard of them: never here.
    array.with_config({"write_empty_chunks": True})[rows] = values
    return {key: made.get(key) or b"" for key in made.list(f"{path}/c/")}


def whole_group(path: str, attributes: dict[str, Any], arrays: Mapping[str, np.ndarray[Any, Any]]) -> dict[str, bytes]:
    """The objects, by key, of a small group with `arrays` by their paths below it, its consolidated metadata included.

    Each array is one plain chunk, of which any row can be read by its range.
    """
    made = MemoryBackend()
    group = zarr.create_group(ZarrStore(made), path=path, attributes=attributes)
    for name, values in arrays.items():
        array = group.create_array(
            name, shape=values.shape, chunks=values.shape, dtype=values.dtype, compressors=None, fill_value=0
        )
        array.with_config({"write_empty_chunks": True})[...] = values
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Consolidated metadata")
        zarr.consolidate_metadata(ZarrStore(made), path=path)
    return {key: made.get(key) or b"" for key in made.list(f"{path}/")}
