"""Random flips of single bits over a finished store with images and an atlas: python -m benchmarks.flips

    [--flips 1000] [--seed 0] [--store FOLDER]      the store of `tests.atlased` is made where none is named

An object is drawn first, each kind at least 30 times. What a reader would show is dumped before and after: all that
`atlas.open`, its tables, `atlas status` and the page read, view by view. Every flip that changes any of it must be
found by `verify`; a repair mends it or names it; nothing ends in a traceback. Printed per kind, with every flip that
fails.
"""

from __future__ import annotations

import argparse
import json
import random
import re
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import atlas
from atlas.catalogue.columns import TABLES
from atlas.catalogue.images import Images
from atlas.catalogue.mending import examine, mend
from atlas.errors import AtlasError
from atlas.plans import Plan
from atlas.store import MemoryBackend, Store, cure, layout, runs
from atlas.store.layout import CALIBRATIONS, group_key
from atlas.store.seals import found

LEAST = 30
KINDS = {
    "root": r"zarr\.json",
    "index": r"catalogue\.json",
    "class names": r"classes\.json",
    "plans": r"plans/.*",
    "receipts": r"receipts/.*",
    "manifests": r"manifests/.*",
    "tables": r"tables/.*",
    "logs": r"logs/.*",
    "calibrations": r"calibration/.*",
    "derived": r".*/derived/.*",
    "groups": r"(.*/)?(images|layers|atlas|features|statistics|examples|activations|icons|patches|tiles|layers/[^/]*"
    r"|all|strongest-\d+|pair-\d+-\d+|\d+)/zarr\.json",
    "arrays": r".*/zarr\.json",
    "images": r"images/.*",
    "pictures": r".*/features/.*",
    "statistics": r".*/statistics/.*",
    "examples": r".*/examples/.*",
    "activations": r".*/activations/.*",
    "atlases": r".*/atlas/.*",
}
View = Callable[[Store], Any]


class Recording(MemoryBackend):
    """Objects of a store, with those that were read."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        super().__init__()
        self._objects, self.read = dict(objects), set[str]()

    def get(self, key: str) -> bytes | None:
        self.read.add(key)
        return super().get(key)

    def range(self, key: str, start: int, stop: int | None = None) -> bytes | None:
        self.read.add(key)
        return super().range(key, start, stop)

    def objects(self) -> dict[str, bytes]:
        return dict(self._objects)


@dataclass
class Count:
    """What became of the flips of a kind."""

    flips: int = 0
    changed: int = 0
    found: int = 0
    mended: int = 0
    named: int = 0
    tracebacks: int = 0
    wrong: list[str] = field(default_factory=list)


def views(store: Store) -> dict[str, View]:
    """All that a reader would show, in pieces."""
    shown: dict[str, View] = {
        "index": lambda store: atlas.open(store.backend).index,
        "index of the page": lambda store: found(store.backend.get("catalogue.json")),
        "root": lambda store: (store.identity.to_dict(), store.model),
        "class names": lambda store: (store.labels, found(store.backend.get("classes.json"))),
        "status": status,
        "names of images": lambda store: [(one.name, one.status, one.reason) for one in images_of(store)],
        "images": lambda store: [(one.size, one.classes, excites(one)) for one in images_of(store)],
    }
    shown |= {f"table {name}": _table(name) for name in TABLES}
    there = set(store.backend.list())
    for plan in store.plans():
        for name, array in plan.arrays.items():
            path = f"{group_key(plan)}/{name}"
            rows = [array.of(at) for at in range(array.objects) if f"{path}/{array.object(at)}" in there]
            shown |= {path: _array(path, rows)} if rows else {}
    for path in {key.rpartition("/c/")[0] for key in there if "/derived/" in key and "/c/" in key}:
        shown |= {path: _derived(path)}
    layers = [plan.layer for plan in store.plans() if plan.layer is not None]
    for key in {layer.key for layer in layers}:
        shown[f"layers/{key}"] = _group(f"layers/{key}/zarr.json")
        shown[f"layers/{key}/derived"] = _group(f"layers/{key}/derived/zarr.json")
    for name in {layer.name for layer in layers}:
        shown[f"layer {name}"] = _layer(name)
    shown["group images"] = _group("images/zarr.json")
    return shown


def _table(name: str) -> View:
    return lambda store: atlas.open(store.backend).sql(f"select * from {name}").rows


def _array(path: str, rows: list[slice]) -> View:
    """What lies in those objects of an array that were written."""
    return lambda store: [store.read(path, some) for some in rows]


def _derived(path: str) -> View:
    """What the page reads of what is derived."""
    return lambda store: store.read(path)


def _group(key: str) -> View:
    """What the page is told of a layer's arrays at once."""
    return lambda store: found(store.backend.get(key))


def _layer(name: str) -> View:
    def told(store: Store) -> Any:
        layer = atlas.open(store.backend).layer(name)
        units = [(repr(unit), unit.statistics, unit.classes, unit.similar) for unit in layer]
        maps = [(repr(layer.atlas_of(one)), layer.atlas_of(one).quality) for one in layer.atlases]
        return repr(layer), repr(layer.recipe), repr(units), repr(maps), layer.ratio, layer.dead

    return told


def images_of(store: Store) -> Images:
    return atlas.open(store.backend).images


def excites(image: Any) -> list[tuple[str, float]]:
    return [(str(unit), score) for unit, score in image.excites]


def status(store: Store) -> Any:
    """What `atlas status` and later builds are told."""
    plans = [(plan.to_dict(), sorted(store.receipts(plan)), store.columns_done(plan)) for plan in store.plans()]
    small = [store.get_json(key) for key in store.backend.list(CALIBRATIONS)]
    return plans, small, [(list(run.events()), run.totals) for run in runs(store)]


def same(one: Any, other: Any) -> bool:
    """Whether two dumps of a view are the same to the last bit."""
    if isinstance(one, np.ndarray) and isinstance(other, np.ndarray):
        return one.dtype == other.dtype and one.shape == other.shape and one.tobytes() == other.tobytes()
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(same, one, other))
    return repr(one) == repr(other)


class Dump:
    """What a whole store shows, and which objects each view reads."""

    def __init__(self, objects: dict[str, bytes]) -> None:
        self.objects, self.values, self._reads = objects, dict[str, Any](), dict[str, set[str]]()
        self._views = views(Store.open(Recording(objects)))
        for name, view in self._views.items():
            backend = Recording(objects)
            self.values[name] = view(Store.open(backend))
            self._reads[name] = backend.read

    def affected(self, objects: dict[str, bytes], key: str) -> Iterator[tuple[str, Any]]:
        """The views that differ once `key` was altered, with what they show or raise."""
        for name, view in self._views.items():
            if key in self._reads[name]:
                try:
                    shown = view(Store.open(Recording(objects)))
                except AtlasError as error:
                    shown = error
                if not same(shown, self.values[name]):
                    yield name, shown


def kind_of(key: str) -> str:
    return next(kind for kind, pattern in KINDS.items() if re.fullmatch(pattern, key))


def drawn(objects: dict[str, bytes], flips: int, chance: random.Random) -> list[str]:
    """Keys of objects: each kind in equal parts as long as it has not its share, then any."""
    kinds: dict[str, list[str]] = {}
    for key in sorted(objects):
        if objects[key]:
            kinds.setdefault(kind_of(key), []).append(key)
    least = min(LEAST, flips // len(kinds))
    keys = [chance.choice(some) for some in kinds.values() for _ in range(least)]
    whole = [key for some in kinds.values() for key in some]
    return keys + [chance.choice(whole) for _ in range(flips - len(keys))]


def flip(dump: Dump, key: str, bit: int, count: Count) -> None:
    """Flip a bit of an object, see what a reader shows, verify, repair and see again."""
    count.flips += 1
    what = f"{key} bit {bit}"
    data = bytearray(dump.objects[key])
    data[bit // 8] ^= 1 << (bit % 8)
    objects = dump.objects | {key: bytes(data)}
    try:
        changed = [name for name, _ in dump.affected(objects, key)]
        count.changed += bool(changed)
        backend = Recording(objects)
        named = told = ""
        try:
            store = Store.open(backend)
            findings = examine(store).findings
            told = " ".join(f"{finding.key} {finding.receipt}" for finding in findings)
            mend(store, findings)
            named = "; ".join(f"{finding.key}: {cure(finding)}" for finding in findings)
        except AtlasError as error:  # the root cannot be read at all: the line names it
            told = named = str(error)
        count.found += bool(changed and told)
        if changed and not told:
            count.wrong.append(f"{what}: not found, though it changes {changed[:3]}")
        left = list(dump.affected(backend.objects(), key)) if changed else []
        mended = bool(changed) and not left
        count.mended += mended
        count.named += bool(changed and not mended and named)
        if changed and not mended and not named:
            count.wrong.append(f"{what}: neither mended nor named")
    except Exception as error:  # noqa: BLE001 (a traceback is what is looked for)
        count.tracebacks += 1
        count.wrong.append(f"{what}: {type(error).__name__}: {error}")


@contextmanager
def metadata_once() -> Iterator[None]:
    """What plans say of their arrays is the same each time: worked out once for all flips."""
    made, known = layout.metadata, dict[str, dict[str, bytes]]()

    def metadata(plans: Sequence[Plan]) -> dict[str, bytes]:
        key = json.dumps([plan.to_dict() for plan in plans])
        if key not in known:
            known[key] = made(plans)
        return known[key]

    layout.metadata = metadata
    try:
        yield
    finally:
        layout.metadata = made


def run(
    objects: dict[str, bytes], flips: int, seed: int = 0, told: Callable[[], None] = lambda: None
) -> dict[str, Count]:
    """Flip bits, one at a time; what became of them by kind."""
    chance, dump, counts = random.Random(seed), Dump(objects), dict[str, Count]()
    with metadata_once():
        for key in drawn(objects, flips, chance):
            flip(dump, key, chance.randrange(8 * len(objects[key])), counts.setdefault(kind_of(key), Count()))
            told()
    return counts


def objects_of(store: Store) -> dict[str, bytes]:
    return {key: store.backend.get(key) or b"" for key in store.backend.list()}


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--flips", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--store", type=Path)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if asked.store is None:
            from tests.atlased import atlas_store

            store = atlas_store(Path(folder) / "store", Path(folder) / "images")
        else:
            store = Store.open(asked.store)
        objects, began = objects_of(store), time.monotonic()
    counts = run(objects, asked.flips, asked.seed, lambda: print(".", end="", flush=True))
    print(f"\n{asked.flips} flips in {time.monotonic() - began:,.0f} s over {len(objects)} objects, seed {asked.seed}")
    columns = ("flips", "changed", "found", "mended", "named", "tracebacks")
    print("| kind | " + " | ".join(columns) + " |\n|---|" + "---|" * len(columns))
    whole: Counter[str] = Counter()
    for kind, count in counts.items():
        told = {column: getattr(count, column) for column in columns}
        whole.update(told)
        print(f"| {kind} | " + " | ".join(str(told[column]) for column in columns) + " |")
    print("| all | " + " | ".join(str(whole[column]) for column in columns) + " |")
    for count in counts.values():
        for line in count.wrong:
            print(line)


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        main()
