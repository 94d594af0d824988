"""What goes wrong in one transaction or partition costs the others nothing, and thousands of topics cost no time each."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from kafka_cy.coordinator.transactions import records
from kafka_cy.coordinator.transactions.limits import TransactionsHeld, transaction_bytes
from kafka_cy.coordinator.transactions.records import StoredTransaction, TopicPartitions, TransactionKey
from kafka_cy.coordinator.transactions.state_machine import TransactionStateMachine
from kafka_cy.coordinator.transactions.states import State
from kafka_cy.coordinator.transactions.transaction import Transaction
from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.storage.log import StorageFailure

from .test_transaction_apis import Server
from .transaction_fakes import TransactionHarness

STORAGE_COORDINATOR_FENCED = 17
FEW_AND_MANY = pytest.mark.parametrize("count", [3, 50])  # at once, and in slices


@FEW_AND_MANY
def test_a_fault_in_one_marker_of_a_request(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    server = Server()
    write = server.harness.coordinator.markers.write

    def faulty(marker: Any, *arguments: Any) -> None:
        if marker.producer_id == 1001:
            raise ZeroDivisionError
        write(marker, *arguments)

    monkeypatch.setattr(server.harness.coordinator.markers, "write", faulty)
    markers = [
        {
            "producer_id": 1000 + number, "producer_epoch": 0, "transaction_result": True, "coordinator_epoch": 0,
            "transaction_version": 0, "topics": [{"name": "tt", "partition_indexes": [0]}],
        }
        for number in range(count)
    ]  # fmt: skip
    answer = server.call(27, 2, markers=markers)
    errors = [each["topics"][0]["partitions"][0]["error_code"] for each in answer["markers"]]
    assert errors == [ErrorCode.NONE, ErrorCode.UNKNOWN_SERVER_ERROR, *[ErrorCode.NONE] * (count - 2)]
    assert len(server.harness.lines) == 1


@FEW_AND_MANY
def test_a_fault_in_one_transaction_of_a_request(monkeypatch: pytest.MonkeyPatch, count: int) -> None:
    server = Server()
    producers = {f"t{number}": server.harness.started(f"t{number}") for number in range(count)}
    add = server.harness.coordinator.add_partitions

    def faulty(transactional_id: str, *arguments: Any) -> None:
        if transactional_id == "t1":
            raise ZeroDivisionError
        add(transactional_id, *arguments)

    monkeypatch.setattr(server.harness.coordinator, "add_partitions", faulty)
    transactions = [
        {
            "transactional_id": name, "producer_id": producer.producer_id, "producer_epoch": 0, "verify_only": False,
            "topics": [{"name": "tt", "partitions": [0]}],
        }
        for name, producer in producers.items()
    ]  # fmt: skip
    found = server.call(24, 5, transactions=transactions)["results_by_transaction"]
    errors = [each["topic_results"][0]["results_by_partition"][0]["partition_error_code"] for each in found]
    assert errors == [ErrorCode.NONE, ErrorCode.UNKNOWN_SERVER_ERROR, *[ErrorCode.NONE] * (count - 2)]


@pytest.mark.parametrize("is_open", [True, False])
def test_a_marker_that_a_later_coordinator_fences(is_open: bool) -> None:
    """Only a partition without a transaction of the producer needs no marker; otherwise its readers would wait for ever."""
    harness = TransactionHarness()
    producer = harness.started()
    assert not harness.add(producer, ("tt", 0), ("tu", 0))
    fenced = harness.cluster.hosted["tt", 0]
    row = (producer.producer_id, 0, 0, 0, 7, 5 if is_open else -1)
    fenced.log = SimpleNamespace(producers=lambda: [row])  # type: ignore[attr-defined]
    fenced.marker_failures = [StorageFailure("a later coordinator", STORAGE_COORDINATOR_FENCED)]
    harness.end(producer)
    assert harness.stored().state == (State.PREPARE_COMMIT if is_open else State.COMPLETE_COMMIT)
    harness.loop.advance(1)
    assert harness.stored().state == State.COMPLETE_COMMIT
    assert len(harness.markers("tt", 0)) == is_open and len(harness.markers("tu", 0)) == 1


def test_a_stored_state_that_does_not_exist() -> None:
    """Such a record is left alone, as one of an unknown version: listing the others works."""
    harness = TransactionHarness()
    harness.started("good")
    machine = TransactionStateMachine(TransactionsHeld(), lambda each: None, lambda each: None)
    odd = StoredTransaction(7, 0, 1000, 99, (), 1, 1)
    assert machine.decode(*machine.encode((TransactionKey("odd"), odd))) is None and machine.skipped == 1
    known = odd._replace(state=State.ONGOING)
    assert machine.decode(*machine.encode((TransactionKey("odd"), known))) == (TransactionKey("odd"), known)
    assert Server(harness).list() == ["good"]


def test_adding_to_many_topics_writes_only_what_is_new(monkeypatch: pytest.MonkeyPatch) -> None:
    topics = tuple(TopicPartitions(f"topic-{number}", (0,)) for number in range(500))
    stored = StoredTransaction(1, 0, 1000, State.ONGOING, topics, 1, 1)
    machine = TransactionStateMachine(TransactionsHeld(), lambda each: None, lambda each: None)
    machine.replay((TransactionKey("t"), stored), 0)
    transaction = machine.transactions["t"]
    machine.encode((TransactionKey("t"), stored))
    encoded: list[str] = []
    write = records._TOPIC.write
    spy = SimpleNamespace(write=lambda out, value, flexible: (encoded.append(value.topic), write(out, value, flexible)))
    monkeypatch.setattr(records, "_TOPIC", spy)
    after = stored._replace(partitions=transaction.with_partitions([("new", 3), ("topic-7", 2), ("new", 1)]))
    data = machine.encode((TransactionKey("t"), after))
    assert sorted(encoded) == ["new", "topic-7"]
    assert machine.decode(*data) == (TransactionKey("t"), after)
    machine.replay((TransactionKey("t"), after), 1)
    again = Transaction("t", after)
    for name in ("partitions", "places", "partition_count", "name_chars"):
        assert getattr(transaction, name) == getattr(again, name), name
    assert machine._held.bytes == transaction_bytes(again)
    ended = after._replace(state=State.COMPLETE_COMMIT, partitions=())
    machine.replay((TransactionKey("t"), ended), 2)
    assert (transaction.partitions, transaction.partition_count, transaction.name_chars) == ({}, 0, 0)
    assert machine._held.bytes == transaction_bytes(Transaction("t", ended))
