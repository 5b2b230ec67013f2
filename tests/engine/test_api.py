"""Building from Python: what the command does, with the same names; a network in memory; a store that goes on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from atlas import build, plan, verify
from atlas.errors import AtlasError, BuildFailed, ModelError, PlanMismatch
from atlas.models import Preprocessing, load_model
from atlas.store import Store
from tests.builds import contents
from tests.networks import tiny

pytestmark = pytest.mark.builder

TINY = "tests.networks:tiny"
HASTY = {"size": 32, "steps": 2, "eval_draws": 1, "relu_redirect_steps": 0}
SMALL = "size=32 mean=0.5,0.5,0.5 std=0.5,0.5,0.5"


def test_the_command_and_the_call_build_the_same_bytes(tmp_path: Path, images: Path) -> None:
    options: dict[str, Any] = {"layers": ["first.1:0-3", "head"], "settings": HASTY, "images": images, "crops": 2}
    catalogue = build(TINY, tmp_path / "called", local=True, **options)
    assert list(catalogue.layers) == ["first.1", "head"]
    words = ["--layers", "first.1:0-3,head", "--images", str(images), "--crops", "2", "--local"]
    words += [word for name, value in HASTY.items() for word in ("--set", f"{name}={value}")]
    command = [sys.executable, "-m", "atlas", "build", TINY, "--store", str(tmp_path / "typed"), *words]
    subprocess.run(command, check=True, capture_output=True)
    called, typed = (Store.open(tmp_path / name) for name in ("called", "typed"))
    assert contents(called.backend) == contents(typed.backend)
    assert verify(called).whole


def test_a_plan_is_a_value_with_a_table_and_a_price(tmp_path: Path, images: Path) -> None:
    found = plan(TINY, tmp_path / "never", layers="first.1,second.1", images=images)
    columns, rows = found.table()
    assert [row[0] for row in rows] == ["first.1", "second.1"]
    assert columns[0] == "layer"
    assert found.pictures == sum(row[columns.index("pictures>")] for row in rows)  # type: ignore[misc]
    assert found.flops > 0
    assert found.bytes > 0
    assert found.seconds is None  # nothing was measured here
    told = str(found)
    assert "first.1" in told
    assert f"{found.pictures:,} pictures of 160 px" in told
    assert "5 images, 8 crops of each" in told
    assert not (tmp_path / "never").exists()
    build(TINY, tmp_path / "some", layers="first.1", settings=HASTY, local=True)
    left = plan(TINY, tmp_path / "some", layers="first.1,second.1", settings=HASTY).left
    assert {each.layer_name: count for each, count in left.items()} == {"first.1": 0, "second.1": 3}


def test_failed_shards_raise_and_the_rest_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from atlas.engine.stages import features

    make = features.make

    def failing(piece: Any) -> Any:
        if piece.shard.index == 1:
            raise ValueError("the second shard fails")
        return make(piece)

    options: dict[str, Any] = {"layers": "second.1", "settings": HASTY, "local": True}
    monkeypatch.setattr(features, "make", failing)
    with pytest.raises(BuildFailed, match=r"1 shard failed: .*is kept in .*part of it fails: .*the second shard fails"):
        build(TINY, tmp_path / "store", **options)
    monkeypatch.undo()
    (one,) = Store.open(tmp_path / "store").plans()
    assert [shard.index for shard in Store.open(tmp_path / "store").todo(one)] == [1]
    assert "second.1:40" in str(build(TINY, tmp_path / "store", **options)["second.1:40"])


# -- a store goes on ---------------------------------------------------------------------------------------------------


def test_a_store_goes_on_with_what_its_last_build_was_told(tmp_path: Path, images: Path) -> None:
    place = tmp_path / "store"
    build(TINY, place, layers="first.1,head", settings=HASTY, images=images, crops=2, local=True)
    whole = contents(Store.open(place).backend)
    store = Store.open(place)
    for stage in ("features", "examples"):
        (one,) = (each for each in store.plans_of(stage) if each.layer_name == "head")
        store.forget(one, {0})
    with pytest.raises(AtlasError, match=r"was built with `images`, of which a store keeps no copy"):
        build(place, local=True)
    build(place, images=images, local=True)
    assert contents(Store.open(place).backend) == whole


def test_a_store_keeps_no_places_and_spells_presets_out(tmp_path: Path, images: Path) -> None:
    place = tmp_path / "store"
    build(TINY, place, layers="head", recipe="quick", settings=HASTY, images=images, workers=1, local=True)
    told = Store.open(place).pipeline
    assert told is not None
    assert told["without"] == ["images"]
    assert told["options"]["recipe"] == "quick"
    assert told["options"]["settings"]["learning_rate"] > 0
    assert told["options"]["settings"]["steps"] == 2
    assert not {"images", "store", "workers", "local", "ray", "weights"} & told["options"].keys()
    assert str(tmp_path) not in Store.open(place).backend.get("pipeline.json").decode()  # type: ignore[union-attr]


def test_a_store_that_does_not_say_is_one_line(tmp_path: Path) -> None:
    place = tmp_path / "store"
    build(TINY, place, layers="head", settings=HASTY, local=True)
    Store.open(place).backend.delete("pipeline.json")
    with pytest.raises(AtlasError, match="does not say what it was built by"):
        build(place, local=True)
    Store.open(place).backend.put("pipeline.json", b"{}")
    with pytest.raises(AtlasError, match=r"pipeline\.json is damaged"):
        build(place, local=True)
    assert [finding.key for finding in verify(place).findings] == ["pipeline.json"]
    assert verify(place, repair=True).whole
    assert verify(place).findings == ()


def test_a_folder_that_is_no_store_is_no_pipeline_and_a_damaged_one_is_said_to_be(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    with pytest.raises(AtlasError, match="no model"):
        build(tmp_path / "photos", local=True)
    place = tmp_path / "store"
    build(TINY, place, layers="head", settings=HASTY, local=True)
    (place / "zarr.json").write_text("{}")
    with pytest.raises(AtlasError, match=r"zarr\.json is damaged"):
        build(place, local=True)


def test_a_damaged_store_is_mended_from_python(tmp_path: Path) -> None:
    place = tmp_path / "store"
    build(TINY, place, layers="head", settings=HASTY, local=True)
    whole = contents(Store.open(place).backend)
    key = next(key for key in whole if "/image/c/" in key)
    Store.open(place).backend.put(key, b"torn")
    found = verify(place)
    assert not found.whole
    assert key in str(found)
    assert len(verify(place, repair=True).again) == 1
    build(place, local=True)
    assert contents(Store.open(place).backend) == whole
    assert verify(place, model=True).layers == 1


# -- networks in memory ------------------------------------------------------------------------------------------------


class Twisted(nn.Module):
    """Two networks of equal weights that compute different things."""

    def __init__(self, sign: float) -> None:
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.first = nn.Conv2d(3, 8, 3)
            self.second = nn.Conv2d(8, 4, 3)
        self.sign = sign

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.second(self.sign * torch.relu(self.first(x)))
        return answer


def test_a_network_in_memory_is_built_as_one_that_a_spec_names(tmp_path: Path, images: Path) -> None:
    network, how = tiny()
    options: dict[str, Any] = {"layers": "first.1,head", "settings": HASTY, "images": images, "crops": 2}
    network.train()
    given = build(network, tmp_path / "memory", preprocessing=how, labels=[*"abcdefghij"], local=True, **options)
    assert network.training  # its owner's stays as it is
    assert all(parameter.requires_grad for parameter in network.parameters())
    named = build(TINY, tmp_path / "named", local=True, **options)
    assert given.store.identity.model == "memory:Tiny"
    assert given.store.identity.weights == named.store.identity.weights
    for layer in ("first.1", "head"):
        path = f"layers/{layer}/features/image"
        np.testing.assert_array_equal(given.store.read(path), named.store.read(path))
        path = f"layers/{layer}/statistics/mean"
        np.testing.assert_array_equal(given.store.read(path), named.store.read(path))
    assert given.store.labels == [*"abcdefghij"]


def test_workers_get_a_network_that_only_this_process_has(tmp_path: Path) -> None:
    script = tmp_path / "notebook.py"
    script.write_text(
        "import sys, torch, atlas\n"
        "from torch import nn\n"
        "class Mine(nn.Module):\n"
        "    def __init__(self):\n"
        "        super().__init__()\n"
        "        torch.manual_seed(0)\n"
        "        self.body = nn.Sequential(nn.Conv2d(3, 40, 3), nn.ReLU())\n"
        "        self.scale = lambda x: 2 * x\n"
        "    def forward(self, x):\n"
        "        return self.scale(self.body(x)).mean((2, 3))\n"
        f"settings = {HASTY!r}\n"
        f"how = {SMALL!r}\n"
        "for store, more in ((sys.argv[1], {'workers': 2}), (sys.argv[2], {'local': True})):\n"
        "    atlas.build(Mine(), store, preprocessing=how, layers='body.1', settings=settings, device='cpu', **more)\n"
    )
    places = [tmp_path / "on-ray", tmp_path / "here"]
    ran = subprocess.run([sys.executable, script, *places], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    one, other = (contents(Store.open(place).backend) for place in places)
    assert one == other


def test_equal_weights_are_not_the_same_network(tmp_path: Path) -> None:
    options: dict[str, Any] = {"preprocessing": SMALL, "layers": "second", "settings": HASTY, "local": True}
    build(Twisted(1.0), tmp_path / "store", **options)
    before = contents(Store.open(tmp_path / "store").backend)
    build(Twisted(1.0), tmp_path / "store", **options)
    with pytest.raises(PlanMismatch, match="with the same weights it answers otherwise"):
        build(Twisted(0.5), tmp_path / "store", **options)
    assert contents(Store.open(tmp_path / "store").backend) == before
    with pytest.raises(AtlasError, match=r"of a network in memory, of which a store keeps no copy\. Go on in Python"):
        build(tmp_path / "store", local=True)


def test_what_a_network_in_memory_lacks_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="its preprocessing is unknown"):
        build(Twisted(1.0), tmp_path / "store", local=True)
    with pytest.raises(AtlasError, match="`store` is missing"):
        build(Twisted(1.0), preprocessing=SMALL, local=True)
    with pytest.raises(AtlasError, match="`model=3`: it is no network"):
        build(3, tmp_path / "store", local=True)
    assert not (tmp_path / "store").exists()


def test_a_loaded_model_is_taken_as_it_is(tmp_path: Path) -> None:
    model = load_model(Twisted(1.0), preprocessing=Preprocessing.parse(SMALL), labels=["a", "b", "c", "d"])
    assert model.spec == "memory:Twisted"
    catalogue = build(model, tmp_path / "store", layers="second", settings=HASTY, local=True)
    assert list(catalogue.layers) == ["second"]
    with pytest.raises(AtlasError, match="`weights` with a loaded model"):
        build(model, tmp_path / "store", weights=tmp_path / "x.pt", local=True)


def test_what_is_no_preprocessing_is_one_line_and_transforms_are_some() -> None:
    transforms = pytest.importorskip("torchvision.transforms")
    said = transforms.Compose([transforms.Resize(32), transforms.CenterCrop(32), transforms.ToTensor()])
    assert load_model(TINY, preprocessing=said).preprocessing.size == (32, 32)
    for wrong in (32, [1, 2], lambda image: image, {"side": 3}):
        with pytest.raises(ModelError) as refused:
            load_model(TINY, preprocessing=wrong)
        assert len(str(refused.value).splitlines()) == 1
    with pytest.raises(AtlasError, match="loaded model: pass it to `load_model`"):
        plan(load_model(TINY), "never", preprocessing=SMALL)


def test_a_plan_shows_itself_in_a_notebook(tmp_path: Path) -> None:
    found = plan(TINY, tmp_path / "never", layers="head")
    assert repr(found) == str(found)
    assert "<td>head</td>" in found._repr_html_()


def test_what_is_no_network_is_told_of_in_short(tmp_path: Path) -> None:
    with pytest.raises(AtlasError) as refused:
        plan(nn.Conv2d(3, 64, 3).state_dict(), tmp_path / "never")
    assert len(str(refused.value)) < 300


def test_a_store_of_a_network_in_memory_says_how_it_goes_on(tmp_path: Path) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 30 * 30, 3))
    build(network, tmp_path / "a", preprocessing=SMALL, layers="0:0", settings=HASTY, local=True)
    with pytest.raises(AtlasError, match=r"Go on in Python.*atlas\.build\(network, "):
        plan(tmp_path / "a")
    with pytest.raises(ModelError, match="was a network in memory"):
        load_model("memory:Sequential")
