"""Whatever a network's own code does ends in one line, and what is a plain module inside is looked into."""

from __future__ import annotations

import logging
import re
import sys
from pathlib import Path

import pytest
import torch

from atlas.errors import AtlasError, ModelError
from atlas.factories import told
from atlas.models import load_model, prepare
from atlas.models.trial import trial
from tests import foreign

pytestmark = pytest.mark.builder

PLAIN = ["0", "1", "2", "3", "4", "5", "6", "7"]


def look(name: str) -> tuple[object, ...]:
    """What is asked of a network before anything is planned."""
    model = load_model(f"tests.foreign:{name}")
    return model.layers, model.weights_hash


def refused(name: str) -> str:
    """The line that ends looking at a network of `tests.foreign`."""
    with pytest.raises(AtlasError) as caught:
        look(name)
    line = str(caught.value)
    assert "\n" not in line
    assert line.startswith(f"tests.foreign:{name}")
    return line


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("scripted", r"the network is scripted or traced.*Return the nn\.Module itself"),
        ("traced", r"the network is scripted or traced.*Return the nn\.Module itself"),
        ("partly_scripted", r"its part '0' is scripted"),
        ("exported", r"is exported.*as it was before torch\.export"),
        ("unflattened", r"is exported.*as it was before torch\.export"),
        ("quantised", r"its part '7' is quantised.*before quantisation"),
        ("lazy", r"its part '0' is lazy.*Pass a batch"),
        ("on_meta", r"`meta`.*Load them in the factory"),
    ],
)
def test_what_cannot_be_looked_into_is_refused_with_what_to_do(name: str, words: str) -> None:
    assert re.search(words, refused(name))


@pytest.mark.parametrize("name", ["plain", "graph", "parallel", "compiled", "compiled_in_place"])
def test_what_holds_a_plain_network_is_that_network(name: str) -> None:
    model, plain = load_model(f"tests.foreign:{name}"), load_model("tests.foreign:plain")
    assert [layer.name for layer in model.layers] == PLAIN
    assert model.weights_hash == plain.weights_hash
    assert torch.equal(prepared_value(model, "4"), prepared_value(plain, "4"))


@pytest.mark.parametrize("name", ["partly_parallel", "partly_compiled"])
def test_parts_keep_their_own_names(name: str) -> None:
    assert {"0.0", "0.3", "1.7"} <= {layer.name for layer in load_model(f"tests.foreign:{name}").layers}


def test_a_compiled_forward_pass_runs_as_it_is_written() -> None:
    assert "body.3" in {layer.name for layer in load_model("tests.foreign:decorated").layers}


def prepared_value(model: object, layer: str) -> torch.Tensor:
    x = torch.rand(2, 3, 32, 32, generator=torch.Generator().manual_seed(3))
    return prepare(model, layer).activations(x).value  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("leaves", r"failed: it ended the process \(SystemExit\): give --config"),
        ("severe_itself", "failed: Severe: of all things"),
        ("leaves_in_train", r"cannot be set to evaluation: it ended the process \(SystemExit\): 3"),
        ("severe_in_train", "cannot be set to evaluation: Severe: of all things"),
        ("mute_in_train", "cannot be set to evaluation: Mute"),
        ("leaves_in_forward", r"dry run.*it ended the process \(SystemExit\): 3"),
        ("severe_in_forward", "dry run.*Severe: of all things"),
        ("mute_in_forward", "dry run.*Mute"),
        ("leaves_in_state", "weights cannot be read: it ended the process"),
        ("mute_in_state", "weights cannot be read: Mute"),
        ("leaves_in_modules", "modules cannot be listed: it ended the process"),
        ("odd_preprocessing", "preprocessing or the labels it returned cannot be read: KeyError: 'no size'"),
    ],
)
def test_what_a_networks_code_does_is_one_line(name: str, words: str) -> None:
    assert re.search(words, refused(name))


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("import sys; sys.exit('usage')", "cannot be imported: it ended the process"),
        ("def __getattr__(name):\n    raise KeyError(name)", "cannot be imported: KeyError"),
        ("def make(:", "cannot be imported: SyntaxError"),
        ("raise BaseException('no')", "cannot be imported: BaseException: no"),
    ],
)
def test_what_a_module_does_as_it_is_imported_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, words: str
) -> None:
    (tmp_path / "users_own.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "users_own", raising=False)
    with pytest.raises(ModelError, match=words):
        load_model("users_own:make")


def test_ctrl_c_stays_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(foreign, "plain", stop)
    with pytest.raises(KeyboardInterrupt):
        load_model("tests.foreign:plain")


def test_a_train_that_returns_nothing_is_enough() -> None:
    assert load_model("tests.foreign:returns_nothing_from_train").layers


def test_a_network_that_stays_in_training_is_set_to_evaluation_and_this_is_said(
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.WARNING):
        model = load_model("tests.foreign:stubborn")
    assert "stays in training mode" in caplog.text
    assert torch.equal(prepared_value(model, "body.7"), prepared_value(load_model("tests.foreign:plain"), "7"))


@pytest.mark.parametrize(("name", "made"), [("grey", r"Grayscale\(\)"), ("six", r"nn\.Conv2d\(3, 6, 1\)")])
def test_images_of_other_channels_are_named_with_how_to_wrap(name: str, made: str) -> None:
    line = refused(name)
    assert re.search(rf"images of [16] channels?, .*{made}, network\)", line)
    assert "expected input" not in line


def test_what_is_wrapped_so_is_looked_into() -> None:
    assert "1.3" in {layer.name for layer in load_model("tests.foreign:grey_wrapped").layers}


def test_half_of_one_channel_is_named_by_its_channels() -> None:
    assert "images of 1 channel," in refused("grey_half")


@pytest.mark.parametrize(("name", "kind"), [("half", "float16"), ("brain", "bfloat16"), ("double", "float64")])
def test_other_precisions_are_computed_in_float32_and_this_is_said(
    name: str, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        model = load_model(f"tests.foreign:{name}")
    assert f"weights are {kind}; it is computed in float32" in caplog.text
    value, wanted = prepared_value(model, "4"), prepared_value(load_model("tests.foreign:plain"), "4")
    assert value.dtype is torch.float32
    assert (value - wanted).abs().max() <= 0.02 * wanted.abs().max()
    again = model.source.build(model.state)
    assert again.weights_hash == model.weights_hash
    assert torch.equal(prepared_value(again, "4"), value)


def test_a_network_that_runs_in_its_own_precision_alone_stays_in_it(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        model = load_model("tests.foreign:casting")
    assert "computed so" in caplog.text
    value, wanted = prepared_value(model, "body.4"), prepared_value(load_model("tests.foreign:plain"), "4")
    assert value.dtype is torch.float32
    assert (value - wanted).abs().max() <= 0.1 * wanted.abs().max()


def switches() -> tuple[object, ...]:
    return (
        *(Path.cwd(), torch.is_grad_enabled(), torch.is_inference_mode_enabled(), torch.get_default_dtype()),
        *(torch.get_default_device(), torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()),
        *(sys.stdout, sys.getrecursionlimit()),
    )


@pytest.mark.parametrize(
    "name",
    [
        *("moves", "moves_in_forward", "no_gradients", "meta", "deterministic", "one_thread", "silent", "double"),
        "in_inference",
    ],
)
def test_what_a_factory_sets_for_the_whole_process_is_as_it_was_afterwards(name: str) -> None:
    torch.set_num_threads(max(2, torch.get_num_threads()))
    before = switches()
    model = load_model(f"tests.models.passes:{name}")
    assert [layer.name for layer in model.layers] == ["conv", "hook", "head"]
    assert trial(model, model.layers) == {}
    assert prepared_value(model, "head").dtype is torch.float32
    assert switches() == before


def test_what_was_raised_is_cut_at_a_word() -> None:
    assert told(ValueError("many words"), 8) == "ValueError: many ..."
    assert told(ValueError("x" * 400), 8) == f"ValueError: {'x' * 8} ..."
