"""A driver to be killed: builds the tiny network's catalogue on Ray, with faults.

python -m tests.drive STORE MARKS RAY_FOLDER FAULTS_JSON
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from atlas.models import load_model
from atlas.store import Store
from pipelines.on_ray import OnRay, connect
from pipelines.run import build, describe
from tests.builds import tiny_plans
from tests.faults import Fault, FaultyBackend


def main(place: str, marks: str, folder: str, faults: str) -> int:
    """Build; the exit code says whether everything is done."""
    model = load_model("tests.networks:tiny")
    backend = FaultyBackend(Path(place), [Fault(**fault) for fault in json.loads(faults)], Path(marks))
    plans = tiny_plans(model)
    with connect(workers=2, folder=folder):
        store = Store.create(backend, model.identity, describe(model))
        report = build(store, model, plans, OnRay(plans[0].numerics, 2))
    print(f"retried {report.retried}, failed {report.failed}")
    return 1 if report.failed else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
