"""What a user names as images.

"photos", ["a", "b"], "shard-{000..007}.tar", "saved/", "package.module:factory" -> ImageSource
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from glob import glob
from pathlib import Path

from atlas.collecting.datasets_on_disk import is_saved
from atlas.collecting.files import find_files
from atlas.collecting.from_dataset import Dataset
from atlas.collecting.source import ImageSource
from atlas.errors import ImagesError

FACTORY = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def open_images(given: str | Path | Iterable[str | Path]) -> ImageSource:
    """The images that were `given`: folders, image files and tar shards in any mixture, or one data set.

    Shards may be written `shard-{000..007}.tar` or with `*`. Raises `ImagesError` where something is not there,
    cannot be opened, or holds nothing.
    """
    several = [given] if isinstance(given, str | Path) else given
    paths = [path for one in several for path in _expanded(str(one))]
    data_sets = [path for path in paths if _is_data_set(path)]
    if data_sets and len(paths) > 1:
        raise ImagesError(f"--images {data_sets[0]} is a data set: give it alone, without {len(paths) - 1} others.")
    source: ImageSource = _data_set(data_sets[0]) if data_sets else find_files(paths)
    if not len(source.entries):
        raise ImagesError(f"No images: nothing lies in {', '.join(paths[:3]) or 'an empty list'}.")
    return source


def _expanded(path: str) -> list[str]:
    """`path` with webdataset's braces and the shell's `*` written out, where no file has that very name.

    >>> _expanded("shard-{08..10}.tar")
    ['shard-08.tar', 'shard-09.tar', 'shard-10.tar']
    """
    if _exists(path):
        return [path]
    if braces := re.fullmatch(r"(.*)\{(\d+)\.\.(\d+)\}(.*)", path):
        before, first, last, after = braces.groups()
        numbers = range(int(first), int(last) + 1)
        return [one for number in numbers for one in _expanded(f"{before}{number:0{len(first)}d}{after}")]
    return sorted(glob(path)) or [path]  # noqa: PTH207  # absolute patterns too


def _is_data_set(path: str) -> bool:
    return is_saved(Path(path)) or (not _exists(path) and FACTORY.fullmatch(path) is not None)


def _data_set(path: str) -> Dataset:
    return Dataset("saved" if _exists(path) else "factory", path)


def _exists(path: str) -> bool:
    try:
        return Path(path).exists()
    except OSError:  # it may not be looked at
        return True
