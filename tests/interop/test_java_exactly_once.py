"""Apache Kafka's own tools for transactions: TransactionalMessageCopier and TransactionsCommand (kafka-transactions.sh)."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from typing import Any

import pytest
from exactly_once import KILLS, abort_markers, create_topics, end_offset, feed, read_committed
from java_tools import JavaTools, ToolResult
from raw_client import RawClient

from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.records import build_batch
from kafka_cy.records.api import TRANSACTIONAL
from kafka_cy.testing import Broker
from tests.waiting import wait_until

pytestmark = [pytest.mark.interop, pytest.mark.timeout(240 + 60 * KILLS)]
COPIED_PER_KILL = 1500
TRANSACTION_SIZE = 5
TIMEOUT_S = 60
HOUR_MS = 3_600_000
NEW_PRODUCER = {"producer_id": -1, "producer_epoch": -1}


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    settings = {
        "transaction.state.log.num.partitions": 3,
        "offsets.topic.num.partitions": 3,
        "transaction.partition.verification.enable": False,  # so that a transaction can hang, as before KIP-890
    }
    with Broker(settings) as started:
        yield started


@pytest.mark.crash
def test_the_message_copier_with_random_aborts_and_kills(broker: Broker, java: JavaTools) -> None:
    """Every record of the input is in the output once, in order, although a third of the transactions is aborted."""
    bootstrap, count = broker.bootstrap_servers, COPIED_PER_KILL * (KILLS + 1)
    mode = ("--group-mode", "--use-group-metadata")  # a subscription, and the member's generation with the offsets
    create_topics(bootstrap, 1, "copied-from", "copied-to")
    feed(bootstrap, "copied-from", ((None, b"%d" % number) for number in range(count)))
    results: list[ToolResult] = []

    arguments = (
        "--broker-list", bootstrap, "--input-topic", "copied-from", "--input-partition", 0, "--output-topic", "copied-to",
        "--consumer-group", "copiers", "--transactional-id", "copier", "--transaction-size", TRANSACTION_SIZE,
        "--max-messages", -1, "--enable-random-aborts",
    )  # fmt: skip

    def copy() -> None:
        results.append(java.run("TransactionalMessageCopier", *arguments, *mode, timeout_s=120 + 30 * KILLS))

    copier = threading.Thread(target=copy)
    copier.start()
    for kill in range(KILLS):
        wait_until(
            lambda kill=kill: end_offset(bootstrap, "copied-to") > (kill + 1) * COPIED_PER_KILL or bool(results),
            "copied records", TIMEOUT_S,
        )  # fmt: skip
        assert not results, results[0].err
        broker.kill()
        broker.start()
    copier.join()
    assert results[0].code == 0, results[0].err
    # The records of an aborted transaction may never have left the client; the offsets that it had sent have.
    assert abort_markers(broker, "copied-to") + abort_markers(broker, "__consumer_offsets") > 0, "nothing was aborted"
    assert [value for _, value in read_committed(bootstrap, "copied-to")] == [b"%d" % number for number in range(count)]


def test_the_transactions_tool(broker: Broker, java: JavaTools) -> None:
    """List, describe, find the hanging transaction, and abort it."""
    bootstrap = broker.bootstrap_servers
    create_topics(bootstrap, 1, "hanging")
    client = RawClient(bootstrap)
    ids: dict[str, Any] = {}

    def began() -> bool:
        client.request(10, 4, {"key_type": 1, "coordinator_keys": ["hangs"]})  # creates the coordinator's topic
        ids.update(client.request(22, 4, {"transactional_id": "hangs", "transaction_timeout": 60_000, **NEW_PRODUCER}))
        return ids["error_code"] == ErrorCode.NONE

    wait_until(began, "the transaction coordinator", TIMEOUT_S)
    batch = build_batch(
        [(None, b"old", int(time.time() * 1000) - HOUR_MS, (), -1)], attributes=TRANSACTIONAL, base_sequence=0,
        producer_id=ids["producer_id"], producer_epoch=ids["producer_epoch"],
    )  # fmt: skip
    topics = [{"name": "hanging", "partition_data": [{"index": 0, "records": batch}]}]
    body = {"transactional_id": "hangs", "acks": -1, "timeout": 30_000, "topic_data": topics}
    answer = client.request(0, 11, body)  # no AddPartitionsToTxn: the coordinator does not know of it
    assert answer["responses"][0]["partition_responses"][0]["error_code"] == ErrorCode.NONE
    client.close()
    feed(bootstrap, "hanging", [(None, b"behind it")])
    assert end_offset(bootstrap, "hanging") == 0

    tool = ("TransactionsCommand", "--bootstrap-server", bootstrap)
    listed = [line.split() for line in java.check(*tool, "list").lines]
    assert ["hangs", str(ids["producer_id"]), "Empty"] in [[row[0], row[2], row[3]] for row in listed]
    described = java.check(*tool, "describe", "--transactional-id", "hangs").lines[-1].split()
    assert "hangs" in described and "Empty" in described
    producers = java.check(*tool, "describe-producers", "--topic", "hanging", "--partition", 0).lines
    assert any(row.split()[0] == str(ids["producer_id"]) for row in producers[1:])
    hanging = java.check(*tool, "find-hanging", "--broker-id", 1).lines
    assert [row.split()[:3] for row in hanging[1:]] == [["hanging", "0", str(ids["producer_id"])]]
    java.check(*tool, "abort", "--topic", "hanging", "--partition", 0, "--start-offset", 0)
    assert end_offset(bootstrap, "hanging") == 3
    assert read_committed(bootstrap, "hanging") == [(None, b"behind it")]
    assert len(java.check(*tool, "find-hanging", "--broker-id", 1).lines) == 1
