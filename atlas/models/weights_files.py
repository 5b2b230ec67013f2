"""Files of weights, opened with care: nothing in them is run, and none takes more time or memory than it is worth.

file -> what it holds, tensors mapped from the disk where its format allows

What a file claims is compared with what it is before any of it is believed: a pipe or a device is not opened, parts
that are compressed or larger than the file are not unpacked, headers have a bound.
"""

from __future__ import annotations

import argparse
import codecs
import pathlib
import pickle
import re
import stat
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch

from atlas.errors import WeightsError

ZIP, PICKLE = b"PK\x03\x04", b"\x80"
"""How the files of `torch.save` begin, those of today and those from before torch 1.6."""
BEGINNING = 512
"""Bytes by which a file is told."""
MARKS = (
    (0, b"version https://git-lfs", "a pointer of git-lfs in place of the file. Fetch it: git lfs pull"),
    (0, b"\x89HDF", "HDF5, as Keras and TensorFlow save weights. Convert it to a state dict"),
    (0, b"\x93NUMPY", "an array of numpy. Save a state dict: names and tensors"),
    (0, b"GGUF", "GGUF. Convert it to safetensors"),
    (4, b"TFL3", "a network of TensorFlow Lite. Convert its weights to a state dict"),
    *(
        (0, mark, "compressed. Unpack it first")
        for mark in (b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd", b"7z\xbc")
    ),
    *((0, mark, "a picture") for mark in (b"\x89PNG", b"\xff\xd8\xff", b"GIF8")),
    (0, b"%PDF", "a PDF"),
    (257, b"ustar", "a tar archive. Unpack it first"),
)
"""Where in a file which bytes stand, and what it is then."""
HEADER = 2**24
"""Bytes that the header of safetensors may have: that of ten thousand tensors has one million."""
STRUCTURE = 2**25
"""Bytes that may describe the tensors of a file of torch's: names, shapes, settings of the training."""
SLACK, TIMES = 2**30, 16
"""Bytes, and times what the network needs, that a file may have which must be read whole."""
HARMLESS: tuple[Any, ...] = (
    argparse.Namespace,
    *((pathlib.PosixPath, f"{module}.{name}") for module in ("pathlib", "pathlib._local") for name in ("PosixPath",)),
)
"""What training scripts keep beside their weights and that only holds values: settings and names of files."""


def read_file(file: Path, needed: int = 0) -> Any:
    """What `file` holds, for a network of `needed` bytes: of safetensors or of `torch.save`, by how it begins.

    Raises `WeightsError` where it is no file, is broken, or holds code.
    """
    try:
        size = _size(file)
        with file.open("rb") as stream:
            start = stream.read(BEGINNING)
        if what := _other(start):
            raise WeightsError(f"{file} is not a checkpoint: neither safetensors nor a file of torch.save, but {what}.")
        if start.startswith((ZIP, PICKLE)) and file.suffix == ".safetensors":
            raise WeightsError(f"{file} is a file of torch.save, not of safetensors. Call it .pt.")
        if start.startswith(ZIP):
            _check_archive(file, size)
        elif start.startswith(PICKLE):
            _check_whole(file, size, needed)
        elif start[8:9] == b"{" or file.suffix == ".safetensors":
            return _read_safetensors(file, size, start)
        else:
            raise WeightsError(f"{file} is not a checkpoint: neither safetensors nor a file of torch.save.")
        return _read_torch(file, mapped=start.startswith(ZIP))
    except OSError as error:
        raise WeightsError(f"{file} cannot be read: {error.strerror or error}") from None


def _other(start: bytes) -> str:
    """What a file that begins with `start` is, and what to do; empty where it may be a checkpoint."""
    if start[4:9] == b"\0\0\0\0{":  # safetensors: a length, whose bytes may be anything, and its header
        return ""
    for place, mark, what in MARKS:
        if start.startswith(mark, place):
            return what
    if not start.strip(b"\0"):
        return "zeros, as a download that broke off leaves them. Fetch it again"
    if re.match(rb"(\xef\xbb\xbf)?\s*<(!doctype|html|head|\?xml|!--)", start, re.IGNORECASE):
        return "a web page. Download the file itself: its link is another, or wants you to sign in"
    text = _text(start)
    if text.startswith(("{", "[")):
        return "JSON. Name the file of the weights that it describes"
    return f"text that begins {text.splitlines()[0][:60]!r}. Name a file of weights" if text else ""


def _text(start: bytes) -> str:
    """`start`, of which a last letter may be cut, as text; empty where it is none."""
    try:
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(start).strip()
    except UnicodeDecodeError:
        return ""
    return text if all(letter.isprintable() or letter.isspace() for letter in text) else ""


def _size(file: Path) -> int:
    """Bytes of a regular file. Anything else is not even opened: a pipe would wait for ever."""
    found = file.stat()
    if stat.S_ISDIR(found.st_mode):
        raise WeightsError(f"{file} is a folder. Name the file of weights in it.")
    if not stat.S_ISREG(found.st_mode):
        raise WeightsError(f"{file} is a pipe, a socket or a device, not a file of weights.")
    if found.st_size == 0:
        raise WeightsError(f"{file} is empty.")
    return found.st_size


def _check_archive(file: Path, size: int) -> None:
    """Raise `WeightsError` where an archive's parts are not plain ones that lie in it side by side."""
    try:
        with zipfile.ZipFile(file) as archive:
            parts = archive.infolist()
    except (zipfile.BadZipFile, ValueError, NotImplementedError, RuntimeError) as error:
        raise WeightsError(f"{file} is not a whole checkpoint: {one_line(error)}") from None
    if not any(part.filename.endswith("data.pkl") for part in parts):
        inside = parts[0].filename if parts else "nothing"
        raise WeightsError(f"{file} is a zip archive of other things ({inside}), not a file of torch.save.")
    if any("/code/" in part.filename for part in parts):
        raise WeightsError(
            f"{file} is a network of TorchScript, with its code. Not loaded. Save its state dict alone: "
            "torch.save(torch.jit.load(FILE).state_dict(), OTHER)."
        )
    if any(part.compress_type != zipfile.ZIP_STORED for part in parts):
        raise WeightsError(
            f"{file} is compressed, as torch.save never does it. Not unpacked: save it again with torch."
        )
    claimed = sum(part.file_size for part in parts)
    if claimed > size:
        raise WeightsError(
            f"{file} claims parts of {claimed:,} bytes in a file of {size:,}. It is damaged; not loaded."
        )
    described = sum(part.file_size for part in parts if "/data/" not in part.filename)
    if described > STRUCTURE:
        raise WeightsError(f"{file} has {described:,} bytes that are no tensors: too many to be a checkpoint.")


def _check_whole(file: Path, size: int, needed: int) -> None:
    """Raise `WeightsError` for a file that must be read whole and is far larger than what is needed of it."""
    if needed and size > TIMES * needed + SLACK:
        raise WeightsError(
            f"{file} has {size:,} bytes, and the network needs {needed:,} of them: not read. Save its state dict "
            "alone: torch.save(model.state_dict(), FILE)."
        )


def _read_safetensors(file: Path, size: int, start: bytes) -> dict[str, Any]:
    from safetensors.torch import load_file

    header = int.from_bytes(start[:8], "little")
    if header > min(size - 8, HEADER):
        raise WeightsError(
            f"{file} is not a whole safetensors file: its header claims {header:,} bytes of a file of {size:,}, and at "
            f"most {HEADER:,} are read."
        )
    try:
        return dict(load_file(file))
    except OSError:
        raise
    except Exception as error:  # noqa: BLE001 - a damaged file fails wherever its damage is met
        raise WeightsError(f"{file} is not a whole safetensors file: {one_line(error)}") from None


def _read_torch(file: Path, *, mapped: bool) -> Any:
    try:
        with torch.serialization.safe_globals(list(HARMLESS)), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of what a damaged file seems to be: the error says enough
            return torch.load(file, map_location="cpu", weights_only=True, mmap=mapped)
    except OSError:
        raise
    except Exception as error:  # noqa: BLE001 - a damaged file fails wherever its damage is met
        if isinstance(error, pickle.UnpicklingError):
            named = re.search(r"GLOBAL ([\w.]+) was not", str(error))
            what = f" ({named[1]})" if named else ""
            raise WeightsError(
                f"{file} is a pickle with code in it, or with more than tensors{what}. Not loaded. "
                "Save its state dict alone: torch.save(model.state_dict(), FILE), or as safetensors."
            ) from None
        raise WeightsError(f"{file} is not a checkpoint that torch can read: {one_line(error)}") from None


def one_line(error: BaseException) -> str:
    """The beginning of what an error of somebody else's says, in one line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:120]}"
