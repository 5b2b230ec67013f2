"""Pipeline files: YAML that says what a pipeline is.

resnet50.yaml -> {option: value}        Pipeline -> resnet50.yaml
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from atlas.errors import AtlasError
from atlas.pipeline import Pipeline, kinds, option, wrong

SUFFIXES = (".yaml", ".yml")
HEADER = "# A pipeline of atlas.  What it takes: atlas plan {name}    Do it: atlas build {name}\n"
MOST = 1_000_000
"""Bytes of a pipeline file at most: what is larger is no list of options."""


def read(path: Path) -> dict[str, Any]:
    """What the file at `path` says, by option.

    Raises `AtlasError` with the line where it is no YAML, names an option twice or one that there is not, or says what
    an option cannot be.
    """
    try:
        data = path.read_bytes()
        if len(data) > MOST:
            raise AtlasError(f"{path}: it has {len(data):,} bytes. A pipeline file is a short list of options.")
        root = yaml.compose(data.decode(), Loader=yaml.SafeLoader)
    except OSError as error:
        raise AtlasError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise AtlasError(f"{path}: it is no text in UTF-8.") from error
    except yaml.YAMLError as error:
        raise AtlasError(f"{_at(path, getattr(error, 'problem_mark', None))}: {_problem(error)}") from error
    if not isinstance(root, yaml.MappingNode):
        raise AtlasError(f"{path}: a pipeline file says KEY: VALUE, line by line, as in model: squeezenet.")
    said: dict[str, Any] = {}
    for key, node in root.value:
        name, where = str(key.value), _at(path, key.start_mark)
        _check_key(name, said, where)
        value = _value(node, where)
        if value is None:
            continue
        if reason := wrong(name, value, kinds()[name]):
            raise AtlasError(f"{where}: {name}: {reason}")
        said[name] = value
    if "model" not in said:
        raise AtlasError(f"{path}: it names no model. Say it: model: squeezenet")
    return said


def _check_key(name: str, said: Mapping[str, Any], where: str) -> None:
    if name not in kinds():
        near = get_close_matches(name.replace("-", "_"), kinds(), n=1, cutoff=0.5)
        raise AtlasError(f"{where}: there is no key {name!r}.{f' Did you mean {near[0]!r}?' if near else ''}")
    if name in said:
        raise AtlasError(f"{where}: {name} was said before.")


def _value(node: yaml.Node, where: str) -> Any:
    try:
        return yaml.SafeLoader("").construct_document(node)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise AtlasError(f"{where}: {_problem(error)}") from error


def _at(path: Path, mark: yaml.Mark | None) -> str:
    return f"{path}, line {mark.line + 1}" if mark else str(path)


def _problem(error: Exception) -> str:
    text = getattr(error, "problem", None) or str(error)
    return f"it is no YAML: {' '.join(str(text).split())}."


def written(pipeline: Pipeline, name: str) -> str:
    """The file `name` that says what `pipeline` says: its options in groups, each with what it means.

    Raises `AtlasError` for a network that is in memory alone, which no file can name.
    """
    said = pipeline.said() | {"model": pipeline.model}
    if not isinstance(pipeline.model, str):
        raise AtlasError("A pipeline file names a model by its spec; one in memory has none that is found again.")
    lines, panel = [HEADER.format(name=name)], ""
    for each in (field.name for field in fields(pipeline) if field.name in said):
        if option(each).panel != panel:
            panel = option(each).panel
            lines.append(f"\n# {panel}\n")
        lines.append(yaml.safe_dump({each: _plain(said[each])}, allow_unicode=True, width=110, sort_keys=False))
    return "".join(lines)


def _plain(value: Any) -> Any:
    """A value as YAML has it."""
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(name): _plain(one) for name, one in value.items()}
    return [_plain(one) for one in value] if isinstance(value, list | tuple) else value
