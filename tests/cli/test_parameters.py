"""The library names its parameters, the command line its options: the same message for both."""

from __future__ import annotations

import ast
import inspect
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from atlas.cli.options import SERVING, as_options, helped, spelled
from atlas.errors import AtlasError
from atlas.pipeline import kinds, option
from atlas.words import parameter, text_of
from tests.cli.conftest import Ran

Command = Callable[..., Ran]
ROOT = Path(__file__).parents[2]
TINY = "tests.networks:tiny"
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]+")
FOREIGN = ("ray start --head",)
"""Options of commands that are not ours, which are told as they are typed."""
FILES = [file for file in sorted(ROOT.glob("atlas/**/*.py")) if "node_modules" not in file.parts]
LIBRARY = [file for file in FILES if ROOT / "atlas/cli" not in file.parents]


def options_in(code: str) -> Iterator[tuple[int, str]]:
    """Every option that a text in `code` names, with its line: docstrings and command lines to copy aside."""
    yield from _options_in(ast.parse(code))


def _options_in(node: ast.AST) -> Iterator[tuple[int, str]]:
    match node:
        case ast.Expr(ast.Constant(str())):
            return
        case ast.Call(ast.Name("command") | ast.Attribute(attr="command")):
            return
        case ast.Constant(str(text)):
            for known in FOREIGN:
                text = text.replace(known, "")
            yield from ((node.lineno, found) for found in OPTION.findall(text))
    for below in ast.iter_child_nodes(node):
        yield from _options_in(below)


@pytest.mark.parametrize("file", LIBRARY, ids=lambda file: str(file.relative_to(ROOT)))
def test_no_message_of_the_library_names_an_option(file: Path) -> None:
    assert list(options_in(file.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize(
    ("code", "found"),
    [
        ('raise E("--crops 0: no")', ["--crops"]),
        ('raise E(f"{place}: say --no-pictures with --atlas-set")', ["--no-pictures", "--atlas-set"]),
        ('log.warning("Give %s", "--store")', ["--store"]),
        ("""hint = f"Run {quoted('--layers')}\"""", ["--layers"]),
        (
            """hint = f"Repair it: {command('atlas', 'verify', '--repair', store)}, or leave --store out\"""",
            ["--store"],
        ),
        ("""build = layer.catalogue.command(f"--layers {name} --images ...")""", []),
        ('''"""What `--crops` means."""\nstart = "Start one: ray start --head"''', []),
        ('rule = "a -- b, a--b, --"', []),
    ],
)
def test_options_in_messages_are_found(code: str, found: list[str]) -> None:
    assert [name for _, name in options_in(code)] == found


@pytest.mark.parametrize("name", kinds())
def test_every_parameter_of_a_pipeline_is_told_as_its_option(name: str) -> None:
    typed = "MODEL" if name == "model" else spelled(name)
    assert as_options(f"{parameter(name)}: no.") == f"{typed}: no."
    if kinds()[name] is bool:
        assert as_options(parameter(name, True)) == typed
        assert as_options(parameter(name, False)) == f"--no-{typed[2:]}"
    else:
        assert as_options(f"{parameter(name, 'a b')}: no.") == f"{typed} 'a b': no."


@pytest.mark.parametrize("name", kinds())
def test_the_help_of_an_option_names_options(name: str) -> None:
    assert not OPTION.search(option(name).help)
    assert not re.search(rf"`({'|'.join(kinds())})[=`]", helped(name))


def test_parameters_of_serving_are_told_as_options_of_its_command(run: Command) -> None:
    from atlas.server import serve

    assert inspect.signature(serve).parameters.keys() >= SERVING.keys()
    assert as_options(f"{parameter('host', 'a b')} or {parameter('port')}") == "--host 'a b' or --port"
    assert as_options(parameter("allow_hosts", "x")) == "--allow-host x"
    said = run("serve", "--help").out
    assert all(typed in said for typed in SERVING.values())


@pytest.mark.parametrize("value", ["`", "a`b", "``", "it's `so`", "`images`"])
def test_a_backtick_in_what_was_said_ends_nothing(value: str) -> None:
    assert as_options(f"{parameter('labels', value)} or {parameter('weights', value)}") == (
        f"--labels {shlex.quote(value)} or --weights {shlex.quote(value)}"
    )


def test_what_is_no_parameter_stays_as_it_is() -> None:
    assert as_options("one picture, `positive`, `a=b`, `auto` or `Crops`") == (
        "one picture, `positive`, `a=b`, `auto` or `Crops`"
    )


BAD: dict[str, tuple[Any, str, str]] = {
    "crops": (0, "`crops=0`", "--crops 0: "),
    "device": ("tpu", "`device=tpu`", "--device tpu: "),
    "labels": ("no such file.txt", "`labels=no such file.txt`", "--labels 'no such file.txt' "),
    "images": ("no/such folder", "`images=no/such folder`", "--images 'no/such folder': "),
    "spectrum": ("no/such", "`spectrum=no/such`", "--spectrum no/such: "),
    "settings": (["steps=few"], "`settings=steps=few`", "--settings steps=few: "),
    "atlas_settings": (["steps=few"], "`atlas_settings=steps=few`", "--atlas-settings steps=few: "),
    "projection_settings": (["pca=few"], "`projection_settings=pca=few`", "--projection-settings pca=few: "),
    "maps": (["some"], "`maps=some`", "--maps some: "),
    "grids": (["20", "30"], "`grids=20,30`", "--grids 20,30: "),
    "layout": (["head=xyz"], "`layout=head=xyz`", "--layout head=xyz "),
    "logits": ("first.1", "`logits=first.1`", "--logits first.1: "),
}
"""What cannot be, how it is called from Python, and how on the command line."""


@pytest.mark.builder
@pytest.mark.parametrize("name", BAD)
def test_a_message_names_the_parameter_in_python_and_the_option_on_the_command_line(
    name: str, run: Command, tmp_path: Path
) -> None:
    from atlas.engine.api import plan

    (tmp_path / "photos").mkdir()
    Image.new("RGB", (40, 40), "red").save(tmp_path / "photos" / "one.png")
    value, told, typed = BAD[name]
    said = {"store": str(tmp_path / "a.atlas"), "images": str(tmp_path / "photos"), "atlas": "head", name: value}
    with pytest.raises(AtlasError, match=re.escape(told)) as caught:
        plan(TINY, **said)
    assert not OPTION.search(str(caught.value))
    assert typed in as_options(str(caught.value))
    ran = run("plan", TINY, *(f"{spelled(one)}={text_of(given)}" for one, given in said.items()))
    if option(name).least is not None:  # refused as it is read
        assert ran.code == 2
        assert spelled(name) in ran.err
        return
    assert ran.code == 1
    (complaint,) = ran.complaints
    assert complaint.startswith(f"error: {typed}")
    assert "`" not in complaint
