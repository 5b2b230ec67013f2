"""Receipts: whole, or absent."""

from __future__ import annotations

import json
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from atlas.store import Receipt, Stored, digest_of
from atlas.store import receipts as receipts_module
from atlas.store.receipts import fold, unfold

NUMBERS = st.one_of(st.none(), st.integers(-(2**53), 2**53), st.floats(allow_nan=False, allow_infinity=False))
KEYS = st.text(max_size=20).map("k".__add__).filter(lambda key: ".." not in key.split("/"))
"""Keys that do not lead out of the store: a receipt that names one is refused."""
RECEIPTS = st.builds(
    Receipt,
    plan=st.text("0123456789abcdef", min_size=64, max_size=64),
    shard=st.integers(0, 10**5),
    units=st.tuples(st.integers(0, 10**6), st.integers(0, 10**6)),
    objects=st.lists(
        st.builds(
            Stored,
            st.text(max_size=20).map("k".__add__).filter(lambda key: "/../" not in f"{key}/"),
            st.integers(0, 2**50),
            st.text("0123456789abcdef", max_size=64),
        ),
        max_size=2,
    ).map(tuple),
    numbers=st.dictionaries(st.text(max_size=5), st.lists(st.lists(NUMBERS, max_size=2), max_size=3), max_size=3),
    record=st.dictionaries(st.text(max_size=5), NUMBERS, max_size=3),
)


@given(RECEIPTS)
def test_a_receipt_is_read_as_it_was_written(receipt: Receipt) -> None:
    assert Receipt.parse(receipt.to_bytes()) == receipt


@settings(max_examples=300)
@given(RECEIPTS, st.data())
def test_any_altered_byte_makes_it_absent_or_changes_nothing(receipt: Receipt, data: st.DataObject) -> None:
    whole = receipt.to_bytes()
    at = data.draw(st.integers(0, len(whole) - 1))
    altered = bytearray(whole)
    altered[at] ^= data.draw(st.integers(1, 255))
    assert Receipt.parse(bytes(altered)) in (None, receipt)


@given(RECEIPTS, st.data())
def test_a_torn_receipt_is_absent(receipt: Receipt, data: st.DataObject) -> None:
    whole = receipt.to_bytes()
    length = data.draw(st.integers(0, len(whole) - 1))
    assert Receipt.parse(whole[:length]) is None
    assert Receipt.parse(whole[:length] + b"\0" * (len(whole) - length)) is None


@pytest.mark.parametrize(
    "junk", [None, b"", b"null", b"[]", b"{}", b"3", b"\xff\xfe", b'{"digest": 1}', b'{"a": NaN, "digest": ""}']
)
def test_what_is_no_receipt_is_absent(junk: bytes | None) -> None:
    assert Receipt.parse(junk) is None


def test_a_whole_digest_on_the_wrong_form_is_absent() -> None:
    """Signed by itself, but not what a receipt holds."""
    from atlas.plans import fingerprint

    for content in ({"plan": "x"}, {**_receipt(0).content, "objects": [{"path": "x"}], "record": {}}):
        assert Receipt.parse(json.dumps(content | {"digest": fingerprint(content)}).encode()) is None


@given(RECEIPTS, st.dictionaries(st.text(max_size=3), st.integers(), max_size=2))
def test_what_happened_on_the_way_is_never_compared(receipt: Receipt, record: dict[str, int]) -> None:
    other = Receipt(receipt.plan, receipt.shard, receipt.units, receipt.objects, receipt.numbers, record)
    assert other.proof == receipt.proof
    assert digest_of([other]) == digest_of([receipt])


def test_a_digest_is_of_the_receipts_whatever_their_order() -> None:
    receipts = [_receipt(shard) for shard in range(4)]
    assert digest_of(receipts) == digest_of(reversed(receipts))
    assert len({digest_of(receipts[:count]) for count in range(5)}) == 5


MANY = pytest.mark.parametrize("kept", [receipts_module.KEPT, 0], ids=["few", "many"])
"""Of many receipts one at a time is in memory."""


@MANY
def test_a_manifest_gives_its_receipts_back_in_order(kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receipts_module, "KEPT", kept)
    receipts = [_receipt(shard) for shard in (2, 0, 1)]
    assert list(unfold(fold(receipts))) == sorted(receipts, key=lambda receipt: receipt.shard)
    assert list(unfold(None)) == list(unfold(fold([]))) == []


def test_a_manifest_is_written_as_ever() -> None:
    """Whoever reads it needs no more than JSON; and whatever wrote it, it is read."""
    for count in range(4):
        receipts = [_receipt(shard) for shard in range(count)]
        rows = [receipt.to_dict() for receipt in receipts]
        manifest = {"encoding-type": "manifest", "receipts": rows}
        assert fold(receipts) == json.dumps(manifest).encode()
        for written in (json.dumps(manifest, indent=1), json.dumps(manifest, separators=(",", ":"), sort_keys=True)):
            assert list(unfold(written.encode())) == receipts


def test_many_receipts_are_folded_and_unfolded_in_little_memory() -> None:
    receipts = (_receipt(shard) for shard in range(6_000))
    tracemalloc.start()
    try:
        data = fold(receipts)
        folding = tracemalloc.get_traced_memory()[1]
        assert len(data) > receipts_module.KEPT
        tracemalloc.reset_peak()
        assert sum(receipt.shard for receipt in unfold(data)) == sum(range(6_000))
        unfolding = tracemalloc.get_traced_memory()[1] - len(data)
    finally:
        tracemalloc.stop()
    assert folding < 5 * len(data)
    assert unfolding < 2 * len(data)


@MANY
def test_a_damaged_manifest_keeps_the_receipts_that_are_whole(kept: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receipts_module, "KEPT", kept)
    data = fold([_receipt(shard) for shard in range(3)])
    altered = data.replace(b'"shard": 1', b'"shard": 7')
    assert altered != data
    assert [receipt.shard for receipt in unfold(altered)] == [0, 2]
    for torn in (data[:-1], data[:40], data[:-2] + b", ]}", b"[]", b"null", b"3", b'{"receipts": 3}', b"\xff"):
        assert list(unfold(torn)) == []


def _receipt(shard: int) -> Receipt:
    stored = Stored(f"c/{shard}", 3, "ab")
    return Receipt("p", shard, (32 * shard, 32 * shard + 32), (stored,), {"mean": [[1.5, None]]}, {"host": "a"})
