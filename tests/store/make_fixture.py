"""Make the fixture store of the version that is current: python -m tests.store.make_fixture

Run once for each released version, and committed: what it leaves in `fixtures/VERSION` is read by the tests for ever
and never made again.
"""

from __future__ import annotations

from pathlib import Path

from atlas.store.layout import TABLES, VERSION
from tests.collected import collect_into
from tests.stores import make_store

FIXTURES = Path(__file__).parent / "fixtures"
LAYERS = {"stage.1#0": 6}


def make(folder: Path) -> None:
    from tests.charted import chart_into  # needs torch, which whoever only reads fixtures has not

    store = make_store(folder, layers=LAYERS, size=16, note="For ever.", title="Fixture", labels=10)
    store.put_labels([f"class {number}" for number in range(10)])
    plans = collect_into(store, images=7, crops=1)
    chart_into(store, plans[1].on, plans[0].collection, grids=(5,))
    for key in store.backend.list(TABLES):  # derived, and of one version of DuckDB
        store.backend.delete(key)


if __name__ == "__main__":
    make(FIXTURES / VERSION)
