"""Folders, single files and webdataset shards, mixed as you like, on this machine and in object stores.

    [folder, tar, file, ...] -> Files

Names start below the folder where one was given, else with each one's own name; they are sorted by their bytes, so
that neither the order in which folders were given nor the machine's locale moves an image.
"""

from __future__ import annotations

import hashlib
import os
import stat
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property, partial

import numpy as np
from numpy.typing import NDArray

from atlas.dataset import buckets
from atlas.dataset.buckets import RangeFile, in_bucket
from atlas.dataset.copies import Copies
from atlas.dataset.folders import Place, walk
from atlas.dataset.guarded import open_file, read_file, special, too_large
from atlas.dataset.hashes import Hashes, mark_of, marks_of
from atlas.dataset.prefetch import Carry, prefetch
from atlas.dataset.shards import PACKED, SUFFIXES, Member, Readable, members
from atlas.dataset.source import Entry, Problem, Raw, printable, refusal, told_apart
from atlas.errors import ImagesError
from atlas.units import ImageStatus
from atlas.words import parameter

HEAD = 16
"""Bytes by which a format is known."""
AHEAD = 16
"""Images that are asked of an object store at once, ahead of those who decode them."""
GRAIN = 0.05
"""Seconds within which a file system may give two changes one time."""
COARSE = 2.0
"""Of one that knows whole seconds alone."""
SAMPLE = 2**21
"""Bytes of a tar in an object store that are looked into to tell how many images there are."""
SAMPLED = 32
"""Tars of which so much is looked into, evenly out of all."""
PACKED_SHARD = Problem(ImageStatus.UNREADABLE, "a compressed tar: unpack it to a .tar")
GONE = Problem(ImageStatus.UNREADABLE, "no longer there")
USUAL = Copies()
Named = tuple[bytes, Entry]
"""A file and its name, a tar whole."""


@dataclass(frozen=True)
class Files:
    """Images that are files, or lie in tar files. Small enough to be sent to a worker, above all with few entries."""

    entries: Sequence[Entry]
    copies: Copies = USUAL
    """Of those in object stores."""
    more: int = 0
    """How many images there are beside the entries, about: in tars of which only some were looked into."""

    def read(self, entry: Entry) -> Raw:
        """What is behind `entry`. Raises `ImagesError` where an object store cannot be reached."""
        return self.read_marked(entry)[0]

    def read_marked(self, entry: Entry) -> tuple[Raw, bytes]:
        """What is behind `entry`, and the mark of the state that was read; none where that is not known."""
        if entry.problem:
            return entry.problem, b""
        if not in_bucket(entry.file):
            mark = self.mark(entry)
            return read_file(entry.file, entry.start, None if entry.size < 0 else entry.size), mark
        kept = self.copies.get(entry.mark) if entry.mark else None
        return (kept, entry.mark) if kept is not None else self._fetched(entry)

    def _fetched(self, entry: Entry) -> tuple[Raw, bytes]:
        if (problem := too_large(entry.size)) or not entry.size:
            return problem or b"", entry.mark
        found = buckets.read_object(entry.file, entry.start, entry.size)
        if found is None:
            return GONE, b""
        data, mark = found
        if _in_tar(entry.file):
            mark = member_mark(mark, entry.start, entry.size)
        if mark and mark == entry.mark:
            self.copies.put(mark, data)
        return data, mark

    def mark(self, entry: Entry) -> bytes:
        """What tells the present state of an entry from all others; none where nobody knows."""
        if entry.problem:
            return b""
        if in_bucket(entry.file):
            return entry.mark
        mark = _local_mark(entry.file)
        return mark if entry.size < 0 else member_mark(mark, entry.start, entry.size)

    @cached_property
    def ahead(self) -> int:
        """How many are best read at once, ahead of decoding: none of this machine's."""
        return AHEAD if any(in_bucket(entry.file) for entry in self.entries) else 0

    def head(self, entry: Entry) -> bytes:
        """The first bytes of an entry, by which its format is known; none where it cannot be read."""
        size = HEAD if entry.size < 0 else min(HEAD, entry.size)
        if in_bucket(entry.file) and size and not entry.problem:
            found = buckets.read_object(entry.file, entry.start, size)
            return b"" if found is None else found[0]
        raw = entry.problem or read_file(entry.file, entry.start, size)
        return raw if isinstance(raw, bytes) else b""


@dataclass(frozen=True, eq=False)
class Indexed:
    """What a tar holds."""

    mark: bytes
    members: list[Member]
    marks: list[bytes]
    """Of those that were hashed."""
    sha256: NDArray[np.uint8]
    """[m,32]"""


def find_files(
    given: Sequence[str],
    said: str = "images",
    *,
    copies: Copies | None = None,
    hashes: Hashes | None = None,
    counting: bool = False,
    carry: Carry | None = None,
    told: Callable[[int], None] = lambda _: None,
) -> Files:
    """All files of what was `given` by the parameter `said`, those within tars too.

    With `hashes`, tars that it does not know are hashed on the way, each read once, by whoever `carry` has do it;
    `told` hears how many images of them are done. Where they are only for `counting`, nothing is hashed, and of those
    in object stores it is only estimated how many images they hold. Raises `ImagesError` where something is not there.
    """
    copies = copies or USUAL
    found = _found(given, said)
    tars = {entry.file: entry for name, entry in found if not entry.problem and _in_tar(name)}
    known = _known(tars.values(), hashes)
    unknown = [tar for tar in tars.values() if tar.file not in known]
    many = AHEAD if any(in_bucket(tar.file) for tar in unknown) else None
    carry = carry or partial(prefetch, workers=many)
    guessed = [tar for tar in unknown if counting and in_bucket(tar.file) and tar.size > SAMPLE]
    hashing = hashes is not None and not counting
    lost = {tar.file for tar in guessed}
    left = [(tar, copies, hashing) for tar in unknown if tar.file not in lost]
    if hashing and not all(tar.mark or _local_mark(tar.file) for tar, *_ in left):
        time.sleep(GRAIN)  # it has a mark then
    done = 0
    for (entry, _, _), index in zip(left, carry(indexed, left), strict=True):
        known[entry.file] = index
        if hashes is not None and not counting:
            hashes.add(marks_of(index.marks), index.sha256)
            hashes.put_members(index.mark, index.members)
        told(done := done + len(index.members))
    below = [one for name, tar in found if tar.file not in lost for one in _members_of(name, tar, known.get(tar.file))]
    below.sort(key=lambda one: (one[0], one[1].start))
    names = told_apart(printable(name) for name, _ in below)
    return Files(
        [replace(entry, name=name) for name, (_, entry) in zip(names, below, strict=True)], copies, _estimated(guessed)
    )


def member_mark(mark: bytes, start: int, size: int) -> bytes:
    """The mark of a member of a tar that has `mark`."""
    return mark_of(mark, start, size) if mark else b""


def _found(given: Sequence[str], said: str) -> list[Named]:
    """All files of what was given, tars whole."""
    real = {_real(path, said): _absolute(path) for path in sorted(given, reverse=True)}
    roots = list(real.values())[::-1]
    entered: set[Place] = set()
    folders = {root: list(_root(root, entered, said)) for root in roots}
    labels = dict(zip(roots, _labels(roots, folders), strict=True))
    return [(_joined(labels[root], path), entry) for root in roots for path, entry in folders[root]]


def _absolute(path: str) -> bytes:
    raw = os.fsencode(path)
    return raw.rstrip(b"/") if in_bucket(raw) else os.path.abspath(raw)


def _joined(label: bytes, path: bytes) -> bytes:
    return os.path.join(label, path) if path else label


def _in_tar(name: bytes) -> bool:
    return name.lower().endswith(SUFFIXES)


def _known(tars: Iterable[Entry], hashes: Hashes | None) -> dict[bytes, Indexed]:
    """What is known of tars, by their files."""
    known = {}
    for tar in tars if hashes else ():
        mark = tar.mark or _local_mark(tar.file)
        listed = hashes.members(mark) if hashes else None
        if listed is not None:
            known[tar.file] = Indexed(mark, listed, [], np.zeros((0, 32), np.uint8))
    return known


def _estimated(tars: Sequence[Entry]) -> int:
    """How many images there are in tars, by the beginnings of some."""
    some = tars[:: -(-len(tars) // SAMPLED)] if tars else []
    met = sum(prefetch(_met, some, workers=AHEAD))
    return max(len(tars), round(met * sum(tar.size for tar in tars) / (SAMPLE * len(some)))) if some else 0


def _met(tar: Entry) -> int:
    """How many images there are in a tar's beginning."""
    return sum(lost is None for *_, lost in members(RangeFile(tar.file, SAMPLE, SAMPLE)))


def indexed(given: tuple[Entry, Copies, bool]) -> Indexed:
    """What a tar holds; if asked, hashed while it is read."""
    tar, copies, hashing = given
    mark = (tar.mark or _local_mark(tar.file)) if hashing else tar.mark
    marks, sha256 = list[bytes](), list[bytes]()

    def met(start: int, size: int) -> None:
        data.seek(start)
        if too_large(size) or len(content := data.read(size)) != size:
            return
        marks.append(member_mark(mark, start, size))
        sha256.append(hashlib.sha256(content).digest())
        if in_bucket(tar.file):
            copies.put(marks[-1], content)

    try:
        with _opened(tar, hashing=hashing) as data:
            listed = list(members(data, met) if hashing and mark else members(data))
    except OSError as error:
        mark, listed = b"", [(b"", 0, 0, refusal(error))]
    return Indexed(mark, listed, marks, np.frombuffer(b"".join(sha256), np.uint8).reshape(-1, 32))


def _opened(tar: Entry, *, hashing: bool) -> AbstractContextManager[Readable]:
    if in_bucket(tar.file):
        return nullcontext(RangeFile(tar.file, tar.size, buckets.BLOCK if hashing else buckets.HEADER_BLOCK))
    return open_file(tar.file)


def _members_of(name: bytes, entry: Entry, index: Indexed | None) -> Iterator[Named]:
    """A file as an entry, a tar as all of its members."""
    if index is None:
        packed = PACKED_SHARD if name.lower().endswith(PACKED) else None
        yield name, replace(entry, problem=entry.problem or packed)
        return
    for member, start, size, lost in index.members:
        mark = member_mark(entry.mark, start, size)
        yield name + b"/" + member if member else name, Entry("", entry.file, start, size, lost, mark)


def _local_mark(file: bytes) -> bytes:
    """What tells the present state of a file of this machine from all others.

    None where it cannot be told yet: a file that was changed just now may be changed again at what its system takes for
    the same time.
    """
    try:
        state = os.stat(file)
    except OSError:
        return b""
    grain = GRAIN if state.st_ctime_ns % 10**9 else COARSE
    if state.st_ctime_ns / 1e9 > time.time() - grain:
        return b""
    return mark_of(file, state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns, state.st_ctime_ns)


def called(path: str, said: str) -> str:
    """A path as an error names it: as it was given by the parameter `said`, or alone where that is empty."""
    return parameter(said, path) if said else path


def _real(path: str, said: str) -> bytes:
    """Where `path` leads. Raises `ImagesError` where nothing is there."""
    try:
        raw = os.fsencode(path)
        return raw.rstrip(b"/") if in_bucket(raw) else os.path.realpath(raw, strict=True)
    except (OSError, ValueError) as error:
        reason = refusal(error).reason if isinstance(error, OSError) else "no name of a file"
        raise ImagesError(f"{called(printable(os.fsencode(path)), said)}: {reason}.") from None


def _labels(roots: list[bytes], folders: dict[bytes, list[Named]]) -> list[bytes]:
    """What the names below each root start with: as much of its path's end as tells it from the others."""
    if len(roots) == 1 and not any(path == b"" for path, _ in folders[roots[0]]):
        return [b""]
    parts = [root.strip(b"/").split(b"/") for root in roots]
    taken = 1
    while len({tuple(part[-taken:]) for part in parts}) < len(parts):
        taken += 1
    return [b"/".join(part[-taken:]) for part in parts]


def _root(root: bytes, entered: set[Place], said: str) -> Iterator[Named]:
    """The files below a root, or of no name the one that it is."""
    if in_bucket(root):
        yield from _objects(root, said)
        return
    try:
        mode = os.stat(root).st_mode
        if stat.S_ISDIR(mode):
            os.listdir(root)
    except OSError as error:
        raise ImagesError(f"{called(printable(root), said)}: cannot be read ({refusal(error).reason}).") from None
    if stat.S_ISDIR(mode):
        for path, problem in walk(root, entered):
            yield path, Entry("", os.path.join(root, path), problem=problem)
    else:
        problem = None if stat.S_ISREG(mode) else Problem(ImageStatus.UNREADABLE, special(mode))
        yield b"", Entry("", root, problem=problem)


def _objects(root: bytes, said: str) -> Iterator[Named]:
    address = root.decode()
    bucket, folder = buckets.parted(address)
    single, found = buckets.find(address, called(address, said))
    below = len(folder) + 1 if folder else 0
    for one in found:
        file = f"{bucket.address}/{one.key}".encode()
        mark = buckets.mark_at(file, one.size, one.mark)
        yield b"" if single else one.key[below:].encode(), Entry("", file, size=one.size, mark=mark)
