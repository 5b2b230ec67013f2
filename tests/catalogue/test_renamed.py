"""Names that changed: the old ones are understood, each use says the new one; `select *` shows the new ones alone."""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable
from typing import Any

import pytest

import atlas
from atlas.catalogue import Catalogue, renamed, tables
from atlas.catalogue.answers import ChannelStatistics
from atlas.catalogue.atlases import Atlas, Grid, Quality
from atlas.catalogue.cells import Cell, Label
from atlas.catalogue.columns import TABLES
from atlas.catalogue.layer import LayerView
from atlas.catalogue.tables import Tables
from atlas.catalogue.unit import UnitView
from atlas.errors import QueryError, UnknownName
from atlas.store import MemoryBackend, Store
from tests.collected import collect_into
from tests.stores import make_store

UNIT = "features.3:20"
ALIASES: dict[type, dict[str, str]] = {
    Catalogue: {"like": "similar"},
    LayerView: {"mean": "objective", "peak": "objective_peak", "silent": "dead"},
    UnitView: {"mean": "objective", "peak": "objective_peak", "silent": "dead", "neighbours": "similar"},
    ChannelStatistics: {"least": "min", "largest": "max"},
    Atlas: {"strength": "attribution"},
    Grid: {"mean": "objective", "above": "win_rate", "apt": "picture_reliable", "strength": "attribution"},
    Quality: {"apt": "pictures_reliable"},
    Cell: {"mean": "objective", "apt": "picture_reliable", "sure_labels": "reliable_labels"},
    Label: {"strength": "attribution", "frequency": "stability", "sure": "reliable"},
}


def made() -> Store:
    store = make_store(MemoryBackend())
    collect_into(store)
    return store


@pytest.fixture(scope="module")
def cat() -> Catalogue:
    return atlas.open(made().backend)


def said(ask: Callable[[], Any]) -> tuple[Any, list[str]]:
    """What is answered, and what is said of old names; each is of this file, where the old name is used."""
    with warnings.catch_warnings(record=True, action="always") as caught:
        answer = ask()
    # Whatever another test left open may be cleared away just now, and be told of.
    found = [one for one in caught if not issubclass(one.category, ResourceWarning)]
    assert {(one.category, one.filename) for one in found} <= {(DeprecationWarning, __file__)}
    return answer, [str(one.message) for one in found]


@pytest.mark.parametrize(
    ("owner", "old", "new"), [(owner, *pair) for owner, names in ALIASES.items() for pair in names.items()]
)
def test_every_old_attribute_gives_the_new_one_and_warns(owner: type, old: str, new: str) -> None:
    class Made(owner):  # type: ignore[misc]
        def __init__(self) -> None: ...

        def __getattribute__(self, name: str) -> Any:
            return "found" if name == new else super().__getattribute__(name)

    assert new in {*dir(owner), *getattr(owner, "__dataclass_fields__", ())}
    assert said(lambda: getattr(Made(), old)) == ("found", [f"{owner.__name__}.{old} is called {new} now."])


def test_old_attributes_of_a_catalogue(cat: Catalogue) -> None:
    unit: Any = cat.unit(UNIT)
    assert said(lambda: unit.peak) == (unit.objective_peak, ["UnitView.peak is called objective_peak now."])
    assert repr(said(lambda: unit.neighbours)[0]) == repr(unit.similar)
    assert said(lambda: unit.statistics.largest)[0] == unit.statistics.max
    assert repr(said(lambda: cat.like(UNIT, top=3))[0]) == repr(cat.similar(UNIT, top=3))  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("table", "old", "new"), [(table, *pair) for table, names in renamed.COLUMNS.items() for pair in names.items()]
)
def test_a_question_with_an_old_column_is_answered(cat: Catalogue, table: str, old: str, new: str) -> None:
    names = [column.name for column in TABLES[table]]
    assert new in names
    assert old not in names
    answer, told = said(lambda: cat.sql(f"select {old} from {table} where {table}.{old} is not null order by all"))
    assert told == [f"The column {old} is called {new} now."]
    assert answer.columns == [old], "as whoever asks expects"
    now = cat.sql(f"select {new} from {table} where {new} is not null order by all")
    assert answer.rows == list(answer) == now.rows
    assert bool(now.rows) == (table == "units"), "this store has no atlases"


def test_new_questions_show_new_columns_alone(cat: Catalogue) -> None:
    for name, columns in TABLES.items():
        assert cat.sql(f"select * from {name} limit 0").columns == [column.name for column in columns]
    assert said(lambda: cat.sql("select peak, objective_peak from old.units"))[1] == [], "said by its own name"
    # What is a function, an alias or a word of the question's own is no column.
    text = "select mean(objective) as peak, least(1, 2), greatest(max(ratio), 0) from units"
    answer, told = said(lambda: cat.sql(text))
    assert (answer.columns[0], told) == ("peak", [])


def test_old_and_new_columns_in_one_question(cat: Catalogue) -> None:
    text = "explain select u.peak, u.objective, mean(ratio) from units u join classes using (unit) group by all"
    assert said(lambda: cat.sql(text))[1] == ["The column peak is called objective_peak now."]
    text = "select unit from units where silent and peak > 3 and objective > 0"
    told = ["The column peak is called objective_peak now.", "The column silent is called dead now."]
    assert said(lambda: cat.sql(text))[1] == told
    pivoted = said(lambda: cat.sql("with best as (select layer, max(peak) as most from units group by 1) from best"))
    assert len(pivoted[0].rows) == 3


def test_what_is_wrong_beside_an_old_column_is_told(cat: Catalogue) -> None:
    with pytest.raises(QueryError, match='Referenced column "pek" not found'):
        cat.sql("select peak, pek from units")
    with pytest.raises(QueryError, match='Referenced column "peak" not found'):
        cat.sql("select peak from images")
    with pytest.raises(UnknownName, match="There is no table 'unit'"):
        cat.sql("select peak from unit")


def test_old_values_are_named(cat: Catalogue) -> None:
    told = ["The value silent is called dead now."]
    assert said(lambda: cat.sql("select unit from units where status = 'silent'"))[1] == told
    assert said(lambda: cat.sql("select unit from units where status = $status", status="silent"))[1] == told
    assert said(lambda: cat.sql("select label from classes where label = $label", label="silent"))[1] == []
    text = "select * from atlas_cells where map = 'winners-207'"
    assert said(lambda: cat.sql(text))[1] == ["The value winners-207 is called class-207 now."]


def test_find_understands_old_columns_and_values(cat: Catalogue) -> None:
    def names(**asked: Any) -> list[str]:
        return [str(unit) for unit in cat.find(**asked)]

    for old, new in (
        ({"silent": True}, {"dead": True}),
        ({"status": "silent"}, {"status": "dead"}),
        ({"status": ["silent", "nan"]}, {"status": ["dead", "nan"]}),
        (
            {"peak": (4, 12), "order": "mean desc, largest"},
            {"objective_peak": (4, 12), "order": "objective desc, activation_max"},
        ),
        ({"nearest": None, "order": "layer"}, {"most_similar": None, "order": "layer"}),
    ):
        found, told = said(lambda old=old: names(**old))  # type: ignore[misc]
        assert found == names(**new)
        assert told
        assert all(re.fullmatch(r"The (column|value) \w+ is called \w+ now\.", line) for line in told)


def test_a_file_of_old_columns_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    store = made()
    monkeypatch.setattr(tables, "FORMAT", tables.FORMAT - 1)
    tables.write_tables(store)
    monkeypatch.undo()
    cursor = Tables(store).cursor(["units"])
    assert cursor.execute("select count(objective_peak) > 0 from units").fetchall() == [(True,)]


def test_maps_of_a_layer_are_found_by_either_name(cat: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    of = {"samples": 9, "placed": 9, "grids": []}
    layer = LayerView(cat, cat.index["layers"][0] | {"atlases": {"all": of, "winners-3": of}})
    assert layer.atlases == ("all", "class-3")
    chart = layer.atlas_of("class-3")
    assert layer.atlas_of("winners-3") is chart
    assert str(chart) == f"the map class-3 of {layer.name}"
    asked: list[str] = []
    monkeypatch.setattr(cat.store, "read", lambda path, *_: asked.append(path))
    chart.read("xy")
    assert asked == [f"layers/{layer.layer.key}/atlas/winners-3/xy"], "where the store has it"


def test_every_column_has_a_meaning() -> None:
    for name, columns in TABLES.items():
        assert len({column.name for column in columns}) == len(columns)
        for column in columns:
            assert column.meaning.strip(), f"{name}.{column.name}"
            assert not set(re.findall(r"\w+", column.meaning)) & {"silent", "apt", "likeness", "alike", "speaks"}
