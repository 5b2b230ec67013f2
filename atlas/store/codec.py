"""Pictures as ordinary JPEG files, one picture a chunk; texts and numbers packed by gzip without the time of day.

    uint8 [..., h, w, 3] <-> the bytes of a JPEG file

The codec's name and configuration are those of `imagecodecs_jpeg`, so that the package imagecodecs reads our
stores too; on Python 3.11 it has no codecs for Zarr v3, so ours serves alone. Chroma is never subsampled (4:4:4).
"""

from __future__ import annotations

import gzip
import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import zarr
from PIL import Image
from zarr.abc.codec import ArrayBytesCodec, BytesBytesCodec
from zarr.registry import register_codec

if TYPE_CHECKING:
    from zarr.core.array_spec import ArraySpec
    from zarr.core.buffer import Buffer, NDBuffer

NAME = "imagecodecs_jpeg"


def encode(picture: np.ndarray[Any, Any], level: int) -> bytes:
    """`picture`, uint8 [h,w,3], as the bytes of a JPEG file of quality `level` (1 to 100)."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "JPEG", quality=level, subsampling="4:4:4")
    return file.getvalue()


def decode(data: bytes) -> np.ndarray[Any, Any]:
    """The picture in the bytes of a JPEG file, uint8 [h,w,3]."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def as_stored(pictures: np.ndarray[Any, Any], level: int) -> np.ndarray[Any, Any]:
    """`pictures`, uint8 [...,h,w,3], as a reader of the store will see them."""
    flat = pictures.reshape(-1, *pictures.shape[-3:])
    return np.stack([decode(encode(picture, level)) for picture in flat]).reshape(pictures.shape)


@dataclass(frozen=True)
class Jpeg(ArrayBytesCodec):
    """The Zarr codec: a chunk of one picture, uint8 [1,...,h,w,3]."""

    is_fixed_size = False

    level: int = 90
    subsampling: str = "444"

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        configuration = data.get("configuration") or {}
        return cls(int(configuration.get("level") or 90), str(configuration.get("subsampling") or "444"))

    def to_dict(self) -> dict[str, Any]:
        return {"name": NAME, "configuration": {"level": self.level, "subsampling": self.subsampling}}

    async def _decode_single(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> NDBuffer:
        picture = decode(chunk_data.to_bytes())
        return chunk_spec.prototype.nd_buffer.from_numpy_array(picture.reshape(chunk_spec.shape))

    async def _encode_single(self, chunk_data: NDBuffer, chunk_spec: ArraySpec) -> Buffer:
        picture = np.ascontiguousarray(chunk_data.as_numpy_array()).reshape(chunk_spec.shape[-3:])
        return chunk_spec.prototype.buffer.from_bytes(encode(picture, self.level))

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: ArraySpec) -> int:  # noqa: ARG002 (Zarr's signature)
        """A JPEG's size is known only once it is made; this bounds it."""
        return input_byte_length + 4096


@dataclass(frozen=True)
class Gzip(BytesBytesCodec):
    """Zarr's `gzip` to the letter, but for the time of day that it writes into every chunk: same values, same bytes."""

    is_fixed_size = False

    level: int = 5

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        return cls(int((data.get("configuration") or {}).get("level", 5)))

    def to_dict(self) -> dict[str, Any]:
        return {"name": "gzip", "configuration": {"level": self.level}}

    async def _decode_single(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> Buffer:
        return chunk_spec.prototype.buffer.from_bytes(gzip.decompress(chunk_data.to_bytes()))

    async def _encode_single(self, chunk_data: Buffer, chunk_spec: ArraySpec) -> Buffer:
        return chunk_spec.prototype.buffer.from_bytes(gzip.compress(chunk_data.to_bytes(), self.level, mtime=0))

    def compute_encoded_size(self, input_byte_length: int, chunk_spec: ArraySpec) -> int:  # noqa: ARG002 (as above)
        """Bounds the size: what does not shrink grows by a few bytes."""
        return input_byte_length + input_byte_length // 1000 + 64


register_codec("gzip", Gzip)
zarr.config.set({"codecs.gzip": f"{Gzip.__module__}.{Gzip.__qualname__}"})
register_codec(NAME, Jpeg)
# Where imagecodecs is installed it offers the same name: say which to take, or Zarr warns and takes any.
zarr.config.set({f"codecs.{NAME}": f"{Jpeg.__module__}.{Jpeg.__qualname__}"})
