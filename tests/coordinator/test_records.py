"""Keys and values of `__consumer_offsets`, compared with records that Apache Kafka 4.3.1 wrote."""

from __future__ import annotations

import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafka_cy.coordinator import records
from kafka_cy.coordinator.runtime.record_reader import BadRecord
from kafka_cy.coordinator.string_hash import java_string_hash

from .golden import golden

CLASSIC = [entry for entry in golden("records-by-type.json") if entry["type"] in (1, 2) and "offsets" in entry["topic"]]


@pytest.mark.parametrize("entry", CLASSIC, ids=lambda entry: f"{entry['name']}-{entry['version']}")
def test_golden_records_survive_reading_and_writing(entry: dict[str, Any]) -> None:
    key = records.read_key(bytes.fromhex(entry["key"]))
    if isinstance(key, records.OffsetKey):
        assert records.offset_key(key.group_id, key.topic, key.partition).hex() == entry["key"]
        if entry["value"] is not None:
            assert (
                records.offset_value(records.read_offset_value(bytes.fromhex(entry["value"]))).hex() == entry["value"]
            )
    elif isinstance(key, records.GroupKey):
        assert records.group_key(key.group_id).hex() == entry["key"]
        if entry["value"] is not None:
            assert records.group_value(records.read_group_value(bytes.fromhex(entry["value"]))).hex() == entry["value"]
    else:
        raise AssertionError(key)


def test_partition_of_a_group_is_that_of_kafka() -> None:
    for sequence in golden("record-sequences.json")["sequences"]:
        for topic, partition, _, _, _, key_hex, _ in sequence["records"]:
            key = records.read_key(bytes.fromhex(key_hex)) if topic == "o" else None
            if isinstance(key, records.GroupKey | records.OffsetKey):
                assert records.partition_of(key.group_id, 50) == partition


def test_hash_of_min_int_is_partition_zero() -> None:
    assert java_string_hash("polygenelubricants") == -(1 << 31)
    assert records.partition_of("polygenelubricants", 50) == 0


@given(st.text(st.characters(exclude_categories=()), max_size=50))
def test_hashes_are_those_of_java(text: str) -> None:
    value = 0
    for unit in struct.iter_unpack("<H", text.encode("utf-16-le", "surrogatepass")):
        value = (31 * value + unit[0]) & 0xFFFFFFFF
    assert java_string_hash(text) == (value - (1 << 32) if value >= 1 << 31 else value)


def test_older_versions_are_read() -> None:
    def text(value: str) -> bytes:
        return struct.pack(">h", len(value)) + value.encode()

    assert records.read_offset_value(struct.pack(">hq", 0, 7) + text("m") + struct.pack(">q", 9)).offset == 7
    v2 = records.read_offset_value(struct.pack(">hq", 2, 7) + text("m") + struct.pack(">q", 9))
    assert (v2.metadata, v2.commit_timestamp_ms, v2.expire_timestamp_ms, v2.leader_epoch) == ("m", 9, -1, -1)
    v3 = records.read_offset_value(struct.pack(">hqi", 3, 7, 5) + text("m") + struct.pack(">q", 9))
    assert v3.leader_epoch == 5
    member = (
        text("id") + text("client") + text("/host") + struct.pack(">i", 10) + struct.pack(">i", 1) + b"s" + bytes(4)
    )
    group = struct.pack(">h", 0) + text("consumer") + struct.pack(">i", 3) + text("range") + text("id")
    v0 = records.read_group_value(group + struct.pack(">i", 1) + member)
    assert (v0.generation, v0.members[0].rebalance_timeout_ms, v0.members[0].subscription) == (3, 10, b"s")
    v4 = b"\x00\x04\x09consumer\x00\x00\x00\x03\x00\x00" + bytes(8) + b"\x01\x00"
    assert records.read_group_value(v4) == records.StoredGroup("consumer", 3, None, None, 0, ())


@pytest.mark.parametrize("value", [b"", b"\x00\x09", b"\x00\x03\x7f\xff", b"\x00\x04" + b"\xff" * 40])
def test_damaged_values_raise(value: bytes) -> None:
    with pytest.raises(BadRecord):
        records.read_group_value(value)
    with pytest.raises(BadRecord):
        records.read_offset_value(value)
