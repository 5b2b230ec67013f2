"""Files that would hang, fill the memory or run something: one line each, in little time and memory."""

from __future__ import annotations

import json
import os
import resource
import socket
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from atlas.errors import WeightsError
from atlas.models import load_model
from atlas.models.checkpoints import read_checkpoint

pytestmark = pytest.mark.builder

TINY = "tests.networks:tiny"


def whole(folder: Path) -> Path:
    torch.save(load_model(TINY).state, folder / "whole.pt")
    return folder / "whole.pt"


def rezipped(file: Path, made: Path, compression: int, extra: dict[str, int] | None = None) -> Path:
    """An archive with the parts of another, and zeros of some sizes under further names."""
    with zipfile.ZipFile(file) as old, zipfile.ZipFile(made, "w", compression) as new:
        for part in old.infolist():
            new.writestr(part.filename, old.read(part))
        for name, size in (extra or {}).items():
            with new.open(name, "w", force_zip64=True) as stream:
                for _ in range(size // 2**20):
                    stream.write(bytes(2**20))
    return made


def test_a_deflate_bomb_is_not_unpacked(tmp_path: Path) -> None:
    bomb = rezipped(whole(tmp_path), tmp_path / "bomb.pt", zipfile.ZIP_DEFLATED, {"archive/data/99": 2**28})
    assert bomb.stat().st_size < 2**20
    with pytest.raises(WeightsError, match=r"bomb\.pt is compressed, as torch.save never does it\. Not unpacked"):
        load_model(TINY, weights=bomb)


def test_parts_that_share_their_bytes_are_refused(tmp_path: Path) -> None:
    """An archive whose directory names the same bytes over and over."""
    made = rezipped(whole(tmp_path), tmp_path / "shared.pt", zipfile.ZIP_STORED)
    with zipfile.ZipFile(made, "a") as archive:
        largest = max(archive.filelist, key=lambda part: part.file_size)
        archive.filelist += [largest] * 3
        archive.writestr("archive/note", "so that the directory is written anew")
    with pytest.raises(WeightsError, match=r"shared\.pt claims parts of"):
        load_model(TINY, weights=made)


def test_what_is_no_tensor_has_a_bound(tmp_path: Path) -> None:
    made = rezipped(whole(tmp_path), tmp_path / "long.pt", zipfile.ZIP_STORED, {"archive/notes": 2**26})
    with pytest.raises(WeightsError, match="bytes that are no tensors"):
        load_model(TINY, weights=made)


def test_a_sparse_archive_takes_no_memory(tmp_path: Path) -> None:
    """Eight gigabytes of nothing, named by a checkpoint that lacks what the network needs."""
    made = tmp_path / "sparse.pt"
    with torch.serialization.skip_data():
        torch.save({"huge": torch.empty(2 * 10**9)}, made)
    code = (
        "import sys; from pathlib import Path; from atlas.models import load_model\n"
        "try: load_model('tests.networks:tiny', weights=sys.argv[1])\n"
        "except Exception as error: print(type(error).__name__, error)\n"
        # Not of `resource`: that counts what the process that started this one took.
        "told = dict(line.split(':', 1) for line in Path('/proc/self/status').read_text().splitlines())\n"
        "print(int(told['VmHWM'].split()[0]) // 1024)"
    )
    assert made.stat().st_size > 7 * 10**9
    ran = subprocess.run([sys.executable, "-c", code, made], capture_output=True, text=True, check=True)
    line, megabytes = ran.stdout.splitlines()
    assert line.startswith("WeightsError")
    assert int(megabytes) < 4_000


def test_what_must_be_read_whole_is_compared_with_what_is_needed(tmp_path: Path) -> None:
    torch.save(load_model(TINY).state, tmp_path / "old.pt", _use_new_zipfile_serialization=False)
    assert load_model(TINY, weights=tmp_path / "old.pt")
    os.truncate(tmp_path / "old.pt", 2**34)
    with pytest.raises(WeightsError, match=r"has 17,179,869,184 bytes, and the network needs .* not read"):
        load_model(TINY, weights=tmp_path / "old.pt")


@pytest.mark.parametrize("header", [2**63 - 1, 10**10, 2**24 + 1])
def test_the_header_of_safetensors_has_a_bound(tmp_path: Path, header: int) -> None:
    file = tmp_path / "huge.safetensors"
    file.write_bytes(header.to_bytes(8, "little") + b"{")
    os.truncate(file, 10**11)
    with pytest.raises(WeightsError, match=rf"header claims {header:,} bytes"):
        load_model(TINY, weights=file)


def test_tensors_of_safetensors_lie_in_the_file(tmp_path: Path) -> None:
    claim = json.dumps({"head.bias": {"dtype": "F32", "shape": [10**12], "data_offsets": [0, 4 * 10**12]}}).encode()
    (tmp_path / "claims.safetensors").write_bytes(len(claim).to_bytes(8, "little") + claim + bytes(40))
    with pytest.raises(WeightsError, match=r"claims\.safetensors is not a whole safetensors file"):
        load_model(TINY, weights=tmp_path / "claims.safetensors")


def test_a_sparse_safetensors_takes_no_memory(tmp_path: Path) -> None:
    size = 8 * 10**9
    claim = json.dumps({"huge": {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}}).encode()
    file = tmp_path / "sparse.safetensors"
    file.write_bytes(len(claim).to_bytes(8, "little") + claim)
    os.truncate(file, 8 + len(claim) + size)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(WeightsError, match=r"does not fit"):
        load_model(TINY, weights=file)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss < before + 2**20


def test_only_files_are_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    os.mkfifo(tmp_path / "pipe.pt")
    (tmp_path / "folder.pt").mkdir()
    (tmp_path / "empty.safetensors").write_bytes(b"")
    (tmp_path / "link.pt").symlink_to(tmp_path / "pipe.pt")
    monkeypatch.chdir(tmp_path)  # names of sockets are short
    with socket.socket(socket.AF_UNIX) as there:
        there.bind("socket.pt")
        for name, line in {
            "pipe.pt": "is a pipe",
            "link.pt": "is a pipe",
            "socket.pt": "is a pipe, a socket or a device",
            "folder.pt": "is a folder. Name the file",
            "empty.safetensors": "is empty",
            "/dev/zero": "is a pipe, a socket or a device",
            "/dev/null": "is a pipe, a socket or a device",
        }.items():
            with pytest.raises(WeightsError, match=line) as caught:
                load_model(TINY, weights=tmp_path / name)
            assert "\n" not in str(caught.value)


def test_a_file_is_what_it_begins_with(tmp_path: Path) -> None:
    """Not what its name says, where the name says nothing; where it says the contrary it is told."""
    from safetensors.torch import save_file

    state = load_model(TINY).state
    torch.save(state, tmp_path / "torch.safetensors")
    save_file(state, tmp_path / "safe.bin")
    assert read_checkpoint(tmp_path / "safe.bin").keys() == state.keys()
    with pytest.raises(WeightsError, match=r"torch\.safetensors is a file of torch\.save, not of safetensors"):
        load_model(TINY, weights=tmp_path / "torch.safetensors")
    (tmp_path / "page.pt").write_text("<!DOCTYPE html><html>404")
    with pytest.raises(WeightsError, match="is not a checkpoint: neither safetensors nor"):
        load_model(TINY, weights=tmp_path / "page.pt")


@pytest.mark.parametrize("name", ["it.pth", "it.safetensors"])
@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"<!DOCTYPE html><html>404", "a web page. Download the file itself"),
        (b"\xef\xbb\xbf\n  <HTML lang=de>\xe9", "a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "a pointer of git-lfs .*git lfs pull"),
        (b'{"metadata": {"total_size": 9}, "weight_map": {}}', "JSON. Name the file of the weights"),
        (b'[ {"a": {"b": 1}}]', "JSON"),
        (b'{"a": {"b": "' + "ü".encode() * 400, "JSON"),
        (b"epoch,loss\n1,0.5\n", "text that begins 'epoch,loss'"),
        (b"\x89HDF\r\n\x1a\n", "HDF5, as Keras"),
        (b"\x1f\x8b\x08\0\0\0\0\0\0", "compressed. Unpack it first"),
        (b"\x89PNG\r\n\x1a\n", "a picture"),
        (bytes(4096), "zeros, as a download that broke off"),
    ],
)
def test_what_is_no_checkpoint_is_called_by_its_name(content: bytes, what: str, name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(WeightsError, match=rf"is not a checkpoint: neither safetensors nor .*, but {what}") as caught:
        load_model(TINY, weights=tmp_path / name)
    assert "\n" not in str(caught.value)


def test_other_archives_and_empty_files_are_called_so_too(tmp_path: Path) -> None:
    np.savez(tmp_path / "arrays.npz", weight=np.ones(3))
    (tmp_path / "empty.pth").touch()
    for name, line in {"arrays.npz": r"a zip archive of other things \(weight.npy\)", "empty.pth": "is empty"}.items():
        with pytest.raises(WeightsError, match=line):
            load_model(TINY, weights=tmp_path / name)


def test_the_length_of_a_header_is_not_taken_for_a_mark(tmp_path: Path) -> None:
    """Safetensors begin with a number, whose bytes may spell anything: here those of gzip."""
    header = json.dumps({"weight": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
    length = int.from_bytes(b"\x1f\x8b", "little")
    (tmp_path / "it.safetensors").write_bytes(length.to_bytes(8, "little") + header.ljust(length) + bytes(4))
    assert read_checkpoint(tmp_path / "it.safetensors").keys() == {"weight"}


def test_code_is_named(tmp_path: Path) -> None:
    torch.save({"model": torch.nn.Linear(2, 2)}, tmp_path / "code.pt")
    with pytest.raises(
        WeightsError, match=r"pickle with code in it.*\(torch\.nn\.modules\.linear\.Linear\)\. Not loaded"
    ):
        load_model(TINY, weights=tmp_path / "code.pt")
