"""What a submitted build is called, what travels with it, and what it is planned by here."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from torch import nn

from atlas.engine import submitting
from atlas.engine.planning.build_plan import BuildPlan
from atlas.engine.submitting import FILE, parcel, planned, whole
from atlas.errors import AtlasError, WeightsError
from atlas.pipeline import Pipeline
from atlas.pipeline_file import read
from atlas.store import LocalBackend, Store
from tests.builds import build_in, tiny_plans
from tests.networks import SMALL

pytestmark = pytest.mark.builder

PLACE = "/shared/mine.atlas"
FACTORY = """
from helpers import WIDTH
import other.deep, torch
from . import layers

def net():
    return torch.nn.Linear(WIDTH, 2)
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A current folder with a package, a module that it imports, one that it does not, labels and an image."""
    files = {
        "mine/__init__.py": "",
        "mine/models.py": FACTORY,
        "mine/layers.py": "import mine, numpy",
        "mine/weights/small.bin": "0" * 100,
        "mine/.cache/secret": "s",
        "mine/__pycache__/models.pyc": "c",
        "helpers.py": "from folder import *\nWIDTH = 3",
        "other/deep.py": "import absent",
        "unrelated.py": "",
        "folder/of.csv": "no module",
        ".env": "AWS_SECRET_ACCESS_KEY=secret",
        "labels.txt": "a\nb\n",
        "photos/one.png": "1",
        "run.pt": "weights",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def packed(**said: Any) -> tuple[set[str], dict[str, Any]]:
    """What travels, and what the pipeline says that the job reads."""
    with TemporaryDirectory() as folder:
        parcel(Pipeline(**({"model": "squeezenet", "store": PLACE} | said))).pack(Path(folder))
        told = read(Path(folder) / FILE)
        files = {str(file.relative_to(folder)) for file in Path(folder).rglob("*") if file.is_file()}
    return files - {FILE}, told


def test_a_module_travels_with_what_it_imports_and_nothing_else(here: Path) -> None:
    files, told = packed(model="mine.models:net")
    modules = {"mine/__init__.py", "mine/models.py", "mine/layers.py", "mine/weights/small.bin"}
    assert files == modules | {"helpers.py", "other/deep.py"}
    assert told == {"model": "mine.models:net", "store": PLACE}


def test_a_model_of_a_library_takes_nothing_along(here: Path) -> None:
    (here / "torchvision").mkdir()
    (here / "torchvision" / "mine.py").write_text("")
    assert packed(model="torchvision:resnet18@random")[0] == set()


def test_what_is_named_from_the_current_folder_travels_and_what_has_a_place_does_not(here: Path) -> None:
    said = {"labels": "labels.txt", "weights": "run.pt#ema", "images": ["photos/*.png", "s3://b/more", "/data/many"]}
    files, told = packed(**said, spectrum="photos")
    assert files == {"labels.txt", "photos/one.png", "run.pt"}
    assert {name: told[name] for name in said} == said
    assert told["spectrum"] == ["photos"]


def test_what_is_no_file_stays_as_it_was_said(here: Path) -> None:
    said = {"labels": "imagenet", "preprocessing": "size=8,8 mean=0,0,0 std=1,1,1", "images": "mine.data:photographs"}
    files, told = packed(**said)
    assert (told["labels"], told["preprocessing"]) == (said["labels"], said["preprocessing"])
    assert told["images"] == ["mine.data:photographs"]
    assert "mine/models.py" in files


def test_a_folder_beside_the_current_one_is_named_by_its_whole_path(here: Path) -> None:
    (here / "below").mkdir()
    os.chdir(here / "below")
    _, told = packed(images="../photos")
    assert Path(told["images"][0]).resolve() == here / "photos"


@pytest.mark.parametrize(
    "said",
    ['{"size": [8, 8], "mean": [0, 0, 0]}', {"size": [8, 8]}, SMALL],
)
def test_preprocessing_is_said_in_any_form(here: Path, said: Any) -> None:
    files, told = packed(preprocessing=said)
    assert files == set()
    assert told["preprocessing"] == (said if isinstance(said, str | dict) else said.text())


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"preprocessing": len}, "must be text"),
        ({"store": None}, "`store` is missing"),
        ({"store": "mine.atlas"}, "`store=mine.atlas` would lie in the job's own folder"),
        ({"ray": "auto"}, "`ray=auto` with `address`"),
        ({"local": True}, "`local=yes` with `address`"),
        ({"model": nn.Linear(1, 1)}, "one in memory has none"),
        ({"images": "*.png"}, "Move the files to a subfolder"),
        ({"weights": "http://example.org/x.pt"}, "http:// is not supported"),
    ],
)
def test_what_no_job_can_do_is_one_line(here: Path, said: dict[str, Any], told: str) -> None:
    with pytest.raises(AtlasError) as raised:
        parcel(Pipeline(**({"model": "squeezenet", "store": PLACE} | said)))
    assert told in str(raised.value)
    assert len(str(raised.value).splitlines()) == 1


def test_what_is_too_large_to_travel_is_named(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(submitting, "MOST", 1000)
    (here / "photos" / "two.png").write_text("2" * 1000)
    with pytest.raises(AtlasError, match=r"^photos is too large to travel.*whole path or its address"):
        packed(images="photos")


def test_a_name_is_of_where_results_go_and_what_is_made() -> None:
    def name(**said: Any) -> str:
        return parcel(Pipeline(**({"model": "squeezenet", "store": PLACE, "layers": ["a", "b"]} | said))).name

    same = name()
    assert same.startswith("atlas-")
    assert name(layers="a,b") == same
    assert name(workers=3, max_hours=2.5, price=0.5, partial=True) == same
    others = [name(store="s3://b/x"), name(model="timm:x"), name(layers="a"), name(device="cpu"), name(recipe="quick")]
    assert len({same, *others}) == len(others) + 1


# -- the plan ----------------------------------------------------------------------------------------------------------


def test_a_plan_is_made_here_for_gpus_unless_cpus_are_said() -> None:
    for device, kind in (("auto", "cuda"), ("cpu", "cpu")):
        found = planned(Pipeline("tests.networks:tiny", PLACE, device=device))
        assert isinstance(found, BuildPlan)
        assert {plan.numerics.device for plan in found.plans} == {kind}
        assert found.hours > 0
        assert not found.measured


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"images": "/nowhere/photos"}, "/nowhere/photos cannot be read"),
        ({"weights": "/nowhere/run.pt#ema"}, "/nowhere/run.pt"),
        ({"images": "s3://bucket/photos"}, "s3://bucket/photos"),
        ({"model": "of_the_cluster.models:net"}, "of_the_cluster cannot be read"),
    ],
)
def test_what_is_only_on_the_cluster_is_planned_there(said: dict[str, Any], told: str) -> None:
    assert told in str(planned(Pipeline(**({"model": "tests.networks:tiny", "store": PLACE} | said))))


def test_without_torch_the_job_plans(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "torch", None)
    assert planned(Pipeline("tests.networks:tiny", PLACE)) == "torch is not installed on this machine"


def test_what_the_users_module_lacks_here_the_cluster_may_have(here: Path) -> None:
    (here / "lacking.py").write_text("import of_the_cluster")
    (here / "reading.py").write_text("def net():\n    open('/nowhere/weights')")
    assert "of_the_cluster" in str(planned(Pipeline("lacking:net", PLACE)))
    assert "/nowhere/weights" in str(planned(Pipeline("reading:net", PLACE)))
    (here / "wrong.py").write_text("def net():\n    return 3")
    with pytest.raises(AtlasError, match=r"wrong:net returned an int"):
        planned(Pipeline("wrong:net", PLACE))


def test_weights_that_cannot_be_fetched_here_are_fetched_there(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setattr("urllib.request._opener", None)  # who asks first fixes the proxies of the whole process
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert "its trained weights" in str(planned(Pipeline("torchvision:squeezenet1_1", PLACE)))


def test_what_is_wrong_everywhere_is_refused_here(tmp_path: Path) -> None:
    with pytest.raises(AtlasError, match=r"Did you mean 'second\.1'"):
        planned(Pipeline("tests.networks:tiny", PLACE, layers="secnd.1"))
    (tmp_path / "bad.pt").write_text("no weights")
    with pytest.raises(WeightsError, match=r"bad\.pt"):
        planned(Pipeline("tests.networks:tiny", PLACE, weights=tmp_path / "bad.pt"))


def test_a_store_is_whole_once_all_that_was_asked_for_is_there(tmp_path: Path) -> None:
    from atlas.models import load_model

    assert not whole(str(tmp_path / "none"))
    model = load_model("tests.networks:tiny")
    store, _ = build_in(LocalBackend(tmp_path / "made"), model, tiny_plans(model))
    assert whole(str(tmp_path / "made"))
    (plan, *_) = Store.open(tmp_path / "made").plans()
    store.forget(plan, {0})
    assert not whole(str(tmp_path / "made"))
