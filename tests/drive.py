"""A driver to be killed: builds the tiny network's catalogue on Ray, with faults; from a folder of images too, or an
atlas of these alone.

python -m tests.drive STORE MARKS RAY_FOLDER FAULTS_JSON [IMAGES [charted]]
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from atlas.engine.clusters import connect
from atlas.engine.on_ray import OnRay
from atlas.engine.planning.images import ListedImages
from atlas.engine.run import build, describe
from atlas.models import load_model
from atlas.store import Store
from tests.builds import charting_plans, collecting_plans, tiny_plans
from tests.faults import Fault, FaultyBackend


def main(place: str, marks: str, folder: str, faults: str, shown: str = "", charted: str = "") -> int:
    """Build; the exit code says whether everything is done."""
    model = load_model("tests.networks:tiny")
    backend = FaultyBackend(Path(place), [Fault(**fault) for fault in json.loads(faults)], Path(marks))
    images = ListedImages.open([shown]) if shown else None
    plans = [*tiny_plans(model), *(collecting_plans(model, images) if images else [])]
    if images and charted:
        plans = charting_plans(model, images)
    with connect("local", workers=2, folder=folder):
        store = Store.create(backend, model.identity, describe(model))
        report = build(store, model, plans, OnRay(plans[0].numerics, 2), images=images)
    print(f"retried {report.retried}, failed {report.failed}")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
