"""The names of classes, as they are given: a file, a list that a library ships, or a factory's own.

file, name or names -> (name, ...) by the numbers of the classes

A name that lands beside its class is worse than none: nothing is guessed, skipped or put in order, and what is not
certain is refused with the line it is in.
"""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from atlas.errors import ModelError
from atlas.factories import kind_of, named_kind
from atlas.models.lines import literal, names_alone, once
from atlas.places import local
from atlas.store.fetching import at_hand
from atlas.words import parameter

LARGEST = 2**24
"""Bytes of a file of names at most: those of ImageNet's 22 thousand are one million."""
WORDNET = re.compile(r"n\d{8}")
"""What goes before a name in the usual file of ImageNet's: `["n01440764", "tench"]`."""


def _torchvision() -> list[str]:
    from torchvision.models import ResNet50_Weights

    return list(ResNet50_Weights.IMAGENET1K_V2.meta["categories"])


def _timm(subset: str) -> list[str]:
    from timm.data.imagenet_info import ImageNetInfo

    return list(ImageNetInfo(subset).label_descriptions())


def _data_set(name: str) -> list[str]:
    from torchvision import datasets

    return list(getattr(datasets, name).classes)


LISTS: dict[str, Callable[[], list[str]]] = {
    "imagenet": _torchvision,
    "imagenet-12k": partial(_timm, "imagenet-12k"),
    "imagenet-21k": partial(_timm, "imagenet-21k-goog"),
    "imagenet-21k-miil": partial(_timm, "imagenet-21k-miil"),
    "imagenet-22k": partial(_timm, "imagenet-22k"),
    "imagenet-22k-ms": partial(_timm, "imagenet-22k-ms"),
    "mnist": partial(_data_set, "MNIST"),
    "fashion-mnist": partial(_data_set, "FashionMNIST"),
    "kmnist": partial(_data_set, "KMNIST"),
}
"""Lists that torchvision and timm ship, by the names they go by here."""


def read_labels(said: Path | str) -> tuple[str, ...]:
    """The names in the file `said`, or those of the list of that name.

    A file is a name a line, or a list, {number: name}, {name: number}, or any of them under `id2label`: in JSON by its
    ending, or as the whole of a text, where it may be Python as well. Numbers that lines carry must be in order.
    Raises `ModelError` for what cannot be read, with the line, and for a name that is missing.
    """
    file = local(at_hand(said, ModelError), ModelError)
    if str(file) not in LISTS:
        return _of_file(file)
    if file.is_file():
        raise ModelError(f"{_where(file)} is both a list and a file here. For the file, give its whole path.")
    return _shipped(str(file))


def labels_of(said: Any, origin: str) -> tuple[str, ...] | None:
    """The names that a factory gives: a sequence of them, or the name of a list."""
    if said is None:
        return None
    if isinstance(said, str) and said in LISTS:
        return _shipped(said)
    if not isinstance(said, Sequence) or isinstance(said, str | bytes):
        raise ModelError(
            f"{origin}: its labels are {kind_of(said)}. Return the names in a list, or the name of one: {_known()}."
        )
    return _named(dict(enumerate(said)), f"{origin}: its labels", "class")


def _shipped(name: str) -> tuple[str, ...]:
    try:
        return tuple(LISTS[name]())
    except (ImportError, AttributeError, AssertionError, OSError) as error:
        raise ModelError(f"{_where(name)}: the library that ships this list is missing or too old: {error}") from None


def _where(said: Path | str) -> str:
    """What an error calls labels that were given."""
    return parameter("labels", said)


def _known() -> str:
    return ", ".join(LISTS)


def _of_file(file: Path) -> tuple[str, ...]:
    where = _where(file)
    try:
        found = file.stat()
        if not stat.S_ISREG(found.st_mode):
            raise ModelError(f"{where} is a folder, a pipe or a device, not a file of names.")
        if found.st_size > LARGEST:
            raise ModelError(f"{where} has {found.st_size:,} bytes: too many to be names of classes.")
        text = _text(file.read_bytes(), where)
    except OSError as error:
        known = "" if file.suffix else f". Lists that are known by name: {_known()}"
        raise ModelError(f"{where} cannot be read: {error.strerror or error}{known}") from None
    return _of_json(text, where) if file.suffix.lower() == ".json" else _of_text(text, where)


def _text(data: bytes, where: str) -> str:
    """What a file says: UTF-8, or UTF-16 where it begins with the mark of it."""
    marked = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        text = data.decode("utf-16" if marked else "utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise ModelError(f"{where} cannot be read: line {line} is not UTF-8. Save the file as UTF-8.") from None
    if "\0" in text:
        raise ModelError(f"{where} cannot be read: it is no text.")
    return text


def _of_text(text: str, where: str) -> tuple[str, ...]:
    """A name a line, only those behind the last name may be blank; or all of it a list or mapping of Python's."""
    data = literal(text, where)
    if data is not None:
        return _of_data(data, where)
    lines = text.rstrip().replace("\r\n", "\n").replace("\r", "\n").split("\n")
    return names_alone(_named(dict(enumerate(lines, start=1)), where, "line"), where)


def _of_json(text: str, where: str) -> tuple[str, ...]:
    try:
        data = json.loads(text, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise ModelError(f"{where} cannot be read: it is no JSON ({' '.join(str(error).split())[:120]}).") from None
    return _of_data(data, where)


def _of_data(data: Any, where: str) -> tuple[str, ...]:
    if isinstance(data, dict) and isinstance(data.get("id2label"), dict | list):
        data = data["id2label"]
    if isinstance(data, list | tuple):
        data = dict(enumerate(data))
    elif isinstance(data, dict) and data:
        data = _by_number(data, where)
    else:
        raise ModelError(f"{where}: it is neither a list of names nor an object {{number: name}}.")
    return _named({place: _without_id(name) for place, name in data.items()}, where, "class")


def _without_id(name: Any) -> Any:
    """The name in the pair of a WordNet id and a name; anything else as it is."""
    pair = isinstance(name, list | tuple) and len(name) == 2 and all(isinstance(one, str) for one in name)
    return name[1] if pair and WORDNET.fullmatch(name[0]) else name


def _by_number(data: Mapping[str, Any], where: str) -> dict[int, Any]:
    """An object as number -> name: as it is, or turned about where its values are the numbers."""
    data = {str(key): value for key, value in data.items()}
    keys = all(re.fullmatch(r"\d+", key) for key in data)
    values = all(isinstance(value, int) and not isinstance(value, bool) for value in data.values())
    if keys == values:
        raise ModelError(f"{where}: either its keys are the numbers of classes, from 0, or its values.")
    pairs = [(int(key), value) if keys else (value, key) for key, value in data.items()]
    found = dict(pairs)
    if len(found) < len(pairs) or sorted(found) != list(range(len(found))):
        gap = next((number for number in range(len(pairs)) if number not in found), 0)
        raise ModelError(f"{where}: {len(pairs)} classes are numbered 0 to {len(pairs) - 1}, and there is no {gap}.")
    return {number: found[number] for number in sorted(found)}


def _named(found: Mapping[int, Any], where: str, each: str) -> tuple[str, ...]:
    """The names, each of them there; `found` by what `each` counts."""
    for number, name in found.items():
        if not isinstance(name, str):
            hint = " Give its name alone." if isinstance(name, list | tuple | dict) else ""
            raise ModelError(f"{where}: {each} {number} is {named_kind(type(name))}, not a name.{hint}")
        if not name.strip():
            raise ModelError(
                f"{where}: {each} {number} is blank. Name every class in the order of the outputs, or take it out."
            )
    return tuple(name.strip() for name in found.values())
