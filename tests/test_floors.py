"""The house: a module imports only from floors above its own, and heavy libraries stay where they belong."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
NETWORKED = tuple(
    f"atlas.dataset.{name}" for name in ("crops", "shown", "watch", "measure", "classes", "collect", "seen", "vectors")
)
"""Of `atlas.dataset` what a network is needed for: it stands below the networks, the rest above them."""
FLOORS = [
    "atlas.version",
    "atlas.words",
    "atlas.errors",
    "atlas.pipeline",
    "atlas.places",
    "atlas.units",
    "atlas.recipe",
    "atlas.arrays",
    "atlas.plans",
    "atlas.stages",
    "atlas.cost",
    "atlas.factories",
    "atlas.pipeline_file",
    "atlas.terminal",
    "atlas.store",
    "atlas.dataset",
    "atlas.models",
    "atlas.rendering",
    *NETWORKED,
    "atlas.projection",
    "atlas.attribution",
    "atlas.catalogue",
    "atlas.server",
    "atlas.viewer",
    "atlas.engine",
    "atlas.verification",
    "atlas.copying",
    "atlas.shipped",
    "atlas.cli",
]
"""From the top: a module imports from its own line and those above it."""
WORDS = FLOORS[:12]
DIFFERENTIATED = tuple(f"atlas.attribution.{name}" for name in ("adding", "attribution", "pooling", "samples"))
"""Of the floor of explanations the same; what is packed is read without a network."""
HOMES = {
    "zarr": ("atlas.store",),
    "torch": ("atlas.models", "atlas.rendering", *NETWORKED, *DIFFERENTIATED, "atlas.cli", "atlas.engine"),
    "torchvision": ("atlas.models",),
    "timm": ("atlas.models",),
    "obstore": ("atlas.store.backends.object_store",),
    "duckdb": ("atlas.catalogue.tables", "atlas.catalogue.query"),
    "yaml": ("atlas.pipeline_file",),
    "datasets": ("atlas.dataset.datasets_on_disk",),
    "numba": ("atlas.dataset.kernels",),
    "umap": ("atlas.projection.project",),
    "ray": tuple(f"atlas.engine.{name}" for name in ("on_ray", "clusters", "jobs", "metrics")),
    "typer": ("atlas.cli",),
    "rich": ("atlas.terminal", "atlas.engine.progress"),
    "starlette": ("atlas.server",),
    "uvicorn": ("atlas.server",),
}
"""Where a library may be imported, at once or late."""
READING = ("atlas.store", "atlas.catalogue", "atlas.server")
"""What a reader runs: no line of it may lead to a network."""
LATE = {"atlas.models", "atlas.rendering", "atlas.dataset", "atlas.projection", *DIFFERENTIATED}

FILES = [*ROOT.glob("atlas/**/*.py")]
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in FILES
    if "node_modules" not in path.parts
}


@cache
def imports(path: Path) -> tuple[str, ...]:
    """Every module that a file imports, at once, late or for its types only."""
    return tuple(_imports(path))


def _imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            yield from (_module(node.module or "", alias.name) for alias in node.names)


def _module(package: str, name: str) -> str:
    whole = f"{package}.{name}"
    return whole if whole in MODULES else package


def floor(module: str) -> int | None:
    """The line of a module; None for the front door, `atlas` itself, and for other people's."""
    lines = [line for line, name in enumerate(FLOORS) if f"{module}.".startswith(f"{name}.")]
    return max(lines, key=lambda line: len(FLOORS[line])) if lines else None


@pytest.mark.parametrize("module", sorted(MODULES))
def test_imports_come_from_above(module: str) -> None:
    if module in {"atlas", "atlas.__main__"}:
        return
    own = floor(module)
    assert own is not None, f"{module} stands on no floor"
    for other in imports(MODULES[module]):
        assert other != "atlas" or own >= FLOORS.index("atlas.engine"), f"{module} imports the front door"
        theirs = floor(other)
        assert theirs is None or theirs <= own, f"{module} imports {other}, which lies below it"


@pytest.mark.parametrize("module", sorted(MODULES))
def test_libraries_stay_where_they_belong(module: str) -> None:
    for other in imports(MODULES[module]):
        library = other.partition(".")[0]
        homes = HOMES.get(library, (module,))
        assert any(f"{module}.".startswith(f"{home}.") for home in homes), f"{module} imports {other}"


@pytest.mark.parametrize(
    "module", [name for name in MODULES if f"{name}.".startswith(tuple(f"{word}." for word in WORDS))]
)
def test_the_words_need_the_standard_library_alone(module: str) -> None:
    for other in imports(MODULES[module]):
        library = other.partition(".")[0]
        ours = f"{other}.".startswith(tuple(f"{word}." for word in WORDS))
        assert library in sys.stdlib_module_names or ours, f"{module} imports {other}"


@pytest.mark.parametrize("module", sorted(name for name in MODULES if name.startswith(READING)))
def test_reading_never_leads_to_a_network(module: str) -> None:
    assert not {other for other in imports(MODULES[module]) if other.startswith(tuple(LATE))}


@pytest.mark.parametrize(
    "module",
    [
        *("atlas", "atlas.store", "atlas.dataset", "atlas.projection", "atlas.attribution", "atlas.catalogue"),
        *("atlas.server", "atlas.cli"),
    ],
)
def test_what_reads_is_light(module: str) -> None:
    code = (
        f"import sys, {module}; print([n for n in ('torch', 'torchvision', 'timm', 'ray', 'umap') if n in sys.modules])"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.stdout.strip() == "[]", ran.stderr


def test_the_law_can_be_broken(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.py"
    wrong.write_text("def late():\n    import ray.data\n    from atlas.store import backends, Store\n")
    assert set(imports(wrong)) == {"ray.data", "atlas.store.backends", "atlas.store"}


@pytest.mark.parametrize("module", sorted(name for name in MODULES if not name.startswith("atlas.stages")))
def test_no_table_is_keyed_by_stages(module: str) -> None:
    """What is known of a stage stands in its declaration: a table elsewhere would have to learn of a new one."""
    stages = {
        "features",
        "images",
        "statistics",
        "examples",
        "activations",
        "layout",
        "cells",
        "patches",
        "icons",
        "tiles",
    }
    names = {f"{name.upper()}.name" for name in stages}
    for node in ast.walk(ast.parse(MODULES[module].read_text())):
        if isinstance(node, ast.Dict) and len(node.keys) > 1:
            keys = {ast.unparse(key) for key in node.keys if key is not None}
            said = {key.strip("'\"") for key in keys} & stages | keys & names
            kinds = {"images", "cells"}  # what shards can go over, too
            assert len(said) < len(keys) or not said - kinds, f"{module}, line {node.lineno}: a table keyed by stages"
