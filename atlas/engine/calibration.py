"""What rendering costs on the device at hand: measured once, kept in a store, asked by whoever plans.

    (model, plans) -> Calibration -> calibration/DEVICE[-DTYPE].json -> the width of new plans, the length of tasks

Plans that a store holds already keep the width they were begun with.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from atlas.cost import Calibration
from atlas.engine.vitals import lines_of
from atlas.plans import Plan
from atlas.recipe import Numerics
from atlas.store import Store
from atlas.store.layout import CALIBRATIONS

if TYPE_CHECKING:
    from atlas.models import Model
    from atlas.rendering import Spectrum

WIDTHS = {"cpu": (2, 4, 8), "cuda": (32, 64, 128, 256, 512)}
"""Pictures side by side that are tried."""


def calibrate(
    model: Model,
    plans: Sequence[Plan],
    *,
    batch: int | None = None,
    spectrum: Spectrum | None = None,
    told: Callable[[int], None] = lambda _: None,
) -> Calibration:
    """What pictures of the plans' layers cost here, side by side at the best width, or at `batch`.

    The width is sought on the layer of median cost, then every layer is measured by itself; `told` hears how many are.
    """
    from atlas.models import prepare
    from atlas.rendering.calibration import cost, width

    plans = sorted(plans, key=lambda plan: plan.on.flops)
    recipe, numerics = plans[0].rendering, plans[0].numerics
    if batch is None:
        middle = prepare(model, plans[len(plans) // 2].on, device=numerics.device)
        batch = width(middle, recipe, numerics, WIDTHS[numerics.device], spectrum)
    numerics, costs = replace(numerics, batch=batch), {}
    for done, plan in enumerate(plans, 1):
        costs[plan.layer_name] = cost(prepare(model, plan.on, device=numerics.device), recipe, numerics, spectrum)
        told(done)
    return Calibration(numerics, recipe, machine(numerics.device), costs)


def machine(device: str) -> str:
    """The name of the device, as its maker calls it."""
    if device == "cuda":
        import torch

        return torch.cuda.get_device_name()
    cpus = lines_of(Path("/proc/cpuinfo"))
    named = (line.partition(":")[2].strip() for line in cpus if line.startswith("model name"))
    return f"{next(named, platform.machine())}, {os.cpu_count()} cores"


def keep(store: Store, found: Calibration) -> None:
    """Write a calibration into a store, over an older one of the same kind of device and the same dtype."""
    store.put_json(_key(found.numerics), {"encoding-type": "calibration"} | found.to_dict())


def known(store: Store, numerics: Numerics) -> Calibration | None:
    """What a store holds for the device and dtype of `numerics`; None where it holds nothing, or it is damaged."""
    saved = store.get_json(_key(numerics))
    try:
        return None if saved is None else Calibration.from_dict(saved)
    except (KeyError, TypeError, AttributeError):
        return None


def width_in(store: Store, numerics: Numerics, stage: str) -> int | None:
    """The width of a stage's new plans in a store: that of its others, or the calibrated one; None without either."""
    begun = [plan.numerics for plan in store.plans_of(stage)]
    alike = [each.batch for each in begun if (each.device, each.dtype) == (numerics.device, numerics.dtype)]
    found = known(store, numerics)
    return alike[0] if alike else found.numerics.batch if found else None


def _key(numerics: Numerics) -> str:
    dtype = "" if numerics.dtype == "float32" else f"-{numerics.dtype}"
    return f"{CALIBRATIONS}{numerics.device}{dtype}.json"
