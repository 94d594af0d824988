"""Markers that end transactions: their bytes, the epochs that they are refused for, the last stable offset."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kafka_cy.records import iterate_batches
from kafka_cy.storage import transaction_table
from kafka_cy.storage.hosted_partition import HostedPartition
from kafka_cy.storage.log import PartitionLog, StorageFailure
from kafka_cy.telemetry import partition_metrics
from tests.storage.batches import TRANSACTIONAL, batch

GOLDEN = json.loads((Path(__file__).parent / "golden_data" / "markers.json").read_text())
TOPIC_ID = uuid.UUID(int=5)
INVALID_PRODUCER_EPOCH, INVALID_TXN_STATE, COORDINATOR_FENCED, OUT_OF_ORDER = 47, 48, 52, 45
NOT_IN_TRANSACTION = 18  # StorageError


@pytest.fixture
def partition(tmp_path: Path) -> Iterator[HostedPartition]:
    transaction_table.clear()
    yield HostedPartition(PartitionLog(str(tmp_path), clean=True), "t", TOPIC_ID, 0)
    transaction_table.clear()


def data(producer_id: int, epoch: int, sequence: int, count: int = 1) -> bytes:
    return batch(
        count, producer_id=producer_id, producer_epoch=epoch, base_sequence=sequence, attributes=TRANSACTIONAL
    )  # fmt: skip


def allow(producer_id: int, epoch: int) -> None:
    assert transaction_table.set_partitions(producer_id, epoch, [(TOPIC_ID.bytes, 0)])


def refused(code: int, append: Any, *arguments: Any, **named: Any) -> None:
    with pytest.raises(StorageFailure) as caught:
        append(*arguments, **named)
    assert caught.value.kafka_error_code == code


@pytest.mark.parametrize("golden", GOLDEN, ids=lambda golden: str(golden["note"]))
def test_markers_are_kafkas(partition: HostedPartition, golden: dict[str, Any]) -> None:
    (kafkas,) = iterate_batches(bytes.fromhex(golden["hex"]))
    while partition.log_end_offset < kafkas.base_offset:
        partition.append(batch())
    commit = kafkas.records()[0].key == b"\x00\x00\x00\x01"
    assert partition.append_marker(kafkas.producer_id, kafkas.producer_epoch, 0, commit, 2) == kafkas.base_offset
    (ours,) = iterate_batches(partition.read(kafkas.base_offset))
    expected, found = bytearray.fromhex(golden["hex"]), bytearray(partition.read(kafkas.base_offset))
    assert ours.crc_matches
    for bytes_of in (expected, found):
        bytes_of[17:21] = bytes(4)  # CRC
        bytes_of[27:43] = bytes(16)  # timestamps
    assert found == expected


def test_the_topics_time_stamp_type_is_that_of_the_marker(tmp_path: Path) -> None:
    log = PartitionLog(str(tmp_path), {"message.timestamp.type": "LogAppendTime"}, clean=True)
    partition = HostedPartition(log, "t", TOPIC_ID, 0)
    partition.append_marker(7, 0, 0, True, 1)
    (marker,) = iterate_batches(partition.read(0))
    assert marker.is_log_append_time and marker.is_control and marker.is_transactional


def test_version_1_ends_with_the_epoch_of_the_batches(partition: HostedPartition) -> None:
    allow(7, 3)
    partition.append(data(7, 3, 0), origin="transaction v1")
    assert partition.last_stable_offset == 0
    refused(INVALID_PRODUCER_EPOCH, partition.append_marker, 7, 2, 0, True, 1)
    assert partition.append_marker(7, 3, 0, True, 1) == 1
    assert partition.last_stable_offset == 2
    assert partition.append_marker(7, 3, 0, True, 1) == 2  # without an open transaction it is appended as well


def test_version_2_ends_with_a_higher_epoch(partition: HostedPartition) -> None:
    allow(7, 3)
    partition.append(data(7, 3, 0), origin="transaction v2")
    refused(INVALID_PRODUCER_EPOCH, partition.append_marker, 7, 3, 0, False, 2)
    assert partition.append_marker(7, 4, 0, False, 2) == 1
    assert partition.log.aborted_transactions(0, 2) == [(7, 0)]
    assert partition.append_marker(7, 4, 0, False, 2) == 2  # a retry
    assert partition.log.aborted_transactions(0, 3) == [(7, 0)]
    refused(INVALID_PRODUCER_EPOCH, partition.append_marker, 7, 3, 0, False, 2)


def test_an_older_coordinator_is_fenced(partition: HostedPartition) -> None:
    partition.append_marker(7, 0, 5, True, 1)
    refused(COORDINATOR_FENCED, partition.append_marker, 7, 0, 4, True, 1)
    refused(INVALID_PRODUCER_EPOCH, partition.append_marker, 7, -1, 4, True, 1)  # the first check
    partition.append_marker(7, 0, 5, True, 1)
    partition.append_marker(7, 0, 6, False, 1)


def test_a_refused_marker_changes_nothing(partition: HostedPartition) -> None:
    allow(7, 3)
    partition.append(data(7, 3, 0), origin="transaction v1")
    before = partition.log.producers()
    refused(INVALID_PRODUCER_EPOCH, partition.append_marker, 7, 2, 9, True, 1)
    assert partition.log.producers() == before and partition.log_end_offset == 1 and partition.last_stable_offset == 0


def test_the_first_batch_needs_the_table(partition: HostedPartition) -> None:
    for origin in ("transaction v1", "transaction v2"):
        with pytest.raises(StorageFailure) as caught:
            partition.append(data(7, 3, 0), origin=origin)
        assert caught.value.code == NOT_IN_TRANSACTION
    assert partition.log_end_offset == 0
    partition.append(data(6, 0, 0), origin="client")  # not verified
    allow(7, 3)
    partition.append(data(7, 3, 0), origin="transaction v2")
    transaction_table.remove(7)
    partition.append(data(7, 3, 1), origin="transaction v2")  # the transaction is open in the log
    partition.append_marker(7, 4, 0, True, 2)
    refused(INVALID_PRODUCER_EPOCH, partition.append, data(7, 3, 2), origin="transaction v2")
    with pytest.raises(StorageFailure) as caught:
        partition.append(data(7, 4, 0), origin="transaction v2")
    assert caught.value.code == NOT_IN_TRANSACTION


def test_an_open_transaction_of_an_older_epoch_does_not_admit_a_new_one(partition: HostedPartition) -> None:
    allow(7, 3)
    partition.append(data(7, 3, 0), origin="transaction v1")
    with pytest.raises(StorageFailure) as caught:
        partition.append(data(7, 4, 0), origin="transaction v1")
    assert caught.value.code == NOT_IN_TRANSACTION


def test_version_2_begins_with_sequence_0(partition: HostedPartition) -> None:
    allow(7, 3)
    allow(8, 3)
    refused(OUT_OF_ORDER, partition.append, data(7, 3, 5), origin="transaction v2")
    partition.append(data(8, 3, 5), origin="transaction v1")  # its state may have expired
    partition.append(data(7, 3, 0), origin="transaction v2")


def test_a_plain_batch_of_a_producer_with_an_open_transaction_is_refused(partition: HostedPartition) -> None:
    allow(7, 3)
    partition.append(data(7, 3, 0), origin="transaction v2")
    plain = batch(producer_id=7, producer_epoch=3, base_sequence=1)
    refused(INVALID_TXN_STATE, partition.append, plain, origin="client")


def test_a_repeat_is_told_as_one_while_the_transaction_is_open(partition: HostedPartition) -> None:
    allow(7, 3)
    assert partition.append(data(7, 3, 0, count=2), origin="transaction v2") == 0
    assert partition.append(data(7, 3, 0, count=2), origin="transaction v2") == 0
    assert partition.log_end_offset == 2


def test_the_stable_offset_is_never_below_the_log_start(partition: HostedPartition) -> None:
    allow(7, 3)
    partition.append(data(7, 3, 0), origin="transaction v2")
    partition.append(batch(3))
    partition.delete_records(2)
    assert partition.last_stable_offset == 2
    partition.append_marker(7, 4, 0, True, 2)
    assert partition.last_stable_offset == 5


def with_a_stable_transaction(partition: HostedPartition) -> None:
    """A transaction and its marker at 0 to 3, and two records after it."""
    allow(7, 3)
    partition.append(data(7, 3, 0, count=3), origin="transaction v2")
    partition.append_marker(7, 4, 0, True, 2)
    partition.append(batch(2))


def test_the_stable_offset_stays_when_the_log_is_cut_above_it(partition: HostedPartition) -> None:
    with_a_stable_transaction(partition)
    partition.follow(1)
    partition.truncate_to(4)
    assert (partition.high_watermark, partition.last_stable_offset) == (4, 4)
    partition.become_leader(2)
    assert (partition.high_watermark, partition.last_stable_offset) == (4, 4)


def test_a_new_leader_knows_which_transactions_are_stable(tmp_path: Path) -> None:
    """The high watermark does not move when the broker begins to lead."""
    transaction_table.clear()
    log = PartitionLog(str(tmp_path), clean=True)
    partition = HostedPartition(log, "t", TOPIC_ID, 0, followers=[2])
    with_a_stable_transaction(partition)
    partition.follower_fetched(2, 4)
    partition.follow(1)
    log.truncate_to(4)
    partition.become_leader(2)
    assert (partition.high_watermark, partition.last_stable_offset) == (4, 4)
    transaction_table.clear()


def test_late_transactions_are_counted(partition: HostedPartition) -> None:
    """Kafka: PartitionsWithLateTransactionsCount."""

    def late(before_ms: int) -> int:
        _, totals = partition_metrics.write([partition], [], False, False, before_ms)
        return totals["late_transactions"]

    assert late(1 << 62) == 0
    allow(7, 3)
    partition.append(data(7, 3, 0), origin="transaction v2")
    last_ms = partition.log.producers()[0][3]
    assert [late(last_ms), late(last_ms + 1)] == [0, 1]
    allow(8, 0)
    partition.append(data(8, 0, 0), origin="transaction v2")
    assert late(last_ms + 1) == 1
    partition.append_marker(7, 4, 0, True, 2)
    partition.append_marker(8, 1, 0, True, 2)
    assert late(1 << 62) == 0
