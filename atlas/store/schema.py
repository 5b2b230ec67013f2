"""The layout of a store: every key, attribute and array, in this one place.

    zarr.json                                   the root group: version, identity, model; written once
    catalogue.json                              small and derived: what a reader opens first
    plans/features/LAYER.json                   who owns that layer's pictures
    receipts/features/LAYER/00003.json          a finished shard
    receipts/columns/LAYER.json                 a finished reduce
    manifests/features/LAYER.json               a finished layer's receipts, folded into one
    layers/LAYER/                               group: the layer, with its consolidated metadata
    layers/LAYER/features/                      group: variants, recipe, numerics, plan
        image   [unit,variant,h,w,3] uint8      a Zarr shard holds 32 units, a chunk is one JPEG file
        thumb   [unit,variant,64,64,3] uint8    1024 pictures a Zarr shard
        mean, peak [unit,variant] float32       one chunk
        status  [unit,variant] uint8            one chunk; 255 where nothing was rendered
    logs/                                       one object a run

LAYER is the layer's name percent-encoded (`atlas.units.encode`).
"""

from __future__ import annotations

import warnings
from typing import Any

import zarr
from zarr.codecs import ShardingCodec

from atlas.plan import SHARD, Plan
from atlas.store.backends import MemoryBackend
from atlas.store.bridge import ZarrStore
from atlas.store.codec import Jpeg
from atlas.units import Layer, Status

VERSION = "1.0"
"""MAJOR.MINOR: readers take older minors and refuse a newer major."""
WRITER = "atlas-builder 0.1.0"
STORE = "atlas-store"
CATALOGUE = "atlas-catalogue"

THUMB = 64
"""Side of a thumbnail in pixels."""
THUMBS = 1024
"""Thumbnails a Zarr shard: a wall of pictures takes one index and few requests."""
COLUMNS = ("mean", "peak", "status")
ARRAYS = ("image", "thumb", *COLUMNS)
ROOT = "zarr.json"
LAYERS = "layers/zarr.json"


def layer_key(layer: Layer) -> str:
    return f"layers/{layer.key}"


def features_key(layer: Layer) -> str:
    return f"layers/{layer.key}/features"


def image_object(plan: Plan, index: int) -> str:
    """Key of the one object that shard `index` writes."""
    return f"{features_key(plan.layer)}/image/c/{index}/0/0/0/0"


def data_keys(plan: Plan) -> set[str]:
    """Keys of every data object that the plan's arrays can have."""
    group, thumbs = features_key(plan.layer), -(-plan.layer.channels // _thumb_units(plan))
    images = {image_object(plan, shard.index) for shard in plan.complete.shards}
    columns = {f"{group}/{name}/c/0/0" for name in COLUMNS}
    return images | columns | {f"{group}/thumb/c/{index}/0/0/0/0" for index in range(thumbs)}


def columns_receipt(plan: Plan) -> str:
    return f"receipts/columns/{plan.layer.key}.json"


def manifest_key(plan: Plan) -> str:
    return f"manifests/{plan.key}"


def root_group(identity: dict[str, Any], model: dict[str, Any]) -> dict[str, Any]:
    """The root's metadata."""
    attributes = {
        "encoding-type": STORE,
        "encoding-version": VERSION,
        "written-by": WRITER,
        "identity": identity,
        "model": model,
    }
    return {"zarr_format": 3, "node_type": "group", "attributes": attributes}


def metadata(plan: Plan) -> dict[str, bytes]:
    """The metadata objects of the groups and arrays that `plan` owns, by key. Sizes come from the plan alone.

    They are made in memory, so that writing them anew never touches the data that lies beside them. The layer's group
    has those below it inside: one request tells a page all of a layer. The root has not: a reader without the picture
    codec could not open it, and it would be written again with every layer.
    """
    made = ZarrStore(MemoryBackend())
    layer = {"encoding-type": "layer", "encoding-version": VERSION, "layer": plan.layer.to_dict()}
    _create_features(zarr.create_group(made).create_group(layer_key(plan.layer), attributes=layer), plan)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Consolidated metadata")
        zarr.consolidate_metadata(made, path=layer_key(plan.layer))
    return {key: made.backend.get(key) or b"" for key in made.backend.list("layers/")}


def _create_features(group: zarr.Group, plan: Plan) -> None:
    layer, recipe = plan.layer, plan.recipe
    features = group.create_group("features", attributes=_features_attributes(plan))
    grid = (layer.channels, len(recipe.variants))
    _pictures(features, "image", (*grid, recipe.size, recipe.size, 3), SHARD, recipe.level)
    _pictures(features, "thumb", (*grid, THUMB, THUMB, 3), _thumb_units(plan), recipe.level)
    for name in ("mean", "peak"):
        features.create_array(name, shape=grid, chunks=grid, dtype="float32", fill_value=float("nan"), compressors=None)
    features.create_array(
        "status", shape=grid, chunks=grid, dtype="uint8", fill_value=int(Status.ABSENT), compressors=None
    )


def _thumb_units(plan: Plan) -> int:
    """Units whose thumbnails share a Zarr shard."""
    return THUMBS // len(plan.recipe.variants)


def _features_attributes(plan: Plan) -> dict[str, Any]:
    return {
        "encoding-type": "features",
        "encoding-version": VERSION,
        "variants": list(plan.recipe.variants),
        "statuses": {status.name.lower(): int(status) for status in Status},
        "recipe": plan.recipe.to_dict(),
        "numerics": plan.numerics.to_dict(),
        "plan": plan.id,
    }


def _pictures(group: zarr.Group, name: str, shape: tuple[int, ...], units: int, level: int) -> None:
    """An array of pictures: a chunk is one picture, a Zarr shard `units` of them with all variants."""
    chunk = (1, 1, *shape[2:])
    group.create_array(
        name,
        shape=shape,
        chunks=(units, *shape[1:]),
        dtype="uint8",
        fill_value=0,
        # One JPEG file is as small as it gets: no compressor behind it. The index last, where browsers look for it.
        serializer=ShardingCodec(chunk_shape=chunk, codecs=[Jpeg(level)], index_location="end"),
        compressors=None,
        filters=None,
    )
