"""A broker that is killed after any append, of a record or of a marker, finishes what was decided, and nothing else."""

from __future__ import annotations

from typing import Any

import pytest

from kafka_cy.cluster.topic_names import OFFSETS_TOPIC, TRANSACTIONS_TOPIC
from kafka_cy.coordinator.commit_request import CommitPartition, CommitRequest
from kafka_cy.coordinator.transactions.init_producer_id import Producer
from kafka_cy.coordinator.transactions.states import State
from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.records import iterate_batches
from kafka_cy.storage.log import StorageFailure

from .transaction_fakes import LogPartition, TransactionCluster, TransactionHarness

PARTITIONS = [("tt", 0), ("tt", 1), ("tu", 2)]
OFFSETS = (OFFSETS_TOPIC, 0)
STORAGE_NOT_LEADER = 11


class Recording(TransactionCluster):
    """Remembers the order of all appends, over all partitions."""

    def __init__(self) -> None:
        super().__init__(1)
        self.appends: list[tuple[tuple[str, int], bytes]] = []
        for where, log in self.hosted.items():
            self.record(where, log)

    def record(self, where: tuple[str, int], log: LogPartition) -> None:
        append = log._append

        def recorded(batch: bytes, last_offset_delta: int) -> int:
            base = append(batch, last_offset_delta)
            self.appends.append((where, log.batches[-1]))
            return base

        log._append = recorded  # type: ignore[method-assign]

    def killed_after(self, count: int) -> TransactionCluster:
        """A cluster with the first appends only."""
        cluster = TransactionCluster(1)
        for where, data in self.appends[:count]:
            (batch,) = iterate_batches(data)
            cluster.hosted[where]._append(data, batch.last_offset_delta)
            cluster.hosted[where].epochs[batch.producer_id] = batch.producer_epoch
        return cluster


def commit_offsets(harness: TransactionHarness, producer: Producer) -> None:
    assert not harness.add(producer, OFFSETS)
    found: list[Any] = []
    request = CommitRequest("g", -1, "", None, -1, False, [CommitPartition("wt", None, 0, 7, -1, None)], True)
    check = lambda: harness.coordinator.check_open("t", producer, OFFSETS)  # noqa: E731
    harness.groups.commit_in_transaction(request, producer, check, lambda error, errors: found.append(error))
    assert found == [0]


def transaction(cluster: TransactionCluster, committed: bool, version: int) -> TransactionHarness:
    harness = TransactionHarness(cluster)
    producer = harness.started()
    assert not harness.add(producer, *PARTITIONS, version=version)
    commit_offsets(harness, producer)
    assert not harness.end(producer, committed, version=version)[0]
    return harness


@pytest.mark.parametrize("version", [0, 2])
@pytest.mark.parametrize("committed", [True, False])
def test_killed_after_any_append(committed: bool, version: int) -> None:
    recording = Recording()
    whole = transaction(recording, committed, version)
    records = len(whole.log().batches)
    assert records == 5, "InitProducerId, two additions, Prepare, Complete"
    assert len(recording.appends) == records + 1 + len(PARTITIONS) + 1  # offsets, markers
    prepared_at = next(
        place for place, (where, _) in enumerate(recording.appends) if where[0] == "tt"
    )  # the Prepare record is the append before the first marker
    for count in range(len(recording.appends) + 1):
        cluster = recording.killed_after(count)
        harness = TransactionHarness(cluster)
        decided = count >= prepared_at
        stored = harness.transaction()
        if decided:
            assert stored is not None and stored.stored.state == (4 if committed else 5)
            assert stored.stored == whole.stored()._replace(last_update_ms=stored.stored.last_update_ms)
            for where in [*PARTITIONS, OFFSETS]:
                markers = harness.markers(*where)
                assert markers and set(markers) == set(whole.markers(*where))
            assert not harness.table.producers
        else:
            assert all(not harness.markers(*where) for where in [*PARTITIONS, OFFSETS])
            is_ongoing = stored is not None and stored.is_ongoing
            assert bool(harness.table.producers) == is_ongoing
            if stored is not None:
                check_that_it_times_out(harness, is_ongoing)
        (shard,) = harness.groups.runtime.loaded_shards()
        shown = {name: group.offsets for name, group in shard.state.groups.items() if group.offsets}
        assert bool(shown) == (decided and committed)


def check_that_it_times_out(harness: TransactionHarness, is_ongoing: bool) -> None:
    start_ms = harness.stored().start_ms
    harness.loop.advance(100)
    assert harness.stored().state == (5 if is_ongoing else 0)
    assert harness.stored().start_ms == start_ms


def test_a_marker_that_cannot_be_written_is_tried_again() -> None:
    cluster = TransactionCluster(1)
    log = cluster.hosted["tt", 1]
    log.marker_failures = [StorageFailure("not the leader", STORAGE_NOT_LEADER) for _ in range(6)]
    harness = transaction(cluster, True, 2)
    assert harness.stored().state == 2
    assert harness.init() == (ErrorCode.CONCURRENT_TRANSACTIONS, Producer(-1, -1))
    harness.loop.advance(60)
    assert harness.stored().state == 4
    assert [len(harness.markers(*where)) for where in PARTITIONS] == [1, 1, 1]
    assert harness.lines.count("a transaction marker cannot be written; it is tried again") == 1


def test_many_transactions_that_wait_are_tried_again_at_a_limited_rate(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kafka_cy.coordinator.transactions.completion.RETRIES_PER_S", 1)
    harness = TransactionHarness()
    names = [f"t{number}" for number in range(30)]
    harness.cluster.hosted["tt", 0].state = 2  # its directory is offline
    for name in names:
        producer = harness.started(name)
        assert not harness.add(producer, ("tt", 0), transactional_id=name)
        assert not harness.end(producer, transactional_id=name)[0]
    for _ in range(40):
        harness.loop.advance(1.0)
    attempts: list[object] = []
    write = harness.coordinator.markers.write
    monkeypatch.setattr(harness.coordinator.markers, "write", lambda *given: (attempts.append(given), write(*given)))
    for _ in range(30):
        harness.loop.advance(1.0)
    assert 20 <= len(attempts) <= 40
    harness.cluster.hosted["tt", 0].state = 0
    for _ in range(60):
        harness.loop.advance(1.0)
    assert len(harness.markers("tt", 0)) == len(names)
    assert {harness.stored(name).state for name in names} == {State.COMPLETE_COMMIT}


def test_a_deleted_topic_needs_no_marker() -> None:
    cluster = TransactionCluster(1)
    harness = TransactionHarness(cluster)
    producer = harness.started()
    assert not harness.add(producer, *PARTITIONS)
    cluster.remove("tu")
    assert not harness.end(producer)[0]
    assert harness.stored().state == 4


def test_a_partition_that_another_producer_epoch_has_taken_does_not_hold_up_the_end() -> None:
    """Somebody has written a marker with a higher epoch (WriteTxnMarkers): there is nothing left to end."""
    cluster = TransactionCluster(1)
    harness = TransactionHarness(cluster)
    producer = harness.started()
    assert not harness.add(producer, *PARTITIONS)
    cluster.hosted["tt", 0].append_marker(producer.producer_id, 30_000, 0, False, 0)
    assert not harness.end(producer)[0]
    assert harness.stored().state == 4
    assert "a transaction was ended by somebody else" in harness.lines


def test_a_transaction_log_that_fails_at_the_end() -> None:
    """The markers are written, Complete is not: the next coordinator stores it."""
    cluster = TransactionCluster(1)
    harness = TransactionHarness(cluster)
    producer = harness.started()
    assert not harness.add(producer, *PARTITIONS)
    log = cluster.hosted[TRANSACTIONS_TOPIC, 0]
    data = cluster.hosted["tu", 2]
    data.held = True
    assert not harness.end(producer)[0]
    log.failing = StorageFailure("offline", STORAGE_NOT_LEADER)
    data.held, data.high_watermark = False, data.log_end_offset
    harness.look()
    assert harness.stored().state == 2
    harness.loop.advance(1)
    log.failing = None
    harness.loop.advance(10)
    assert harness.stored().state == 4
    assert len(harness.markers("tu", 2)) == 1


def test_many_partitions_take_turns_with_other_requests(monkeypatch: pytest.MonkeyPatch) -> None:
    from kafka_cy.base import slices

    cluster = TransactionCluster(1, {"big": 1000})
    harness = TransactionHarness(cluster)
    producer = harness.started()
    assert not harness.add(producer, *(("big", index) for index in range(1000)))
    monkeypatch.setattr(slices, "SLICE_S", 0)
    error, after = harness.end(producer)
    assert (error, after) == (0, Producer(producer.producer_id, 1)), "the outcome is stored"
    assert harness.stored().state == 2
    assert harness.started("other").epoch == 0
    harness.loop.advance(1)
    assert harness.stored().state == 4
    assert all(len(harness.markers("big", index)) == 1 for index in range(1000))


def test_limits(monkeypatch: pytest.MonkeyPatch) -> None:
    from kafka_cy.coordinator.transactions import limits

    harness = TransactionHarness()
    monkeypatch.setattr(limits, "PARTITIONS_MAX", 2)
    monkeypatch.setattr(limits, "TRANSACTIONAL_IDS_MAX", 3)
    producer = harness.started()
    assert harness.add(producer, *PARTITIONS) == ErrorCode.POLICY_VIOLATION
    assert harness.add(producer, *PARTITIONS) == ErrorCode.POLICY_VIOLATION
    line = "a limit of the transaction coordinator is reached; requests get POLICY_VIOLATION"
    assert harness.lines.count(line) == 1, "the operator hears of it, but not of each request"
    assert harness.stored().state == 0
    assert not harness.add(producer, *PARTITIONS[:2])
    assert not harness.add(producer, *PARTITIONS[:2])
    assert harness.add(producer, PARTITIONS[2]) == ErrorCode.POLICY_VIOLATION
    before = harness.coordinator.held.bytes
    harness.started("b")
    harness.started("c")
    harness.loop.advance(60.0)
    assert harness.init("d")[0] == ErrorCode.POLICY_VIOLATION
    assert harness.lines.count(line) == 2
    assert harness.init("e" * 40_000)[0] == ErrorCode.POLICY_VIOLATION
    monkeypatch.setattr(limits, "TRANSACTIONAL_IDS_MAX", 10)
    assert harness.init("e" * 40_000)[0] == ErrorCode.UNKNOWN_SERVER_ERROR, "it does not fit into a record; as Kafka"
    monkeypatch.setattr(limits, "TRANSACTION_BYTES_MAX", harness.coordinator.held.bytes)
    assert harness.init("d")[0] == ErrorCode.POLICY_VIOLATION
    harness.loop.advance(8 * 86_400)
    assert harness.coordinator.held.bytes == harness.coordinator.held.transactional_ids == 0 < before


def test_metrics() -> None:
    from kafka_cy.telemetry.coordinator_metrics import coordinator_metrics
    from kafka_cy.telemetry.transaction_numbers import TransactionNumbers

    cluster = TransactionCluster(1)
    cluster.hosted["tt", 1].marker_failures = [StorageFailure("not the leader", STORAGE_NOT_LEADER)]
    harness = transaction(cluster, True, 2)
    producer = harness.started("other")
    assert not harness.add(producer, ("tt", 0), transactional_id="other")
    coordinator = harness.coordinator
    assert len(coordinator.runtime.load_times.recent_ms(harness.loop.now())) == 1
    numbers = TransactionNumbers(*coordinator.counts(), *coordinator.completion.waiting.values())
    assert numbers[:6] == (2, 1, 1, numbers.oldest_open_ms, 1, 0) and 0 < numbers.oldest_open_ms < 100
    shown = {
        (sample.name, *sample.labels.values()): sample.value
        for metric in coordinator_metrics({"transaction": [2.0, 4.0], "group": []}, numbers)
        for sample in metric.samples
    }
    prefix = "kafka_server_transaction_coordinator_metrics_partition_load_time_"
    assert (shown[prefix + "max",], shown[prefix + "avg",]) == (4, 3)
    assert shown["kafka_coordinator_transaction_transactionmarkerchannelmanager_unknowndestinationqueuesize",] == 1
    assert shown["kafkacy_transactions", "ongoing"] == shown["kafkacy_transactions", "prepared"] == 1
    assert shown["kafkacy_transaction_oldest_open_seconds",] == numbers.oldest_open_ms / 1000
    harness.loop.advance(1)
    assert coordinator.counts()[:3] == (2, 1, 0) and 1000 < coordinator.counts()[3] < 1100
    assert coordinator.completion.waiting == {"partitions": 0, "log": 0}


@pytest.mark.parametrize("level", [0, 1, 2])
def test_the_coordinators_own_aborts_have_the_finalized_transaction_version(level: int) -> None:
    cluster = TransactionCluster(1)
    cluster.features.levels["transaction.version"] = level
    harness = TransactionHarness(cluster)
    producer = harness.started()
    assert not harness.add(producer, ("tt", 0), version=0)
    harness.loop.advance(75)
    assert harness.stored().state == 5
    assert (harness.stored().producer_epoch, harness.stored().client_version) == (1, 2 if level == 2 else 0)
    assert harness.lines == ["a transaction was aborted: it took longer than its timeout"]
    again, after = harness.init(expected=producer)
    if level == 2:
        assert (again, after.epoch) == (0, 1), "the producer that timed out goes on"
    else:
        assert again == ErrorCode.PRODUCER_FENCED
