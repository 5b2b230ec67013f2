"""Names of classes: each beside its class, or refused with the line that is wrong."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from atlas.engine.planning import atlases
from atlas.errors import ModelError, UnknownName
from atlas.models import class_index, load_model, require_classes
from atlas.models.labels import LISTS, read_labels
from tests.networks import tiny

pytestmark = pytest.mark.builder

HERE = "tests.models.test_labels"
TEN = [f"kind {number}" for number in range(10)]


def named() -> Any:
    return (*tiny(), TEN)


def by_a_list() -> Any:
    return (*tiny(), "kmnist")


def too_few() -> Any:
    return (*tiny(), TEN[:9])


def of_numbers() -> Any:
    return (*tiny(), list(range(10)))


def of_a_set() -> Any:
    return (*tiny(), set(TEN))


def written(folder: Path, data: bytes | str, name: str = "labels.txt") -> Path:
    (folder / name).write_bytes(data.encode() if isinstance(data, str) else data)
    return folder / name


GOOD: dict[str, bytes | str] = {
    "plain.txt": "dog\ncat fish\nöre\n",
    "trailing.txt": "dog\ncat fish\nöre\n\n  \n\n",
    "spaces.txt": "  dog\ncat fish \t\nöre",
    "windows.txt": "dog\r\ncat fish\r\nöre\r\n",
    "mac.txt": "dog\rcat fish\röre\r",
    "marked.txt": b"\xef\xbb\xbf" + "dog\ncat fish\nöre\n".encode(),
    "utf16.txt": "dog\r\ncat fish\r\nöre\r\n".encode("utf-16"),
    "list.json": json.dumps(["dog", "cat fish", "öre"]),
    "marked.json": b"\xef\xbb\xbf" + json.dumps(["dog", "cat fish", "öre"]).encode(),
    "numbers.json": json.dumps({"2": "öre", "0": "dog", "1": "cat fish"}),
    "names.json": json.dumps({"öre": 2, "dog": 0, "cat fish": 1}),
    "config.json": json.dumps({"id2label": {"0": "dog", "1": "cat fish", "2": "öre"}, "hidden_size": 3}),
}


@pytest.mark.parametrize("name", GOOD)
def test_names_are_read_as_they_are_meant(name: str, tmp_path: Path) -> None:
    assert read_labels(written(tmp_path, GOOD[name], name)) == ("dog", "cat fish", "öre")


def test_separators_within_a_name_do_not_divide_it(tmp_path: Path) -> None:
    """A new line does, and nothing else that Unicode knows."""
    assert read_labels(written(tmp_path, "a\x0bb\nc\u2028d\n")) == ("a\x0bb", "c\u2028d")


def test_numbers_in_order_stay_in_the_names(tmp_path: Path) -> None:
    """As in MNIST's own: nobody can tell whether they belong there."""
    assert read_labels(written(tmp_path, "0 - zero\n1 - one\n")) == ("0 - zero", "1 - one")
    assert read_labels(written(tmp_path, "3\n1\n2\n")) == ("3", "1", "2")


BAD: dict[str, tuple[bytes | str, str]] = {
    "blank.txt": ("dog\n\ncat\n", "line 2 is blank"),
    "first.txt": ("\ndog\ncat\n", "line 1 is blank"),
    "empty.txt": ("", "line 1 is blank"),
    "latin.txt": ("dog\ncat\nöre\n".encode("latin-1"), "line 3 is not UTF-8"),
    "binary.txt": (b"a\0b\n", "is no text"),
    "order.txt": ("1 cat\n0 dog\n2 cow\n", "not in order: line 1 is of class 1"),
    "broken.json": ("[1", "is no JSON"),
    "deep.json": ("[" * 10**5, "is no JSON"),
    "text.json": ('"dog"', "neither a list of names nor"),
    "nothing.json": ("{}", "neither a list of names nor"),
    "gap.json": ('{"0": "a", "2": "b"}', "numbered 0 to 1, and there is no 1"),
    "fromone.json": ('{"1": "a", "2": "b"}', "there is no 0"),
    "twice.json": ('{"0": "a", "0": "b"}', "'0' is there twice"),
    "same.json": ('{"a": 0, "b": 0}', "there is no 1"),
    "both.json": ('{"0": 1, "1": 0}', "either its keys are the numbers"),
    "neither.json": ('{"a": "b"}', "either its keys are the numbers"),
    "pairs.json": ('{"0": ["tench", "goldfish"]}', "class 0 is a list, not a name. Give its name alone"),
    "three.json": ('{"0": ["n01440764", "tench", "fish"]}', "class 0 is a list, not a name"),
    "number.json": ('{"0": ["n01440764", 7]}', "class 0 is a list, not a name"),
    "int.json": ("[3]", "class 0 is an int, not a name"),
    "null.json": ('["a", null]', "class 1 is a NoneType, not a name"),
    "blank.json": ('["a", " "]', "class 1 is blank"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_not_certain_is_refused_with_its_line(name: str, tmp_path: Path) -> None:
    data, message = BAD[name]
    with pytest.raises(ModelError, match=message) as caught:
        read_labels(written(tmp_path, data, name))
    assert name in str(caught.value)
    assert "\n" not in str(caught.value)


DISORDER = {
    "in the order of text": (
        "1 cat\n10 ten\n2 dog\n3 c\n4 d\n5 e\n6 f\n7 g\n8 h\n9 i\n",
        "line 2 is of class 10. Sort",
    ),
    "turned about": ("3,bird\n1,cat\n2,dog\n", "line 1 is of class 3. Sort"),
    "with a gap": ("1 cat\n2 dog\n4 cow\n", "line 3 is of class 4. Give every line its number"),
    "with one twice": ("0 cat\n0 dog\n1 cow\n", "line 2 is of class 0. Give"),
    "from another": ("2: cat\n3: dog\n4: cow\n", "line 1 is of class 2. Give"),
    "of a longer list": ("281\ttabby\n207\tgolden retriever\n340\tzebra\n", "line 1 is of class 281. Give"),
    "below 0": ("-1 background\n0 cat\n1 dog\n", "line 1 is of class -1. Give"),
    "padded": ("001. cat\n003. dog\n002. cow\n", "line 2 is of class 3. Sort"),
    "underscores": ("2_cat\n0_dog\n1_cow\n", "line 1 is of class 2. Sort"),
    "brackets": ("[0] cat\n[2] dog\n[1] cow\n", "line 2 is of class 2. Sort"),
    "arrows": ("2 => cat\n0 => dog\n1 => cow\n", "line 1 is of class 2. Sort"),
    "quotes": ('"2" cat\n"0" dog\n"1" cow\n', "line 1 is of class 2. Sort"),
    "a word": ("class2: cat\nclass0: dog\nClass1: cow\n", "line 1 is of class 2. Sort"),
    "a word apart": ("class 2 - cat\nclass 0 - dog\nclass 1 - cow\n", "line 1 is of class 2. Sort"),
    "behind, a comma": ("cat,2\ndog,1\ncow,0\n", "line 1 is of class 2. Sort"),
    "behind, a tab": ("cat\t2\ndog\t1\ncow\t0\n", "line 1 is of class 2. Sort"),
    "behind, a space": ("tabby cat 2\ndog 1\ncow 0\n", "line 1 is of class 2. Sort"),
    "behind, brackets": ("cat (2)\ndog (1)\ncow (0)\n", "line 1 is of class 2. Sort"),
    "behind, a word": ("cat: class2\ndog: class0\ncow: class1\n", "line 1 is of class 2. Sort"),
    "between": ("n02,2,cat\nn01,1,dog\nn03,3,cow\n", "line 1 is of class 2. Give|line 1 is of class 2. Sort"),
    "one without": ("0 cat\ndog\n3 cow\n2 pig\n4 hen\n", "line 3 is of class 3"),
}


@pytest.mark.parametrize("name", DISORDER)
def test_lines_numbered_in_another_order_are_refused(name: str, tmp_path: Path) -> None:
    text, message = DISORDER[name]
    with pytest.raises(ModelError, match=rf"not in order: {message}.*JSON list"):
        read_labels(written(tmp_path, text))


INDICES = {
    "colons": "0: .NET\n1: (grey) cat\n2: tench, Tinca tinca\n",
    "from one": "1,.NET\n2,(grey) cat\n3,tench, Tinca tinca\n",
    "tabs": "0\t.NET\n1\t(grey) cat\n2\ttench, Tinca tinca\n",
    "brackets": "[0] .NET\n[1] (grey) cat\n[2] tench, Tinca tinca\n",
    "a word": "class0: .NET\nclass1: (grey) cat\nclass2: tench, Tinca tinca\n",
    "behind": ".NET,0\n(grey) cat,1\ntench, Tinca tinca,2\n",
    "behind, a word": ".NET = id0\n(grey) cat = id1\ntench, Tinca tinca = id2\n",
}


@pytest.mark.parametrize("name", INDICES)
def test_a_column_of_numbers_in_order_is_no_part_of_the_names(name: str, tmp_path: Path) -> None:
    read = read_labels(written(tmp_path, INDICES[name]))
    assert read == (".NET", "(grey) cat", "tench, Tinca tinca")


WHOLE = (
    ("digit 0", "digit 1", "digit 10", "digit 2"),
    ("class1", "class10", "class2"),
    ("0 zero", "1 one", "2 two"),
    ("001.Black_footed_Albatross", "002.Laysan_Albatross"),
    ("/a/airfield 0", "/a/airplane_cabin 1", "/b/bar 2"),
    ("Hummer SUV 2000", "Acura RL 2012", "Acura TL 2012", "Audi S4 2007"),
    ("1998 Eagle", "2003 Acura", "1912 Titanic"),
    ("Audi 100 Sedan", "BMW 325 Coupe", "Mazda 626 Sedan"),
    ("707-320", "727-200", "737-200", "737-300"),
    ("F-16", "A-10", "B-52", "F-22"),
    ("Ford F150", "Audi A4", "BMW M3", "Ford F1"),
    ("0-2", "4 - 6", "8-13", "15-20"),
    ("plane 1", "plane 2", "car 1", "car 2"),
    ("1 cent", "2 cent", "5 cent", "1 euro", "2 euro", "5 euro"),
    ("Speed limit (20km/h)", "Speed limit (30km/h)", "No passing"),
    ("n01440764,tench", "n01443537,goldfish"),
    ("background", "1 cat", "2 dog", "3 cow", "4 pig"),
    ("7 eleven",),
    ("cat", "no label"),
    ("!", "#", "{", "[", ",", ";", '"', "-"),
    ("'s-Hertogenbosch", "AC/DC", '"Weird Al" Yankovic', "C#", "A.M.", "<unk>", "[UNK]", "(none)"),
)


@pytest.mark.parametrize("names", WHOLE)
def test_numbers_and_signs_of_names_stay(names: tuple[str, ...], tmp_path: Path) -> None:
    assert read_labels(written(tmp_path, "\n".join(names))) == names


LITERALS = {
    "gist": "{0: 'tench, Tinca tinca',\n 1: \"a's\", # of mine\n 2: 'crane'}\n",
    "list": '["tench, Tinca tinca",\n"a\'s",\n"crane"]\n',
    "comma": '[\n  "tench, Tinca tinca",\n  "a\'s",\n  "crane",\n]\n',
    "tuple": "('tench, Tinca tinca', 'a\\'s', 'crane')",
    "turned": "{'crane': 2, 'tench, Tinca tinca': 0, 'a\\'s': 1}",
    "index": json.dumps(
        {"0": ["n01440764", "tench, Tinca tinca"], "1": ["n00000001", "a's"], "2": ["n00000002", "crane"]}
    ),
}


@pytest.mark.parametrize("name", LITERALS)
def test_a_list_or_mapping_is_read_whatever_the_files_name(name: str, tmp_path: Path) -> None:
    assert read_labels(written(tmp_path, LITERALS[name])) == ("tench, Tinca tinca", "a's", "crane")


def test_the_usual_index_of_imagenet_is_read(tmp_path: Path) -> None:
    data = {"0": ["n01440764", "tench"], "1": ["n01443537", "goldfish"]}
    assert read_labels(written(tmp_path, json.dumps(data), "index.json")) == ("tench", "goldfish")


OTHER = {
    "comma left out": ('["a",\n"b"\n"c"]', "a comma is missing between the names"),
    "number twice": ("{0: 'a', 0: 'b'}", "'0' is there twice"),
    "number left out": ("{0: 'a',\n 2: 'b'}", "there is no 1"),
    "set": ("{'a', 'b'}", "neither a list of names nor"),
    "pieces": ('["a",\n"b",\n"c"\n', "line 1 is written as in Python, JSON"),
    "no brackets": ('"a",\n"b",\n"c"', "line 1 is written as"),
    "no braces": ("0: 'a',\n1: 'b',\n2: 'c'", "line 1 is written as"),
    "quotes": ("0: 'a'\n1: 'b'\n2: 'c'", "line 1 is written as"),
    "quoted columns": ('0,"tench, Tinca"\n1,"b, c"\n2,"d"\n', "line 1 is written as"),
    "lines of JSON": ('{"id": 0, "name": "a"}\n{"id": 1, "name": "b"}', "line 1 is written as"),
    "too deep": ("[" * 10**5, "line 1 is written as"),
    "YAML": ("names:\n  0: person\n  1: cat\n", "line 1 is a heading"),
    "YAML's list": ("- cat\n- dog\n", "line 1 is written as"),
    "a data set's YAML": ("path: x\nnc: 2\nnames: ['a', 'b']\n", "line 3 is written as"),
    "code": ("import x\nCLASSES = (\n'a',\n", "line 2 is written as"),
    "XML": ("<item>cat</item>\n<item>dog</item>\n", "line 1 is written as"),
    "a table": ("| 0 | cat |\n| 1 | dog |\n", "line 1 is written as"),
    "comment": ("cat\n# birds\nhen\n", "line 2 is a comment"),
    "another comment": ("cat\n// birds\nhen\n", "line 2 is a comment"),
    "heading": ("name\ncat\ndog\n", "line 1 is a heading"),
    "headings": ("class_id,ClassName\n0,cat\n1,dog\n", "line 1 is a heading"),
    "heading of numbers": ("Id;Sign\n0;a\n1;b\n2;c\n3;d\n", "line 1 is a heading"),
    "no name": ("0,cat\n1\n2,dog\n", "line 2 is a number without a name"),
}


@pytest.mark.parametrize("name", OTHER)
def test_lines_of_another_format_are_refused(name: str, tmp_path: Path) -> None:
    text, message = OTHER[name]
    with pytest.raises(ModelError, match=message) as caught:
        read_labels(written(tmp_path, text))
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 600


def test_long_lines_are_read_at_once(tmp_path: Path) -> None:
    names = ("a" + " " * 10**6 + "b", "c" + "_" * 10**6 + "1", "9" * 10**6 + " d")
    assert read_labels(written(tmp_path, "\n".join(names))) == names


def test_only_files_are_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for place in (tmp_path / "pipe", tmp_path, Path("/dev/zero")):
        with pytest.raises(ModelError, match="is a folder, a pipe or a device"):
            read_labels(place)
    huge = written(tmp_path, "dog\n", "huge.txt")
    os.truncate(huge, 10**11)
    with pytest.raises(ModelError, match="too many to be names"):
        read_labels(huge)


@pytest.mark.parametrize(
    ("name", "count", "first"),
    [
        ("imagenet", 1000, "tench"),
        ("imagenet-12k", 11821, None),
        ("imagenet-21k", 21843, None),
        ("imagenet-22k", 21841, None),
        ("mnist", 10, "0 - zero"),
    ],
)
def test_usual_lists_go_by_name(name: str, count: int, first: str | None) -> None:
    labels = read_labels(name)
    assert len(labels) == count
    assert first in (None, labels[0])
    assert all(labels)


def test_every_list_is_there() -> None:
    assert all(len(read_labels(name)) >= 10 for name in LISTS)


def test_a_list_that_no_library_ships_is_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ModelError, match=r"`labels=cifar10` cannot be read.*known by name: imagenet, "):
        read_labels("cifar10")
    written(tmp_path, "dog\n", "mnist")
    with pytest.raises(ModelError, match="both a list and a file here"):
        read_labels("mnist")
    assert read_labels(tmp_path / "mnist") == ("dog",)


def test_a_factory_gives_labels() -> None:
    model = load_model(f"{HERE}:named")
    assert model.labels == tuple(TEN)
    assert load_model(f"{HERE}:by_a_list").labels == read_labels("kmnist")
    require_classes(model)
    built = model.source.build(model.state)
    assert built.labels == model.labels


def test_a_factorys_labels_are_kept_with_a_file_of_weights(tmp_path: Path) -> None:
    import torch

    torch.save(load_model("tests.networks:other").state, tmp_path / "weights.pt")
    assert load_model(f"{HERE}:named", weights=tmp_path / "weights.pt").labels == tuple(TEN)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("of_numbers", "of_numbers: its labels: class 0 is an int, not a name"),
        ("of_a_set", "of_a_set: its labels are a set. Return the names in a list"),
    ],
)
def test_labels_of_a_factory_that_are_no_names_are_refused(name: str, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        load_model(f"{HERE}:{name}")


def test_labels_are_as_many_as_the_classes(tmp_path: Path) -> None:
    file = written(tmp_path, "\n".join(TEN[:3]))
    for model in (load_model("tests.networks:tiny", labels=file), load_model(f"{HERE}:too_few")):
        assert model.labels is not None
        with pytest.raises(ModelError, match=rf"There are {len(model.labels)} labels, but .* answers with 10 classes"):
            require_classes(model)
    paired = load_model("tests.networks:paired", labels=file)
    with pytest.raises(ModelError, match=r"There are 3 labels, but .* answers with 10 or 70 classes"):
        require_classes(paired)


def test_of_two_classes_of_one_name_neither_is_taken(tmp_path: Path) -> None:
    names = [*TEN[:3], "crane", *TEN[4:8], "crane", TEN[9]]
    model = load_model("tests.networks:tiny", labels=written(tmp_path, "\n".join(names)))
    require_classes(model)
    for asked in (lambda: class_index(model, "crane"), lambda: atlases.maps(model, ["class=crane"])):
        with pytest.raises(UnknownName, match=r"'crane' names the classes 3 and 8\. Say which by its number"):
            asked()
    assert class_index(model, 8) == 8
    assert atlases.maps(model, ["class=8", "pair=3,8"]) == ["winners-8", "pair-3-8"]
    with pytest.raises(UnknownName, match="names the classes 3 and 8"):
        atlases.maps(model, ["pair=crane,kind 1"])
