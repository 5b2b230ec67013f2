"""Pipeline files: YAML that says what a pipeline is.

resnet50.yaml -> {option: value}        Pipeline -> resnet50.yaml
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any

import yaml

from atlas.errors import AtlasError
from atlas.pipeline import Pipeline, kinds, option, wrong
from atlas.words import brief

SUFFIXES = (".yaml", ".yml")
HEADER = "# A pipeline of atlas.  What it takes: atlas plan {name}    Do it: atlas build {name}\n"
TEXT, NUMBER, FRACTION = (f"tag:yaml.org,2002:{name}" for name in ("str", "int", "float"))
READ_OTHERWISE = (NUMBER, FRACTION, "tag:yaml.org,2002:bool", "tag:yaml.org,2002:timestamp")
PLAIN = re.compile(r"[-+]?(0|[1-9][0-9]*)(\.[0-9]*)?([eE][-+]?[0-9]+)?|[-+]?\.[0-9]+([eE][-+]?[0-9]+)?")
"""Numbers of which there is one reading: in YAML `010` is eight, and `1:30` ninety."""
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
        root = yaml.compose(data.decode("utf-8-sig"), Loader=yaml.SafeLoader)
    except OSError as error:
        raise AtlasError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise AtlasError(f"{path}: it is no text in UTF-8.") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise AtlasError(f"{_at(path, getattr(error, 'problem_mark', None))}: {_problem(error)}") from error
    if not isinstance(root, yaml.MappingNode):
        raise AtlasError(f"{path}: a pipeline file says KEY: VALUE, line by line, as in model: squeezenet.")
    said: dict[str, Any] = {}
    for key, node in root.value:
        where = _at(path, key.start_mark)
        name = _name(key, said, where)
        value = _value(node, path, texts=_takes_texts(name))
        if value is None:
            continue
        if reason := wrong(name, value, kinds()[name]):
            raise AtlasError(f"{where}: {name}: {reason}")
        said[name] = value
    if "model" not in said:
        raise AtlasError(f"{path}: it names no model. Say it: model: squeezenet")
    return said


def _name(key: yaml.Node, said: Mapping[str, Any], where: str) -> str:
    """The option that a key names."""
    if not isinstance(key, yaml.ScalarNode):
        raise AtlasError(f"{where}: a key is the name of an option.")
    name = key.value
    if name not in kinds():
        short = {other: one for one in kinds() for other in option(one).also}
        near = get_close_matches(name.replace("-", "_"), [*kinds(), *short], n=1, cutoff=0.5)
        meant = f" Did you mean {short.get(near[0], near[0])!r}?" if near else ""
        raise AtlasError(f"{where}: there is no key {brief(name)!r}.{meant}")
    if name in said:
        raise AtlasError(f"{where}: {name} was said before.")
    return str(name)


def _takes_texts(name: str) -> bool:
    """Whether an option takes texts alone, however they look: layers may be called 0 and 2."""
    return all(wrong(name, value, kinds()[name]) for value in (1000, True, [1000], {"a": 1}))


def _value(node: yaml.Node, path: Path, *, texts: bool) -> Any:
    """What stands behind a key; with `texts` what YAML takes for numbers and truths are the texts that they are."""
    try:
        _check(node, path, texts)
        return yaml.SafeLoader("").construct_document(node)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise AtlasError(f"{_at(path, node.start_mark)}: {_problem(error)}") from error


def _check(node: yaml.Node, path: Path, texts: bool) -> None:
    """Raise `AtlasError` for names that are said twice, and for numbers that YAML reads as nobody writes them."""
    if isinstance(node, yaml.MappingNode):
        seen: set[str] = set()
        for key, value in node.value:
            if (name := str(key.value)) in seen:
                raise AtlasError(f"{_at(path, key.start_mark)}: {brief(name)} was said before.")
            seen.add(name)
            _check(value, path, texts=False)
    elif isinstance(node, yaml.SequenceNode):
        for value in node.value:
            _check(value, path, texts)
    elif texts and node.tag in READ_OTHERWISE:
        node.tag = TEXT
    elif node.tag in (NUMBER, FRACTION) and not PLAIN.fullmatch(node.value):
        raise AtlasError(f"{_at(path, node.start_mark)}: {brief(node.value)}: write a number in decimal digits, as 10.")


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
