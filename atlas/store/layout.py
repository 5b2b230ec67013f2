"""The layout of a store: every key and attribute, in this one place; the arrays are those of `atlas.stages`.

    zarr.json                                   the root group: version, identity, model; written once. What no receipt
                                                names carries a hash of its own: `digest`, see `seals`
    catalogue.json                              small and derived: what a reader opens first
    classes.json                                the names of the network's classes, where it has them; of which output
    pipeline.json                               what the last build was told, without places; recorded, never compared
    plans/images.json                           what is shown to the network
    plans/STAGE/LAYER.json                      who owns that layer's features, statistics, examples or activations
    plans/STAGE/LAYER/MAP.json                  who owns a map of it; with /SIDE, a grid on it
    receipts/images/00003.json                  a finished shard of images
    receipts/STAGE/LAYER/00003.json             a finished shard of a layer
    receipts/columns/...                        a finished reduce
    receipts/list.json                          the list of images is written
    receipts/relations.json                     the neighbours of all units were found
    receipts/derived/LAYER.json                 what follows from a layer's numbers is written
    receipts/tables/NAME.json                   a table is written
    manifests/STAGE/LAYER.json                  a finished layer's receipts, folded into one
    images/                                     group: the images that were shown, with its consolidated metadata
    layers/LAYER/                               group: the layer, with its consolidated metadata
    layers/LAYER/features/                      image, thumb, mean, peak, status
    layers/LAYER/statistics/                    what its channels answered to the images
    layers/LAYER/examples/                      what its units saw of the images that drive them most
    layers/LAYER/activations/                   vectors at random positions, and what each says for every class
    layers/LAYER/atlas/MAP/                     where they lie on a map: `all`, or of a class or a pair of classes
    layers/LAYER/atlas/MAP/SIDE/                the cells of a grid on it; below it patches/, icons/ and tiles/
    layers/LAYER/derived/                       group: what follows from a layer's numbers, with its consolidated
                                                metadata; of no plan
    calibration/DEVICE.json                     what pictures cost on a kind of device; recorded, never compared
    tables/                                     Parquet files, derived
    logs/RUN/000000.jsonl, ...                  what happened in a run, written as it goes on; see `logs`
    builders/NUMBER-ID.json                     who builds it now: plans, what is under way, a counter that rises
    bundles/...                                 what is being written: a shard's receipt and objects, in one object,
                                                from which they are put in place; see `bundles`

LAYER is the layer's name percent-encoded (`atlas.units.encode`). Receipts and manifests of maps and grids lie as their
plans do.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import zarr
from zarr.codecs import BytesCodec, ShardingCodec, ZstdCodec

from atlas.arrays import Array
from atlas.plans import STAGES, Key, Plan, known
from atlas.store.backends import MemoryBackend
from atlas.store.codec import Gzip, Jpeg
from atlas.store.seals import sealed
from atlas.store.zarr_adapter import ZarrStore
from atlas.units import Layer, encode
from atlas.version import VERSION as PACKAGE

VERSION = "1.2"
"""MAJOR.MINOR: readers take older minors and refuse a newer major."""
WRITER = f"atlas-builder {PACKAGE}"
STORE = "atlas-store"
CATALOGUE = "atlas-catalogue"

ROOT = "zarr.json"
LAYERS = "layers/zarr.json"
LIST = "receipts/list.json"
"""The list of images is written."""
RELATIONS = "receipts/relations.json"
TABLES = "tables/"
TABLE_RECEIPTS = "receipts/tables/"
DERIVED_RECEIPTS = "receipts/derived/"
RECEIPTS_OF_DERIVED = (DERIVED_RECEIPTS, TABLE_RECEIPTS)
"""Folders of the receipts of all that is derived."""
CALIBRATIONS = "calibration/"
CLASSES = "classes.json"
PIPELINE = "pipeline.json"
INDEX = "catalogue.json"
LOGS = "logs/"


def layer_key(layer: Layer) -> str:
    return f"layers/{layer.key}"


def group_key(plan: Plan) -> str:
    """Where the arrays of `plan` lie."""
    return group_of(*plan.names)


def group_of(stage: str, layer: str, part: Sequence[str]) -> str:
    """Where the arrays of a stage lie, on a layer, of a part of its atlas."""
    if not layer:
        return stage
    if not part:
        return f"layers/{encode(layer)}/{stage}"
    folder = known(stage).folder
    own = stage if folder is None else folder
    return "/".join(["layers", encode(layer), "atlas", *part, *([own] if own else [])])


def atlas_key(layer: Layer) -> str:
    """Where a layer's maps lie."""
    return f"layers/{layer.key}/atlas"


def derived_key(layer: str) -> str:
    """Where the group of what is derived of a layer, known by its name, lies."""
    return f"layers/{encode(layer)}/derived"


def derived_receipt(layer: str) -> str:
    """Key of the receipt of what is derived of a layer."""
    return f"{DERIVED_RECEIPTS}{encode(layer)}.json"


def top_key(names: Key) -> str:
    """Key of the group that holds the metadata of all plans of a layer inside, or of one on none."""
    stage, layer, _ = names
    return f"layers/{encode(layer)}/zarr.json" if layer else f"{stage}/zarr.json"


def is_object(array: Array, key: str) -> bool:
    """Whether `key`, below the array's own, is one of its objects. There may be more of them than can be listed."""
    index = key.split("/")[1:2]
    return bool(index) and index[0].isdecimal() and int(index[0]) < array.objects and key == array.object(int(index[0]))


def scratch_objects(plan: Plan, index: int) -> list[str]:
    """Keys of the objects that shard `index` writes for the reduce of `plan` alone."""
    group = group_key(plan)
    return [f"{group}/{name}/{array.object(index)}" for name, array in plan.arrays.items() if array.scratch]


def reduces(plan: Plan) -> bool:
    """Whether a layer's shards are followed by a reduce."""
    return bool(plan.written_by("reduce"))


def columns_receipt(plan: Plan) -> str:
    """Key of the receipt of a layer's reduce."""
    return f"receipts/columns/{plan.key.removeprefix('features/')}"  # where stores of version 1.0 have it


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
    return group_with(sealed(attributes))


def group_with(attributes: dict[str, Any]) -> dict[str, Any]:
    """The metadata of a group, as Zarr has it."""
    return {"zarr_format": 3, "node_type": "group", "attributes": attributes}


def metadata(plans: Sequence[Plan]) -> dict[str, bytes]:
    """The metadata objects of the groups and arrays of `plans`, all of one layer, by key.

    They are made in memory, so that writing them anew never touches the data that lies beside them. The layer's group
    has those below it inside: one request tells a page all of a layer. The root has not: a reader without the picture
    codec could not open it, and it would be written again with every layer.
    """
    made = ZarrStore(MemoryBackend())
    root = zarr.create_group(made)
    plans = sorted(plans, key=lambda plan: (list(STAGES).index(plan.stage), plan.part))
    layer = plans[0].layer
    if layer is not None:
        attributes = {"encoding-type": "layer", "encoding-version": VERSION, "layer": layer.to_dict()}
        root.create_group(layer_key(layer), attributes=attributes)
        if any(plan.part for plan in plans):
            kind = {"encoding-type": "atlas", "encoding-version": VERSION}
            root.create_group(atlas_key(layer), attributes=kind)
    for plan in plans:
        group = root.create_group(group_key(plan), attributes=_attributes(plan))
        for array in plan.arrays.values():
            _create(group, array)
    top = layer_key(layer) if layer is not None else group_key(plans[0])
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Consolidated metadata")
        zarr.consolidate_metadata(made, path=top)
    return {key: made.backend.get(key) or b"" for key in made.backend.list(f"{top.partition('/')[0]}/")}


def _attributes(plan: Plan) -> dict[str, Any]:
    """What a stage's group says of itself."""
    common = {"encoding-type": plan.stage, "encoding-version": VERSION}
    if scratch := [name for name, array in plan.arrays.items() if array.scratch]:
        common["scratch"] = f"{', '.join(scratch)}: dropped once the layer is whole and merged; then it reads as 0"
    made = {"recipe": plan.recipe.to_dict(), "numerics": plan.numerics.to_dict(), "plan": plan.id}
    return common | plan.kind.attributes(plan) | made


def _create(group: zarr.Group, array: Array) -> None:
    whole = (array.rows, *array.shape[1:])
    compressors = {"gzip": Gzip(), "zstd": ZstdCodec(), None: None}
    settings: dict[str, Any] = {"compressors": compressors[array.packed]}
    if array.inner is not None:
        codecs: list[Any] = [BytesCodec(), *([compressors[array.packed]] if array.packed else [])]
        chunk = (array.inner, *array.shape[1:])
        sharding = ShardingCodec(chunk_shape=chunk, codecs=codecs, index_location="end")
        settings = {"serializer": sharding, "compressors": None, "filters": None}
    if array.level is not None:
        # One JPEG file is as small as it gets: no compressor behind it. The index last, where browsers look for it.
        picture = (*[1] * (len(array.shape) - 3), *array.shape[-3:])
        sharding = ShardingCodec(chunk_shape=picture, codecs=[Jpeg(array.level)], index_location="end")
        settings = {"serializer": sharding, "compressors": None, "filters": None}
    group.create_array(
        array.name, shape=array.shape, chunks=whole, dtype=array.dtype, fill_value=array.fill, **settings
    )
