"""Hugging Face data sets on disk."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from atlas.collecting import open_images
from atlas.errors import ImagesError
from tests.collecting.made import encoded, index, pixels

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
    code = f"import sys; sys.modules['datasets'] = None; import atlas.collecting as c; c.open_images({str(tmp_path)!r})"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert ran.stderr.strip().endswith("is a Hugging Face data set. To read it: pip install datasets")
