"""A transaction coordinator and a group coordinator over fake partitions, with shortcuts for requests."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

from kafka_cy.cluster.topic_names import OFFSETS_TOPIC, TRANSACTIONS_TOPIC
from kafka_cy.coordinator.group_coordinator import GroupCoordinator
from kafka_cy.coordinator.transactions.init_producer_id import InitRequest, Producer
from kafka_cy.coordinator.transactions.records import StoredTransaction
from kafka_cy.coordinator.transactions.state_machine import TransactionStateMachine
from kafka_cy.coordinator.transactions.transaction import Partition, Transaction
from kafka_cy.coordinator.transactions.transaction_coordinator import TransactionCoordinator
from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.records import CONTROL, TRANSACTIONAL, build_batch, iterate_batches
from kafka_cy.storage.log import StorageFailure

from .fakes import CONFIG, FakeLoop, FakePartition, rebase

TRANSACTION_CONFIG = CONFIG | {
    "transaction.max.timeout.ms": 900_000,
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": 10_000,
    "transaction.remove.expired.transaction.cleanup.interval.ms": 3_600_000,
    "transactional.id.expiration.ms": 604_800_000,
}
STORAGE_INVALID_PRODUCER_EPOCH = 7
DATA_TOPICS = {"tt": 3, "tu": 3, "ti": 1, "wt": 1}


class TickingLoop(FakeLoop):
    """Its wall clock is a millisecond later each time, so that the order of the timestamps is that of the calls."""

    ticks = 0

    def wall_clock_ms(self) -> int:
        self.ticks += 1
        return super().wall_clock_ms() + self.ticks


@dataclass
class LogPartition(FakePartition):
    """Also takes markers and transactional batches, and knows the last epoch of each producer."""

    leader_epoch: int = 0
    epochs: dict[int, int] = field(default_factory=dict)
    marker_failures: list[Exception] = field(default_factory=list)

    def append(self, batch: bytes, origin: str, leader_since: int = -1) -> int:
        assert origin == "coordinator"
        self.check_leader(leader_since)
        if self.failing is not None:
            raise self.failing
        (parsed,) = iterate_batches(batch)
        if parsed.producer_id >= 0:
            self.epochs[parsed.producer_id] = parsed.producer_epoch
        return self._append(batch, parsed.last_offset_delta)

    def append_marker(
        self, producer_id: int, epoch: int, coordinator_epoch: int, commit: bool, transaction_version: int, leader_since: int = -1
    ) -> int:
        self.check_leader(leader_since)
        if self.marker_failures:
            raise self.marker_failures.pop()
        if self.failing is not None:
            raise self.failing
        if epoch < self.epochs.get(producer_id, -1):
            raise StorageFailure("a marker of an old epoch", STORAGE_INVALID_PRODUCER_EPOCH)
        self.epochs[producer_id] = epoch
        key, value = struct.pack(">hh", 0, int(commit)), struct.pack(">hi", 0, coordinator_epoch)
        return self._append(
            build_batch(
                [(key, value, 1, (), -1)],
                attributes=CONTROL | TRANSACTIONAL,
                producer_id=producer_id,
                producer_epoch=epoch,
            ),
            0,
        )

    def _append(self, batch: bytes, last_offset_delta: int) -> int:
        base = self.log_end_offset
        self.batches.append(rebase(batch, base))
        self.log_end_offset = base + last_offset_delta + 1
        if not self.held:
            self.high_watermark = self.log_end_offset
        return base

    def markers(self) -> list[tuple[int, int, bool, int]]:
        """Producer id, epoch, whether committed, and coordinator epoch of each marker."""
        found = []
        for data in self.batches:
            for batch in iterate_batches(data):
                if batch.is_control:
                    (record,) = batch.records()
                    assert record.key is not None and record.value is not None
                    epoch = struct.unpack(">hi", record.value)[1]
                    found.append((batch.producer_id, batch.producer_epoch, record.key[3] == 1, epoch))
        return found


class TransactionCluster:
    """Topics with fake partitions; `partitions` is the number of partitions of the coordinators' topics."""

    def __init__(self, partitions: int = 50, data_topics: dict[str, int] | None = None) -> None:
        self.hosted: dict[Partition, LogPartition] = {}
        self.topics: dict[str, Any] = {}
        self.topic_by_id: dict[uuid.UUID, Any] = {}
        self.features = SimpleNamespace(levels={"transaction.version": 2})
        counts = {OFFSETS_TOPIC: partitions, TRANSACTIONS_TOPIC: partitions} | (data_topics or DATA_TOPICS)
        for name, count in counts.items():
            self.add(name, count)

    def add(self, name: str, count: int) -> None:
        topic = SimpleNamespace(name=name, id=uuid.uuid5(uuid.NAMESPACE_DNS, name), partitions=list(range(count)))
        self.topics[name] = self.topic_by_id[topic.id] = topic
        for index in range(count):
            self.hosted[name, index] = LogPartition()

    def remove(self, name: str) -> None:
        topic = self.topics.pop(name)
        for index in topic.partitions:
            del self.hosted[name, index]

    def partition_count(self, name: str) -> int:
        return len(self.topics[name].partitions) if name in self.topics else 0

    def partition(self, topic: str, index: int) -> LogPartition | None:
        hosted = self.hosted.get((topic, index))
        return hosted if hosted is not None and hosted.state != 2 else None


class FakeTable:
    """What the data plane was told."""

    def __init__(self) -> None:
        self.producers: dict[int, tuple[int, set[tuple[bytes, int]]]] = {}

    def set_partitions(self, producer_id: int, epoch: int, partitions: Iterable[tuple[bytes, int]]) -> bool:
        before, known = self.producers.get(producer_id, (epoch, set()))
        self.producers[producer_id] = (epoch, (known if before == epoch else set()) | set(partitions))
        return True

    def remove(self, producer_id: int) -> None:
        self.producers.pop(producer_id, None)

    def clear(self) -> None:
        self.producers.clear()


class FakeProducerIds:
    def __init__(self, first: int = 0) -> None:
        self.next = first

    def take(self, done: Any) -> None:
        self.next += 1
        done(self.next - 1, None)


class TransactionHarness:
    """Both coordinators over one cluster; a request returns its response, which has to come at once."""

    def __init__(
        self,
        cluster: TransactionCluster | None = None,
        loop: FakeLoop | None = None,
        producer_ids: FakeProducerIds | None = None,
        calls: Any = None,
        **config: Any,
    ) -> None:
        self.loop = loop or TickingLoop()
        self.cluster = cluster or TransactionCluster()
        self.producer_ids = producer_ids or FakeProducerIds()
        self.table = FakeTable()
        self.lines: list[str] = []
        settings = TRANSACTION_CONFIG | {key.replace("_", "."): value for key, value in config.items()}

        def log(what: str, **fields: Any) -> None:
            self.lines.append(what)

        self.groups = GroupCoordinator(settings, self.cluster, self.loop, log)
        self.coordinator = TransactionCoordinator(
            settings, self.cluster, self.loop, self.producer_ids, self.table,  # type: ignore[arg-type]
            self.groups.runtime.end_transaction, log, log, calls,
        )  # fmt: skip
        self.groups.start()
        self.coordinator.start()

    def restarted(self, **config: Any) -> TransactionHarness:
        """Other coordinators over the same logs; this one ends without a word, as after kill -9."""
        loop = TickingLoop()
        loop.time_s, loop.ticks = self.loop.time_s, getattr(self.loop, "ticks", 0)
        return TransactionHarness(self.cluster, loop, self.producer_ids, **config)

    def look(self) -> None:
        self.groups.look()
        self.coordinator.look()

    # -- requests --

    def init(
        self, transactional_id: str = "t", *, timeout_ms: int = 60_000, expected: Producer | None = None
    ) -> tuple[ErrorCode, Producer]:
        found: list[tuple[ErrorCode, Producer]] = []
        request = InitRequest(transactional_id, timeout_ms, expected)
        self.coordinator.init_producer_id(request, lambda error, producer: found.append((error, producer)))
        return found[0]

    def started(self, transactional_id: str = "t", **options: Any) -> Producer:
        """The producer of an InitProducerId that has to succeed."""
        error, producer = self.init(transactional_id, **options)
        assert not error
        return producer

    def add(
        self, producer: Producer, *partitions: Partition, transactional_id: str = "t", version: int = 2
    ) -> ErrorCode:
        found: list[ErrorCode] = []
        self.coordinator.add_partitions(transactional_id, producer, partitions, version, found.append)
        return found[0]

    def end(
        self, producer: Producer, committed: bool = True, *, transactional_id: str = "t", version: int = 2
    ) -> tuple[ErrorCode, Producer]:
        found: list[tuple[ErrorCode, Producer]] = []
        self.coordinator.end(
            transactional_id, producer, committed, version, lambda error, after: found.append((error, after))
        )
        return found[0]

    # -- what is stored --

    def partition_index(self, transactional_id: str = "t") -> int:
        index = self.coordinator.runtime.partition_index(transactional_id)
        assert index is not None
        return index

    def log(self, transactional_id: str = "t") -> LogPartition:
        return self.cluster.hosted[TRANSACTIONS_TOPIC, self.partition_index(transactional_id)]

    def transaction(self, transactional_id: str = "t") -> Transaction | None:
        error, shard = self.coordinator.runtime.shard_of(transactional_id)
        assert shard is not None, error
        return shard.state.transactions.get(transactional_id)

    def stored(self, transactional_id: str = "t") -> StoredTransaction:
        transaction = self.transaction(transactional_id)
        assert transaction is not None
        return transaction.stored

    def markers(self, topic: str, partition: int) -> list[tuple[int, int, bool, int]]:
        return self.cluster.hosted[topic, partition].markers()


def replayed_transactions(pairs: Iterable[tuple[bytes, bytes | None]]) -> TransactionStateMachine:
    """The transactions that loading a log with these records creates, without soft state."""
    from kafka_cy.coordinator.transactions.limits import TransactionsHeld

    machine = TransactionStateMachine(TransactionsHeld(), lambda each: None, lambda each: None)
    for offset, (key, value) in enumerate(pairs):
        record = machine.decode(key, value)
        assert record is not None
        machine.replay(record, offset)
    return machine


def replicated_transactions(machine: TransactionStateMachine) -> dict[str, StoredTransaction]:
    """The stored state as comparable values."""
    return {name: transaction.stored for name, transaction in machine.transactions.items()}
