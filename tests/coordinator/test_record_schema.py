"""Records that Apache Kafka 4.3.1 wrote are read and written again, byte for byte; damaged ones are refused."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Any, NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafka_cy.coordinator.consumer import records as consumer
from kafka_cy.coordinator.runtime.record_reader import BadRecord, RecordReader
from kafka_cy.coordinator.runtime.record_schema import (
    INT8,
    INT32,
    STRING,
    RecordType,
    RecordTypes,
    Struct,
    Tagged,
    array,
    nullable_struct_in_tag,
)
from kafka_cy.coordinator.share import records as share
from kafka_cy.coordinator.streams import records as streams

from .golden import golden

TYPES: Mapping[str, RecordTypes] = {
    "consumer": consumer.GROUP_RECORDS, "share": share.GROUP_RECORDS, "streams": streams.GROUP_RECORDS
}  # fmt: skip
GOLDEN = golden("records-by-type.json")
OF_GROUPS = [
    (name, entry)
    for name, types in TYPES.items()
    for entry in GOLDEN
    if entry["topic"] == "__consumer_offsets" and entry["type"] in types.by_number
]
OF_SHARE_STATE = [("state", entry) for entry in GOLDEN if entry["topic"] == "__share_group_state"]


def _data(entry: Mapping[str, Any]) -> tuple[bytes, bytes | None]:
    value = entry["value"]
    return bytes.fromhex(entry["key"]), None if value is None else bytes.fromhex(value)


def _camel(name: str) -> str:
    return "".join(part.title() for part in name.removesuffix("_ms").split("_"))


def _assert_equal(value: Any, decoded: Any) -> None:
    """Compare a decoded record with the golden one, whose dictionaries lack the tagged fields with default values."""
    if isinstance(decoded, dict):
        fields = {_camel(name): each for name, each in value._asdict().items()}
        for name, each in decoded.items():
            _assert_equal(fields[name.removeprefix("~").removesuffix("Ms")], each)
    elif isinstance(decoded, list):
        assert len(value) == len(decoded)
        for one, other in zip(value, decoded, strict=True):
            _assert_equal(one, other)
    else:
        assert (str(value) if isinstance(value, uuid.UUID) else value) == decoded


@pytest.mark.parametrize(("kind", "entry"), OF_GROUPS + OF_SHARE_STATE)
def test_records_of_kafka_are_read_and_written_byte_for_byte(kind: str, entry: Mapping[str, Any]) -> None:
    types = TYPES.get(kind, share.STATE_RECORDS)
    data = _data(entry)
    record = types.decode(*data)
    assert record is not None
    assert types.encode(*record) == data
    _assert_equal(record[0], entry["decoded_key"])
    _assert_equal(record[1], entry["decoded_value"])


def test_every_type_of_these_groups_has_an_example() -> None:
    seen = {(kind, entry["type"]) for kind, entry in OF_GROUPS + OF_SHARE_STATE}
    assert {number for kind, number in seen if kind == "consumer"} == set(consumer.GROUP_RECORDS.by_number)
    assert {number for kind, number in seen if kind == "share"} == set(share.GROUP_RECORDS.by_number)
    assert {number for kind, number in seen if kind == "streams"} == set(streams.GROUP_RECORDS.by_number)
    assert {number for kind, number in seen if kind == "state"} == set(share.STATE_RECORDS.by_number)


class Key(NamedTuple):
    name: str


class Inner(NamedTuple):
    number: int


class Value(NamedTuple):
    numbers: tuple[int, ...]
    inner: Inner | None = Inner(0)
    epochs: tuple[int, ...] | None = ()
    not_written: int = 7


VALUE = Struct(
    Value,
    numbers=array(INT32),
    inner=Tagged(3, nullable_struct_in_tag(Struct(Inner, number=INT8).as_type), Inner(0)),
    epochs=Tagged(1, array(INT32, nullable=True), ()),
)
OLD_VALUE = Struct(Value, numbers=array(INT32))
OWN = RecordTypes(
    RecordType(5, Struct(Key, name=STRING), {0: OLD_VALUE, 1: VALUE}, writes=1, flexible_from=1),
)


def test_null_is_written_where_the_empty_value_is_left_out() -> None:
    assert OWN.encode(Key("k"), Value((1,), None, None))[1] == bytes.fromhex("0001 02 00000001 02 010100 030100")
    assert OWN.encode(Key("k"), Value(()))[1] == bytes.fromhex("0001 01 00")


def test_an_older_version_has_no_compact_lengths_and_no_tags() -> None:
    key = OWN.encode(Key("k"), None)[0]
    assert key == bytes.fromhex("0005 0001 6b")
    assert OWN.decode(key, bytes.fromhex("0000 00000001 00000009")) == (Key("k"), Value((9,)))


def test_unknown_tags_are_skipped_and_unknown_types_are_told() -> None:
    key = OWN.encode(Key("k"), None)[0]
    assert OWN.decode(key, bytes.fromhex("0001 01 01 0903aabbcc")) == (Key("k"), Value(()))
    assert OWN.decode(bytes.fromhex("0006 0001 6b"), None) is None
    with pytest.raises(BadRecord, match="record type 5 has no version 2"):
        OWN.decode(key, bytes.fromhex("0002 01 00"))


@pytest.mark.parametrize("value", [Value((1 << 31,)), Value((1,), Inner(128))])
def test_a_value_that_does_not_fit_is_refused(value: Value) -> None:
    with pytest.raises(BadRecord, match="does not fit"):
        OWN.encode(Key("k"), value)


def test_a_string_that_does_not_fit_is_refused() -> None:
    with pytest.raises(BadRecord, match="32768 bytes"):
        OWN.encode(Key("k" * 32768), None)


@given(entry=st.sampled_from([entry for _, entry in OF_GROUPS + OF_SHARE_STATE if entry["value"]]), data=st.data())
def test_damaged_values_are_refused_or_read(entry: Mapping[str, Any], data: st.DataObject) -> None:
    """Whatever the bytes, decoding returns or raises BadRecord, and makes nothing larger than the bytes allow."""
    key, value = _data(entry)
    assert value is not None
    damaged = bytearray(value)
    at = data.draw(st.integers(0, len(damaged) - 1))
    damaged[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(damaged)))
    types = share.STATE_RECORDS if entry["topic"] == "__share_group_state" else None
    for candidate in [types] if types else TYPES.values():
        try:
            candidate.decode(key, bytes(damaged[:cut]))
        except BadRecord:
            pass


def test_a_forged_length_reserves_no_memory() -> None:
    with pytest.raises(BadRecord):
        array(INT32).read(RecordReader(b"\xff\xff\xff\xff\x0f", flexible=True))
