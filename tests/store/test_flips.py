"""Single bits flipped anywhere in a small store with images and an atlas; a thousand in a built one by hand."""

from __future__ import annotations

import pytest

from atlas.catalogue.mending import mend
from atlas.store import Log, MemoryBackend
from benchmarks.flips import KINDS, objects_of, run
from tests.charted import chart_into
from tests.collected import collect_into
from tests.stores import make_store

pytestmark = [pytest.mark.builder, pytest.mark.slow]

FLIPS = 60


def made() -> dict[str, bytes]:
    store = make_store(MemoryBackend(), layers={"a": 40}, size=16)
    plans = collect_into(store, images=9, crops=1)
    chart_into(store, plans[1].on, plans[0].collection, grids=(5,))
    store.put_labels([f"kind {number}" for number in range(10)])
    store.put_json("calibration/cpu.json", {"machine": "a machine"})
    store.put_json("logs/20260101T000000000000Z-000000.json", {"seconds": 1.5, "events": []})
    log = Log(store)
    log.begin(atlas="0.1.0", torch="2.10", device="cpu", plans={})
    log.tell("failed", what="features a:0-31", reason="no derivative", trace="", kind="error")
    log.close()
    mend(store, ())
    objects = objects_of(store)
    assert any(key.startswith("tables/") for key in objects)
    return objects


def test_every_flip_that_changes_what_a_reader_shows_is_found_and_mended_or_named() -> None:
    counts = run(made(), FLIPS, seed=7)
    assert counts.keys() == KINDS.keys()
    for kind, count in counts.items():
        assert not count.wrong, f"{kind}: {count.wrong}"
        assert not count.tracebacks
        assert count.found == count.changed == count.mended + count.named
    assert sum(count.changed for count in counts.values()) > FLIPS // 3
    assert sum(count.mended for count in counts.values()) > FLIPS // 8
