"""The picture codec: a chunk is an ordinary JPEG file."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image
from zarr.codecs import ShardingCodec
from zarr.storage import MemoryStore

from atlas.store import as_stored
from atlas.store.codec import NAME, Jpeg, decode, encode
from tests.stores import waves

SIDES = st.integers(1, 24)
PICTURES = st.tuples(st.integers(1, 3), st.integers(1, 2), SIDES, SIDES, st.just(3)).flatmap(
    lambda shape: arrays(np.uint8, shape)
)


def test_the_bytes_are_a_jpeg_file(tmp_path: Path) -> None:
    (tmp_path / "picture.jpg").write_bytes(encode(waves(3, 0, 48), 90))
    with Image.open(tmp_path / "picture.jpg") as opened:
        assert (opened.format, opened.mode, opened.size) == ("JPEG", "RGB", (48, 48))
        assert {layer[1:3] for layer in opened.layer} == {(1, 1)}, "colour is stored at full resolution"  # type: ignore[attr-defined]
        seen = np.asarray(opened).astype(int)
    assert np.abs(seen - waves(3, 0, 48)).mean() < 2


def test_the_level_is_jpeg_quality() -> None:
    sizes = [len(encode(waves(3, 0, 64), level)) for level in (10, 50, 90, 100)]
    assert sizes == sorted(sizes)
    assert len(set(sizes)) == 4


@settings(deadline=None, max_examples=25)
@given(PICTURES, st.integers(1, 100))
def test_a_reader_sees_what_as_stored_says(pictures: np.ndarray[Any, Any], level: int) -> None:
    array = zarr.create_array(
        MemoryStore(),
        shape=pictures.shape,
        chunks=(2, *pictures.shape[1:]),
        dtype="uint8",
        serializer=ShardingCodec(chunk_shape=(1, 1, *pictures.shape[2:]), codecs=[Jpeg(level)]),
        compressors=None,
        filters=None,
    )
    array.with_config({"write_empty_chunks": True})[:] = pictures
    assert np.array_equal(np.asarray(array[:]), as_stored(pictures, level))


@given(st.integers(0, 50), st.integers(1, 100))
def test_same_picture_same_bytes(unit: int, level: int) -> None:
    picture = waves(unit, 0, 16)
    assert encode(picture, level) == encode(np.asfortranarray(picture), level)
    assert np.array_equal(decode(encode(picture, level)), as_stored(picture, level))


def test_name_and_settings_are_those_of_imagecodecs() -> None:
    saved = Jpeg(77).to_dict()
    assert saved == {"name": "imagecodecs_jpeg", "configuration": {"level": 77, "subsampling": "444"}}
    assert Jpeg.from_dict(saved) == Jpeg(77)
    assert Jpeg.from_dict({"name": NAME, "configuration": {}}) == Jpeg.from_dict({"name": NAME}) == Jpeg(90)
    assert zarr.registry.get_codec_class(NAME) is Jpeg


def test_a_torn_file_is_an_error_and_no_picture() -> None:
    data = encode(waves(3, 0, 48), 90)
    for torn in (b"", data[:10], data[: len(data) // 2]):
        with pytest.raises(OSError, match=r"."):
            decode(torn)


def test_grey_files_of_others_are_read_as_colour() -> None:
    file = io.BytesIO()
    Image.new("L", (8, 8), 100).save(file, "JPEG")
    assert decode(file.getvalue()).shape == (8, 8, 3)
