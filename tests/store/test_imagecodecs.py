"""Others read our pictures: imagecodecs, where it has codecs for Zarr v3 (Python 3.12 on); below, ours serves alone."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np

from atlas.store import MemoryBackend, as_stored
from atlas.store.codec import NAME, Jpeg, encode
from tests.stores import make_store, seen, waves

THEIRS = """
import sys, numpy, zarr, imagecodecs, imagecodecs.zarr
from zarr.registry import register_codec
register_codec("imagecodecs_jpeg", imagecodecs.zarr.Jpeg)
assert not [name for name in sys.modules if name.startswith("atlas")]
image = zarr.open_array(sys.argv[1], path="layers/a/features/image", mode="r")
numpy.save(sys.argv[2], image[:])
"""
ROUNDING = 3
"""Grey levels by which JPEG decoders of the same file may differ."""


def test_imagecodecs_reads_a_store_or_ours_serves_alone(tmp_path: Path) -> None:
    store = make_store(tmp_path / "made", layers={"a": 40}, size=24)
    (plan,) = store.plans()
    ours = np.concatenate([seen(plan, shard) for shard in plan.shards])
    assert np.array_equal(store.read("layers/a/features/image", slice(0, 40)), ours)
    if importlib.util.find_spec("imagecodecs") is None:
        assert sys.version_info < (3, 12), "imagecodecs is missing: pip install imagecodecs"
        return
    command = [sys.executable, "-I", "-c", THEIRS, str(tmp_path / "made"), str(tmp_path / "read.npy")]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    theirs = np.load(tmp_path / "read.npy")
    assert np.abs(theirs.astype(int) - ours).max() <= ROUNDING


def test_imagecodecs_decodes_one_chunk_or_ours_serves_alone() -> None:
    picture = waves(3, 0, 48)
    if importlib.util.find_spec("imagecodecs") is None:
        assert sys.version_info < (3, 12), "imagecodecs is missing: pip install imagecodecs"
        return
    import imagecodecs

    theirs = imagecodecs.jpeg_decode(encode(picture, 90))
    assert theirs.shape == (48, 48, 3)
    assert np.abs(theirs.astype(int) - as_stored(picture, 90)).max() <= ROUNDING


def test_ours_is_taken_where_both_are_there() -> None:
    from zarr.registry import get_codec_class, register_codec

    class Other(Jpeg):
        """Registered under the same name, as another package's entry point would be."""

    register_codec(NAME, Other)
    assert get_codec_class(NAME) is Jpeg
    assert make_store(MemoryBackend(), layers={"a": 3}, size=16).plans()
