"""Layers and units: names go into addresses and keys and come out again."""

from __future__ import annotations

import json

import pytest
from hypothesis import given

from atlas.errors import UnknownName
from atlas.store.consistency import agree
from atlas.units import ImageStatus, Layer, Status, Unit, decode, encode
from tests.strategies import LAYERS, NAMES, UNITS


@given(UNITS)
def test_an_address_names_its_unit(unit: Unit) -> None:
    assert Unit.parse(str(unit)) == unit


def test_ordinary_addresses_read_as_they_are_written() -> None:
    assert str(Unit("features.11@2#1", 300)) == "features.11@2#1:300"
    assert Unit.parse("features.11/sae:300") == Unit("features.11", 300, "sae")


@pytest.mark.parametrize("text", ["", "features.11", "features.11:", ":3", "a:b:3", "a/B:3", "a:-1", "a:3 ", "a:٣"])
def test_what_is_no_address_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(UnknownName, match="LAYER:INDEX") as caught:
        Unit.parse(text)
    assert len(str(caught.value).splitlines()) == 1


@given(NAMES)
def test_a_key_is_one_plain_segment_and_gives_the_name_back(name: str) -> None:
    key = encode(name)
    assert decode(key) == name
    assert key.isascii()
    assert not set(key) & set("/\\:#?~ @")


def test_keys_of_ordinary_layers_are_their_names() -> None:
    assert encode("features.11") == "features.11"
    assert encode("a#b") == "a%23b"


@given(LAYERS)
def test_a_layer_survives_json(layer: Layer) -> None:
    assert Layer.from_dict(json.loads(json.dumps(layer.to_dict()))) == layer


def test_status_codes_never_change() -> None:
    codes = {status.name.lower(): int(status) for status in Status}
    assert codes == {"ok": 0, "unstarted": 1, "nan": 2, "rectified": 3, "absent": 255}


def test_stores_from_before_a_status_agree_with_the_list_of_today() -> None:
    today = {"attributes": {"statuses": {status.name.lower(): int(status) for status in ImageStatus}}}
    before = {name: code for name, code in today["attributes"]["statuses"].items() if code not in (8, 9)}
    assert agree(today, {"attributes": {"statuses": before}})
    assert not agree(today, {"attributes": {"statuses": before | {"unsupported": 9}}})
