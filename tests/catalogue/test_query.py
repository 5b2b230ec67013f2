"""Questions in SQL and by `find`, and what their answers can do."""

from __future__ import annotations

import math
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import atlas
from atlas.catalogue import Catalogue, notebook, query
from atlas.catalogue.columns import TABLES
from atlas.errors import QueryError, UnknownName
from atlas.store import MemoryBackend
from tests.collected import collect_into
from tests.stores import LAYERS, STRANGE, make_store


@pytest.fixture(scope="module")
def cat() -> Catalogue:
    store = make_store(MemoryBackend())
    store.put_labels([f"kind {number}" for number in range(10)])
    collect_into(store)
    return atlas.open(store.backend)


# -- SQL ---------------------------------------------------------------------------------------------------------------


def test_an_answer_is_rows_and_columns(cat: Catalogue) -> None:
    answer = cat.sql(
        "select unit, objective_peak from units where layer = $layer order by objective_peak desc limit 2",
        layer=STRANGE,
    )
    assert answer.columns == ["unit", "objective_peak"]
    assert answer.rows == list(answer) == [("späte schicht%2F0@2#1%25:32", 64.0), ("späte schicht%2F0@2#1%25:31", 62.0)]
    assert (len(answer), answer[1][1]) == (2, 62.0)
    assert cat.sql("select count(*) from units join classes using (unit)").rows[0][0] > 100


def test_a_long_answer_comes_in_batches(cat: Catalogue) -> None:
    answer = cat.sql("select unit from units")
    sizes = [len(batch) for batch in answer.batches(50)]
    assert sizes == [50, 50, 13]
    assert len(answer.rows) == 113, "and can be had again"


def test_answers_as_data_frames(cat: Catalogue) -> None:
    answer = cat.sql("select unit, index, label, negative_objective_peak from units")
    if find_spec("pandas") is None or find_spec("pyarrow") is None:
        with pytest.raises(QueryError, match="pip install"):
            answer.df()
        return
    frame, table = answer.df(), answer.arrow()
    assert list(frame.columns) == table.column_names == answer.columns
    assert frame["index"].tolist() == table["index"].to_pylist() == [row[1] for row in answer]
    assert table["negative_objective_peak"].to_pylist() == [row[3] for row in answer]


def test_what_is_not_installed_is_named(cat: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(query, "find_spec", lambda _: None)
    answer = cat.sql("select 1")
    for method, library in ((answer.df, "pandas"), (answer.arrow, "pyarrow")):
        with pytest.raises(QueryError, match=f"{library} is not installed: pip install {library}"):
            method()


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("select * frm units", 'syntax error at or near "units"'),
        ("select objective_pek from units", 'Referenced column "objective_pek" not found .* "objective_peak"'),
        ("select * from unit", "There is no table 'unit'. Did you mean 'units'"),
        ("select cast(layer as int) from units", "Could not convert string 'features.3'"),
        ("select $who", "Values were not provided"),
        ("", "there is nothing in it"),
        ("-- just a thought", "there is nothing in it"),
        ("select 1; select 2", "more than one statement"),
        ("drop view units", "the tables are read, not changed"),
        ("insert into units values (1)", "the tables are read, not changed"),
        ("attach 'other.db'", "the tables are read, not changed"),
    ],
)
def test_mistakes_are_one_line(cat: Catalogue, text: str, line: str) -> None:
    with pytest.raises((QueryError, UnknownName), match=line) as caught:
        cat.sql(text)
    assert len(str(caught.value).splitlines()) == 1


def test_a_copy_is_written_where_one_says(cat: Catalogue, tmp_path: Path) -> None:
    cat.sql(f"copy (select unit from units limit 2) to '{tmp_path}/some.csv'")
    assert (tmp_path / "some.csv").read_text().split() == ["unit", "features.3:0", "features.3:1"]


def test_an_answer_shows_itself(cat: Catalogue) -> None:
    answer = cat.sql(
        "select unit, objective_peak, null as nothing, '<b>' as sign from units order by objective_peak desc"
    )
    lines = repr(answer).splitlines()
    assert lines[0].split() == ["unit", "objective_peak", "nothing", "sign"]
    assert lines[1].split() == ["features.3:69", "138", "NULL", "<b>"]
    assert len({line.index("<b>") for line in lines[1:-1]}) == 1, "columns stand below each other"
    assert lines[-1] == "113 rows, of which 20 are shown"
    html = answer._repr_html_()
    assert "<td>&lt;b&gt;</td>" in html
    assert html.count("<tr>") == 1 + notebook.ROWS
    assert repr(cat.sql("select 1 as a where false")) == "a"


# -- find --------------------------------------------------------------------------------------------------------------


def test_which_tables_there_are_can_be_asked(cat: Catalogue) -> None:
    assert {row[0] for row in cat.sql("show tables").rows} == set(TABLES)


@pytest.mark.parametrize("top", ["3", 2.5, -1])
def test_how_many_is_a_number(cat: Catalogue, top: Any) -> None:
    with pytest.raises(QueryError, match="how many units"):
        cat.find(top=top)


def names(cat: Catalogue, **asked: Any) -> list[str]:
    return [str(unit) for unit in cat.find(**asked)]


def test_units_are_found_by_layer_status_and_order(cat: Catalogue) -> None:
    assert names(cat, order="objective_peak desc", top=2) == ["features.3:69", "features.3:68"]
    assert names(cat, layer="classifier.*", order="objective_peak", top=2) == ["classifier.1:0", "classifier.1:1"]
    assert {unit.layer.name for unit in cat.find(layer=["features.3", "class*"])} == {"features.3", "classifier.1"}
    assert {unit.layer.name for unit in cat.find(layer=STRANGE)} == {STRANGE}
    assert names(cat, status="dead") == ["features.3:35", "späte schicht%2F0@2#1%25:16", "classifier.1:5"]
    assert len(cat.find(status=["dead", "nan"])) == 3 + len(cat.find(status="nan"))
    assert len(cat.find()) == sum(LAYERS.values())
    assert cat.find(top=0) == []


def test_units_are_found_by_the_ranges_of_their_columns(cat: Catalogue) -> None:
    assert names(cat, layer="features.3", objective=(3, 6)) == [f"features.3:{index}" for index in (3, 4, 5, 6)]
    assert [unit.objective for unit in cat.find(objective=(None, 1), kind="linear")] == [0, 1]
    assert names(cat, label="kind 7", layer="features.3", top=2) == ["features.3:7", "features.3:17"]
    assert len(cat.find(label="kind*")) == sum(LAYERS.values())
    assert len(cat.find(dead=True)) == 3
    assert {unit.index for unit in cat.find(index=[3, 8], layer="features.3")} == {3, 8}
    assert len(cat.find(most_similar=None)) == 3


def test_what_is_null_comes_last_and_equals_keep_one_order(cat: Catalogue) -> None:
    for order in ("objective_peak", "objective_peak desc"):
        found = cat.find(layer="features.3", order=order)
        assert [math.isnan(unit.objective_peak) for unit in found] == sorted(
            math.isnan(unit.objective_peak) for unit in found
        )
    by_kind = names(cat, layer=["features.3", STRANGE], order="kind, basis desc")
    assert by_kind == names(cat, layer="features.3") + names(cat, layer=STRANGE)


@pytest.mark.parametrize(
    ("asked", "line"),
    [
        ({"order": "objective_pek desc"}, "There is no column 'objective_pek'. Did you mean 'objective_peak'"),
        ({"ratoi": 1}, "There is no column 'ratoi'. Did you mean 'ratio'"),
        ({"layer": "features.4"}, "There is no layer 'features.4'. Did you mean 'features.3'"),
        ({"layer": ["features.3", "conv*"]}, "There is no layer 'conv\\*'"),
        ({"order": "objective_peak downwards"}, "write columns, as in 'ratio desc'"),
        ({"order": "objective_peak; drop view units"}, "write columns"),
        ({"ratio": (1, 2, 3)}, "a range is \\(low, high\\)"),
        ({"top": -1}, "none or more"),
        ({"objective_peak": "high"}, "Could not convert string 'high' to FLOAT"),
    ],
)
def test_what_cannot_be_found_is_one_line(cat: Catalogue, asked: dict[str, Any], line: str) -> None:
    with pytest.raises((QueryError, UnknownName), match=line) as caught:
        cat.find(**asked)
    assert len(str(caught.value).splitlines()) == 1


def test_a_status_that_there_is_none_of_is_refused(cat: Catalogue) -> None:
    with pytest.raises(UnknownName, match="Did you mean 'dead'"):
        cat.find(status="daed")
    with pytest.raises(UnknownName, match="There are: ok, unstarted"):
        cat.find(status=["ok", "zz"])
    globbed, named = ([str(unit) for unit in cat.find(status=status)] for status in ("de*", "dead"))
    assert globbed == named != []
