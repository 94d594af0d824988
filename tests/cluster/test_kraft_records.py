"""Records of a KRaft metadata log: every length is checked, for any bytes."""

from __future__ import annotations

import random
import struct
from pathlib import Path
from uuid import UUID

import pytest

from kafka_cy.cluster.kraft_records import SCHEMAS, BadMetadataRecord, UnknownRecordVersion, decode_record
from kafka_cy.records import iterate_batches
from tests.cluster.kraft_writer import frame, int32s, partition, text, topic, unpack_golden, varint

ID = UUID(int=7)


@pytest.fixture(scope="module")
def golden_values(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """The values of all records of the golden log and snapshot."""
    folder = unpack_golden(tmp_path_factory.mktemp("golden"))
    batches = [
        each for path in sorted(folder.iterdir()) for each in iterate_batches(path.read_bytes()) if not each.is_control
    ]
    return [record.value or b"" for each in batches for record in each.records()]


def test_every_golden_record_is_known(golden_values: list[bytes]) -> None:
    names = {decode_record(value).name for value in golden_values}
    assert not [name for name in names if name.startswith("unknown")]
    transactional = {"BeginTransactionRecord", "EndTransactionRecord"}
    assert names > transactional | {"TopicRecord", "PartitionRecord", "PartitionChangeRecord", "RemoveTopicRecord"}
    assert names > {"ConfigRecord", "UserScramCredentialRecord", "RemoveUserScramCredentialRecord", "ClientQuotaRecord"}
    assert names > {"AccessControlEntryRecord", "RemoveAccessControlEntryRecord", "ProducerIdsRecord"}


def test_a_truncated_record_is_refused_wherever_it_is_cut(golden_values: list[bytes]) -> None:
    for value in golden_values:
        if value[1] in SCHEMAS:
            for size in range(len(value)):
                with pytest.raises(BadMetadataRecord):
                    decode_record(value[:size])
            with pytest.raises(BadMetadataRecord, match="trailing"):
                decode_record(value + b"\0")


def test_garbled_records_raise_one_error(golden_values: list[bytes]) -> None:
    source = random.Random(20261128)
    refused = 0
    for _ in range(20_000):
        value = bytearray(source.choice(golden_values))
        for _ in range(source.randint(1, 4)):
            value[source.randrange(len(value))] = source.choice((0, 1, 0x7F, 0x80, 0xFF, source.randrange(256)))
        try:
            decode_record(bytes(value))
        except BadMetadataRecord:
            refused += 1
    assert refused > 1000


@pytest.mark.parametrize(
    ("value", "why"),
    [
        (None, "no value"),
        (b"", "0 are left"),
        (b"\x02" + topic("t", ID)[1:], "frame version 2"),
        (b"\x80" * 6, "longer than 5 bytes"),
        (frame(2, 0, text("t")), "16 bytes are expected"),
        (frame(2, 0, varint(1 << 31) + b"t"), "bytes are expected"),
        (frame(2, 0, text(None) + ID.bytes), "a value is missing"),
        (frame(2, 0, varint(3) + b"\xff\xfe" + ID.bytes), "not UTF-8"),
        (frame(5, 0, struct.pack(">i", 0) + ID.bytes, {1: b"\0"}), "4 bytes are expected"),
        (
            frame(5, 0, struct.pack(">i", 0) + ID.bytes, {1: b"\0\0\0\1\0"}),
            "the tagged field leader has trailing bytes",
        ),
        (frame(5, 0, struct.pack(">i", 0) + ID.bytes, {0: varint(0x7FFFFFFF)}), "an array of"),
    ],
)
def test_what_is_wrong_is_said(value: bytes | None, why: str) -> None:
    with pytest.raises(BadMetadataRecord, match=why):
        decode_record(value)


def test_a_newer_version_of_a_known_record_is_refused() -> None:
    with pytest.raises(UnknownRecordVersion, match="PartitionRecord has version 3, only 0 to 2 are known"):
        decode_record(frame(3, 3, partition(ID, 0, [1])[3:-1]))


def test_unknown_records_and_tags_are_passed_over() -> None:
    assert decode_record(frame(99, 7, b"anything")).name == "unknown record 99"
    assert decode_record(frame(0, 99, b"anything")).name == "RegisterBrokerRecord"
    record = decode_record(frame(5, 2, struct.pack(">i", 3) + ID.bytes, {0: int32s([1, 2]), 6: b"x", 77: b"yz"}))
    assert record.fields == {
        "partition_id": 3, "topic_id": ID, "isr": [1, 2], "leader": -2, "replicas": None, "directories": None,
    }  # fmt: skip


def test_fields_of_each_version(tmp_path: Path) -> None:
    body = partition(ID, 5, [1, 2], leader_epoch=9)[3:-1]
    without_directories = body[: len(body) - 1]
    old, new = decode_record(frame(3, 0, without_directories)), decode_record(frame(3, 1, body))
    assert "directories" not in old.fields
    assert new.fields == {**old.fields, "directories": []}
    assert old.fields["replicas"] == [1, 2]
    assert old.fields["leader_epoch"] == 9
