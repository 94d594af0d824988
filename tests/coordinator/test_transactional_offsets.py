"""Offsets in transactions: they count from the commit on; the later record wins; tombstones and expiry see them."""

from __future__ import annotations

import uuid
from types import SimpleNamespace
from typing import Any

import pytest

from kafka_cy.api.registry import cold_handler
from kafka_cy.cluster.topic_names import OFFSETS_TOPIC
from kafka_cy.coordinator.commit_request import CommitPartition, CommitRequest
from kafka_cy.coordinator.offsets.pending import PENDING_OFFSET_BYTES, PendingOffset
from kafka_cy.coordinator.records import OffsetKey
from kafka_cy.coordinator.transactions.init_producer_id import Producer
from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.records import iterate_batches

from .golden import golden
from .transaction_fakes import LogPartition, TransactionHarness

GROUP = "g"
UNSTABLE = ErrorCode.UNSTABLE_OFFSET_COMMIT


class Server:
    """Calls the handlers of both coordinators."""

    def __init__(self, harness: TransactionHarness | None = None) -> None:
        self.harness = harness or TransactionHarness()
        self.context: Any = SimpleNamespace(
            groups=self.harness.groups, transactions=self.harness.coordinator, cluster=self.harness.cluster
        )

    def call(self, api_key: int, version: int, **fields: Any) -> dict[str, Any]:
        responses: list[Any] = []
        request: Any = SimpleNamespace(
            api_version=version, authorizer=None, body=SimpleNamespace(**fields), respond=responses.append,
            respond_long=lambda prepare: prepare(lambda make: responses.append(make())),
        )  # fmt: skip
        handle = cold_handler(api_key)
        assert handle is not None
        response = handle(request, self.context) or responses[0]
        return dict(response)

    def txn_commit(
        self, producer: Producer, offset: int, *, group: str = GROUP, version: int = 5, topic: str = "tt", partition: int = 0,
        transactional_id: str = "t", generation: int = -1, member: str = "", metadata: str | None = None,
    ) -> ErrorCode:  # fmt: skip
        each = SimpleNamespace(
            partition_index=partition, committed_offset=offset, committed_leader_epoch=-1, committed_metadata=metadata
        )
        response = self.call(
            28, version, transactional_id=transactional_id, group_id=group, producer_id=producer.producer_id,
            producer_epoch=producer.epoch, generation_id=generation, member_id=member, group_instance_id=None,
            topics=[SimpleNamespace(name=topic, partitions=[each])],
        )  # fmt: skip
        return ErrorCode(response["topics"][0]["partitions"][0]["error_code"])

    def pending_by_group(self, group: str = GROUP) -> list[dict[OffsetKey, PendingOffset]]:
        """The pending offsets of each transaction and group."""
        _, shard = self.harness.groups.runtime.shard_of(group)
        assert shard is not None
        return [each for transaction in shard.state.pending._by_producer.values() for each in transaction.by_group.values()]

    def commit(self, offset: int, *, group: str = GROUP, topic: str = "tt", partition: int = 0) -> ErrorCode:
        each = SimpleNamespace(
            partition_index=partition, committed_offset=offset, committed_leader_epoch=-1, committed_metadata=None
        )
        response = self.call(
            8, 9, group_id=group, generation_id_or_member_epoch=-1, member_id="", group_instance_id=None,
            topics=[SimpleNamespace(name=topic, partitions=[each])],
        )  # fmt: skip
        return ErrorCode(response["topics"][0]["partitions"][0]["error_code"])

    def fetched(self, *, group: str = GROUP, stable: bool = False, topics: Any = "tt") -> Any:
        """The offset of partition 0 of the topic, or its error; with topics=None the offsets of all partitions."""
        wanted = [SimpleNamespace(name=topics, partition_indexes=[0])] if topics is not None else None
        response = self.call(9, 7, group_id=group, topics=wanted, require_stable=stable)
        partitions = [
            (topic["name"], each["partition_index"], each["committed_offset"], each["error_code"])
            for topic in response["topics"]
            for each in topic["partitions"]
        ]
        if topics is None:
            return partitions
        return ErrorCode(partitions[0][3]) if partitions[0][3] else partitions[0][2]

    def add_offsets(self, producer: Producer, *, group: str = GROUP, transactional_id: str = "t", version: int = 4) -> ErrorCode:
        response = self.call(
            25, version, transactional_id=transactional_id, producer_id=producer.producer_id,
            producer_epoch=producer.epoch, group_id=group,
        )  # fmt: skip
        return ErrorCode(response["error_code"])

    def log(self, group: str = GROUP) -> LogPartition:
        index = self.harness.groups.runtime.partition_index(group)
        assert index is not None
        return self.harness.cluster.hosted[OFFSETS_TOPIC, index]


def test_offsets_are_visible_from_the_commit_on() -> None:
    server = Server()
    producer = server.harness.started()
    assert not server.commit(5)
    assert not server.txn_commit(producer, 7)
    assert (server.fetched(), server.fetched(stable=True)) == (5, UNSTABLE)
    assert server.fetched(topics=None, stable=True) == [("tt", 0, -1, UNSTABLE)]
    assert server.fetched(topics=None) == [("tt", 0, 5, 0)]
    _, producer = server.harness.end(producer)
    assert (server.fetched(), server.fetched(stable=True)) == (7, 7)
    assert not server.txn_commit(producer, 9)
    server.harness.end(producer, False)
    assert (server.fetched(), server.fetched(stable=True)) == (7, 7)


def test_the_batch_is_kafkas() -> None:
    """Transactional, base sequence 0, the producer's id and epoch, no topic id in the value."""
    golden_data, golden_marker = [
        each for each in golden("transaction-batches.json") if each["partition"].startswith(OFFSETS_TOPIC)
    ]
    server = Server()
    server.harness.producer_ids.next = 14
    producer = server.harness.started("t3")
    assert not server.txn_commit(producer, 5, group="tg1", metadata="m", transactional_id="t3")
    server.harness.end(producer, transactional_id="t3")
    batches = [next(iter(iterate_batches(data))) for data in server.log("tg1").batches]
    for ours, theirs in zip(batches, (golden_data, golden_marker), strict=True):
        expected = next(iter(iterate_batches(bytes.fromhex(theirs["hex"]))))
        assert [ours.attributes, ours.producer_id, ours.producer_epoch, ours.base_sequence] == [
            theirs["attributes"], theirs["producer_id"], theirs["producer_epoch"], theirs["base_sequence"]
        ]  # fmt: skip
        (record,), (wanted,) = ours.records(), expected.records()
        assert record.value is not None and wanted.value is not None and record.key is not None and wanted.key is not None
        assert len(record.value) == len(wanted.value)
        if not ours.is_control:
            assert record.key.replace(b"tt", b"ct") == wanted.key
            assert record.value[:16] == wanted.value[:16]


@pytest.mark.parametrize(("later", "expected"), [("plain", 8), ("transaction", 7)])
def test_the_later_record_wins(later: str, expected: int) -> None:
    server = Server()
    producer = server.harness.started()
    commits = [lambda: server.txn_commit(producer, 7), lambda: server.commit(8)]
    for commit in commits if later == "plain" else reversed(commits):
        assert not commit()
    assert server.fetched(stable=True) == UNSTABLE
    server.harness.end(producer)
    assert server.fetched(stable=True) == expected
    assert Server(server.harness.restarted()).fetched(stable=True) == expected


def test_two_transactions_of_one_group() -> None:
    server = Server()
    first, second = server.harness.started("a"), server.harness.started("b")
    assert not server.txn_commit(first, 1, transactional_id="a")
    assert not server.txn_commit(second, 2, transactional_id="b")
    server.harness.end(second, transactional_id="b")
    assert (server.fetched(), server.fetched(stable=True)) == (2, UNSTABLE)
    server.harness.end(first, transactional_id="a")
    assert server.fetched(stable=True) == 2, "the record of the first transaction is older"


def test_deleted_offsets_do_not_come_back() -> None:
    server = Server()
    producer = server.harness.started()
    assert not server.txn_commit(producer, 7)
    found: list[Any] = []
    server.harness.groups.delete_offsets(GROUP, [("tt", 0)], lambda error, errors: found.append((error, errors)))
    assert found == [(0, {("tt", 0): 0})]
    assert server.fetched(stable=True) == -1
    server.harness.end(producer)
    assert server.fetched(stable=True) == -1
    assert Server(server.harness.restarted()).fetched(stable=True) == -1


def test_a_deleted_group_takes_its_offsets_in_transactions_along() -> None:
    server = Server()
    producer = server.harness.started()
    assert not server.txn_commit(producer, 7)
    found: list[ErrorCode] = []
    server.harness.groups.deletion.delete_group(GROUP, found.append)
    assert found == [0]
    server.harness.end(producer)
    assert server.fetched(topics=None) == []
    assert server.harness.groups.group(GROUP) == (0, None)


def test_offsets_of_a_deleted_topic_go_also_in_transactions() -> None:
    server = Server()
    producer = server.harness.started()
    assert not server.txn_commit(producer, 7)
    server.harness.groups.topics_deleted({"tt": uuid.uuid4()})
    server.harness.end(producer)
    assert server.fetched() == -1


def test_expiry_leaves_offsets_of_open_transactions_alone() -> None:
    server = Server(TransactionHarness(offsets_retention_minutes=1, offsets_retention_check_interval_ms=1000))
    producer = server.harness.started(timeout_ms=900_000)
    assert not server.commit(5)
    assert not server.txn_commit(producer, 7)
    server.harness.loop.advance(200)
    assert server.fetched() == 5
    server.harness.end(producer)
    assert server.fetched() == 7
    server.harness.loop.advance(200)
    assert server.fetched() == -1
    assert server.harness.groups.group(GROUP) == (0, None)


def test_a_commit_costs_the_same_however_many_transactions_have_the_partition() -> None:
    """Each of them learns at its own end that a later record has won."""
    server = Server()
    producers = {name: server.harness.started(name) for name in ("a", "b", "c")}
    for number, (name, producer) in enumerate(producers.items()):
        assert not server.txn_commit(producer, number, transactional_id=name)

    class Untouched(dict[int, Any]):
        def __getitem__(self, producer_id: int) -> Any:
            raise AssertionError("the commit looks at a pending offset")

    _, shard = server.harness.groups.runtime.shard_of(GROUP)
    assert shard is not None
    pending = shard.state.pending
    kept = pending._by_producer
    pending._by_producer = Untouched(kept)
    assert not server.commit(50)
    pending._by_producer = kept
    assert not server.txn_commit(producers["c"], 60, transactional_id="c")
    for name in ("c", "a", "b"):
        server.harness.end(producers[name], transactional_id=name)
    assert server.fetched() == 60


def test_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server()
    held = server.harness.groups.offset_commit.pending_held
    monkeypatch.setattr("kafka_cy.coordinator.offsets.pending.PENDING_OF_TRANSACTION_MAX", 2)
    monkeypatch.setattr("kafka_cy.coordinator.offsets.pending.PENDING_OFFSETS_MAX", 3)
    producer = server.harness.started()
    assert not server.txn_commit(producer, 1, partition=0)
    assert not server.txn_commit(producer, 2, partition=0)
    assert held.count == 1
    assert not server.txn_commit(producer, 1, partition=1)
    assert server.txn_commit(producer, 1, partition=2) == ErrorCode.POLICY_VIOLATION, "the transaction has too many"
    other = server.harness.started("other")
    assert not server.txn_commit(other, 1, transactional_id="other", partition=2)
    assert server.txn_commit(other, 1, transactional_id="other") == ErrorCode.POLICY_VIOLATION, "all have too many"
    _, producer = server.harness.end(producer)
    assert held.count == 1
    assert server.fetched() == 2, "what was refused changes nothing"
    assert not server.txn_commit(producer, 3)
    _, index = server_partition(server)
    server.harness.groups.runtime.unload(index)
    server.harness.loop.advance(0.0)
    assert held.count == 0
    assert server.commit(9) == ErrorCode.NONE, "it is loaded again"
    assert held.count == 2
    server.harness.end(producer)
    assert held.count == 1


def test_their_memory_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server()
    held = server.harness.groups.offset_commit.pending_held
    monkeypatch.setattr("kafka_cy.coordinator.offsets.pending.PENDING_BYTES_MAX", 5 * PENDING_OFFSET_BYTES)
    producer = server.harness.started()
    assert not server.txn_commit(producer, 1, metadata="\u20ac" * 1000) and held.bytes == PENDING_OFFSET_BYTES + 4000
    assert server.txn_commit(producer, 1, partition=1) == ErrorCode.POLICY_VIOLATION
    monkeypatch.setattr("kafka_cy.coordinator.offsets.pending.PENDING_BYTES_MAX", 1 << 30)
    assert not server.txn_commit(producer, 1, metadata="m") and held.bytes == PENDING_OFFSET_BYTES + 1, "in place of the first one"
    assert not server.txn_commit(producer, 1, partition=1) and held.bytes == 2 * PENDING_OFFSET_BYTES + 1
    keys = [key for group in server.pending_by_group() for key in group]
    assert len({id(key.group_id) for key in keys}) == 1 < len(keys), "the id of the group is kept once"
    _, producer = server.harness.end(producer)
    assert held.bytes == 0
    assert not server.txn_commit(producer, 2, metadata="note") and held.bytes == PENDING_OFFSET_BYTES + 4
    _, index = server_partition(server)
    server.harness.groups.runtime.unload(index)
    server.harness.loop.advance(0.0)
    assert held.bytes == 0
    assert server.commit(9) == ErrorCode.NONE and held.bytes == PENDING_OFFSET_BYTES + 4, "it is loaded again"
    server.harness.end(producer)
    assert held.bytes == 0


def test_verification() -> None:
    server = Server()
    producer = server.harness.started()
    wrong_epoch, wrong_id = Producer(producer.producer_id, 1), Producer(99, 0)
    for version in range(5):
        missing = ErrorCode.INVALID_TXN_STATE if version < 4 else ErrorCode.TRANSACTION_ABORTABLE
        assert server.txn_commit(producer, 1, version=version) == missing
    for version in range(6):
        assert server.txn_commit(wrong_epoch, 1, version=version) == ErrorCode.INVALID_PRODUCER_EPOCH
        assert server.txn_commit(wrong_id, 1, version=version) == ErrorCode.INVALID_PRODUCER_ID_MAPPING
        assert server.txn_commit(producer, 1, version=version, transactional_id="x") == ErrorCode.INVALID_PRODUCER_ID_MAPPING
    assert not server.log().batches
    assert server.add_offsets(wrong_epoch, version=1) == ErrorCode.INVALID_PRODUCER_EPOCH
    assert server.add_offsets(wrong_epoch) == ErrorCode.PRODUCER_FENCED
    assert not server.add_offsets(producer)
    for version in range(5):
        assert not server.txn_commit(producer, version, version=version)
    assert server.txn_commit(producer, 1, topic="none") == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    assert server.txn_commit(producer, 1, group="") == ErrorCode.INVALID_GROUP_ID
    assert server.txn_commit(producer, 1, metadata="m" * 5000) == ErrorCode.OFFSET_METADATA_TOO_LARGE
    assert server.txn_commit(producer, 1, generation=4) == ErrorCode.UNKNOWN_MEMBER_ID
    assert server.txn_commit(producer, 1, generation=4, group="new") == ErrorCode.ILLEGAL_GENERATION


def test_offsets_that_are_not_stored_are_not_shown_and_the_marker_waits() -> None:
    server = Server()
    producer = server.harness.started()
    log = server.log()
    assert not server.txn_commit(producer, 7)
    log.held = True
    error, _ = server.harness.end(producer)
    assert not error, "the outcome is stored"
    assert server.harness.stored().state == 2, "the marker is not"
    log.held = False
    log.high_watermark = log.log_end_offset
    server.harness.look()
    assert server.harness.stored().state == 4
    assert server.fetched() == 7


def test_a_transaction_that_ends_between_the_check_and_the_append() -> None:
    """Its offsets are refused: no marker would follow them."""
    server = Server()
    producer = server.harness.started()
    assert not server.add_offsets(producer)
    state_log, found = server.harness.log(), []
    state_log.held = True
    server.harness.coordinator.end("t", producer, True, 0, lambda error, after: found.append(error))
    assert not found, "the outcome is not stored yet"
    coordinator = server.harness.coordinator
    request = CommitRequest(GROUP, -1, "", None, -1, False, [CommitPartition("tt", None, 0, 1, -1, None)], True)
    server.harness.groups.commit_in_transaction(
        request, producer, lambda: coordinator.check_open("t", producer, server_partition(server)),
        lambda error, errors: found.append(error),
    )  # fmt: skip
    assert found == [ErrorCode.CONCURRENT_TRANSACTIONS]
    assert not server.log().batches
    state_log.held, state_log.high_watermark = False, state_log.log_end_offset
    server.harness.look()
    assert found == [ErrorCode.CONCURRENT_TRANSACTIONS, ErrorCode.NONE]
    assert len(server.log().markers()) == 1


def server_partition(server: Server) -> tuple[str, int]:
    index = server.harness.groups.runtime.partition_index(GROUP)
    assert index is not None
    return OFFSETS_TOPIC, index
