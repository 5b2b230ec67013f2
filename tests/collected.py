"""Small made stores with everything that images leave behind: what collecting writes, without a network.

Store -> the same store: images, statistics, examples, relations, index

Everything goes through the real store, the real receipts and the real relations; only answers are made up.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from atlas.catalogue import write_index
from atlas.engine.planning.images import plans
from atlas.engine.relations import finish
from atlas.plans import SAMPLES, Plan
from atlas.recipe import Collection
from atlas.stages import EXAMPLES, IMAGES, STATISTICS, dataset
from atlas.store import Receipt, Store, digest_of
from atlas.store.layout import LIST, columns_receipt
from atlas.store.text import written
from atlas.units import ImageStatus, Layer
from tests.stores import HOST, NUMERICS, waves, write_shard, write_whole

BAD = 5
"""Every image whose number is this modulo 16 is truncated."""
CLASSES = 10


def collect_into(
    store: Store,
    *,
    images: int = 40,
    crops: int = 2,
    photographs: bool = True,
    layers: Sequence[Layer] | None = None,
    classes: int = CLASSES,
) -> list[Plan]:
    """Give `store` what collecting `images` images would leave of its layers; the plans of it."""
    found = layers or [plan.on for plan in store.plans_of("features")]
    collection = Collection("ab" * 32, images, classes, crops, photographs=photographs)
    made = store.prepare(plans(store.identity, found, collection, NUMERICS, {}))
    order = {IMAGES.name: _show, STATISTICS.name: _measure, EXAMPLES.name: _cut_out}
    for number, plan in enumerate(made):
        order[plan.stage](store, plan, np.random.default_rng(number))
    finish(store)
    write_index(store)
    return made


def name_of(number: int) -> str:
    """The name of a made image; one of them is strange."""
    return "späte/blumen #1.jpg" if number == 1 else f"class-{number % CLASSES}/{number:06d}.jpg"


def _put(store: Store, plan: Plan, index: int, data: dict[str, Any], numbers: dict[str, Any] | None = None) -> None:
    shard = plan.shard(index)
    stored = write_shard(store, plan, shard, data)
    store.put_receipt(shard, Receipt(plan.id, index, (shard.start, shard.stop), tuple(stored), numbers or {}, HOST))


def _whole(store: Store, plan: Plan, data: dict[str, Any]) -> None:
    stored = write_whole(store, plan, "reduce", data)
    digest = digest_of(store.receipts(plan).values())
    store.put_reduced(columns_receipt(plan), Receipt(digest, 0, (0, plan.total), tuple(stored)))
    store.fold(plan)


def _show(store: Store, plan: Plan, _: np.random.Generator) -> None:
    names = [name_of(number) for number in range(plan.total)]
    sha256 = np.frombuffer(b"".join(number.to_bytes(32, "big") for number in range(1, plan.total + 1)), np.uint8)
    listed = {"path": written(names, dataset.TEXT), "sha256": sha256.reshape(-1, 32)}
    listed |= {"same_as": np.full(plan.total, -1, np.int32)}
    stored = write_whole(store, plan, "driver", listed)
    store.put_reduced(LIST, Receipt(plan.id, 0, (0, plan.total), tuple(stored)))
    for shard in plan.shards:
        _put(store, plan, shard.index, *_shown(plan, np.arange(shard.start, shard.stop)))


def _shown(plan: Plan, numbers: np.ndarray[Any, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    bad = numbers % 16 == BAD
    status = np.where(bad, ImageStatus.TRUNCATED, ImageStatus.OK).astype(np.uint8)
    guesses = (numbers[:, None] + np.arange(dataset.GUESSES)) % max(plan.collection.classes, 1)
    known = (~bad & (plan.collection.classes > 0))[:, None]
    data = {
        "status": status,
        "reason": written(["cut short after 99 bytes" if wrong else "" for wrong in bad], dataset.TEXT),
        "size": np.where(bad[:, None], 0, [[640, 480]]).astype(np.int32),
        "class": np.where(known, guesses, -1).astype(np.int32),
        "probability": np.where(known, 0.5 ** np.arange(1, dataset.GUESSES + 1), np.nan).astype(np.float32),
    }
    if plan.collection.photographs:
        data["thumb"] = np.stack([waves(int(number), 0, dataset.PHOTOGRAPH) for number in numbers])
    return data, {"status": status[:, None].tolist()}


def _measure(store: Store, plan: Plan, chance: np.random.Generator) -> None:
    collection, channels = plan.collection, plan.on.channels
    numbers = np.arange(0, collection.count, collection.step)
    maxima = chance.gamma(2.0, 1.0, (len(numbers), channels)).astype(np.float32)
    maxima[:, channels // 2] = 0  # a silent unit
    if channels > 3:
        maxima[:, 3] = maxima[:, 2] + 0.01 * chance.random(len(numbers))  # a pair that answers alike
    maxima[numbers % 16 == BAD] = np.nan
    rows = SAMPLES // collection.step
    for shard in plan.shards:
        some = maxima[shard.index * rows : (shard.index + 1) * rows]
        partial = np.zeros((1, channels, dataset.FIELDS))
        _put(store, plan, shard.index, {"partial": partial, "maxima": some, "attribution": some})
    _whole(store, plan, _columns(plan, maxima, numbers))


def _columns(plan: Plan, maxima: np.ndarray[Any, Any], numbers: np.ndarray[Any, Any]) -> dict[str, Any]:
    collection, channels = plan.collection, plan.on.channels
    shown = np.isfinite(maxima).all(1)
    value, image = _extremes(maxima, numbers)
    column = {name: np.nanmean(maxima, 0) * scale for name, scale in (("mean", 0.5), ("std", 0.25), ("largest", 3))}
    data: dict[str, Any] = {name: values.astype(np.float32) for name, values in column.items()}
    data |= {name: np.zeros(channels, np.float32) for name in ("least",)}
    data |= {name: (maxima[shown] > 0).mean(0).astype(np.float32) for name in ("active_positions", "active_images")}
    data |= {"seen": np.array([shown.sum(), 64 * shown.sum()]), "nan": np.zeros(channels, np.int64)}
    data["quantile"] = np.nanquantile(maxima, np.linspace(0.01, 0.99, dataset.QUANTILES), axis=0).T.astype(np.float32)
    histogram = np.zeros((channels, dataset.BINS), np.int64)
    histogram[:, 144] = 1000
    histogram[:, 200:220] = np.arange(20)
    data["histogram"] = histogram
    data["edge"] = edges()
    data |= {"example_value": value, "example_image": image}
    data |= {"example_crop": np.where(image >= 0, image % collection.crops, -1).astype(np.int32)}
    data |= {"example_position": np.where(image >= 0, image % 9, -1).astype(np.int32)}
    data["class"] = (np.arange(channels)[:, None] + np.arange(dataset.CLASSES)).astype(np.int32) % max(
        collection.classes, 1
    )
    data["class_attribution"] = (8 - np.arange(dataset.CLASSES) + np.zeros((channels, 1))).astype(np.float32)
    if collection.classes:
        shape = (collection.classes, dataset.CLASSES)
        data["unit_of_class"] = (np.arange(shape[0])[:, None] + np.arange(shape[1])).astype(np.int32) % channels
        data["unit_attribution"] = (8 - np.arange(shape[1]) + np.zeros((shape[0], 1))).astype(np.float32)
        data["class_images"] = np.full(shape[0], collection.reference // shape[0], np.int32)
    else:
        data["class"] = np.full_like(data["class"], -1)
        data["class_attribution"] = np.full_like(data["class_attribution"], np.nan)
    return data


def _extremes(maxima: np.ndarray[Any, Any], numbers: np.ndarray[Any, Any]) -> tuple[Any, Any]:
    """Values float32 and images int32 [c,2,9]: the highest and lowest of the images that were shown."""
    shown = np.isfinite(maxima).all(1)
    answers, images = maxima[shown], numbers[shown]
    count = min(dataset.STRONGEST, len(images))
    value = np.full((maxima.shape[1], 2, dataset.STRONGEST), np.nan, np.float32)
    image = np.full(value.shape, -1, np.int32)
    for extreme, sign in enumerate((-1, 1)):
        order = np.argsort(sign * answers, axis=0, kind="stable")[:count]
        value[:, extreme, :count] = np.take_along_axis(answers, order, 0).T
        image[:, extreme, :count] = images[order].T
    return value, image


def edges() -> np.ndarray[Any, Any]:
    """The edges of histograms, float32 [290]."""
    from atlas.dataset.summary import EDGES

    return EDGES


def _cut_out(store: Store, plan: Plan, _: np.random.Generator) -> None:
    channels = plan.total
    image = store.read(f"layers/{plan.on.key}/statistics/example_image")
    box = np.broadcast_to(np.array([64, 48, 320, 304], np.float32), (*image.shape, 4))
    box = np.where(image[..., None] >= 0, box, np.nan).astype(np.float32)
    for shard in plan.shards:
        data = {}
        if plan.collection.photographs:
            units = range(shard.start, shard.stop)
            shape = (len(units), 2, dataset.STRONGEST, dataset.EXAMPLE, dataset.EXAMPLE, 3)
            data["picture"] = np.zeros(shape, np.uint8)
            for row, unit in enumerate(units):
                data["picture"][row, 0], data["picture"][row, 1] = waves(unit, 0, 96), waves(unit, 1, 96)
        rows = box[shard.start : shard.stop].reshape(len(shard), -1)
        numbers = {"box": [[None if np.isnan(one) else one for one in row] for row in rows.tolist()]}
        _put(store, plan, shard.index, data, numbers)
    assert channels == len(box)
    _whole(store, plan, {"box": box})
