"""The machinery alone: what a shard costs the driver, its memory, and how long finding out what is done takes.

    python -m benchmarks.machinery [--shards 1000,10000,100000] [--layers 1] [--place folder|s3] -> a row each

Shards of naps that take no time (`tests.naps`). An executor that only writes their receipts, 64 at a time, stands for
the workers: its time is not the driver's. The build is stopped half way and gone on with. S3 is SeaweedFS on this
machine. Each row is measured in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Generator
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from atlas.engine.events import Event, ShardDone, Task
from atlas.engine.executors import Staff
from atlas.engine.making import process
from atlas.engine.run import build, describe
from atlas.engine.work import perform
from atlas.engine.worker import Job, Supplies
from atlas.models import load_model
from atlas.plans import Plan, declare
from atlas.store import Receipt, Store, Stored
from tests.naps import NAPS, nap_plans

ABREAST = 64
RECORD = {"seconds": {"all": 0.123, "write": 0.004}, "cpu": 0.1}


class Bare:
    """Writes receipts, and tells how long that took, and how long they take to be listed.

    What follows a plan's shards is done too; in a process `apart` where one is given.
    """

    workers = 16

    def __init__(self, store: Store, most: int, *, apart: Executor | None = None) -> None:
        self._store, self._left, self._apart = store, most, apart
        self.staff = Staff(self.workers)
        self.seconds = self.cpu = self.listing = self.began = 0.0

    def run(self, job: Job, _: Supplies, queue: deque[Task]) -> Generator[Event, None, None]:
        self.began = self.began or time.perf_counter()
        with ThreadPoolExecutor(ABREAST) as pool:
            while queue and self._left > 0:
                began, cpu = time.perf_counter(), time.thread_time()
                tasks = [queue.popleft() for _ in range(min(ABREAST, len(queue)))]
                shards = [task for task in tasks if task.kind == "shards"]
                made = [event for some in pool.map(self._written, shards) for event in some]
                self._left -= len(made)
                self.seconds += time.perf_counter() - began
                self.cpu += time.thread_time() - cpu
                yield from made
                for task in tasks:
                    if task.kind != "shards":
                        yield from self._whole(job, task)

    def _written(self, task: Task) -> list[ShardDone]:
        return [self._receipt(plan, index) for index in task.indices for plan in task.plans]

    def _receipt(self, plan: Plan, index: int) -> ShardDone:
        shard, record = plan.shard(index), RECORD | process()
        objects = (Stored(f"layers/{plan.on.key}/naps/slept/c/{index}", 4, "0" * 64),)
        numbers: dict[str, Any] = {name: [[0.5, 0.25]] for name in ("mean", "peak")} | {"status": [[0, 0]]}
        receipt = Receipt(plan.id, index, (shard.start, shard.stop), objects, numbers, record)
        self._store.put_receipt(shard, receipt)
        return ShardDone(shard, {}, record)

    def _whole(self, job: Job, task: Task) -> Generator[Event, None, None]:
        began, cpu = time.perf_counter(), time.thread_time()
        if task.kind == "reduce":
            assert not self._store.left_of(task.plans[0])
            self.listing += time.perf_counter() - began
        events = self._apart.submit(_carried_out, job, task).result() if self._apart else _carried_out(job, task)
        self.seconds += time.perf_counter() - began
        self.cpu += time.thread_time() - cpu
        yield from events


def _carried_out(job: Job, task: Task) -> list[Event]:
    """What a worker does with what is no shard."""
    declare(NAPS)
    return list(perform(job, task, Supplies(dict)))


def measure(place: str, shards: int, layers: int) -> dict[str, float]:
    """What a build of so many shards in a new store costs, stopped half way and gone on with."""
    declare(NAPS)
    model = load_model("tests.networks:tiny")
    idle = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    store = Store.create(place, model.identity, describe(model))
    took: dict[str, float] = {"shards": shards}
    overhead = computed = 0.0
    apart = ProcessPoolExecutor(1, get_context("spawn"))
    for half, most in (("first", shards // 2), ("second", shards * 2)):
        began, cpu = time.perf_counter(), time.thread_time()
        executor = Bare(store, most, apart=apart)
        report = build(store, model, nap_plans(model, shards, layers), executor)
        assert not report.failed
        whole = time.perf_counter() - began
        overhead += whole - executor.seconds
        computed += time.thread_time() - cpu - executor.cpu
        took |= {f"{half} begins after": executor.began - began, f"{half} s": whole, "listing s": executor.listing}
    plans = store.plans()
    assert all(map(store.whole, plans))
    began = time.perf_counter()
    build(store, model, nap_plans(model, shards, layers), Bare(store, shards, apart=apart))
    took |= {"whole again s": time.perf_counter() - began, "ms a shard": 1000 * overhead / shards}
    apart.shutdown()
    took["CPU ms"] = 1000 * computed / shards
    return took | {"MB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, "idle MB": idle}


def main() -> None:
    """Print a row a count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", default="1000,10000,100000")
    parser.add_argument("--layers", type=int, default=1)
    parser.add_argument("--place", choices=["folder", "s3"], default="folder")
    parser.add_argument("--alone", help="the place of one measurement, of this process")
    asked = parser.parse_args()
    if asked.alone:
        print(json.dumps(measure(asked.alone, int(asked.shards), asked.layers)))
        return
    for number, count in enumerate(asked.shards.split(",")):
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            place = str(folder / "made.atlas")
            if asked.place == "s3":
                from tests.object_stores import seaweed

                server = stack.enter_context(seaweed(folder))
                stack.enter_context(server.reached())
                place = f"{server.bucket}/made.atlas"
            words = [sys.executable, "-m", "benchmarks.machinery", "--shards", count, "--alone", place]
            words += ["--layers", str(asked.layers)]
            row = json.loads(subprocess.run(words, stdout=subprocess.PIPE, text=True, check=True).stdout)
        if not number:
            print("| " + " | ".join(row) + " |\n|" + "-|" * len(row))
        print(
            "| " + " | ".join(f"{value:,.4g}" if value < 1000 else f"{value:,.0f}" for value in row.values()) + " |",
            flush=True,
        )


if __name__ == "__main__":
    main()
