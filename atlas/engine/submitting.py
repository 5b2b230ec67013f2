"""A build that is sent to a cluster: what it is called, and what of this machine travels with it.

Pipeline -> Parcel -> a folder, in which the job runs `python -m atlas build`

What lies in the current folder and is named relative to it travels: a module, a file of labels, a few images. What has
a whole path or an address is read where the cluster's machines are.
"""

from __future__ import annotations

import ast
import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from importlib.util import find_spec
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atlas.dataset.images import FACTORY
from atlas.engine.numerics import Hardware, here
from atlas.engine.planning.prepared import opened, prepared
from atlas.engine.planning.recorded import kept
from atlas.errors import AtlasError, StoreError, WeightsError
from atlas.pipeline import Pipeline, option
from atlas.pipeline_file import written
from atlas.places import in_object_store, local, of_store
from atlas.store import Store
from atlas.store.layout import TABLE_RECEIPTS
from atlas.store.missing import lost
from atlas.words import parameter

if TYPE_CHECKING:
    from atlas.engine.planning.build_plan import BuildPlan

FILE = "atlas-job.yaml"
"""The pipeline, as the job reads it."""
ENTRYPOINT = f"python -m atlas build {FILE}"
MOST = 100_000_000
"""Bytes that travel with a job at most: the cluster's head keeps them in memory."""
PLACES = ("weights", "labels", "preprocessing", "images", "spectrum")
"""Options that name files, or may."""
LIBRARIES = ("torchvision", "timm")
"""Families of models that are no modules of the user's."""
NOT_SENT = ("__pycache__", "node_modules")


@dataclass(frozen=True)
class Parcel:
    """What a job is made of."""

    pipeline: Pipeline
    """As the job reads it."""
    place: str
    """Where its store lies."""
    files: tuple[str, ...]
    """What of the current folder travels: files and folders."""

    @property
    def name(self) -> str:
        """What all attempts at it are called: a hash of where its results go and of what is to be made."""
        names = [name for name in self.pipeline.said() if name in PLACES or not option(name).local]
        said = {name: kept(self.pipeline, name) for name in names}
        whole = json.dumps([self.place, self.pipeline.model, said], sort_keys=True, default=str)
        return f"atlas-{hashlib.sha256(whole.encode()).hexdigest()[:12]}"

    def pack(self, folder: Path) -> None:
        """Copy what travels into a folder. Raises `AtlasError` where it cannot be read."""
        for file in self.contents():
            target = folder / file
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(file, target)
            except OSError as error:
                raise AtlasError(f"{file} cannot be sent: {error.strerror or error}.") from error
        (folder / FILE).write_text(written(self.pipeline, FILE), encoding="utf-8")

    def contents(self) -> list[Path]:
        """Every file that travels. Raises `AtlasError` where they are too large together."""
        found, size = [], 0
        for name in self.files:
            for file in _below(Path(name)):
                size += file.stat().st_size
                if size > MOST:
                    raise AtlasError(
                        f"{name} is too large to travel with a job: {MOST // 10**6} MB in all. Put it where the "
                        "cluster's machines see it, and name it by its whole path or its address."
                    )
                found.append(file)
        return found


def parcel(pipeline: Pipeline) -> Parcel:
    """What a job that builds `pipeline` is made of. Raises `AtlasError` for what no job can do."""
    place = _store(pipeline)
    for name in ("ray", "local"):
        if value := getattr(pipeline, name):
            raise AtlasError(f"{parameter(name, value)} with {parameter('address')}: the job finds its cluster itself.")
    pipeline = replace(pipeline, store=place, preprocessing=_said(pipeline.preprocessing))
    written(pipeline, FILE)  # raises for a network in memory
    files = list(_modules(_family(pipeline.model)))
    changes: dict[str, Any] = {}
    for name in PLACES:
        texts, some = _settled(pipeline, name)
        changes |= {name: texts} if texts else {}
        files += some
    return Parcel(replace(pipeline, **changes), place, tuple(dict.fromkeys(files)))


def whole(place: str) -> bool:
    """Whether the store at a place can be read from here and lacks nothing that it was asked for."""
    try:
        store = Store.open(place)
        plans = store.plans()
        left = any(store.left(plan) or not store.columns_done(plan) for plan in plans)
        return bool(plans) and not left and not lost(store) and any(True for _ in store.backend.list(TABLE_RECEIPTS))
    except StoreError:
        return False


def planned(pipeline: Pipeline) -> BuildPlan | str:
    """What a build would make and cost; or why only the job can say so: what a plan needs is not on this machine.

    Raises `AtlasError` for what cannot be anywhere.
    """
    if elsewhere := _elsewhere(pipeline):
        return f"{', '.join(elsewhere)} cannot be read from this machine"
    try:
        from atlas.engine.planning.build_plan import BuildPlan

        return BuildPlan.of(prepared(pipeline, counted=True, hardware=_hardware(pipeline)))
    except ModuleNotFoundError as error:
        return f"{error.name} is not installed on this machine"
    except StoreError as error:
        return str(error)
    except AtlasError as error:
        fetched = isinstance(error, WeightsError) and not pipeline.weights
        if fetched or isinstance(error.__cause__, ModuleNotFoundError | FileNotFoundError):
            return str(error)
        raise


def _elsewhere(pipeline: Pipeline) -> list[str]:
    """What a plan needs to see and is not here: addresses, whole paths of the cluster's, modules of its image."""
    given = [*pipeline.places("images"), *pipeline.places("spectrum"), *filter(None, [pipeline.weights])]
    top = _family(pipeline.model).partition(".")[0]
    absent = top and not any(_modules(top)) and find_spec(top) is None
    return [*(text for text in map(str, given) if _is_elsewhere(text)), *([top] if absent else [])]


def _is_elsewhere(place: str) -> bool:
    here = _there(place) or _there(place.rpartition("#")[0])
    return in_object_store(place) or (Path(place).is_absolute() and not here)


def _hardware(pipeline: Pipeline) -> Hardware:
    """What the job will compute on, as far as that is known: as in its store, else GPUs unless CPUs are said."""
    store = opened(pipeline.store)
    begun = [] if store is None else store.plans()
    if begun:
        return Hardware(begun[0].numerics.device == "cuda", begun[0].numerics.torch)
    return replace(here(), cuda=pipeline.device != "cpu")


def _store(pipeline: Pipeline) -> str:
    """Where the results go. Raises `AtlasError` for the folder of a job, which is thrown away."""
    if pipeline.store is None:
        raise AtlasError(f"{parameter('store')} is missing. Name a place that {_SEEN}.")
    place = of_store(pipeline.store)
    if isinstance(place, Path) and not place.is_absolute():
        raise AtlasError(f"{parameter('store', place)} would lie in the job's own folder. Name a place that {_SEEN}.")
    return str(place)


_SEEN = "every machine of the cluster sees: s3://BUCKET/NAME, or the whole path of a shared folder"


def _said(preprocessing: Any) -> Any:
    """Preprocessing as a file can say it."""
    if preprocessing is None or isinstance(preprocessing, str | Path | Mapping):
        return preprocessing
    if hasattr(preprocessing, "text"):
        return preprocessing.text()
    raise AtlasError(f"{parameter('preprocessing')} of a job must be text, as in 'size=224 mean=0,0,0 std=1,1,1'.")


def _settled(pipeline: Pipeline, name: str) -> tuple[Any, list[str]]:
    """What the job's pipeline says by an option that names files, and what travels so that it finds them."""
    value = getattr(pipeline, name)
    if value and option(name).several:
        told = [_place(_searched(one) or one, one) for one in pipeline.places(name)]
        return [text for text, _ in told], [file for _, files in told for file in files]
    return _place(str(value).rpartition("#")[0], str(value)) if isinstance(value, str | Path) else (None, [])


def _place(file: str, text: str) -> tuple[str, list[str]]:
    """How the job names what `text` names here, and what travels: `text` itself, or the `file` in which it looks."""
    if in_object_store(text):
        return text, []
    if FACTORY.fullmatch(text) and not _there(text):
        return text, list(_modules(text.partition(":")[0]))
    path = local(text)
    if path.is_absolute():
        return str(path), []
    if ".." in path.parts:
        return str(path.absolute()), []
    there = next((one for one in (str(path), file) if _there(one)), "")
    return (str(path), [there]) if there else (text, [])


def _searched(text: str) -> str:
    """The folder in which a pattern looks, as `photos` of `photos/{00..31}.tar`; empty of what is no pattern.

    Raises `AtlasError` where it is the current one: not all of that is meant to travel.
    """
    parts = Path(text).parts
    plain = list(takewhile(lambda part: not set(part) & set("*?[{"), parts))
    if len(plain) == len(parts) or _there(text):
        return ""
    if not plain:
        raise AtlasError(
            f"{text}: this pattern searches the whole current folder, which is not sent with a job. Move the files to "
            "a subfolder and name that."
        )
    return str(Path(*plain))


def _there(path: str) -> bool:
    with suppress(OSError):  # a text that is no path, too long for a name
        return bool(path) and Path(path).exists()
    return False


# -- modules -----------------------------------------------------------------------------------------------------------


def _family(model: str) -> str:
    """The module of a factory that a model's spec names; empty where it names none."""
    family = model.rpartition(":")[0]
    return "" if family in LIBRARIES else family


def _modules(name: str) -> Iterator[str]:
    """The module called `name` and those that it imports, as far as they lie in the current folder."""
    seen: set[str] = set()
    queue = [name.partition(".")[0]]
    while queue:
        top = queue.pop()
        if top in seen or not top or top == "atlas":  # the cluster has its own
            continue
        seen.add(top)
        place = next((one for one in (Path(top), Path(f"{top}.py")) if _is_module(one)), None)
        if place is not None:
            yield str(place)
            queue += [other for file in _below(place) if file.suffix == ".py" for other in _imported(file)]


def _is_module(path: Path) -> bool:
    return path.is_file() if path.suffix == ".py" else any(path.glob("*.py"))


def _imported(file: Path) -> Iterator[str]:
    """The first names of all modules that a file imports."""
    try:
        nodes: Iterable[ast.AST] = ast.walk(ast.parse(file.read_bytes()))
    except (SyntaxError, ValueError, OSError):
        return  # who imports it is told
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module.partition(".")[0]


def _below(path: Path) -> Iterator[Path]:
    """The files in a folder, or the file itself: without hidden ones and what is made again."""
    if path.is_dir():
        for one in sorted(path.iterdir()):
            if not one.name.startswith(".") and one.name not in NOT_SENT:
                yield from _below(one)
    elif path.is_file():
        yield path
