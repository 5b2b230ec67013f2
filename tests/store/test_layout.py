"""The layout on the disk, read with zarr-python alone and byte by byte."""

from __future__ import annotations

import io
import json
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import zarr
from PIL import Image

from atlas.stages.features import THUMB, THUMBS
from atlas.store import LocalBackend, MemoryBackend, Store
from atlas.store.layout import VERSION, is_object, metadata
from atlas.units import Status
from tests.stores import STRANGE, image_object, made_layer, make_store, numbers_of, plan_of, seen

ALONE = """
import json, sys, zarr
assert not [name for name in sys.modules if name.startswith(("atlas", "PIL"))]
root = zarr.open_group(sys.argv[1], mode="r")
found = {}
for path in json.loads(sys.argv[2]):
    features = root[path]
    found[path] = {name: features[name][:].astype(float).tolist() for name in ("mean", "peak", "status")}
    found[path]["variants"] = features.attrs["variants"]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("schema") / "made.atlas"
    make_store(folder)
    return folder


@pytest.fixture(scope="module")
def store(place: Path) -> Store:
    return Store.open(place)


def test_zarr_python_alone_reads_every_number(place: Path, store: Store) -> None:
    groups = {f"layers/{plan.on.key}/features": plan for plan in store.plans()}
    command = [sys.executable, "-I", "-c", ALONE, str(place), json.dumps(list(groups))]
    ran = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    found = json.loads(ran.stdout.replace("NaN", "null"))
    for path, plan in groups.items():
        for shard in plan.shards:
            for name, values in numbers_of(plan, shard).items():
                assert found[path][name][shard.start : shard.stop] == values, (path, name)
        assert found[path]["variants"] == ["positive", "negative"]


def test_zarr_reads_the_pictures_that_were_painted(place: Path, store: Store) -> None:
    root = zarr.open_group(place, mode="r")
    for plan in store.plans():
        image = root[f"layers/{plan.on.key}/features/image"]
        assert isinstance(image, zarr.Array)
        assert image.shape == (plan.total, 2, 32, 32, 3)
        for shard in plan.shards:
            assert np.array_equal(np.asarray(image[shard.start : shard.stop]), seen(plan, shard))


@pytest.mark.parametrize("unit", [0, 31, 32, 69])
@pytest.mark.parametrize("variant", [0, 1])
def test_a_chunk_found_through_the_index_is_a_jpeg_file(store: Store, unit: int, variant: int) -> None:
    """As a browser does it: the index at the end of the object, then one range."""
    plan = next(plan for plan in store.plans() if plan.layer_name == "features.3")
    key, row = image_object(plan, unit // 32), unit % 32
    index = store.backend.range(key, -(16 * 32 * 2 + 4))
    assert index is not None
    offset, size = struct.unpack_from("<QQ", index, 16 * (row * 2 + variant))
    data = store.backend.range(key, offset, offset + size)
    assert data is not None
    assert data[:3] == b"\xff\xd8\xff"
    assert data[-2:] == b"\xff\xd9"
    picture = np.asarray(Image.open(io.BytesIO(data)))
    shard = plan.shard(unit // 32)
    assert np.array_equal(picture, seen(plan, shard)[row, variant])


def test_rows_past_the_end_of_a_last_shard_are_empty_in_its_index(store: Store) -> None:
    plan = next(plan for plan in store.plans() if plan.layer_name == "features.3")
    index = store.backend.range(image_object(plan, 2), -(16 * 64 + 4)) or b""
    entries = np.frombuffer(index[:-4], "<u8").reshape(32, 2, 2)
    assert (entries[6:] == np.iinfo(np.uint64).max).all()
    assert (entries[:6, :, 1] > 0).all(), "black pictures are stored like all others"


def test_thumbnails_lie_a_thousand_to_an_object() -> None:
    backend = MemoryBackend()
    make_store(backend, layers={"wide": 513}, size=16)
    keys = list(backend.list("layers/wide/features/thumb/c/"))
    assert keys == [f"layers/wide/features/thumb/c/{index}/0/0/0/0" for index in (0, 1)]
    array = Store.open(backend).array("layers/wide/features/thumb")
    assert array.shape == (513, 2, THUMB, THUMB, 3)
    assert array.chunks == (1, 1, THUMB, THUMB, 3)
    assert array.shards == (THUMBS // 2, 2, THUMB, THUMB, 3)
    assert len(backend.range(keys[0], -(16 * THUMBS + 4)) or b"") == 16 * THUMBS + 4


def test_the_pages_way_in(place: Path) -> None:
    """A layer's group holds the metadata below it inside; the root does not."""
    root = json.loads((place / "zarr.json").read_text())
    assert "consolidated_metadata" not in root
    assert root["attributes"]["encoding-version"] == VERSION
    layer = json.loads((place / "layers" / "features.3" / "zarr.json").read_text())
    inside = layer["consolidated_metadata"]["metadata"]
    assert set(inside) == {"features"} | {f"features/{name}" for name in ("image", "thumb", "mean", "peak", "status")}
    (sharding,) = inside["features/image"]["codecs"]
    assert sharding["configuration"]["index_location"] == "end"
    assert [codec["name"] for codec in sharding["configuration"]["codecs"]] == ["imagecodecs_jpeg"]
    assert inside["features"]["attributes"]["statuses"] == {status.name.lower(): int(status) for status in Status}


def test_keys_of_strange_layers_are_plain(place: Path) -> None:
    backend = LocalBackend(place)
    keys = [key for key in backend.list() if "0%402%231" in key]
    assert any(key.startswith("layers/") for key in keys)
    assert all(key.isascii() and " " not in key and "#" not in key for key in backend.list())
    assert zarr.open_group(place, mode="r")[f"layers/{made_layer(STRANGE, 1).key}"].attrs["layer"]


def test_metadata_comes_from_the_plan_alone() -> None:
    plan = plan_of(made_layer("a", 70))
    assert metadata([plan]) == metadata([plan.asking([])]) == metadata([plan_of(made_layer("a", 70), units=[3])])
    assert len(metadata([plan])) == 8
    own = [(array, array.object(index)) for array in plan.arrays.values() for index in range(array.objects)]
    assert len(own) == 3 + 3 + 1
    assert all(is_object(array, key) for array, key in own)
    assert not any(is_object(array, key + end) for array, key in own for end in ("/0", "0", "/../0"))
