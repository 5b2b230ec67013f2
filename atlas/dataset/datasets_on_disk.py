"""Hugging Face data sets that were saved with `save_to_disk`.

    folder -> {split: Rows}, of which each row is a file's bytes or why there are none

Their lists and their rows name files. Only what lies inside the folder is read, whoever made it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from atlas.dataset.guarded import inside, open_file, read_file, too_large
from atlas.dataset.source import Problem, Raw, refusal
from atlas.errors import ImagesError
from atlas.units import ImageStatus

SPLITS, STATE, INFO = "dataset_dict.json", "state.json", "dataset_info.json"


def is_saved(folder: Path) -> bool:
    """Whether `save_to_disk` wrote this folder, a data set or a dict of splits; no where it may not be looked into."""
    try:
        return (folder / SPLITS).is_file() or all((folder / name).is_file() for name in (STATE, INFO))
    except OSError:
        return False


@dataclass(frozen=True)
class Rows:
    """The column of images of one split."""

    folder: Path
    """That of the whole data set."""
    column: str
    table: Any
    """A `datasets.Dataset` that gives Arrow tables."""

    def __len__(self) -> int:
        return len(self.table)

    def __getitem__(self, number: int) -> Raw:
        row = self.table[number].column(self.column)[0]
        data = row["bytes"].as_buffer() if row.is_valid else None
        if data is not None:
            return too_large(data.size) or data.to_pybytes()  # asked before a copy is made
        named = row["path"].as_py() if row.is_valid else None
        if not named:
            return Problem(ImageStatus.NOT_AN_IMAGE, "an empty row of the data set")
        try:
            return read_file(os.fsencode(inside(self.folder, named)))
        except OSError as error:
            reason = refusal(error).reason
            return Problem(ImageStatus.UNREADABLE, f"the data set names a file that is not read: {reason}")


def load_saved(folder: Path) -> dict[str, Rows]:
    """The rows of each split of a data set, `""` where it has none. Nothing is decoded.

    Raises `ImagesError` where the `datasets` package is missing, the folder is damaged or no column holds images.
    """
    try:
        import datasets
    except ImportError:
        raise ImagesError(f"{folder} is a Hugging Face data set. To read it: pip install datasets") from None
    try:
        for named in _named(folder):
            open_file(os.fsencode(inside(folder, named))).close()
        saved = datasets.load_from_disk(str(folder))
    except OSError as error:
        raise _unread(folder, f"{refusal(error).reason}{f', {error.filename}' if error.filename else ''}") from error
    except Exception as error:
        raise _unread(folder, f"{type(error).__name__}: {' '.join(str(error).split())[:300]}") from error
    splits = dict(sorted(saved.items())) if isinstance(saved, dict) else {"": saved}
    features = next(iter(splits.values())).features
    columns = [name for name, kind in features.items() if isinstance(kind, datasets.Image)]
    if not columns:
        raise ImagesError(f"{folder}: none of its columns holds images ({', '.join(features)}). Cast one to Image().")
    column, stored = columns[0], datasets.Image(decode=False)
    return {
        name: Rows(folder, column, split.cast_column(column, stored).select_columns([column]).with_format("arrow"))
        for name, split in splits.items()
    }


def _unread(folder: Path, reason: str) -> ImagesError:
    return ImagesError(f"{folder}: not a data set that can be read ({reason}).")


def _named(folder: Path) -> Iterator[str]:
    """Every file that a data set's own lists name: of each split its lists, then what these name."""
    lists = _read(folder / SPLITS)["splits"] if (folder / SPLITS).is_file() else [""]
    for below in map(Path, _strings(lists)):
        yield from (str(below / name) for name in (STATE, INFO))
        state = _read(inside(folder, str(below / STATE)))
        files = [*state["_data_files"], *(state.get("_indices_data_files") or [])]
        yield from (str(below / name) for name in _strings([each["filename"] for each in files]))


def _read(file: Path) -> Any:
    with open_file(os.fsencode(file)) as data:
        return json.load(data)


def _strings(found: Sequence[Any]) -> Sequence[str]:
    if not all(isinstance(each, str) for each in found):
        raise TypeError("its lists name something that is no text")
    return found
