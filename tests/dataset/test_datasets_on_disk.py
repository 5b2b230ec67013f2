"""Hugging Face data sets on disk."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from atlas.dataset import guarded, open_images
from atlas.errors import ImagesError
from atlas.units import ImageStatus
from tests.dataset.made import encoded, index, pixels

pytestmark = pytest.mark.builder


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `one`, a data set, and `two`, a dict of splits."""
    import datasets

    folder = tmp_path_factory.mktemp("saved")

    def rows(count: int) -> datasets.Dataset:
        items = [{"bytes": encoded(pixels(number)), "path": None} for number in range(count)]
        features = datasets.Features({"label": datasets.Value("int64"), "photo": datasets.Image()})
        return datasets.Dataset.from_dict({"label": list(range(count)), "photo": items}, features=features)

    rows(3).save_to_disk(str(folder / "one"))
    datasets.DatasetDict(train=rows(3), test=rows(1)).save_to_disk(str(folder / "two"))
    datasets.Dataset.from_dict({"text": ["a"]}).save_to_disk(str(folder / "text"))
    return folder


def test_its_images_are_read_as_the_bytes_they_were_saved_as(saved: Path) -> None:
    source = open_images(saved / "one")
    assert [source.read(entry) for entry in source.entries] == [encoded(pixels(number)) for number in range(3)]
    assert index(source).summary() == "3 images"


def test_splits_are_folders(saved: Path) -> None:
    images = index(open_images(saved / "two"))
    assert images.names == ["test/00000000", "train/00000000", "train/00000001", "train/00000002"]
    assert images[1].reason == "the same as test/00000000"


def test_without_images_or_damaged_it_is_one_line(saved: Path) -> None:
    with pytest.raises(ImagesError, match=r"none of its columns holds images \(text\)"):
        open_images(saved / "text")
    (saved / "text" / "state.json").write_text("{")
    with pytest.raises(ImagesError, match="not a data set that can be read"):
        open_images(saved / "text")


def test_without_the_package_its_name_is_told(tmp_path: Path) -> None:
    for name in ("state.json", "dataset_info.json"):
        (tmp_path / name).write_text("{}")
    code = f"import sys; sys.modules['datasets'] = None; import atlas.dataset as c; c.open_images({str(tmp_path)!r})"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.stderr.strip().endswith("is a Hugging Face data set. To read it: pip install datasets")


def rows_of(folder: Path, *rows: dict[str, Any]) -> Path:
    """A data set saved to `folder / "set"` whose rows are as they are given, files that are named left outside."""
    import datasets
    from datasets.arrow_writer import ArrowWriter

    features = datasets.Features({"photo": datasets.Image()})
    datasets.Dataset.from_dict({"photo": [None]}, features=features).save_to_disk(str(folder / "set"))
    writer = ArrowWriter(path=str(folder / "set" / "data-00000-of-00001.arrow"), features=features)
    for row in rows:
        writer.write({"photo": row})
    writer.finalize()
    return folder / "set"


def test_rows_name_no_file_outside_their_data_set(tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(encoded(pixels(0)))
    folder = rows_of(
        tmp_path,
        {"bytes": None, "path": str(secret)},
        {"bytes": None, "path": "../secret.png"},
        {"bytes": None, "path": "images/../../secret.png"},
        {"bytes": None, "path": "linked.png"},
        {"bytes": None, "path": "linked/secret.png"},
        {"bytes": None, "path": "/dev/zero"},
        {"bytes": None, "path": "zero"},
        {"bytes": None, "path": "pipe.png"},
        {"bytes": None, "path": f"zip://secret.png::{tmp_path}/packed.zip"},
        {"bytes": None, "path": "https://example.org/a.png"},
        {"bytes": None, "path": "own.png"},
        {"bytes": None, "path": str(tmp_path / "set" / "own.png")},
        {"bytes": None, "path": None},
    )
    (folder / "own.png").write_bytes(encoded(pixels(1)))
    (folder / "linked.png").symlink_to(secret)
    (folder / "linked").symlink_to(tmp_path)
    (folder / "zero").symlink_to("/dev/zero")
    os.mkfifo(folder / "pipe.png")
    images = index(open_images(folder))
    assert images.usable == [10]
    outside = "the data set names a file that is not read: it lies outside the data set"
    assert [images.reasons[number] for number in range(7)] == [outside] * 7
    assert images.reasons[7].endswith("a pipe, not a file")
    assert images.reasons[8].endswith(images.reasons[9][-25:])
    assert images.reasons[9].endswith("no such file or directory")
    assert images.reasons[11] == "the same as 00000010"
    assert images.reasons[12] == "an empty row of the data set"


@pytest.mark.parametrize("named", ["../other/data-00000-of-00001.arrow", "/dev/zero", "pipe", "link.arrow", 7])
def test_lists_name_no_file_outside_their_data_set(tmp_path: Path, named: Any) -> None:
    folder = rows_of(tmp_path, {"bytes": encoded(pixels(0)), "path": None})
    shutil.copytree(folder, tmp_path / "other")
    os.mkfifo(folder / "pipe")
    (folder / "link.arrow").symlink_to(tmp_path / "other" / "data-00000-of-00001.arrow")
    state = json.loads((folder / "state.json").read_text())
    state["_data_files"] = [{"filename": named}]
    (folder / "state.json").write_text(json.dumps(state))
    with pytest.raises(ImagesError, match="not a data set that can be read") as caught:
        open_images(folder)
    assert "\n" not in str(caught.value)


def test_splits_lie_inside_their_data_set(tmp_path: Path) -> None:
    rows_of(tmp_path, {"bytes": encoded(pixels(0)), "path": None})
    (tmp_path / "two").mkdir()
    (tmp_path / "two" / "dataset_dict.json").write_text('{"splits": ["../set"]}')
    with pytest.raises(ImagesError, match="it lies outside the data set"):
        open_images(tmp_path / "two")


def test_a_row_of_too_many_bytes_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(guarded, "LARGEST_FILE", 1000)
    images = index(open_images(rows_of(tmp_path, {"bytes": bytes(1001), "path": None})))
    assert images[0].status == ImageStatus.TOO_LARGE
