"""Complete scenarios of transactions, compared with the records that Apache Kafka 4.3.1 stored; timestamps are replaced."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kafka_cy.cluster.topic_names import OFFSETS_TOPIC, TRANSACTIONS_TOPIC
from kafka_cy.coordinator.runtime.record_reader import BadRecord
from kafka_cy.coordinator.transactions.init_producer_id import NO_PRODUCER, Producer
from kafka_cy.coordinator.transactions.records import (
    TRANSACTION_RECORDS,
    StoredTransaction,
    TopicPartitions,
    TransactionKey,
    encode_transaction,
)
from kafka_cy.coordinator.transactions.states import State
from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.records import build_batch, iterate_batches

from .golden import golden
from .transaction_fakes import FakeProducerIds, TransactionCluster, TransactionHarness

Pairs = list[tuple[bytes, bytes | None]]
DAY_S = 86_400.0
SEQUENCES = golden("transaction-sequences.json")


def stored(name: str) -> Pairs:
    return [(bytes.fromhex(key), value and bytes.fromhex(value)) for _, key, value in SEQUENCES[name]["records"]]


def normal(pairs: Pairs) -> Pairs:
    """The records with timestamps that count: the time of the n-th record is n."""
    times: list[int] = []
    found: Pairs = []
    for each in pairs:
        decoded = TRANSACTION_RECORDS.decode(*each)
        assert decoded is not None
        key, value = decoded
        if value is None:
            found.append(each)
            times.append(-2)
            continue
        times.append(value.last_update_ms)
        start = value.start_ms
        if start >= 0:
            # The newest record of that time: several may have the same one.
            start = len(times) - 1 - times[::-1].index(start) if start in times else 0
            if value.state in (1, 2, 3) and times[start] == value.last_update_ms and not value.partitions:
                start = len(times) - 1
        found.append(TRANSACTION_RECORDS.encode(key, value._replace(last_update_ms=len(times), start_ms=start)))
    return found


def check(harness: TransactionHarness, name: str) -> None:
    written = harness.log(name).records()
    assert [TRANSACTION_RECORDS.decode(*each) for each in normal(written)] == [
        TRANSACTION_RECORDS.decode(*each) for each in normal(stored(name))
    ]
    assert normal(written) == normal(stored(name))
    assert harness.partition_index(name) == SEQUENCES[name]["records"][0][0]


@pytest.mark.parametrize("name", SEQUENCES)
def test_records_are_encoded_as_kafka_does(name: str) -> None:
    for pair in stored(name):
        decoded = TRANSACTION_RECORDS.decode(*pair)
        assert decoded is not None and TRANSACTION_RECORDS.encode(*decoded) == pair
        assert encode_transaction(decoded) == pair


INT16, INT32, INT64 = (st.integers(-(1 << bits), (1 << bits) - 1) for bits in (15, 31, 63))
TOPIC = st.builds(TopicPartitions, st.text(max_size=8), st.lists(INT32, max_size=3).map(tuple))
STORED = st.builds(
    StoredTransaction, INT64, INT16, INT32, st.sampled_from(State), st.none() | st.lists(TOPIC, max_size=3).map(tuple), INT64,
    INT64, INT64, st.just(-1) | INT64, INT16,
)  # fmt: skip


@given(st.text(max_size=200), st.none() | STORED)
def test_the_encoder_agrees_with_the_description_of_the_records(transactional_id: str, value: StoredTransaction | None) -> None:
    record = (TransactionKey(transactional_id), value)
    assert encode_transaction(record) == TRANSACTION_RECORDS.encode(*record)


def test_many_topics() -> None:
    topics = tuple(TopicPartitions(f"t{number}", (number,)) for number in range(200))
    record = (TransactionKey("t"), StoredTransaction(1, 2, 3, State.ONGOING, topics, 4, 5, 1, -1, 2))
    assert encode_transaction(record) == TRANSACTION_RECORDS.encode(*record)


def test_what_does_not_fit_is_refused() -> None:
    fitting = StoredTransaction(1, 2, 3, State.EMPTY, None, 4, -1)
    encode_transaction((TransactionKey("t" * 32767), fitting))
    wrong = [
        (TransactionKey("t" * 32768), None),
        *((TransactionKey("t"), fitting._replace(**{name: 1 << 63})) for name in ("producer_id", "timeout_ms", "start_ms")),
        (TransactionKey("t"), fitting._replace(next_producer_id=1 << 63)),
        (TransactionKey("t"), fitting._replace(partitions=(TopicPartitions("t", (1 << 31,)),))),
    ]
    for record in wrong:
        with pytest.raises(BadRecord):
            encode_transaction(record)


def test_the_batch_is_kafkas_byte_for_byte() -> None:
    (batch,) = [each for each in golden("transaction-batches.json") if each["partition"].startswith(TRANSACTIONS_TOPIC)]
    golden_bytes = bytes.fromhex(batch["hex"])
    harness = TransactionHarness(producer_ids=FakeProducerIds(13))
    harness.started("t2Z")
    (mine,) = harness.log("t2Z").batches
    (ours,), (theirs,) = iterate_batches(mine), iterate_batches(golden_bytes)
    assert (ours.attributes, ours.base_sequence, ours.producer_id, ours.producer_epoch) == (0, -1, -1, -1)
    (record,) = theirs.records()
    rebuilt = build_batch(
        [(record.key, record.value, record.timestamp_ms, (), -1)], base_sequence=ours.base_sequence, leader_epoch=0
    )
    assert rebuilt == golden_bytes


def test_t1_version_1() -> None:
    harness = TransactionHarness(producer_ids=FakeProducerIds(12))
    first = harness.started("t1")
    options: Any = {"transactional_id": "t1", "version": 0}
    assert not harness.add(first, ("tt", 1), ("tt", 0), **options)
    assert not harness.add(first, ("tu", 0), **options)
    assert not harness.add(first, ("tu", 0), ("tt", 1), **options)  # nothing new, nothing stored
    assert harness.end(first, **options) == (ErrorCode.NONE, NO_PRODUCER)
    assert harness.started("t1") == Producer(12, 1)
    assert harness.started("t1", expected=Producer(12, 1)) == Producer(12, 2)
    harness.loop.advance(8 * DAY_S)
    check(harness, "t1")
    assert [harness.markers("tt", 0), harness.markers("tt", 1), harness.markers("tu", 0)] == 3 * [[(12, 0, True, 0)]]


def test_t2_version_2() -> None:
    harness = TransactionHarness(producer_ids=FakeProducerIds(13))
    producer = harness.started("t2")
    options: Any = {"transactional_id": "t2"}
    _, producer = harness.end(producer, False, **options)
    assert producer == Producer(13, 1)
    assert not harness.add(producer, ("tt", 1), **options)
    _, producer = harness.end(producer, **options)
    assert not harness.add(producer, ("tt", 1), **options)
    _, producer = harness.end(producer, False, **options)
    _, producer = harness.end(producer, False, **options)
    assert not harness.add(producer, ("tt", 0), version=0, **options)
    assert harness.end(producer, **options) == (ErrorCode.NONE, Producer(13, 5))
    harness.loop.advance(8 * DAY_S)
    check(harness, "t2")
    assert harness.markers("tt", 1) == [(13, 2, True, 0), (13, 3, False, 0)]


def test_t3_offsets() -> None:
    harness = TransactionHarness(producer_ids=FakeProducerIds(14))
    producer = harness.started("t3")
    options: Any = {"transactional_id": "t3"}
    assert not harness.add(producer, (OFFSETS_TOPIC, 18), **options)
    _, producer = harness.end(producer, **options)
    assert not harness.add(producer, (OFFSETS_TOPIC, 18), version=0, **options)
    assert not harness.end(producer, False, version=0, **options)[0]
    assert not harness.add(producer, (OFFSETS_TOPIC, 0), version=0, **options)
    harness.loop.advance(75)
    assert harness.end(producer, **options) == (ErrorCode.INVALID_TXN_STATE, NO_PRODUCER)
    harness.loop.advance(8 * DAY_S)
    check(harness, "t3")
    assert harness.markers(OFFSETS_TOPIC, 18) == [(14, 1, True, 0), (14, 1, False, 0)]
    assert harness.markers(OFFSETS_TOPIC, 0) == [(14, 2, False, 0)]


def test_t4_timeout() -> None:
    harness = TransactionHarness(producer_ids=FakeProducerIds(15))
    producer = harness.started("t4", timeout_ms=1000)
    assert not harness.add(producer, ("tu", 0), transactional_id="t4")
    assert harness.table.producers
    harness.loop.advance(12)
    assert not harness.table.producers
    assert harness.started("t4", timeout_ms=1000, expected=producer) == Producer(15, 1)
    harness.loop.advance(8 * DAY_S)
    check(harness, "t4")


@pytest.mark.parametrize(("name", "version", "first_id"), [("t5", 2, 16), ("t6", 0, 17)])
def test_t5_and_t6_another_producer(name: str, version: int, first_id: int) -> None:
    harness = TransactionHarness(producer_ids=FakeProducerIds(first_id))
    producer = harness.started(name)
    assert not harness.add(producer, ("tu", 0), transactional_id=name, version=version)
    assert harness.init(name) == (ErrorCode.CONCURRENT_TRANSACTIONS, NO_PRODUCER)
    assert harness.started(name) == Producer(first_id, 2)
    assert harness.end(producer, transactional_id=name) == (ErrorCode.PRODUCER_FENCED, NO_PRODUCER)
    harness.loop.advance(8 * DAY_S)
    if name == "t5":
        assert harness.end(Producer(first_id, 2), transactional_id=name)[0] == ErrorCode.INVALID_PRODUCER_ID_MAPPING
        harness.producer_ids.next = 1001
        assert harness.started(name) == Producer(1001, 0)
        harness.loop.advance(8 * DAY_S)
    check(harness, name)


def test_ov_all_epochs_are_used() -> None:
    cluster = TransactionCluster()
    log = cluster.hosted[TRANSACTIONS_TOPIC, 9]
    key, value = stored("ov")[0]
    log.append(build_batch([(key, value, 1, (), -1)]), "coordinator")
    harness = TransactionHarness(cluster, producer_ids=FakeProducerIds(22))
    producer = Producer(21, 32765)
    for expected in (Producer(21, 32766), Producer(22, 0), Producer(22, 1)):
        if harness.stored("ov").state != 1:
            assert not harness.add(producer, ("ti", 0), transactional_id="ov")
        error, after = harness.end(producer, transactional_id="ov")
        assert (error, after) == (ErrorCode.NONE, expected)
        assert harness.end(producer, transactional_id="ov") == (ErrorCode.NONE, expected), "a retry"
        producer = after
    harness.loop.advance(8 * DAY_S)
    check(harness, "ov")
    assert harness.markers("ti", 0) == [(21, 32766, True, 0), (21, 32767, True, 0), (22, 1, True, 0)]


def test_rs1_over_a_restart() -> None:
    harness = TransactionHarness(producer_ids=FakeProducerIds(36))
    producer = harness.started("rs1")
    assert not harness.add(producer, ("tt", 2), transactional_id="rs1")
    harness.loop.advance(30)
    later = harness.restarted()
    assert later.table.producers == {36: (0, {(later.cluster.topics["tt"].id.bytes, 2)})}
    later.loop.advance(25)
    assert later.stored("rs1").state == 1, "the transaction keeps its start time"
    later.loop.advance(20)
    assert later.stored("rs1").state == 5
    later.loop.advance(8 * DAY_S)
    check(later, "rs1")
