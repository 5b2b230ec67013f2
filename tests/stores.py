"""Small made stores: what a build leaves behind, without a network.

    place -> Store: pictures, receipts, columns, thumbnails, index

Everything goes through the real store and the real reduce; only the pictures are painted instead of rendered.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from atlas.arrays import Writer
from atlas.catalogue import write_index
from atlas.engine.work import reduce
from atlas.plans import Identity, Plan, Shard
from atlas.recipe import VARIANTS, Numerics, Recipe
from atlas.store import Backend, Data, MemoryBackend, Receipt, Store, Stored, as_stored
from atlas.store.bundles import Objects
from atlas.store.bundles import stored as stored_of
from atlas.store.layout import group_key
from atlas.store.store import Blocks
from atlas.units import Kind, Layer, Status

STRANGE = "späte schicht/0@2#1%"
"""A layer's name with everything in it that a key or an address must encode."""
LAYERS = {"features.3": 70, STRANGE: 33, "classifier.1": 10}
"""Layers and their channels: a last shard of six units, one of a single unit, and one layer of less than a shard."""
IDENTITY = Identity("made:network", "5" * 64, {"size": [64, 64], "mean": [0.5, 0.5, 0.5], "std": [0.25, 0.25, 0.25]})
NUMERICS = Numerics(torch="2.10")
HOST = {"seconds": {"render": 1.0, "score": 0.1, "write": 0.01}, "host": "somewhere", "pid": 1, "machine": "x86_64"}


def make_store(
    place: str | Path | Backend,
    *,
    layers: Mapping[str, int] = LAYERS,
    size: int = 32,
    variants: tuple[str, ...] = VARIANTS,
    tries: int = 1,
    agreement: bool = False,
    absent: Mapping[str, Iterable[int]] | None = None,
    columns: bool = True,
    identity: Identity = IDENTITY,
    **model: Any,
) -> Store:
    """A store of painted pictures at `place`.

    `layers` gives each layer's channels; `absent` the shards of a layer that are asked for but not done; without
    `columns` neither numbers nor thumbnails are written. `model` changes what the store says of its model
    (`title`, `random`, `input`, `labels`, `note`).
    """
    described = {"title": "A made network", "random": False, "input": [64, 64], "labels": None} | model
    store = Store.create(place, identity, described)
    knobs: dict[str, Any] = {"size": size, "variants": variants, "restarts": tries, "agreement": agreement}
    plans = [plan_of(layer, identity=identity, **knobs) for layer in made_layers(layers)]
    for plan in store.prepare(plans):
        left_out = set((absent or {}).get(plan.layer_name, ()))
        for shard in plan.shards:
            if shard.index not in left_out:
                make_shard(store, plan, shard)
        if columns:
            reduce(store, plan)
    write_index(store)
    return store


def made_layers(channels: Mapping[str, int]) -> list[Layer]:
    """Layers that cost more the later they come; the last one, where there are several, is linear."""
    names = list(channels)
    return [
        made_layer(name, channels[name], kind="linear" if 0 < at == len(names) - 1 else "conv", flops=(at + 1) * 10**6)
        for at, name in enumerate(names)
    ]


def made_layer(name: str, channels: int, *, kind: Kind = "conv", flops: int = 10**6) -> Layer:
    size, stride = ((), 0.0) if kind == "linear" else ((8, 8), 8.0)
    return Layer(name, kind, channels, size, stride, flops)


def plan_of(layer: Layer, *, identity: Identity = IDENTITY, units: Iterable[int] = (), **knobs: Any) -> Plan:
    """The plan for pictures of `layer` under the recipe `quick`, with `knobs` changed."""
    recipe = Recipe.named("quick", **({"size": 32} | knobs))
    return Plan.of("features", identity, layer, recipe, NUMERICS, units)


def make_shard(store: Store, plan: Plan, shard: Shard) -> Receipt:
    """Paint, store and put the receipt of one shard, in the order in which a worker does."""
    pictures, numbers = paint(plan, shard), numbers_of(plan, shard)
    objects = store.shard_objects(plan, shard, {"image": pictures})
    receipt = Receipt(plan.id, shard.index, (shard.start, shard.stop), stored_of(objects), numbers, HOST)
    return store.commit_shard(plan, shard, objects, receipt)


def write_shard(store: Store, plan: Plan, shard: Shard, data: Data) -> list[Stored]:
    """Write the arrays of a whole shard over whatever is there, as none of ours does, without a receipt."""
    return _written(store, store.shard_objects(plan, shard, data))


def write_whole(
    store: Store, plan: Plan, by: Writer, data: Data, streamed: Mapping[str, Blocks] | None = None
) -> list[Stored]:
    """The same of the arrays that `by` fills."""
    return _written(store, store.whole_objects(plan, by, data, streamed))


def _written(store: Store, objects: Objects) -> list[Stored]:
    for key, value in objects.items():
        store.backend.put(key, value)
    return list(stored_of(objects))


def image_object(plan: Plan, index: int) -> str:
    """Key of the one object that shard `index` of feature visualizations writes."""
    (array,) = plan.written_by("shard").values()
    return f"{group_key(plan)}/{array.name}/{array.object(index)}"


def paint(plan: Plan, shard: Shard) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Pictures uint8 [units,variants,h,w,3]: waves that differ from unit to unit and from variant to variant."""
    size, status = plan.rendering.size, status_of(plan, shard)
    pictures = np.zeros((*status.shape, size, size, 3), np.uint8)
    for row, unit in enumerate(range(shard.start, shard.stop)):
        for variant in range(status.shape[1]):
            if status[row, variant] == Status.OK:
                pictures[row, variant] = waves(unit, variant, size)
    return pictures


def waves(unit: int, variant: int, size: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """One painted picture, uint8 [h,w,3]."""
    y, x = np.mgrid[:size, :size] / size
    turn = unit * 2.399963
    phase = 2 * np.pi * (1 + unit % 5) * (x * np.cos(turn) + y * np.sin(turn)) + np.pi * variant
    colour = turn + np.array([0.0, 2.1, 4.2])
    picture: np.ndarray[Any, np.dtype[np.uint8]] = (
        128 + 60 * np.cos(phase)[..., None] + 60 * np.cos(colour + variant)
    ).astype(np.uint8)
    return picture


def status_of(plan: Plan, shard: Shard) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Statuses uint8 [units,variants]: of sixteen units one never started, one is nan, one has no negative."""
    status = np.full((len(shard), len(plan.rendering.variants)), Status.OK, np.uint8)
    units = np.arange(shard.start, shard.stop) % 16
    status[units == 9] = Status.UNSTARTED
    status[units == 13] = Status.NAN
    if "negative" in plan.rendering.variants:
        status[units == 5, plan.rendering.variants.index("negative")] = Status.RECTIFIED
    return status


def numbers_of(plan: Plan, shard: Shard) -> dict[str, list[list[float | int | None]]]:
    """The numbers of a shard's pictures: `mean` is the unit's index, negated for a negative; `peak` twice that.

    Where the recipe asks for them: the try that was kept goes round, and agreement falls from unit to unit.
    """
    status = status_of(plan, shard)
    signs = [-1.0 if variant == "negative" else 1.0 for variant in plan.rendering.variants]
    mean: list[list[float | int | None]] = [
        [sign * (shard.start + row) if code == Status.OK else None for sign, code in zip(signs, codes, strict=True)]
        for row, codes in enumerate(status)
    ]
    peak: list[list[float | int | None]] = [[None if value is None else 2 * value for value in row] for row in mean]
    numbers: dict[str, list[list[float | int | None]]] = {"mean": mean, "peak": peak, "status": status.tolist()}
    if plan.rendering.restarts > 1:
        numbers["attempt"] = [[int(abs(value or 0)) % plan.rendering.restarts for value in row] for row in mean]
    if plan.rendering.agreement:
        numbers["agreement"] = [[None if value is None else 1 / (1 + abs(value)) for value in row] for row in mean]
    return numbers


def seen(plan: Plan, shard: Shard) -> np.ndarray[Any, Any]:
    """The painted pictures of a shard as a reader of the store sees them."""
    return as_stored(paint(plan, shard), plan.rendering.jpeg_quality)


def broken(place: Path, key: str, how: str) -> bytes:
    """Damage the object `key` of the store at `place`; what it held.

    `how`: `missing`, `empty`, `short` (its second half is gone) or `junk` (as long, and something else).
    """
    file = place / key
    data = file.read_bytes()
    if how == "missing":
        file.unlink()
    else:
        file.write_bytes({"empty": b"", "short": data[: len(data) // 2], "junk": b"\x55" * len(data)}[how])
    return data


def store_of(objects: Mapping[str, bytes]) -> Store:
    """A store in memory of its own that holds these objects."""
    backend = MemoryBackend()
    for key, data in objects.items():
        backend.put(key, data)
    return Store.open(backend)
