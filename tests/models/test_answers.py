"""Which of a network's outputs is its logits: by evidence, or said by the user; never by their order."""

from __future__ import annotations

import logging
import re
from collections import OrderedDict, namedtuple
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from atlas.attribution.attribution import attribute
from atlas.dataset.collect import Shown, collect
from atlas.errors import AtlasError, ModelError, UnknownName
from atlas.models import Model, ModelSource, Preprocessing, class_layer, load_model, require_classes
from atlas.models.answers import settle
from tests.models.networks import square

pytestmark = pytest.mark.builder

Pair = namedtuple("Pair", ["embedding", "scores"])
Heads = Callable[[Tensor, Tensor], Any]


@dataclass(slots=True)
class Slotted:
    embedding: Tensor
    logits: Tensor


class HuggingFace(OrderedDict[str, Any]):
    """As transformers' outputs: a mapping whose fields are attributes too."""


class Net(nn.Module):
    """An embedding of 12 numbers and 5 logits from it; `made` gives them back in a form of its own."""

    def __init__(self, made: Heads) -> None:
        super().__init__()
        self.body = nn.Sequential(nn.Conv2d(3, 12, 3, stride=4), nn.ReLU())
        self.head = nn.Linear(12, 5)
        self.made = made

    def forward(self, x: Tensor) -> Any:
        map_ = self.body(x)
        embedding = map_.mean((2, 3))
        return self.made(embedding, self.head(embedding))


def model(made: Heads, labels: int | None = None, logits: str | None = None) -> Model:
    torch.manual_seed(0)
    names = None if labels is None else tuple(f"kind {number}" for number in range(labels))
    return Model(Net(made), ModelSource("a network of the tests", square(32), names, logits=logits))


def is_head(given: Model) -> bool:
    """Whether the logits are what `head` gives."""
    x = torch.rand(3, 3, 32, 32)
    found = given.logits(x)
    assert isinstance(given.network, Net)
    with torch.no_grad():
        wanted = given.network.head(given.network.body(given.preprocessing.normalise(x)).mean((2, 3)))
    return found is not None and torch.equal(found, wanted)


def embedding_first() -> tuple[nn.Module, Preprocessing]:
    return model(lambda e, logits: (e, logits)).network, square(32)


SETTLED: dict[str, Heads] = {
    "a tensor": lambda _, logits: logits,
    "key logits": lambda e, logits: {"embedding": e, "logits": logits},
    "key out": lambda e, logits: OrderedDict(features=e, out=logits),
    "key logits among heads": lambda e, logits: {"cls_logits": -logits, "distillation_logits": e, "logits": logits},
    "an auxiliary head first": lambda _, logits: {"aux_logits": logits + 1, "class_logits": logits},
    "a data class with slots": Slotted,
    "an object": lambda e, logits: SimpleNamespace(pooled=e, logits=logits),
    "a mapping of transformers": lambda e, logits: HuggingFace(logits=logits, hidden_states=(e[:, :, None], e)),
    "nested": lambda e, logits: (e, {"heads": {"logits": logits}}),
    "a map beside it": lambda e, logits: (logits, e[:, :, None, None].expand(-1, -1, 3, 3)),
    "its own probabilities first": lambda _, logits: (logits.softmax(1), logits),
    "its own logarithms first": lambda _, logits: [logits.log_softmax(1), logits],
    "its probabilities in another precision": lambda _, logits: (logits.double().softmax(1), logits),
    "twice the same": lambda _, logits: (logits, logits),
    "indices beside it": lambda _, logits: (logits.argsort(1), logits),
    "out among others of its size": lambda _, logits: {"main": -logits, "out": logits},
    "sorted values beside it": lambda _, logits: (*logits.sort(1), logits),
    "the best beside it": lambda _, logits: (logits, logits.softmax(1).topk(2)),
    "a table that has two rows": lambda _, logits: (torch.ones(2, 7), logits),
}


@pytest.mark.parametrize("name", SETTLED)
def test_evidence_settles_it(name: str) -> None:
    given = model(SETTLED[name])
    assert given.classes == 5
    assert is_head(given)


OPEN: dict[str, tuple[Heads, str]] = {
    "a tuple, the embedding first": (lambda e, logits: (e, logits), r"0 \[12\], 1 \[5\].*`logits="),
    "a tuple, the logits first": (lambda e, logits: (logits, e), r"0 \[5\], 1 \[12\].*`logits="),
    "two heads": (lambda e, logits: {"colour": logits, "shape": e[:, :4]}, r"colour \[5\], shape \[4\].*`logits="),
    "an embedding alone": (lambda e, _: {"pooler_output": e, "last_hidden_state": e[:, None]}, r"pooler_output \[12\]"),
    "one position left": (lambda _, logits: logits[:, :, None, None], r"output \[5, 1, 1\].*`logits="),
    "dense": (lambda _, logits: {"out": logits[:, :, None, None].expand(-1, -1, 4, 4)}, r"out \[5, 4, 4\]"),
    "detections": (
        lambda e, logits: [{"boxes": e[:2, :4], "labels": logits[:2].argmax(1), "scores": logits[:2, 0]} for _ in e],
        r"0\.boxes \[4\]",
    ),
    "out, an embedding": (lambda e, logits: {"out": e, "pred": logits}, r"out \[12\], pred \[5\].*or `logits=pred`$"),
    "sorted": (lambda _, logits: logits.sort(1, descending=True), r"0 \[5\] are sorted.*`logits=NAME`"),
    "sorted values alone": (lambda _, logits: logits.sort(1).values, r"output \[5\] are sorted.*`logits=NAME`"),
    "sorted probabilities": (lambda _, logits: {"probs": logits.softmax(1).sort(1)[0]}, r"probs \[5\] are sorted"),
    "sorted under a sure name": (lambda _, logits: {"logits": logits.sort(1)[0]}, r"logits \[5\] are sorted"),
    "the best four": (lambda _, logits: logits.softmax(1).topk(4), r"0 \[4\] are sorted.*`logits=NAME`"),
    "the best two": (lambda _, logits: tuple(logits.topk(2)), r"0 \[2\] are sorted.*`logits=NAME`"),
    "one number an image": (lambda _, logits: logits[:, 0], r"output \[\]"),
    "nothing": (lambda *_: None, "no tensor"),
}


@pytest.mark.parametrize("name", OPEN)
def test_where_it_is_open_no_classes_are_claimed_and_one_line_says_so(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    made, message = OPEN[name]
    given = model(made)
    assert given.classes == 0
    assert given.logits(torch.rand(1, 3, 32, 32)) is None
    (line,) = [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING]
    assert "no classes are claimed" in line.lower()
    assert "\n" not in line
    assert re.search(message, line)


def test_the_number_of_labels_settles_it() -> None:
    given = model(lambda e, logits: (e, logits), labels=5)
    assert given.classes == 5
    assert is_head(given)


def test_the_number_of_labels_goes_before_the_name_out() -> None:
    given = model(lambda e, logits: {"out": e, "pred": logits}, labels=5)
    assert given.classes == 5
    assert is_head(given)
    assert model(lambda e, logits: {"out": e, "pred": logits}, labels=12).classes == 12


def test_labels_that_fit_another_output_are_refused_with_its_name() -> None:
    def made(e: Tensor, logits: Tensor) -> Any:
        return {"logits": e, "species": logits}

    for given in (model(made, labels=5), model(lambda e, logits: {"a": e, "species": logits}, labels=5, logits="a")):
        with pytest.raises(ModelError, match=r"answers with 12 classes.*another output: `logits=species`\.$"):
            require_classes(given)
    require_classes(model(made, labels=5, logits="species"))
    with pytest.raises(ModelError, match=r"There are 2 labels, but .* answers with 1 class\. Name every class"):
        require_classes(model(lambda _, logits: logits[:, :1], labels=2))
    with pytest.raises(ModelError, match=r"There is 1 label, but .* answers with 5 classes"):
        require_classes(model(lambda _, logits: logits, labels=1))


def test_as_many_labels_make_sorted_values_no_classes(caplog: pytest.LogCaptureFixture) -> None:
    """But the layer does that gives the logits, or whoever insists."""

    def made(_: Tensor, logits: Tensor) -> Any:
        return logits.sort(1, descending=True)

    given = model(made, labels=5)
    require_classes(given)
    assert given.classes == 0
    assert "sorted in every image" in caplog.text
    assert is_head(model(made, labels=5, logits="head"))
    assert model(made, labels=5, logits="0").classes == 5


@pytest.mark.parametrize("weights", [0.0, 1e-3])
def test_logits_that_hardly_depend_on_the_image_are_not_taken_for_sorted(weights: float) -> None:
    """Their order is that of the biases in every image: by chance, the order of their numbers."""
    given = model(lambda _, logits: logits)
    assert isinstance(given.network, Net)
    with torch.no_grad():
        given.network.head.weight.mul_(weights)
        given.network.head.bias.copy_(torch.tensor([0.0, 1e-5, 2e-5, 3e-5, 4e-5]))
    assert given.classes == 5


def test_labels_of_neither_size_are_no_evidence() -> None:
    assert model(lambda e, logits: (e, logits), labels=7).classes == 0
    assert model(lambda _, logits: (logits, -logits), labels=5).classes == 0


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (lambda e, logits: (e, logits), "1"),
        (Pair, "scores"),
        (Pair, "1"),
        (lambda e, logits: {"emb": e, "probs": {"main": logits}}, "probs.main"),
        (lambda e, logits: (e, logits), "head"),
        (lambda e, logits: (e, logits.softmax(1)), "head"),
        (lambda e, _: e, "head"),
        (lambda _, logits: logits[:, :, None, None], "output"),
        (lambda _, logits: (logits[:, :, None, None], logits + 1), "0"),
        (lambda _, logits: {"aux": logits}, "aux"),
    ],
)
def test_the_user_says_which(made: Heads, said: str) -> None:
    given = model(made, logits=said)
    assert given.classes == 5
    assert is_head(given)


@pytest.mark.parametrize(
    ("made", "said", "error", "message"),
    [
        (lambda e, logits: (e, logits), "2", UnknownName, r"no output '2'.*0 \[12\], 1 \[5\]"),
        (lambda _, logits: {"logit": logits}, "logits", UnknownName, "'logits'. Did you mean 'logit'"),
        (lambda _, logits: logits, "0", UnknownName, r"output \[5\]"),
        (lambda e, _: {"out": e[:, :, None].expand(-1, -1, 9)}, "out", ModelError, r"out \[12, 9\] is not one number"),
        (lambda _, logits: logits, "body", ModelError, r"body \[12, 8, 8\] is not one number"),
        (lambda _, logits: (logits.argmax(1), logits), "0", ModelError, r"0 \[\] is not one number"),
    ],
)
def test_what_cannot_be_the_logits_is_refused_in_one_line(
    made: Heads, said: str, error: type[AtlasError], message: str
) -> None:
    with pytest.raises(error, match=message) as caught:
        assert model(made, logits=said).classes
    assert "\n" not in str(caught.value)


def test_an_output_that_holds_itself_is_looked_into_once() -> None:
    def made(_: Tensor, logits: Tensor) -> Any:
        found: dict[str, Any] = {"logits": logits}
        found["again"] = found
        return found

    assert model(made, logits="logits").classes == 5


def test_what_was_taken_since_nothing_else_could_be_is_said(caplog: pytest.LogCaptureFixture) -> None:
    assert model(SETTLED["a map beside it"]).classes == 5
    (line,) = [record.getMessage() for record in caplog.records]
    assert "output 0 [5] is taken for the logits" in line
    caplog.clear()
    assert model(SETTLED["key logits"]).classes == 5
    assert not caplog.records


@pytest.mark.parametrize("said", ["1", "head"])
def test_everything_that_asks_for_logits_takes_the_same(said: str) -> None:
    """Images' classes, attributions of images and of positions, the layer of classes; as those of a plain network."""
    given, plain = model(lambda e, logits: (e, logits), logits=said), model(SETTLED["a tensor"])
    x = torch.rand(4, 3, 32, 32)
    shown = [Shown(number, picture[None]) for number, picture in enumerate(x)]
    images, positions = torch.tensor([0, 1, 3]), torch.tensor([0, 5, 63])
    collected, attributed = [], []
    for one in (given, plain):
        assert class_layer(one).name == "head"
        collected.append(collect(one, [one.layer("body.1")], shown, width=2))
        attributed.append(attribute(one, one.layer("body.1"), x, images, positions).attribution)
    assert torch.equal(*attributed)
    ours, theirs = collected
    assert (ours.classes == theirs.classes).all()
    assert (ours.attribution["body.1"] == theirs.attribution["body.1"]).all()


def test_a_worker_takes_what_the_driver_takes() -> None:
    given = load_model("tests.models.test_answers:embedding_first", logits="1")
    built = given.source.build(given.state)
    assert built.answer == given.answer
    assert built.classes == 5


class Embedding(nn.Module):
    """Answers with an embedding, and says so as timm's networks do, or norms it."""

    def __init__(self, *, normed: bool) -> None:
        super().__init__()
        self.conv, self.normed = nn.Conv2d(3, 24, 3), normed
        if not normed:
            self.num_classes = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found: torch.Tensor = self.conv(x).mean((2, 3))
        return nn.functional.normalize(found, dim=1) if self.normed else found


@pytest.mark.parametrize("normed", [False, True])
def test_an_embedding_is_not_taken_for_logits(normed: bool) -> None:
    answer = settle(Embedding(normed=normed), torch.rand(2, 3, 8, 8))
    assert (answer.where, answer.classes) == (None, 0)
    assert "no classes are claimed" in answer.note.lower()


def test_outputs_of_one_name_are_told_apart_by_nobody() -> None:
    class Twice(nn.Module):
        def forward(self, x: torch.Tensor) -> dict[Any, torch.Tensor]:
            return {0: x.flatten(1)[:, :8], "0": x.flatten(1)[:, :16]}

    assert settle(Twice(), torch.rand(2, 3, 8, 8)).where is None
