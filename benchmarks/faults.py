"""A cluster in miniature under faults: what is built is the same byte for byte, and what each fault costs.

    python -m benchmarks.faults [--faults 100] [--seed 0] [--layers 24] [--kinds worker,link]

A head, two machines of one slot and an object store, in network namespaces of their own with a disk each (see
`tests.namespaces`). A store is built twice: once in quiet; and while faults strike, drawn by the seed, where a driver
that ends is started again and machines come back, as on any cluster. Where it is whole before all faults have struck,
another is begun. Every store is compared with the quiet one object by object and verified.

`--submit` has the build as a job of the cluster. Ray gives up a machine that is silent after ten seconds here;
`--patience ray` leaves Ray its own timing.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock, Thread
from typing import Any, TextIO

from atlas.store import Store, backend_at, verify
from atlas.store.leftovers import collect
from tests.builds import everything
from tests.dataset.made import encoded, pixels, write_tar
from tests.engine.test_clusters import ours
from tests.engine.test_vanishing import NOTICED
from tests.namespaces import DISK, NET, SHARED, SWITCH, Host, Yard, enter, hindrance, inside, switch
from tests.object_stores import KEYS, Server, seaweed
from tests.proxies import Fault, Proxy, proxy

ROOT = Path(__file__).parents[1]
PIPELINE = "tests.networks:broad --device=cpu --crops=1 --set=size=32 --set=steps=16 --set=draws=1"
ATLAS = "--atlas=beside.0.1 --positions=2 --grids=5 --atlas-set=size=16 --atlas-set=steps=2 --atlas-set=tries=1"
SLOTS = 2
"""Tasks that run side by side."""
CUT, SLOW, FULL = 20.0, 10.0, 8.0
"""Seconds of a link that is down, of a machine that is slow, of a disk that is full."""
NOTICE = {"short": 30.0, "ray": 90.0}
"""Seconds in which a machine that vanished is noticed."""
STILL = 240.0
"""Seconds in which nothing is made and nothing fails after which a run counts as hanging."""
MOST = 100
"""How often a build is begun again before it is taken for certain that it will never end."""
DRAIN = 120
"""Seconds in which a machine that gets notice ends what it is at."""
RETRY = re.compile(r"retry \d")
"""How the build tells of a task that is handed out again."""
OTHERS = re.compile(r"ray::(IDLE|_|\w+Agent)")
"""What Ray's processes are called that are at no shard."""
REQUESTS = 12
"""Requests in a row of which half get a wrong answer."""


# -- what runs ---------------------------------------------------------------------------------------------------------


@dataclass
class Machine:
    """A host with `ray start --block`, which is begun again whenever it ends."""

    host: Host
    command: list[str]
    environment: dict[str, str]
    process: subprocess.Popen[Any] | None = None

    def tend(self) -> None:
        if self.process is None or self.process.poll() is not None:
            # Ray would take the processes of other hosts, which it sees here, for those of the cluster named there.
            (self.host.disk / "ray" / "ray_current_cluster").unlink(missing_ok=True)
            with (SHARED / f"{self.host}.log").open("ab") as log:
                self.process = self.host.start(self.command, env=self.environment, stdout=log, stderr=log)

    @property
    def busy(self) -> list[int]:
        """Workers that are at a task of the build."""
        return [pid for pid, words in self.host.processes("ray::").items() if not OTHERS.match(words)]

    @property
    def there(self) -> bool:
        return bool(self.host.processes("raylet"))


class Build:
    """A build of a store, begun again until it succeeds; and every line that it says, with its time."""

    def __init__(self, host: Host, store: str, words: list[str], environment: dict[str, str]) -> None:
        self.store, self.starts, self.done = store, 0, False
        self.said: list[tuple[float, str]] = []
        self._host, self._environment = host, environment
        self._command = [sys.executable, "-m", "atlas", *words, "--store", store]
        self._killed = False
        self._process: subprocess.Popen[str] | None = None
        self._reader = Thread()

    @property
    def runs(self) -> bool:
        return self._process is not None and self._process.poll() is None

    def tend(self) -> None:
        """Begin, or begin again, where nothing runs."""
        if self.done or self.runs:
            return
        if self._process is not None:
            self._reader.join()
            self.done = self._process.returncode == 0
            if self._process.returncode not in (0, 1) and not self._killed:
                raise SystemExit(f"The build ended with {self._process.returncode}:\n{self.last(30)}")
        if self.starts > MOST:
            raise SystemExit(f"The build was begun {self.starts} times, and is not done:\n{self.last(30)}")
        if not self.done:
            self.starts, self._killed = self.starts + 1, False
            self._process = self._host.start(
                self._command,
                cwd=SHARED,
                env=self._environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
            )
            assert self._process.stdout is not None
            self._reader = Thread(target=self._read, args=(self._process.stdout,), daemon=True)
            self._reader.start()

    def _read(self, lines: TextIO) -> None:
        for line in lines:
            self.said.append((time.monotonic(), line.rstrip()))
            with (SHARED / "build.log").open("a") as log:
                log.write(f"{time.monotonic():.1f} {line}")

    @property
    def pid(self) -> int:
        return self._process.pid if self._process is not None else 0

    def kill(self) -> None:
        self._killed = True
        if self._process is not None:
            self._process.kill()

    def last(self, count: int) -> str:
        return "\n".join(line for _, line in self.said[-count:])

    def again(self, since: float = 0.0, until: float = math.inf) -> list[float]:
        """When tasks were handed out again."""
        return [at for at, line in self.said if since <= at < until and RETRY.match(line)]

    @property
    def flight(self) -> int:
        """How many shards were in flight, at most, where something died."""
        return len(self.again()) + SLOTS * (self.starts - 1)


class Run:
    """The cluster, the build under way, and what goes wrong."""

    def __init__(self, yard: Yard, server: Server, between: Proxy, options: argparse.Namespace) -> None:
        self.yard, self.between, self.chance = yard, between, random.Random(options.seed)
        self.notice = NOTICE[options.patience]
        self._server, self._began = server, time.monotonic()
        self._environment = ours(
            DISK,
            AWS_ENDPOINT_URL=between.endpoint,
            ATLAS_CACHE=str(DISK / "cache"),
            TMPDIR=str(DISK),
            RAY_memory_monitor_refresh_ms="0",
            RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S=str(DRAIN),
            **KEYS,
            **(NOTICED if options.patience == "short" else {}),
        )
        self._environment |= {"PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
        jobs = f"--include-dashboard={str(options.submit).lower()}"
        self.head = self._machine("head", "--head", "--port=6379", "--num-cpus=0", jobs, "--dashboard-host=0.0.0.0")
        head = self.head.host.address
        begin = (
            ["submit", "--yes", f"--address=http://{head}:8265"] if options.submit else ["build", f"--ray={head}:6379"]
        )
        layers = ",".join(f"beside.{number}.1" for number in range(options.layers))
        atlas = [] if options.without_atlas else ATLAS.split()
        self._words = [*begin, *PIPELINE.split(), f"--layers={layers}", f"--images={images(server)}", *atlas]
        self.desk = self.yard.host("desk") if options.submit else self.head.host
        """Where the command is run."""
        self.nodes = [self.node() for _ in range(SLOTS)]
        for machine in (self.head, *self.nodes):
            machine.tend()
            while not machine.there:
                time.sleep(0.1)
        self.builds: list[Build] = []
        self.begin()

    def _machine(self, name: str, *words: str) -> Machine:
        host = self.yard.host(name)
        command = [sys.executable, "-m", "ray.scripts.scripts", "start", "--block", *words]
        command += [f"--node-ip-address={host.address}", f"--temp-dir={DISK / 'ray'}"]
        command += [f"--object-store-memory={75 * 2**20}", "--disable-usage-stats"]
        return Machine(host, command, self._environment)

    def node(self) -> Machine:
        """A machine more, of one slot."""
        name = f"node-{len(self.yard.hosts)}"
        return self._machine(name, f"--address={self.head.host.address}:6379", "--num-cpus=1")

    def begin(self) -> None:
        """Begin the build of a new store."""
        store = f"{self._server.bucket}/store-{len(self.builds)}.atlas"
        self.builds.append(Build(self.desk, store, self._words, self._environment))

    @property
    def build(self) -> Build:
        """The one that is under way."""
        return self.builds[-1]

    def tend(self) -> None:
        """Begin again what has ended."""
        for machine in (self.head, *self.nodes):
            machine.tend()
        if self.build.runs or self.head.there:
            self.build.tend()

    @property
    def made(self) -> dict[str, int]:
        """Of every shard, and of what follows them, how many attempts at it came to their end."""
        with self.between.lock:
            return {key: len(by) for key, by in self.between.writers.items() if "/bundles/" in key}

    def until(self, met: Callable[[], Any], limit: float = STILL) -> None:
        """Tend all until `met`."""
        end = time.monotonic() + limit
        while not met():
            if time.monotonic() > end:
                self.explain(f"nothing happens for {limit:.0f} s")
            self.tend()
            time.sleep(0.1)

    def rest(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        self.until(lambda: time.monotonic() > end)

    def finish(self) -> None:
        """Tend all until the build is done; it hangs where nothing is made and nothing is said for long."""
        while not self.build.done:
            before = self._signs
            self.until(lambda before=before: self.build.done or self._signs != before)  # type: ignore[misc]

    @property
    def _signs(self) -> tuple[int, int]:
        """What changes as long as something goes on."""
        return len(self.made), len(self.build.said)

    def explain(self, what: str) -> None:
        """End the run with what there is to be seen."""
        for machine in (self.head, *self.nodes):
            print(f"-- {machine.host}", *machine.host.processes().values(), sep="\n   ")
        raise SystemExit(f"FAILED: {what}. The last lines of the build:\n{self.build.last(40)}")

    @property
    def seconds(self) -> float:
        return time.monotonic() - self._began


def images(server: Server) -> str:
    """Images in two shards in the bucket."""
    for shard in range(2):
        members = {
            f"{number:04d}.png": encoded(pixels(number, (12, 12))) for number in range(600 * shard, 600 * shard + 600)
        }
        write_tar(SHARED / "images.tar", members)
        backend_at(f"{server.bucket}/images").put(f"{shard}.tar", (SHARED / "images.tar").read_bytes())
    return f"{server.bucket}/images/{{0..1}}.tar"


# -- what goes wrong ---------------------------------------------------------------------------------------------------

Strike = Callable[[Run], str]
"""Lets a fault happen, and says where. It returns when the fault is over."""
KINDS: dict[str, tuple[int, Strike]] = {}
"""How many of a hundred faults are of which kind."""


def kind(name: str, share: int) -> Callable[[Strike], Strike]:
    def declare(strike: Strike) -> Strike:
        KINDS[name] = (share, strike)
        return strike

    return declare


@kind("worker", 30)
def kill_a_worker(run: Run) -> str:
    node = run.chance.choice(busy(run))
    for pid in node.busy[:1]:
        os.kill(pid, signal.SIGKILL)
    return str(node.host)


@kind("raylet", 10)
def kill_a_raylet(run: Run) -> str:
    node = run.chance.choice(busy(run))
    for pid in node.host.processes("raylet"):
        os.kill(pid, signal.SIGKILL)
    return str(node.host)


@kind("driver", 10)
def kill_the_driver(run: Run) -> str:
    before = run.build.starts
    run.build.kill()
    run.until(lambda: run.build.starts > before)
    return str(run.head.host)


@kind("head", 3)
def kill_the_head(run: Run) -> str:
    """All of Ray on it at once. The driver finds out by itself, and ends."""
    before = run.build.starts
    run.head.host.kill(but=run.build.pid)
    run.until(lambda: run.build.done or run.build.starts > before)
    return str(run.head.host)


@kind("cut", 9)
def cut_a_link(run: Run) -> str:
    """Of a machine, of the head, or of the store."""
    host = run.chance.choice([*(node.host for node in run.nodes), *run.yard.hosts[:2]])
    host.link(up=False)
    run.rest(CUT)
    host.link(up=True)
    return str(host)


@kind("vanish", 4)
def cut_a_link_for_ever(run: Run) -> str:
    """A machine vanishes with all connections open; another comes."""
    node = run.chance.choice(busy(run))
    began = time.monotonic()
    node.host.link(up=False)
    run.nodes[run.nodes.index(node)] = run.node()
    noticed = began + run.notice  # where its task was at its end, nothing is handed out again
    run.until(lambda: run.build.done or run.build.again(began) or time.monotonic() > noticed)
    node.host.end()
    return str(node.host)


@kind("drain", 5)
def drain_a_machine(run: Run) -> str:
    """A machine gets notice: it ends what it is at, and nothing is handed out again."""
    node = run.chance.choice(busy(run))
    process = node.process
    assert process is not None
    process.send_signal(signal.SIGTERM)
    run.until(lambda: process.poll() is not None)
    return str(node.host)


@kind("slow", 7)
def slow_a_machine_down(run: Run) -> str:
    node = run.chance.choice(run.nodes)
    with node.host.slow(0.2):
        run.rest(SLOW)
    return str(node.host)


@kind("full", 7)
def fill_a_disk(run: Run) -> str:
    node = run.chance.choice(run.nodes)
    with node.host.full():
        run.rest(FULL)
    return str(node.host)


class Wrong:
    """Some requests in a row of which half get a wrong answer."""

    def __init__(self, fault: Fault, chance: random.Random) -> None:
        self.left, self._fault, self._chance = REQUESTS, fault, chance
        self._lock = Lock()

    def __call__(self, *_: object) -> Fault:
        with self._lock:
            struck = self.left > 0 and self._chance.random() < 0.5
            self.left -= 1
            return self._fault if struck else ""


def answer_wrong(fault: Fault) -> Strike:
    def strike(run: Run) -> str:
        wrong = run.between.wrong = Wrong(fault, random.Random(run.chance.random()))
        run.until(lambda: wrong.left <= 0 or run.build.done)
        return "store"

    return strike


for name, share in {"500": 3, "503": 4, "reset": 4, "cut": 4}.items():
    kind("torn" if name == "cut" else name, share)(answer_wrong(name))  # type: ignore[arg-type]


def busy(run: Run) -> list[Machine]:
    """Machines that are at a task, waited for."""
    run.until(lambda: run.build.done or any(node.busy for node in run.nodes))
    return [node for node in run.nodes if node.busy] or run.nodes


def deck(count: int, chance: random.Random, names: Sequence[str]) -> list[str]:
    """Kinds of faults in a chance order: one of each at least, where there are enough, and of each its share."""
    names = list(names)
    chance.shuffle(names)
    rest = [name for name in names for _ in range(KINDS[name][0])]
    drawn = (names + chance.sample(rest * (1 + count // len(rest)), max(0, count - len(names))))[:count]
    chance.shuffle(drawn)
    return drawn


# -- what comes of it --------------------------------------------------------------------------------------------------


@dataclass
class Struck:
    """A fault, and what it cost."""

    name: str
    build: Build
    began: float
    at: float
    """Seconds since the run began."""
    where: str = ""
    stood: float = 0.0
    """Seconds until all machines are there again, and something was made."""
    next: float = math.inf
    """When the next fault began: what is handed out again before that is this one's doing."""

    @property
    def again(self) -> int:
        """Tasks that were handed out again."""
        return len(self.build.again(self.began, self.next))

    @property
    def noticed(self) -> float | None:
        """Seconds until the first of them was."""
        heard = self.build.again(self.began, self.next)
        return heard[0] - self.began if heard else None

    def __str__(self) -> str:
        noticed = "" if self.noticed is None else f", the first after {self.noticed:.1f} s"
        again = f"{self.again} handed out again{noticed}" if self.again else "nothing handed out again"
        return f"{self.at:7.1f} s  {self.name:7s} {self.where:8s} {again}; at work again after {self.stood:.1f} s"


def strike(run: Run, name: str) -> Struck:
    """Let a fault happen, and wait until all is at work again."""
    struck = Struck(name, run.build, time.monotonic(), run.seconds)
    struck.where = KINDS[name][1](run)
    made = len(run.made)
    run.until(lambda: struck.build.done or (len(run.made) > made and all(node.there for node in run.nodes)))
    struck.stood = time.monotonic() - struck.began
    return struck


def at_work(run: Run, wanted: dict[str, bytes]) -> list[str]:
    """Wait for a moment at which a build is at work. One that is whole is compared, and another begun."""
    wrong: list[str] = []
    while True:
        busy(run)
        run.rest(run.chance.uniform(0.5, 3.0))
        if not run.build.done:
            return wrong
        wrong += compared(run.build, wanted)
        run.begin()


def compared(build: Build, wanted: dict[str, bytes]) -> list[str]:
    """What is wrong with a store: objects that differ from the quiet one's, and what `verify` finds."""
    opened = Store.open(build.store)
    collect(opened)
    backend, found = opened.backend, everything(opened.backend)
    wrong = [f"{key} differs" for key in sorted(found.keys() | wanted.keys()) if found.get(key) != wanted.get(key)]
    wrong += [f"{key} holds an address" for key in backend.list() if f"{NET}.".encode() in (backend.get(key) or b"")]
    wrong += map(str, verify(opened).findings)
    wrong += [f"a traceback: {line}" for _, line in build.said if "Traceback" in line]
    print(f"     {opened} is whole, after {build.starts} starts: {len(wrong) or 'nothing'} wrong", flush=True)
    return wrong


def unheeded(faults: list[Struck]) -> list[str]:
    """Machines that got notice, and tasks of which were handed out again all the same."""
    some = [one for one in faults if one.name == "drain" and one.again and one.stood < DRAIN]
    return [f"{one.where} got notice, and {one.again} tasks were handed out again" for one in some]


def again(run: Run, quiet: set[str]) -> list[str]:
    """Whether more was made again than was in flight."""
    made = {key: times for key, times in run.made.items() if key not in quiet}
    twice, flight = sum(made.values()) - len(made), sum(build.flight for build in run.builds)
    print(f"\n{len(made)} shards and reduces were made, and {twice} of them again; {flight} were in flight at faults.")
    return [f"{twice} shards were made again"] if twice > flight else []


def tell(faults: list[Struck]) -> None:
    """What each kind of fault cost."""
    print(f"\n{'kind':8s} struck  handed out again  noticed after, median and most  at work again after")
    for name in KINDS:
        some = [one for one in faults if one.name == name]
        if some:
            noticed = [one.noticed for one in some if one.noticed is not None]
            told = f"{statistics.median(noticed):8.1f} {max(noticed):8.1f} s" if noticed else f"{'-':>19s}"
            stood = statistics.median(one.stood for one in some)
            print(f"{name:8s} {len(some):6d}  {sum(one.again for one in some):16d}  {told:>30s}  {stood:17.1f} s")


@contextmanager
def cluster(options: argparse.Namespace) -> Iterator[Run]:
    """A cluster at work for the length of a block."""
    with switch() as yard:
        bucket = yard.host("bucket", "2g")
        (SHARED / "bucket").mkdir()
        with seaweed(SHARED / "bucket", bucket) as server, server.reached(), proxy(server.endpoint, SWITCH) as between:
            yield Run(yard, server, between, options)


def main(options: argparse.Namespace) -> int:
    """Print what every fault cost and whether anything is wrong; the exit code says so too."""
    faults, wrong = list[Struck](), list[str]()
    with cluster(options) as run:
        run.finish()
        wanted, quiet = everything(backend_at(run.build.store)), set(run.made)
        print(f"In quiet it takes {run.seconds:.0f} s: {len(wanted):,} objects, {len(quiet)} shards and reduces.")
        run.begin()
        for name in deck(options.faults, run.chance, options.kinds or list(KINDS)):
            wrong += at_work(run, wanted)
            if faults:
                faults[-1].next = time.monotonic()
                print(f"{len(faults):4d} {faults[-1]}", flush=True)
            faults.append(strike(run, name))
        run.finish()
        print(f"{len(faults):4d} {faults[-1]}")
        wrong += compared(run.build, wanted) + unheeded(faults) + again(run, quiet)
        print(f"{len(faults)} faults of {len(run.builds) - 1} builds in {run.seconds:.0f} s")
    tell(faults)
    for line in wrong:
        print(f"WRONG: {line}")
    print(f"{'Something is wrong' if wrong else 'Nothing lost, nothing torn: equal to the quiet one byte for byte'}.")
    return int(bool(wrong))


def said() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults")
    parser.add_argument("--faults", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--layers", type=int, default=24)
    parser.add_argument("--without-atlas", action="store_true", help="no activation atlas: shorter builds")
    parser.add_argument("--kinds", type=lambda text: text.split(","))
    parser.add_argument("--submit", action="store_true", help="as a job of the cluster")
    parser.add_argument("--patience", choices=[*NOTICE], default="short")
    return parser.parse_args()


if __name__ == "__main__":
    asked = said()
    if not inside():
        if why := hindrance():
            raise SystemExit(f"This cannot be measured here: {why}.")
        enter("benchmarks.faults", *sys.argv[1:])
    sys.exit(main(asked))
