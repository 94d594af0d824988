"""Sequences, epochs, duplicates, transactions; snapshots and transaction indexes byte for byte."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from kafka_cy.storage.log import PartitionLog, StorageFailure
from tests.storage.batches import TRANSACTIONAL, batch, marker

OUT_OF_ORDER, INVALID_EPOCH, INVALID_TXN_STATE = 5, 7, 8


@pytest.fixture
def log(tmp_path: Path) -> PartitionLog:
    return PartitionLog(str(tmp_path), clean=True)


def produce(log: PartitionLog, sequence: int, *, count: int = 1, pid: int = 7, epoch: int = 0, **more: int) -> dict:
    data = batch(count, producer_id=pid, producer_epoch=epoch, base_sequence=sequence, **more)
    return log.append_result(data, origin="client")


def refused(log: PartitionLog, code: int, sequence: int, **fields: int) -> None:
    end = log.log_end_offset
    with pytest.raises(StorageFailure) as caught:
        produce(log, sequence, **fields)
    assert caught.value.code == code
    assert log.log_end_offset == end


def test_sequences_follow_each_other(log: PartitionLog) -> None:
    produce(log, 0, count=3)
    refused(log, OUT_OF_ORDER, 4)
    produce(log, 3)
    refused(log, OUT_OF_ORDER, 10)


def test_unknown_producer_may_begin_anywhere(log: PartitionLog) -> None:
    produce(log, 42)
    produce(log, 43)


def test_five_batches_are_retained(log: PartitionLog) -> None:
    for i in range(7):
        produce(log, i)
    for i in range(2, 7):
        again = produce(log, i)
        assert again["duplicate"]
        assert again["base_offset"] == again["last_offset"] == i
    refused(log, OUT_OF_ORDER, 1)
    assert log.log_end_offset == 7


def test_sequence_wraps(log: PartitionLog) -> None:
    produce(log, 2**31 - 2, count=3)
    assert produce(log, 2**31 - 2, count=3)["duplicate"]
    produce(log, 1)


def test_epochs(log: PartitionLog) -> None:
    produce(log, 0)
    refused(log, OUT_OF_ORDER, 1, epoch=1)
    produce(log, 0, epoch=1)
    refused(log, INVALID_EPOCH, 1, epoch=0)


def test_open_transaction_holds_the_stable_offset(log: PartitionLog) -> None:
    log.append(batch())
    produce(log, 0, attributes=TRANSACTIONAL)
    assert log.first_unstable_offset == 1
    refused(log, INVALID_TXN_STATE, 1)
    log.append(marker(7, 0, commit=True))
    assert log.first_unstable_offset == -1
    assert log.aborted_transactions(0, 100) == []


def test_aborted_transactions_are_in_marker_order_as_kafka_wrote_them(log: PartitionLog, tmp_path: Path) -> None:
    produce(log, 0, pid=19, count=2, attributes=TRANSACTIONAL)
    produce(log, 0, pid=20, attributes=TRANSACTIONAL)
    log.append(marker(20, 0, commit=False))
    log.append(marker(19, 0, commit=False))
    assert log.aborted_transactions(0, 100) == [(20, 2), (19, 0)]
    golden = (
        "0000000000000000001400000000000000020000000000000003000000000000000000000000000000000013"
        "000000000000000000000000000000040000000000000005"
    )
    assert (tmp_path / "00000000000000000000.txnindex").read_bytes().hex() == golden


def test_many_open_transactions_end_in_any_order(log: PartitionLog, tmp_path: Path) -> None:
    count = 2000
    for pid in range(count):
        produce(log, 0, pid=pid, attributes=TRANSACTIONAL)
    log.close()
    log = PartitionLog(str(tmp_path), clean=True)  # the order of the snapshot is that of the producer ids
    open_ones = set(range(count))
    chosen = random.Random(7)
    for pid in chosen.sample(range(count), count):
        assert log.first_unstable_offset == min(open_ones)
        log.append(marker(pid, 0, commit=True))
        open_ones.discard(pid)
        if pid % 5 == 0:
            produce(log, 1, pid=pid, attributes=TRANSACTIONAL)
            log.append(marker(pid, 0, commit=False))
    assert log.first_unstable_offset == -1


SNAPSHOT = (
    "0001dbe5974f000000010000000000000024000000000000000000000000000000000000000001a2039eff8cffffffff0000000000000000"
)


def test_snapshot_is_kafkas(log: PartitionLog, tmp_path: Path) -> None:
    produce(log, 0, pid=36, attributes=TRANSACTIONAL, timestamp_ms=1795357081484)
    log.close()
    assert (tmp_path / "00000000000000000001.snapshot").read_bytes().hex() == SNAPSHOT
    again = PartitionLog(str(tmp_path), clean=True)
    assert again.first_unstable_offset == 0
    assert produce(again, 0, pid=36, attributes=TRANSACTIONAL, timestamp_ms=1795357081484)["duplicate"]


@pytest.mark.parametrize("clean", [True, False])
def test_state_survives_a_restart(log: PartitionLog, tmp_path: Path, clean: bool) -> None:
    for i in range(3):
        produce(log, i)
    if clean:
        log.close()
    again = PartitionLog(str(tmp_path), clean=clean)
    assert again.producers() == log.producers()
    assert produce(again, 2)["duplicate"]
    produce(again, 3)
