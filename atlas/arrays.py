"""One array of a store: its shape, who writes it, and in which objects it lies."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Writer = Literal["driver", "shard", "reduce", "relations"]


@dataclass(frozen=True)
class Array:
    """One array of a stage."""

    name: str
    shape: tuple[int, ...]
    rows: int
    """Rows (of the first axis) that share an object; of what shards write, those that one shard owns."""
    dtype: str
    fill: float
    by: Writer
    """`driver`: before any task; `shard`: each its rows; `reduce`: whole, when the layer is complete; `relations`:
    whole, when all layers are."""
    level: int | None = None
    """JPEG quality: a chunk is one picture, an object `rows` of them."""
    packed: Literal["gzip", "zstd"] | None = None
    """Compressor; the page reads gzip."""
    inner: int | None = None
    """Rows of a chunk, where an object holds several, each of which can be read by itself."""
    scratch: bool = False
    """Whether it is for the layer's reduce alone: its objects are dropped when that is done and the layer is whole."""

    @property
    def objects(self) -> int:
        return -(-self.shape[0] // self.rows)

    def object(self, index: int) -> str:
        """Key of an object, below the array's own."""
        return "/".join(["c", str(index), *["0"] * (len(self.shape) - 1)])

    def of(self, shard: int) -> slice:
        """The rows that a shard owns."""
        return slice(shard * self.rows, min((shard + 1) * self.rows, self.shape[0]))
