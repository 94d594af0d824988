"""Transactional batches: what the coordinator is asked, what its answers become, and that nothing overtakes or holds up others."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from kafka_cy.api.produce_transaction import set_partition_verification
from kafka_cy.network import jobs
from kafka_cy.network.control_request import ControlRequest
from kafka_cy.records import Record, build_batch, iterate_batches
from kafka_cy.storage import slow_disk, transaction_table
from tests.waiting import wait_until

from .acls import TOPIC_DENIED, TRANSACTIONAL_ID, WRITE, Acls
from .harness import Connection, HotServer
from .kio_wire import encode_request
from .test_produce import batch, only, request
from .test_produce_jobs import large

TRANSACTIONAL = 0x10
COORDINATOR_NOT_AVAILABLE, NOT_ENOUGH_REPLICAS, OUT_OF_ORDER = 15, 19, 45
INVALID_PRODUCER_EPOCH, INVALID_TXN_STATE, INVALID_MAPPING = 47, 48, 49
CONCURRENT_TRANSACTIONS, AUTHORIZATION_FAILED, PRODUCER_FENCED, ABORTABLE = 51, 53, 90, 120
PID, EPOCH = 7, 3


class Question(NamedTuple):
    producer_id: int
    epoch: int
    implicit: bool
    transactional_id: str
    partitions: list[tuple[str, int]]


def parse(body: bytes) -> Question:
    producer_id, epoch, implicit = struct.unpack_from(">qhb", body)
    texts: list[Any] = []
    at = 11
    while at < len(body):
        size = int.from_bytes(body[at : at + 2], "big")
        texts.append(body[at + 2 : at + 2 + size].decode())
        at += 2 + size
        if len(texts) > 1:
            texts[-1] = (texts[-1], int.from_bytes(body[at : at + 4], "big"))
            at += 4
    return Question(producer_id, epoch, bool(implicit), texts[0], texts[1:])


class Coordinator:
    """Adds what it is asked about to the table, or answers the error of the partition. `held`: keeps the questions.

    `forgotten`: of how many questions it removes at once what it has added.
    """

    def __init__(self) -> None:
        self.questions: list[Question] = []
        self.errors: dict[tuple[str, int], int] = {}
        self.later_errors: dict[tuple[str, int], int] = {}  # when nothing is forgotten any more
        self.held: list[ControlRequest] | None = None
        self.server: Any = None
        self.adds = True
        self.forgotten = 0

    def __call__(self, control: ControlRequest) -> None:
        control.begin()
        self.questions.append(parse(control.body))
        if self.held is not None:
            self.held.append(control)
        else:
            self.answer(control)

    def answer(self, control: ControlRequest) -> None:
        question = parse(control.body)
        adds = self.adds and not self.forgotten
        if not self.forgotten:
            self.errors |= self.later_errors
        self.forgotten = max(self.forgotten - 1, 0)
        codes = []
        for topic, index in question.partitions:
            codes.append(self.errors.get((topic, index), 0))
            if codes[-1] == 0 and adds:
                partitions = [(self.server.topic_ids[topic].bytes, index)]
                transaction_table.set_partitions(question.producer_id, question.epoch, partitions)
        control.respond(struct.pack(f">{len(codes)}h", *codes))


@pytest.fixture
def coordinator() -> Coordinator:
    return Coordinator()


@pytest.fixture
def hot_server(tmp_path: Path, coordinator: Coordinator) -> Iterator[HotServer]:
    transaction_table.clear()
    server = coordinator.server = HotServer(tmp_path, 1, on_question=coordinator)
    server.create_topic("t", 4)
    yield server
    coordinator.held = None
    jobs.resume_jobs()
    server.stop()
    set_partition_verification(True)
    transaction_table.clear()


def data(sequence: int = 0, count: int = 3, producer_id: int = PID, epoch: int = EPOCH, **options: Any) -> bytes:
    return batch(
        count, producer_id=producer_id, producer_epoch=epoch, base_sequence=sequence, attributes=TRANSACTIONAL, **options
    )


def produce(
    connection: Connection, server: HotServer, version: int, partitions: dict[tuple[str, int], bytes | None], **more: Any
) -> list[dict[str, Any]]:
    more = {"transactional_id": "tx", **more}
    answer = connection.call(0, version, request(version, server, partitions, **more))
    return [row for topic in answer["responses"] for row in topic["partition_responses"]]


def codes(rows: list[dict[str, Any]]) -> list[tuple[int, int, int]]:
    return [(row["index"], row["error_code"], row["base_offset"]) for row in rows]


@pytest.mark.parametrize("version", [3, 8, 9, 11, 12, 13])
def test_the_coordinator_is_asked_once_about_all(
    hot_server: HotServer, connection: Connection, coordinator: Coordinator, version: int
) -> None:
    rows = produce(connection, hot_server, version, {
        ("t", 0): data(), ("t", 1): data(), ("t", 2): batch(), ("t", 9): data(), ("t", 3): data(),
    })  # fmt: skip
    assert codes(rows) == [(0, 0, 0), (1, 0, 0), (2, 0, 0), (9, 3, -1), (3, 0, 0)]
    assert coordinator.questions == [Question(PID, EPOCH, version >= 12, "tx", [("t", 0), ("t", 1), ("t", 3)])]
    rows = produce(connection, hot_server, version, {("t", 0): data(3), ("t", 1): data(3)})
    assert codes(rows) == [(0, 0, 3), (1, 0, 3)] and len(coordinator.questions) == 1
    assert hot_server.partitions["t", 0].last_stable_offset == 0
    assert hot_server.partitions["t", 2].last_stable_offset == 3


def test_partitions_that_were_added_before_need_no_question(
    hot_server: HotServer, connection: Connection, coordinator: Coordinator
) -> None:
    transaction_table.set_partitions(PID, EPOCH, [(hot_server.topic_ids["t"].bytes, 1)])
    assert codes(produce(connection, hot_server, 11, {("t", 1): data()})) == [(1, 0, 0)]
    assert coordinator.questions == []


@pytest.mark.parametrize(
    ("version", "error", "expected", "message"),
    [
        (9, ABORTABLE, INVALID_TXN_STATE, "Partition was not added to the transaction"),
        (10, ABORTABLE, INVALID_TXN_STATE, "Partition was not added to the transaction"),
        (11, ABORTABLE, ABORTABLE, None),
        (12, ABORTABLE, ABORTABLE, None),
        (12, INVALID_TXN_STATE, INVALID_TXN_STATE, "Partition was not added to the transaction"),
        (11, PRODUCER_FENCED, INVALID_PRODUCER_EPOCH, None),
        (12, PRODUCER_FENCED, INVALID_PRODUCER_EPOCH, None),
        (12, INVALID_MAPPING, INVALID_MAPPING, None),
        (12, 42, 42, None),
        (11, CONCURRENT_TRANSACTIONS, NOT_ENOUGH_REPLICAS, "CONCURRENT_TRANSACTIONS"),
        (12, CONCURRENT_TRANSACTIONS, CONCURRENT_TRANSACTIONS, None),
        (12, 13, NOT_ENOUGH_REPLICAS, "NETWORK_EXCEPTION"),
        (12, 14, NOT_ENOUGH_REPLICAS, "COORDINATOR_LOAD_IN_PROGRESS"),
        (9, 15, NOT_ENOUGH_REPLICAS, "COORDINATOR_NOT_AVAILABLE"),
        (12, 16, NOT_ENOUGH_REPLICAS, "NOT_COORDINATOR"),
    ],
)
def test_errors_of_the_coordinator(
    hot_server: HotServer, connection: Connection, coordinator: Coordinator, version: int, error: int, expected: int,
    message: str | None,
) -> None:  # fmt: skip
    coordinator.errors["t", 1] = error
    rows = produce(connection, hot_server, version, {("t", 0): data(), ("t", 1): data()})
    assert codes(rows) == [(0, 0, 0), (1, expected, -1)]
    assert rows[1]["log_start_offset"] == -1
    if message is None:
        assert rows[1]["error_message"] is None
    else:
        assert rows[1]["error_message"].endswith(message)
    assert hot_server.partitions["t", 1].log_end_offset == 0


def test_a_transaction_that_ended_meanwhile(
    hot_server: HotServer, connection: Connection, coordinator: Coordinator
) -> None:
    coordinator.adds = False  # it answers that the partition is there, and the table says that it is not
    (row,) = produce(connection, hot_server, 12, {("t", 0): data()})
    assert (row["error_code"], row["base_offset"], row["log_start_offset"]) == (INVALID_TXN_STATE, -1, 0)
    assert row["error_message"] is None and len(coordinator.questions) == 2  # the second time it is believed


@pytest.mark.parametrize("version", [3, 11, 12])
def test_a_confirmed_partition_that_leaves_the_table(
    hot_server: HotServer, connection: Connection, coordinator: Coordinator, version: int
) -> None:
    """A coordinator that stops or moves away removes the producers of open transactions. It is asked again."""
    coordinator.forgotten = 1
    rows = produce(connection, hot_server, version, {("t", index): data() for index in range(3)})
    assert codes(rows) == [(0, 0, 0), (1, 0, 0), (2, 0, 0)]
    assert [question.partitions for question in coordinator.questions] == [[("t", 0), ("t", 1), ("t", 2)]] * 2


@pytest.mark.parametrize(
    ("version", "answer", "error"),
    [
        (11, COORDINATOR_NOT_AVAILABLE, NOT_ENOUGH_REPLICAS),
        (11, ABORTABLE, ABORTABLE),
        (12, PRODUCER_FENCED, INVALID_PRODUCER_EPOCH),
    ],
)
def test_what_the_coordinator_says_when_it_is_asked_again(
    hot_server: HotServer, connection: Connection, coordinator: Coordinator, version: int, answer: int, error: int
) -> None:
    coordinator.forgotten = 1
    coordinator.later_errors = {("t", 0): answer}
    rows = produce(connection, hot_server, version, {("t", 0): data(), ("t", 1): data()})
    assert codes(rows) == [(0, error, -1), (1, 0, 0)]
    assert len(coordinator.questions) == 2


@pytest.mark.parametrize("version", [3, 12])
def test_transactional_batches_need_a_transactional_id(
    hot_server: HotServer, connection: Connection, coordinator: Coordinator, version: int
) -> None:
    rows = produce(connection, hot_server, version, {("t", 0): data()}, transactional_id=None)
    assert codes(rows) == [(0, AUTHORIZATION_FAILED, -1)] and coordinator.questions == []


def test_batches_of_two_producers(hot_server: HotServer, connection: Connection, coordinator: Coordinator) -> None:
    rows = produce(connection, hot_server, 12, {("t", 0): data(), ("t", 1): data(producer_id=8), ("t", 2): data(epoch=4)})
    assert codes(rows) == [(0, 0, 0), (1, INVALID_MAPPING, -1), (2, INVALID_MAPPING, -1)]
    assert [question.partitions for question in coordinator.questions] == [[("t", 0)]]


def test_without_verification_older_versions_ask_nobody(
    hot_server: HotServer, connection: Connection, coordinator: Coordinator
) -> None:
    set_partition_verification(False)
    assert codes(produce(connection, hot_server, 11, {("t", 0): data()})) == [(0, 0, 0)]
    assert coordinator.questions == []
    assert codes(produce(connection, hot_server, 12, {("t", 1): data()})) == [(1, 0, 0)]
    assert len(coordinator.questions) == 1


def test_an_old_epoch_is_refused_without_a_question(
    hot_server: HotServer, connection: Connection, coordinator: Coordinator
) -> None:
    assert codes(produce(connection, hot_server, 12, {("t", 0): data()})) == [(0, 0, 0)]
    hot_server.partitions["t", 0].append_marker(PID, EPOCH + 1, 0, True, 2)
    (row,) = produce(connection, hot_server, 12, {("t", 0): data(3)})
    assert (row["error_code"], row["log_start_offset"]) == (INVALID_PRODUCER_EPOCH, -1)
    assert len(coordinator.questions) == 1


def test_version_12_begins_with_sequence_0(
    hot_server: HotServer, connection: Connection, coordinator: Coordinator
) -> None:
    assert codes(produce(connection, hot_server, 12, {("t", 0): data(5)})) == [(0, OUT_OF_ORDER, -1)]
    assert codes(produce(connection, hot_server, 11, {("t", 1): data(5)})) == [(1, 0, 0)]


def send(connection: Connection, server: HotServer, partitions: dict[tuple[str, int], bytes | None], **more: Any) -> None:
    more = {"transactional_id": "tx", **more}
    connection.send(0, 12, encode_request(0, 12, request(12, server, partitions, **more)))


def test_others_are_answered_and_nothing_overtakes(
    hot_server: HotServer, connection: Connection, coordinator: Coordinator
) -> None:
    coordinator.held = []
    send(connection, hot_server, {("t", 0): data()})
    send(connection, hot_server, {("t", 0): data(3)})
    wait_until(lambda: len(coordinator.questions) == 1, "the coordinator is asked")
    other = hot_server.connect()
    assert only(other.call(0, 9, request(9, hot_server, {("t", 0): batch()})))["base_offset"] == 0
    other.close()
    coordinator.answer(coordinator.held.pop())
    assert [only(connection.answer(0, 12))["base_offset"] for _ in range(2)] == [3, 6]
    assert len(coordinator.questions) == 1


def test_a_question_that_is_dropped(hot_server: HotServer, connection: Connection, coordinator: Coordinator) -> None:
    coordinator.held = []
    send(connection, hot_server, {("t", 0): data()})
    wait_until(lambda: len(coordinator.questions) == 1, "the coordinator is asked")
    coordinator.held.pop()
    row = only(connection.answer(0, 12))
    assert (row["error_code"], row["error_message"][-25:]) == (NOT_ENOUGH_REPLICAS, "COORDINATOR_NOT_AVAILABLE")


def test_a_connection_that_is_closed_meanwhile(
    hot_server: HotServer, connection: Connection, coordinator: Coordinator
) -> None:
    coordinator.held = []
    gone = hot_server.connect()
    send(gone, hot_server, {("t", 0): data()})
    wait_until(lambda: len(coordinator.questions) == 1, "the coordinator is asked")
    gone.close()
    wait_until(lambda: hot_server.server.counters()["connections"] == 1, "the connection is gone")
    coordinator.answer(coordinator.held.pop())
    assert codes(produce(connection, hot_server, 12, {("t", 0): data()})) == [(0, 0, 0)]


def test_acks_0_is_appended_after_the_client_has_gone(
    hot_server: HotServer, connection: Connection, coordinator: Coordinator
) -> None:
    coordinator.held = []
    gone = hot_server.connect()
    send(gone, hot_server, {("t", 0): data()}, acks=0)
    wait_until(lambda: len(coordinator.questions) == 1, "the coordinator is asked")
    gone.close()
    coordinator.answer(coordinator.held.pop())
    wait_until(lambda: hot_server.partitions["t", 0].log_end_offset == 3, "the batch is appended")


def test_the_server_stops_while_the_coordinator_is_asked(
    hot_server: HotServer, connection: Connection, coordinator: Coordinator
) -> None:
    coordinator.held = []
    send(connection, hot_server, {("t", 0): data()})
    wait_until(lambda: len(coordinator.questions) == 1, "the coordinator is asked")
    hot_server.server.stop(0.0)
    coordinator.answer(coordinator.held.pop())
    assert hot_server.partitions["t", 0].log_end_offset == 0


def test_the_memory_of_waiting_requests_is_counted(
    hot_server: HotServer, connection: Connection, coordinator: Coordinator
) -> None:
    def queued() -> int:
        count: int = hot_server.server.counters()["queued_request_bytes"]
        return count

    before = queued()
    coordinator.held = []
    send(connection, hot_server, {("t", 0): data(count=5000)})
    wait_until(lambda: len(coordinator.questions) == 1, "the coordinator is asked")
    wait_until(lambda: queued() - before >= 5000 * 8, "the copy of the request is counted")
    coordinator.answer(coordinator.held.pop())
    assert only(connection.answer(0, 12))["error_code"] == 0
    wait_until(lambda: queued() == before, "nothing is left")


def test_many_partitions_need_several_questions(
    hot_server: HotServer, connection: Connection, coordinator: Coordinator
) -> None:
    hot_server.create_topic("many", 1500)
    rows = produce(connection, hot_server, 12, {("many", index): data(count=1) for index in range(1500)})
    assert [row["error_code"] for row in rows] == [0] * 1500
    assert [len(question.partitions) for question in coordinator.questions] == [1000, 500]


def compressed(sequence: int = 0) -> bytes:
    return large(producer_id=PID, producer_epoch=EPOCH, base_sequence=sequence, attributes=TRANSACTIONAL)


def test_a_batch_that_a_job_decompresses(hot_server: HotServer, connection: Connection, coordinator: Coordinator) -> None:
    rows = produce(connection, hot_server, 12, {("t", 0): compressed(), ("t", 1): data(), ("t", 2): compressed()})
    assert codes(rows) == [(0, 0, 0), (1, 0, 0), (2, 0, 0)]
    assert len(coordinator.questions) == 1
    coordinator.errors["t", 3] = ABORTABLE
    rows = produce(connection, hot_server, 12, {("t", 0): compressed(4000), ("t", 3): compressed()})
    assert codes(rows) == [(0, 0, 4000), (3, ABORTABLE, -1)]


def test_a_batch_that_a_job_has_unpacked_counts_while_it_waits(
    hot_server: HotServer, connection: Connection, coordinator: Coordinator
) -> None:
    hot_server.create_topic("unpacked", config={"compression.type": "uncompressed"})
    records = build_batch(
        [Record(value=bytes(500_000))], compression="zstd", producer_id=PID, producer_epoch=EPOCH, base_sequence=0,
        attributes=TRANSACTIONAL,
    )  # fmt: skip
    assert len(records) < 5000
    before = hot_server.server.counters()["queued_request_bytes"]
    coordinator.held = []
    send(connection, hot_server, {("unpacked", 0): records})
    wait_until(lambda: len(coordinator.questions) == 1, "the coordinator is asked")
    assert hot_server.server.counters()["queued_request_bytes"] - before >= 500_000
    coordinator.answer(coordinator.held.pop())
    assert only(connection.answer(0, 12))["error_code"] == 0
    wait_until(lambda: hot_server.server.counters()["queued_request_bytes"] == before, "nothing is left")
    (stored,) = iterate_batches(hot_server.partitions["unpacked", 0].log.read(0, 1 << 20))
    assert stored.compression in (None, "none") and len(stored.records()[0].value or b"") == 500_000


def test_a_slow_disk(hot_server: HotServer, connection: Connection, coordinator: Coordinator) -> None:
    slow_disk.set_slow(str(hot_server.folder), 600)
    try:
        coordinator.errors["t", 3] = ABORTABLE
        rows = produce(connection, hot_server, 12, {
            ("t", 0): data(), ("t", 1): compressed(), ("t", 2): batch(), ("t", 3): data(),
        })  # fmt: skip
        assert codes(rows) == [(0, 0, 0), (1, 0, 0), (2, 0, 0), (3, ABORTABLE, -1)]
        assert [question.partitions for question in coordinator.questions] == [[("t", 0), ("t", 1), ("t", 3)]]
        rows = produce(connection, hot_server, 12, {("t", 0): data(3), ("t", 1): compressed(4000)})
        assert codes(rows) == [(0, 0, 3), (1, 0, 4000)] and len(coordinator.questions) == 1
        rows = produce(connection, hot_server, 12, {("t", 0): data(), ("t", 2): batch()}, transactional_id=None)
        assert codes(rows) == [(0, AUTHORIZATION_FAILED, -1), (2, 0, 3)]
    finally:
        slow_disk.set_slow(str(hot_server.folder), 0)


def test_partitions_of_denied_topics_do_not_join_the_transaction(
    hot_server: HotServer, connection: Connection, coordinator: Coordinator
) -> None:
    acls = Acls(hot_server)
    acls.allow(WRITE, "t")
    acls.allow(WRITE, "tx", TRANSACTIONAL_ID)
    hot_server.create_topic("denied")
    rows = produce(connection, hot_server, 12, {("t", 0): data(), ("denied", 0): data()})
    assert [row["error_code"] for row in rows] == [0, TOPIC_DENIED]
    assert [question.partitions for question in coordinator.questions] == [[("t", 0)]]
