"""A pipeline: one declaration for options, files and parameters."""

from __future__ import annotations

import inspect
import math
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from atlas.errors import AtlasError, UnknownName
from atlas.pipeline import Pipeline, kinds, of, option
from atlas.pipeline_file import read, written

pytestmark = pytest.mark.builder


@pytest.mark.parametrize(
    ("said", "told"),
    [
        ({"crops": 0, "images": "x"}, "`crops=0`: it must be at least 1"),
        ({"crops": "many", "images": "x"}, "`crops=many`: it must be a whole number"),
        ({"crops": True, "images": "x"}, "`crops=yes`: it must be a whole number"),
        ({"crops": 2}, "`crops` without `images`"),
        ({"photographs": False}, "`photographs=no` without `images`"),
        ({"cache": "x"}, "`cache` without `images`"),
        ({"cache_size": -1, "images": "x"}, "`cache_size=-1`: it must be at least 0"),
        ({"cache_size": "big", "images": "x"}, "`cache_size=big`: it must be a number"),
        ({"atlas": "a"}, "`atlas` without `images`"),
        ({"whitening": 0.5}, "`whitening` without `atlas`"),
        ({"relaxed": True}, "`relaxed=yes` without `atlas`"),
        ({"projection": "class"}, "`projection` without `atlas`"),
        ({"atlas_recipe": "quick"}, "`atlas_recipe` without `atlas`"),
        ({"grids": [20]}, "`grids` without `atlas`"),
        ({"maps": "all"}, "`maps` without `atlas`"),
        ({"pictures": False}, "there is nothing to build"),
        ({"local": True, "ray": "auto"}, "leave one of them out"),
        ({"layers": " , "}, "`layers= , `: it is empty"),
        ({"settings": 3}, "it must be a list of texts or names with values"),
        ({"images": 3}, "it must be a text or a path or a list of texts or paths"),
        ({"device": 3}, "it must be a text"),
        ({"crops": 99_999_999_999, "images": "x"}, "`crops=99999999999`: it must be at most 1,024"),
        ({"positions": 10**9, "atlas": "a", "images": "x"}, "`positions=1000000000`: it must be at most 1,024"),
        ({"batch": 10**11}, "`batch=100000000000`: it must be at most 65,536"),
        ({"workers": 10**11}, "`workers=100000000000`: it must be at most 1,000,000"),
        ({"cache_size": 1e300, "images": "x"}, "it must be at most 1,000,000"),
        ({"max_hours": math.inf}, "`max_hours=inf`: it must be at most 1,000,000"),
        ({"price": math.nan}, "`price=nan`: it must be at least 0"),
        ({"whitening": "high", "atlas": "a", "images": "x"}, "it must be a number"),
    ],
)
def test_what_cannot_be_or_says_nothing_is_refused_by_its_name(said: dict[str, Any], told: str) -> None:
    with pytest.raises(AtlasError) as found:
        Pipeline("squeezenet", **said)
    assert told in str(found.value)


def test_an_option_that_is_not_there_offers_the_nearest() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'layers'"):
        of({"model": "squeezenet", "layer": "features.3"})
    with pytest.raises(AtlasError, match="name a network"):
        of({"layers": "features.3"})


def test_every_option_is_documented() -> None:
    for name in kinds():
        told = option(name)
        assert told.help.strip().endswith((".", "...")), name
        assert told.panel, name
        assert not told.several or told.metavar, name
        assert not told.needs or told.needs[0] in kinds(), name


def test_several_may_be_said_in_one_text_or_one_by_one(tmp_path: Path) -> None:
    comma = tmp_path / "a,b"
    comma.mkdir()
    asked = Pipeline("m", layers="a, b", images=[str(comma), "c,d"], settings={"steps": 3, "zoom": [0.9, 1.1]})
    assert asked.names("layers") == ["a", "b"] == Pipeline("m", layers=["a", "b"]).names("layers")
    assert asked.places("images") == [str(comma), "c", "d"]
    assert asked.knobs("settings") == ["steps=3", "zoom=0.9,1.1"]
    assert Pipeline("m", settings="steps=3").knobs("settings") == ["steps=3"]
    assert Pipeline("m", images="x", atlas="a", grids=20).names("grids") == ["20"]


# -- files -------------------------------------------------------------------------------------------------------------

TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=("Cc", "Cs", "Zl", "Zp")), min_size=1).filter(
    lambda text: any(part.strip() for part in text.split(","))
)
NAMES = st.one_of(TEXTS, st.lists(TEXTS, min_size=1))
SAID = st.fixed_dictionaries(
    {"model": TEXTS, "images": NAMES, "atlas": NAMES},
    optional={
        "layers": NAMES,
        "settings": st.dictionaries(TEXTS, st.one_of(st.integers(), st.floats(0, 1), TEXTS), min_size=1),
        "recipe": TEXTS,
        "crops": st.integers(1, 100),
        "photographs": st.booleans(),
        "whitening": st.floats(0, 1),
        "grids": st.one_of(st.integers(1, 80), st.lists(st.integers(1, 80), min_size=1)),
        "store": TEXTS,
        "batch": st.integers(2, 64),
    },
)


@given(SAID)
def test_a_file_says_what_was_said(tmp_path_factory: pytest.TempPathFactory, said: dict[str, Any]) -> None:
    asked = of(said)
    file = tmp_path_factory.mktemp("written") / "mine.yaml"
    file.write_text(written(asked, "mine.yaml"), encoding="utf-8")
    assert of(read(file)) == asked


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("model: a\nlayer: b\n", "line 2: there is no key 'layer'. Did you mean 'layers'?"),
        ("model: a\natlas-recipe: b\n", "line 2: there is no key 'atlas-recipe'. Did you mean 'atlas_recipe'?"),
        ("model: a\n\ncrops: many\n", "line 3: crops: it must be a whole number"),
        ("model: a\nmodel: b\n", "line 2: model was said before"),
        ("layers: a\n", "it names no model"),
        ("", "KEY: VALUE"),
        ("- a\n- b\n", "KEY: VALUE"),
        ("just words", "KEY: VALUE"),
        ("model: [a\n", "it is no YAML"),
        ("model: a\nlayers: !!python/object:os.system {}\n", "it is no YAML"),
        ("model: a\nlayers: *nobody\n", "it is no YAML"),
        ("model: a\nlayers: {a: b}\n", "line 2: layers: it must be a list"),
        ("\tmodel: a\n", "it is no YAML"),
        ("model: a\nseed: 1\n", "there is no key 'seed'"),
    ],
)
def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path, text: str, told: str) -> None:
    file = tmp_path / "bad.yaml"
    file.write_text(text)
    with pytest.raises(AtlasError) as found:
        read(file)
    assert told in str(found.value)
    assert str(file) in str(found.value)
    assert "\n" not in str(found.value)


def test_what_is_no_text_or_not_there_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "bytes.yaml").write_bytes(b"model: \xff\xfe")
    (tmp_path / "large.yaml").write_bytes(b"# \n" * 400_000)
    for name, told in (("bytes.yaml", "no text"), ("none.yaml", "No such file"), ("large.yaml", "short list")):
        with pytest.raises(AtlasError, match=told):
            read(tmp_path / name)


def _nothing(said: dict[str, Any]) -> None:
    pass


def test_options_keys_and_parameters_have_the_same_names() -> None:
    import atlas
    from atlas.cli import options

    names = [field.name for field in fields(Pipeline)]
    assert list(kinds()) == names
    for function in (atlas.build, atlas.plan):
        parameters = inspect.signature(function).parameters
        assert list(parameters) == names
        assert all(f"{name}: " in (function.__doc__ or "") for name in names)
    assert list(inspect.signature(atlas.submit).parameters) == [*names, "address"]
    assert all(f"{name}: " in (atlas.submit.__doc__ or "") for name in [*names, "address"])
    shown = inspect.signature(options.takes_pipeline(_nothing)).parameters
    assert list(shown) == names
    for name in names[1:]:
        (declared,) = shown[name].annotation.__metadata__
        assert any(
            spelled.split("/")[0] == f"--{name.replace('_', '-')}"
            for spelled in (declared.default, *declared.param_decls)
        ), name
