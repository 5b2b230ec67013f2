from __future__ import annotations

import logging
import os
import pickle
import re
import sys
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from atlas.errors import AtlasError, ModelError, WeightsError
from atlas.models import ModelSource, Preprocessing, load_model
from atlas.models.checkpoints import fetched
from atlas.models.families import find

pytestmark = pytest.mark.builder

HERE = "tests.models.test_load"
SAID = Preprocessing((32, 32))


def bare() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU())


def with_dict() -> tuple[nn.Module, dict[str, object]]:
    return bare(), {"size": 48, "mean": [0.5, 0.5, 0.5]}


def with_torchvision() -> tuple[nn.Module, object]:
    from torchvision.models import ResNet18_Weights

    return bare(), ResNet18_Weights.DEFAULT.transforms()


def with_nonsense() -> tuple[nn.Module, object]:
    return bare(), "as usual"


def nothing() -> None:
    return None


def raising() -> nn.Module:
    raise FileNotFoundError("my weights\nare gone")


instance = bare()


def test_a_factory_says_its_preprocessing_or_the_user_does() -> None:
    assert load_model(f"{HERE}:with_dict").preprocessing == Preprocessing((48, 48), mean=(0.5, 0.5, 0.5))
    assert load_model(f"{HERE}:with_torchvision").preprocessing.resize == 256
    assert load_model(f"{HERE}:bare", preprocessing=SAID).preprocessing == SAID
    with pytest.raises(ModelError, match=r"its preprocessing is unknown.*`preprocessing="):
        load_model(f"{HERE}:bare")


def test_a_factory_may_lie_in_the_current_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_own_network.py").write_text("from tests.models.test_load import with_dict as make\n")
    monkeypatch.chdir(tmp_path)
    assert load_model("my_own_network:make").layers


def test_a_factory_may_import_when_it_is_called(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my_later_part.py").write_text("from tests.models.test_load import with_dict\n")
    (tmp_path / "my_lazy_network.py").write_text(
        "def make():\n    from my_later_part import with_dict\n    return with_dict()\n"
    )
    monkeypatch.chdir(tmp_path)
    before = list(sys.path)
    assert load_model("my_lazy_network:make").layers
    assert sys.path == before


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("no.such.module:make", "cannot be imported.*ModuleNotFoundError"),
        (f"{HERE}:bar", "'bar'.*'bare'"),
        ("tests.networks:tiny@random", "a factory decides its own weights. Leave @random out"),
        (f"{HERE}:nothing", "returned nothing, not a torch.nn.Module"),
        (f"{HERE}:raising", "raising failed: FileNotFoundError: my weights are gone$"),
        (f"{HERE}:instance", "a Sequential: name a function that returns the network"),
        (f"{HERE}:HERE", "a str: name a function"),
        (f"{HERE}:with_nonsense", "preprocessing str is not that of single images"),
        ("torchvision:resnet5O", "torchvision model 'resnet5O'.*'resnet50'"),
        ("torchvision:resnet50@IMAGENET1K_V3", "'IMAGENET1K_V3'.*'IMAGENET1K_V2'"),
        ("torchvision:r3d_18", "takes films, not images"),
        ("torchvision:raft_small", "compares two images"),
        ("torchvision:ssd300_vgg16", "is a detector"),
        ("torchvision:quantized_resnet18", "is quantised"),
        ("timm:resnet5O", "timm model 'resnet5O'.*'resnet50'"),
        ("timm:resnet50.a1_in2k", r"'resnet50\.a1_in2k'.*'resnet50\.a1_in1k'"),
        ("timm:resnet50@a1_in1k", "no weights 'a1_in1k'"),
        ("squeezenett", "'squeezenett'.*'squeezenet'"),
        ("resnet50", "'resnet50'.*'torchvision:resnet50'"),
    ],
)
def test_a_wrong_spec_is_one_line(spec: str, message: str) -> None:
    with pytest.raises(AtlasError, match=message) as caught:
        load_model(spec)
    assert "\n" not in str(caught.value)


def test_untrained_weights_are_asked_for_and_always_the_same() -> None:
    one, other = load_model("torchvision:squeezenet1_1@random"), load_model("torchvision:squeezenet1_1@random")
    assert one.random
    assert one.labels is None
    assert one.weights_hash == other.weights_hash
    assert one.preprocessing.resize == 256


def test_trained_weights_are_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A checkpoint where torch's hub keeps what it fetched stands in for the network."""
    from torchvision.models import SqueezeNet1_1_Weights

    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cache = tmp_path / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    state = load_model("squeezenet").state
    torch.save(state, cache / Path(SqueezeNet1_1_Weights.DEFAULT.url).name)
    model = load_model("torchvision:squeezenet1_1")
    assert not model.random
    assert model.weights_hash == load_model("squeezenet").weights_hash
    assert model.preprocessing.mean == (0.485, 0.456, 0.406)
    assert model.labels is not None
    assert model.labels[243] == "bull mastiff"


class Code:
    """Runs code when it is unpickled."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> Any:
        return Path.touch, (self.marker,)


def planted(folder: Path, url: str, data: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """`data`, as torch saves it, where torch's hub would keep what it fetches from `url`."""
    monkeypatch.setenv("TORCH_HOME", str(folder))
    cache = folder / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    torch.save(data, cache / Path(url).name)


@pytest.mark.parametrize("setting", [None, "1"])
@pytest.mark.parametrize("spec", ["torchvision:squeezenet1_1", "timm:legacy_seresnet18.in1k"])
def test_code_in_a_cache_is_never_run(
    spec: str, setting: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from timm.models import get_pretrained_cfg
    from torchvision.models import SqueezeNet1_1_Weights

    config = get_pretrained_cfg("legacy_seresnet18.in1k")
    url = vars(config)["url"] if spec.startswith("timm") else SqueezeNet1_1_Weights.DEFAULT.url
    planted(tmp_path, url, {"weight": Code(tmp_path / "ran")}, monkeypatch)
    if setting:
        monkeypatch.setenv("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD", setting)
    with pytest.raises(WeightsError, match=rf"^{spec[:10]}.*perhaps code; not loaded.*`weights`") as caught:
        load_model(spec)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "ran").exists()
    assert os.environ.get("TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD") == setting
    assert "TORCH_FORCE_WEIGHTS_ONLY_LOAD" not in os.environ


def test_no_library_can_have_code_run(tmp_path: Path) -> None:
    """Not even one that asks for whole pickles, as timm did before it was mended."""
    torch.save({"weight": Code(tmp_path / "ran")}, tmp_path / "weights.pt")
    with pytest.raises(WeightsError, match="not loaded"), fetched("timm:some"):
        torch.load(tmp_path / "weights.pt", weights_only=False)
    assert not (tmp_path / "ran").exists()


def test_cached_weights_that_do_not_fit_are_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from torchvision.models import ResNet18_Weights

    planted(tmp_path, ResNet18_Weights.DEFAULT.url, load_model("squeezenet").state, monkeypatch)
    with pytest.raises(WeightsError, match=r"resnet18.*IMAGENET1K_V1 \(resnet18-f37072fd\.pth\)") as caught:
        load_model("torchvision:resnet18")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("spec", "origin"),
    [("torchvision:squeezenet1_1", "torchvision's IMAGENET1K_V1"), ("timm:test_resnet", "timm's r160_in1k")],
)
def test_of_a_file_of_weights_the_library_knows_no_labels_and_says_what_it_assumes(
    spec: str, origin: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file, labels = tmp_path / "mine.pt", tmp_path / "labels.txt"
    model = load_model(f"{spec}@random")
    torch.save(model.state, file)
    labels.write_text("dog\ncat\n")
    given = load_model(spec, weights=file)
    assert given.labels is None
    assert given.preprocessing == model.preprocessing
    (line,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert line.startswith(f"{file}: preprocessing is that of {origin}, 'size=")
    caplog.clear()
    assert load_model(spec, weights=file, labels=labels, preprocessing=SAID).labels == ("dog", "cat")
    assert not caplog.records


@pytest.mark.parametrize("name", ["googlenet", "densenet121", "mnasnet0_5", "resnet18"])
def test_published_files_fit_when_they_are_given(name: str, tmp_path: Path) -> None:
    """With the heads that only training needs, with DenseNet's old names, without counters."""
    from torchvision import models

    network = models.get_model(name, weights=None, **({"init_weights": False} if name == "googlenet" else {}))
    old = re.compile(r"(denselayer\d+\.(?:norm|conv))(?=[12]\.)")
    state = network.state_dict()
    published = {old.sub(r"\1.", key): value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    torch.save(published, tmp_path / "weights.pt")
    loaded = load_model(f"torchvision:{name}", weights=tmp_path / "weights.pt").state
    assert loaded.keys() <= state.keys()
    assert all(torch.equal(value, state[key]) for key, value in loaded.items())


def test_weights_that_cannot_be_fetched_say_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    monkeypatch.setenv("https_proxy", "http://127.0.0.1:9")
    with pytest.raises(WeightsError, match=r"resnet18.*IMAGENET1K_V1.*`weights`.*torchvision:resnet18@random"):
        load_model("torchvision:resnet18")


@pytest.mark.parametrize(
    "name", ["googlenet", "lraspp_mobilenet_v3_large", pytest.param("vit_b_32", marks=pytest.mark.slow)]
)
def test_untrained_networks_have_the_structure_of_trained_ones(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What torchvision itself builds around trained weights takes the same state dict."""
    from torchvision import models

    weights = models.get_model_weights(name).DEFAULT
    extra = {"aux_logits": True} if name == "googlenet" else {}
    untrained = find(f"torchvision:{name}@random", trained=False).network
    cache = tmp_path / "hub" / "checkpoints"
    cache.mkdir(parents=True)
    published = models.get_model(name, weights=None, **extra) if extra else untrained
    torch.save(published.state_dict(), cache / Path(weights.url).name)
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    trained = find(f"torchvision:{name}", trained=True).network
    assert trained.state_dict().keys() == untrained.state_dict().keys()
    assert [type(module) for module in trained.modules()] == [type(module) for module in untrained.modules()]
    assert getattr(trained, "transform_input", None) == getattr(untrained, "transform_input", None)


def test_labels_come_from_metadata_or_a_file(tmp_path: Path) -> None:
    file = tmp_path / "labels.txt"
    file.write_text("dog\ncat\n\n")
    assert load_model("squeezenet", labels=file).labels == ("dog", "cat")
    assert load_model("tests.networks:tiny").labels is None
    with pytest.raises(ModelError, match=r"`labels=.*none\.txt` cannot be read"):
        load_model("squeezenet", labels=tmp_path / "none.txt")


@pytest.mark.parametrize(
    ("name", "label"),
    [("resnet18.a1_in1k", "bull mastiff"), ("vit_tiny_patch16_224.augreg_in21k", None), ("resnet50.gluon_in1k", "b")],
)
def test_labels_of_timm_come_from_the_tag_of_its_weights(name: str, label: str | None) -> None:
    labels = find(f"timm:{name}", trained=False).labels
    assert labels is not None
    assert len(labels) == (1000 if label else 21843)
    assert not label or label in labels[243]


def test_weights_of_timm_without_classes_have_no_labels() -> None:
    assert find("timm:vit_small_patch14_dinov2.lvd142m", trained=False).labels is None


@pytest.mark.parametrize(
    "spec",
    [
        "torchvision:mobilenet_v3_small@random",
        "torchvision:mnasnet0_5@random",
        "timm:test_resnet@random",
        "squeezenet",
    ],
)
def test_a_worker_builds_the_same_model_from_source_and_state(spec: str) -> None:
    model = load_model(spec)
    source: ModelSource = pickle.loads(pickle.dumps(model.source))
    assert source == model.source
    built = source.build({key: value.clone() for key, value in model.state.items()})
    assert built.identity == model.identity
    assert built.labels == model.labels
    assert built.random == model.random
    x = torch.rand(1, 3, *model.preprocessing.size)
    with torch.no_grad():
        ours, theirs = model.logits(x), built.logits(x)
    assert ours is not None
    assert theirs is not None
    assert torch.equal(ours, theirs)


def test_a_model_is_frozen_and_in_evaluation_mode() -> None:
    model = load_model("timm:test_resnet@random")
    assert not any(module.training for module in model.network.modules())
    assert not any(weight.requires_grad for weight in model.network.parameters())


def test_the_hash_knows_names_shapes_types_and_bytes() -> None:
    def hashed(change: str) -> str:
        network = nn.Module()
        name = "renamed" if change == "name" else "weight"
        value = torch.arange(6, dtype=torch.int32 if change == "type" else torch.float32)
        value = value.view(3, 2) if change == "shape" else value.view(2, 3)
        value[0, 0] = 7 if change == "bytes" else 0
        network.register_buffer(name, value)
        from atlas.models import Model

        return Model(network, ModelSource("x", SAID)).weights_hash

    assert len({hashed(change) for change in ("", "name", "type", "shape", "bytes")}) == 5
    assert hashed("") == hashed("")
