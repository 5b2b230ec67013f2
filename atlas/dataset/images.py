"""What a user names as images.

"photos", ["a", "b"], "s3://bucket/{000..127}.tar", "saved/", "package.module:factory" -> ImageSource
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from glob import glob
from mimetypes import MimeTypes
from pathlib import Path

from atlas.dataset.buckets import matching
from atlas.dataset.copies import Copies
from atlas.dataset.datasets_on_disk import is_saved
from atlas.dataset.decoding import is_image
from atlas.dataset.files import Files, called, find_files
from atlas.dataset.from_dataset import Dataset
from atlas.dataset.hashes import Hashes
from atlas.dataset.prefetch import Carry
from atlas.dataset.source import Entry, ImageSource
from atlas.errors import ImagesError
from atlas.places import in_object_store, of_store

KINDS = MimeTypes()
"""What suffixes mean, whatever the machine's own tables say."""
FACTORY = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def open_images(
    given: str | Path | Iterable[str | Path],
    said: str = "images",
    *,
    copies: Copies | None = None,
    hashes: Hashes | None = None,
    counting: bool = False,
    carry: Carry | None = None,
    told: Callable[[int], None] = lambda _: None,
) -> ImageSource:
    """The images that were `given`: folders, image files and tar shards in any mixture, or one data set.

    Shards may be written `shard-{000..007}.tar` or with `*`; folders, files and shards may lie in object stores, of
    which `copies` are kept. With `hashes`, tars that it knows are not gone through again, and images in others are
    hashed meanwhile by whoever `carry` has do it; `told` hears how many were. Where they are only for `counting`,
    nothing is hashed, and how many images lie in tars in object stores is estimated.

    Raises `ImagesError` where something is not there, cannot be opened, or holds nothing, and calls it by `said`, the
    parameter that gave it, if there is one.
    """
    several = [given] if isinstance(given, str | Path) else given
    paths = [path for one in several for path in _expanded(_here(str(one)))]
    data_sets = [path for path in paths if _is_data_set(path)]
    if data_sets and len(paths) > 1:
        raise ImagesError(
            f"{called(data_sets[0], said)} is a data set: give it alone, without {len(paths) - 1} others."
        )
    source: ImageSource
    if data_sets:
        source = _data_set(data_sets[0])
    else:
        source = find_files(paths, said, copies=copies, hashes=hashes, counting=counting, carry=carry, told=told)
    if not len(source.entries) and not about(source):
        raise ImagesError(f"No images: nothing lies in {', '.join(paths[:3]) or 'an empty list'}.")
    return source


def _here(given: str) -> str:
    """What was given; of an address `file:///x` its path. Raises `ImagesError` for an address of elsewhere."""
    return str(of_store(given, ImagesError)) if ":/" in given else given


def counted(source: ImageSource) -> tuple[int, int]:
    """How many entries of `source` may be images, and how many files are plainly none: nothing is decoded.

    By the suffix where it is a known one, else by the first bytes.
    """
    others = sum(not _may_be(source, entry) for entry in source.entries) if isinstance(source, Files) else 0
    return len(source.entries) - others + about(source), others


def about(source: ImageSource) -> int:
    """How many of the images that are counted are only estimated."""
    return source.more if isinstance(source, Files) else 0


def _may_be(source: Files, entry: Entry) -> bool:
    kind, packed = KINDS.guess_type(entry.name)
    # Beside a.png macOS writes ._a.png on foreign disks, which holds no image.
    if (kind or packed) and not entry.name.rpartition("/")[2].startswith("._"):
        return not packed and str(kind).startswith("image/")
    return is_image(source.head(entry))


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
    if in_object_store(path):
        return matching(path)
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
