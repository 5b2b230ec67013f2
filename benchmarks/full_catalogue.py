"""All 2,560 fire channels of SqueezeNet 1.1 by one command: its time, figures of the pictures, contact sheets.

    python -m benchmarks.full_catalogue STORE SHEETS

Runs `atlas build` as a user would (a store that is there already is measured as it is), prints a line a layer and
variant, and writes a contact sheet for each layer to SHEETS.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import atlas
from atlas.catalogue import Catalogue
from atlas.store import Store
from tests.quality import Quality, figures

FIRES = "features.3,features.4,features.6,features.7,features.9,features.10,features.11,features.12"


def main(store: Path, sheets: Path) -> None:
    """Build, measure, draw."""
    arguments = ["build", "squeezenet", "--layers", FIRES, "--recipe", "quick", "--store", str(store)]
    print("$ atlas", *arguments, flush=True)
    began = time.monotonic()
    subprocess.run([sys.executable, "-m", "atlas", *arguments], check=True)
    catalogue = atlas.open(store)
    print(
        f"{(time.monotonic() - began) / 60:.1f} minutes, {cpu_minutes(catalogue.store):.1f} CPU-minutes of the workers"
    )
    for layer in catalogue:
        for variant in layer.variants:
            print(f"{layer.name} {variant}: {Quality.of([layer], variant)}")
    for variant, quality in figures(catalogue).items():
        print(f"all {variant}: {quality}")
    draw(catalogue, sheets)


def cpu_minutes(store: Store) -> float:
    """What the receipts say that all shards of a store took; one pass may serve many, and one of them tells of it."""
    receipts = [receipt for plan in store.plans() for receipt in store.receipts(plan).values()]
    return sum(float(receipt.record.get("cpu", 0.0)) for receipt in receipts) / 60


def draw(catalogue: Catalogue, sheets: Path) -> None:
    """A contact sheet a layer, positive and negative."""
    sheets.mkdir(parents=True, exist_ok=True)
    for layer in catalogue:
        for variant in layer.variants:
            sheet = layer.sheet(variant, columns=32)
            sheet.reduce(2).save(sheets / f"{layer.name}-{variant}.jpg", quality=75)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
