"""Weights as training leaves them: wrapped, prefixed, averaged. What fits is loaded, what is open is asked."""

from __future__ import annotations

import argparse
import logging
from collections import OrderedDict
from collections.abc import Callable, Mapping
from pathlib import Path, PosixPath
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from atlas.errors import WeightsError
from atlas.models import Preprocessing, load_model
from atlas.models.checkpoints import load_weights, read_checkpoint

pytestmark = pytest.mark.builder

HERE = "tests.models.test_state_dicts"
State = dict[str, Tensor]


class Backbone(nn.Module):
    """With a normalisation, which counts, and a part called `module`."""

    def __init__(self) -> None:
        super().__init__()
        self.module = nn.Sequential(nn.Conv2d(3, 6, 3, bias=False), nn.BatchNorm2d(6), nn.ReLU())
        self.fc = nn.Linear(6, 4)

    def forward(self, x: Tensor) -> Any:
        return self.fc(self.module(x).mean((2, 3)))


def backbone() -> tuple[nn.Module, Preprocessing]:
    torch.manual_seed(0)
    return Backbone(), Preprocessing((16, 16))


def compiled() -> tuple[nn.Module, Preprocessing]:
    network, preprocessing = backbone()
    return torch.compile(network, backend="eager"), preprocessing  # type: ignore[return-value]


def weights(add: float = 1.0) -> State:
    """Weights that are not the network's own."""
    return {key: value + add for key, value in backbone()[0].state_dict().items()}


def under(prefix: str, state: Mapping[str, Tensor]) -> State:
    return {f"{prefix}{key}": value for key, value in state.items()}


def saved(folder: Path, data: object, name: str = "weights.pt") -> Path:
    torch.save(data, folder / name)
    return folder / name


def loaded(file: object, spec: str = "backbone") -> State:
    return load_model(f"{HERE}:{spec}", weights=str(file)).state


def equal(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return len(one) == len(other) and all(torch.equal(a, b) for a, b in zip(one.values(), other.values(), strict=True))


def looped() -> dict[str, Any]:
    data: dict[str, Any] = {"state_dict": weights()}
    return data | {"again": data}


ONE: dict[str, Callable[[], object]] = {
    "bare": weights,
    "with settings beside it": lambda: weights() | {"epoch": 3, "arch": "own"},
    "state_dict": lambda: {"state_dict": weights(), "epoch": 3},
    "wrapped twice": lambda: {"model": {"state_dict": weights()}},
    "any other key": lambda: {"params_of_network": weights(), "step": 1},
    "lightning": lambda: {
        "pytorch-lightning_version": "2.4.0",
        "hyper_parameters": {"lr": 0.1, "args": argparse.Namespace(data=PosixPath("/data"))},
        "state_dict": under("net.", weights()) | {"loss.weight": torch.ones(4)},
        "optimizer_states": [{"state": {0: {"exp_avg": torch.ones(6, 3, 3, 3)}}}],
    },
    "parallel": lambda: under("module.", weights()),
    "parallel and compiled": lambda: {"model": under("module._orig_mod.", weights())},
    "a part compiled": lambda: {key.replace("module.", "module._orig_mod."): one for key, one in weights().items()},
    "a part parallel": lambda: {key.replace("fc.", "fc.module."): one for key, one in weights().items()},
    "optimizer": lambda: {"model": weights(), "optimizer": {"state": {0: {"exp_avg": weights()["fc.weight"]}}}},
    "openmmlab": lambda: {"meta": {"CLASSES": ("a", "b"), "time": "now"}, "state_dict": under("backbone.", weights())},
    "moco, with a queue": lambda: {
        "state_dict": under("module.encoder_q.", weights()) | {"module.queue": torch.ones(9)}
    },
    "averages that are the same": lambda: {"state_dict": weights(), "state_dict_ema": weights()},
    "torch's own averages alone": lambda: under("module.", weights()) | {"n_averaged": torch.tensor(3)},
    "a mapping in itself": looped,
}


@pytest.mark.parametrize("name", ONE)
def test_the_only_weights_that_fit_are_found_by_the_networks_names(name: str, tmp_path: Path) -> None:
    assert equal(loaded(saved(tmp_path, ONE[name]())), weights())


@pytest.mark.parametrize("name", ["bare", "parallel and compiled", "a part compiled"])
def test_a_compiled_network_has_them_too(name: str, tmp_path: Path) -> None:
    network, file = compiled()[0], saved(tmp_path, ONE[name]())
    load_weights(network, read_checkpoint(file, network), "it")
    assert equal(network.state_dict(), weights())


def test_a_part_called_module_keeps_its_name(tmp_path: Path) -> None:
    alone = nn.ModuleDict({"module": nn.Linear(2, 2)})
    file = saved(tmp_path, {key: value + 1 for key, value in alone.state_dict().items()})
    assert read_checkpoint(file, alone).keys() == alone.state_dict().keys()


SEVERAL: dict[str, tuple[Callable[[State, State], object], str, str]] = {
    "timm's averages": (lambda a, b: {"state_dict": a, "state_dict_ema": b}, "state_dict", "state_dict_ema"),
    "torchvision's averages": (
        lambda a, b: {"model": a, "model_ema": under("module.", b) | {"n_averaged": torch.tensor(3)}},
        "model",
        "model_ema",
    ),
    "averages within lightning's": (
        lambda a, b: {"state_dict": under("model.", a) | under("ema.module.", b)},
        "state_dict.model",
        "ema",
    ),
    "lightning's averaging": (
        lambda a, b: {"state_dict": b, "current_model_state": a},
        "current_model_state",
        "state_dict",
    ),
    "moco": (
        lambda a, b: {"state_dict": under("module.encoder_q.", a) | under("module.encoder_k.", b)},
        "encoder_q",
        "encoder_k",
    ),
    "dino": (
        lambda a, b: {"student": under("module.backbone.", a), "teacher": under("backbone.", b)},
        "student",
        "teacher",
    ),
    "openmmlab's averages": (
        lambda a, b: {
            "state_dict": under("backbone.", a)
            | {f"ema_backbone_{key.replace('.', '_')}": one for key, one in b.items()}
        },
        "backbone",
        "ema_backbone",
    ),
    "beside the bare ones": (lambda a, b: a | under("ema.", b), "", "ema"),
    "averages in another precision": (
        lambda a, b: {"model": a, "ema": {key: value.double() for key, value in b.items()}},
        "model",
        "ema",
    ),
    "restored ones": (lambda a, b: {"params": a, "params_ema": b}, "params", "params_ema"),
}


@pytest.mark.parametrize("name", SEVERAL)
def test_of_several_that_fit_none_is_taken_until_the_user_says_which(
    name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made, one, other = SEVERAL[name]
    plain, average = weights(1.0), weights(2.0)
    file = saved(tmp_path, made(plain, average))
    with pytest.raises(WeightsError, match=r"holds several sets of weights.*`weights=.*#") as caught:
        loaded(file)
    assert "\n" not in str(caught.value)
    assert equal(loaded(f"{file}#{one}"), plain)
    assert equal(loaded(f"{file}#{other}"), average)


def test_the_ones_asked_for_must_be_there(tmp_path: Path) -> None:
    file = saved(tmp_path, {"state_dict": weights(), "state_dict_ema": weights(2.0)})
    with pytest.raises(WeightsError, match=r"no weights called 'ema'. There are: 'state_dict', 'state_dict_ema'\.$"):
        loaded(f"{file}#ema")


def test_a_file_may_have_the_mark_in_its_name(tmp_path: Path) -> None:
    assert equal(loaded(saved(tmp_path, weights(), "run#3.pt")), weights())
    assert equal(loaded(f"{saved(tmp_path, {'a': weights(), 'b': weights(2.0)}, 'run#4.pt')}#b"), weights(2.0))


@pytest.mark.parametrize(
    ("beside", "said"),
    [
        ({"ema": {"conv.weight": torch.full((4, 3, 3, 3), 2.0), "conv.bias": torch.full((4,), 2.0)}}, "ema"),
        ({"ema": ({"conv.weight": torch.full((4, 3, 3, 3), 2.0), "conv.bias": torch.full((4,), 2.0)},)}, "ema.0"),
        (
            {
                "a": {
                    "b": {
                        "c": {
                            "d": {"conv.weight": torch.zeros(4, 3, 3, 3)} | dict.fromkeys(["conv.bias"], torch.ones(4))
                        }
                    }
                }
            },
            "a.b.c.d",
        ),
        ({"ema_params": {0: torch.ones(4, 3, 3, 3), 1: torch.ones(4)}}, "ema_params"),
    ],
    ids=["parameters alone", "in a tuple", "deep", "by number"],
)
def test_averages_that_lack_what_is_no_parameter_are_told_of(
    beside: dict[str, Any], said: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Averages of parameters alone fit less than the weights beside them, which are taken: that is said."""
    network = nn.Sequential(OrderedDict(conv=nn.Conv2d(3, 4, 3), norm=nn.BatchNorm2d(4, affine=False)))
    own = network.state_dict()
    file = saved(tmp_path, {"model": own, **beside})
    assert read_checkpoint(file, network).keys() == own.keys()
    (line,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert line.endswith(f"those called 'model' are taken. Left out: {said}.")


def test_what_was_taken_and_what_was_left_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    loaded(saved(tmp_path, {"state_dict": under("backbone.", weights()) | {"head.mlp.weight": torch.ones(2, 2)}}))
    (line,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert line.endswith("weights.pt: of its weights those called 'state_dict.backbone' are taken. Left out: head.")
    caplog.clear()
    loaded(saved(tmp_path, {"model": weights(), "ema": {"shadow_params": [torch.ones(2), torch.ones(3)]}}))
    (line,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert "Left out: ema.shadow_params." in line
    caplog.clear()
    loaded(saved(tmp_path, weights()))
    assert not caplog.records


def test_what_does_not_fit_is_one_clear_line(tmp_path: Path) -> None:
    head = weights() | {"fc.weight": torch.ones(9, 6), "fc.bias": torch.ones(9)}
    more = weights() | {"neck.weight": torch.ones(3)}
    none = {"a.weight": torch.ones(2)}
    lines = {}
    for name, state in {"head": head, "more": more, "none": none}.items():
        with pytest.raises(WeightsError, match="does not fit the network") as caught:
            loaded(saved(tmp_path, {"state_dict": under("module.", state)}, name))
        lines[name] = str(caught.value)
    assert "fc.weight is [9, 6], the network's [4, 6]" in lines["head"]
    assert "with as many classes" in lines["head"]
    assert "1 unexpected (neck.weight)" in lines["more"]
    assert "1 unexpected (a.weight)" in lines["none"]
    assert not any("\n" in line for line in lines.values())


class Mixed(nn.Module):
    """With weights and buffers of several kinds of number."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.norm, self.head = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2)
        self.register_buffer("index", torch.arange(5))
        self.register_buffer("wave", torch.zeros(2, dtype=torch.complex64))


def test_codes_are_no_weights(tmp_path: Path) -> None:
    """torch copies them without a word: each would be a weight of its own, a complex number half of one."""
    network = Mixed()
    weight = network.conv.weight.detach()
    scaled = torch.quantize_per_tensor(weight, 0.1, 0, torch.qint8)
    codes = {"int8": (weight * 10).to(torch.int8), "uint8": weight.to(torch.uint8), "bool": weight > 0}
    codes |= {"complex64": weight.to(torch.complex64), "qint8": scaled, "int64": weight.long()}
    codes |= {"float8_e4m3fn": weight.to(torch.float8_e4m3fn)}
    for name, value in codes.items():
        with pytest.raises(WeightsError, match=rf"kind of number \(conv.weight is {name}, the network's float32\)"):
            load_weights(network, network.state_dict() | {"conv.weight": value}, "it")
    for value in (torch.tensor([0.5, 1, 2, 3, 4]), torch.arange(5) * 1j):
        with pytest.raises(WeightsError, match=r"index is .*, the network's int64"):
            load_weights(network, network.state_dict() | {"index": value}, "it")
    file = saved(tmp_path, network.state_dict() | {"conv.weight": codes["int8"]})
    with pytest.raises(WeightsError, match=r"conv.weight is int8.*save the weights as float16") as caught:
        load_weights(network, read_checkpoint(file, network), str(file))
    assert "\n" not in str(caught.value)


def test_the_same_numbers_of_another_width_are_taken() -> None:
    network = Mixed()
    given = network.state_dict()
    for dtype in (torch.float16, torch.bfloat16, torch.float64):
        load_weights(network, given | {"conv.weight": network.conv.weight.to(dtype)}, "it")
    changes = {"norm.num_batches_tracked": torch.tensor(7.0), "index": torch.arange(5, dtype=torch.int16) + 1}
    load_weights(network, given | changes | {"wave": torch.ones(2)}, "it")
    assert network.norm.num_batches_tracked == 7
    assert network.get_buffer("index").tolist() == [1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("shapes", "advice"),
    [
        ({"head.weight": (9, 4), "head.bias": (9,)}, "with as many classes (9)."),
        ({"conv.weight": (4, 3, 5, 5)}, "of the same width and kernels"),
        ({"conv.weight": (4, 1, 3, 3)}, "for images of the same size and channels"),
        ({"conv.weight": (8, 3, 3, 3)}, "of the same width and kernels"),
        ({"conv.weight": (3, 3, 3, 4)}, "as TensorFlow and JAX have them"),
        ({"head.weight": (4, 2)}, "as TensorFlow and JAX have them"),
        ({"norm.weight": (8,)}, "of the same width and kernels"),
        ({"head.weight": (2, 8)}, "of the same width and kernels"),
    ],
)
def test_weights_of_another_shape_get_advice_that_fits(shapes: dict[str, tuple[int, ...]], advice: str) -> None:
    network = Mixed()
    state = network.state_dict() | {name: torch.zeros(shape) for name, shape in shapes.items()}
    with pytest.raises(WeightsError, match="of another shape") as caught:
        load_weights(network, state, "it")
    assert advice in str(caught.value)
    assert "classes" not in str(caught.value) or "classes" in advice


BURIED: Any = {"i": torch.ones(1)}
for letter in "hgfedcba":
    BURIED = {letter: BURIED}


@pytest.mark.parametrize("data", [{"epoch": 1}, [torch.ones(2)], "text", {}, BURIED])
def test_what_holds_no_weights_says_so(data: object, tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="holds no state dict"):
        loaded(saved(tmp_path, data))


class Extra(nn.Linear):
    """With state of its own that is no tensor."""

    def __init__(self) -> None:
        super().__init__(2, 2)
        self.scale: dict[str, float] = {"scale": 1.0}

    def get_extra_state(self) -> dict[str, float]:
        return self.scale

    def set_extra_state(self, state: dict[str, float]) -> None:
        self.scale = state


def test_state_of_a_module_that_is_no_tensor_is_loaded_too(tmp_path: Path) -> None:
    trained = Extra()
    trained.scale = {"scale": 3.0}
    state = nn.Sequential(trained).state_dict()
    for number, prefix in enumerate(("", "module.")):
        own = Extra()
        network = nn.Sequential(own)
        file = saved(tmp_path, {"model": {f"{prefix}{key}": value for key, value in state.items()}}, f"{number}.pt")
        load_weights(network, read_checkpoint(file, network), "it")
        assert own.scale == {"scale": 3.0}
        assert torch.equal(own.weight, trained.weight)


def test_tensors_without_values_are_none(tmp_path: Path) -> None:
    """Sparse ones, those on no device, and huge ones that are one number repeated."""
    state = weights()
    state["fc.weight"] = torch.ones(4, 6, device="meta")
    state["fc.bias"] = torch.ones(4).to_sparse()
    state["module.1.bias"] = torch.ones(1).expand(10**13)
    with pytest.raises(WeightsError, match=r"2 missing \(fc.bias, fc.weight\).*module.1.bias is \[10000000000000\]"):
        loaded(saved(tmp_path, state))
