"""A share coordinator over partitions in memory, and shortcuts for its operations."""

from __future__ import annotations

import uuid
from types import SimpleNamespace
from typing import Any

from kafka_cy.coordinator.share.state_batches import StateBatch
from kafka_cy.coordinator.share.state_coordinator import STATE_TOPIC, ShareCoordinator
from kafka_cy.coordinator.share.state_machine import SharePartition, ShareState, ShareStateMachine
from kafka_cy.coordinator.share.state_writes import StateWrite
from kafka_cy.protocol.errors import ErrorCode

from .fakes import FakeLoop, FakePartition

TOPIC_ID = uuid.UUID("e6e7e27f-afca-4c2b-adad-cb279e5e6201")
CONFIG = {
    "message.max.bytes": 1_048_588,
    "share.coordinator.state.topic.compression.codec": 0,
    "share.coordinator.snapshot.update.records.per.snapshot": 5,
    "share.coordinator.cold.partition.snapshot.interval.ms": 300_000,
    "share.coordinator.state.topic.prune.interval.ms": 300_000,
}


class TrimmedPartition(FakePartition):
    """Also deletes records, whole batches at a time."""

    log: Any = SimpleNamespace(flush=lambda: None)

    def delete_records(self, offset: int) -> int:
        self.log_start_offset = offset
        return offset


class ShareHarness:
    def __init__(self, other: ShareHarness | None = None, **config: Any) -> None:
        self.loop = FakeLoop()
        self.loop.time_s = self.loop.time_s if other is None else other.loop.time_s
        self.hosted = {index: TrimmedPartition() for index in range(50)} if other is None else other.hosted
        state_topic = SimpleNamespace(name=STATE_TOPIC, id=uuid.uuid4(), partitions=list(self.hosted))
        topic = SimpleNamespace(name="st", id=TOPIC_ID, partitions=[0, 1])
        cluster = SimpleNamespace(
            topics={STATE_TOPIC: state_topic},
            topic_by_id={TOPIC_ID: topic},
            partition=lambda name, index: self.hosted.get(index) if name == STATE_TOPIC else None,
            partition_count=lambda name: len(self.hosted) if name == STATE_TOPIC else 0,
        )
        self.coordinator = ShareCoordinator(CONFIG | config, cluster, self.loop)
        self.coordinator.start()
        while any(shard.is_loading for shard in self.coordinator.runtime.shards.values()):
            self.loop.advance(0)  # a busy machine loads in several slices

    def restart(self) -> ShareHarness:
        """Another coordinator over the same log."""
        self.coordinator.stop()
        return ShareHarness(self)

    def initialize(self, partition: SharePartition, state_epoch: int, start_offset: int = -1) -> ErrorCode:
        found: list[ErrorCode] = []
        self.coordinator.initialize(partition, state_epoch, start_offset, found.append)
        return found[0]

    def write(
        self, partition: SharePartition, *batches: tuple[int, int, int, int], state_epoch: int = 3, leader_epoch: int = 0,
        start_offset: int = -1, complete: int = 0,
    ) -> ErrorCode:  # fmt: skip
        found: list[ErrorCode] = []
        stored = tuple(StateBatch(*batch) for batch in batches)
        request = StateWrite(partition, state_epoch, leader_epoch, start_offset, complete, stored)
        self.coordinator.write(request, found.append)
        return found[0]

    def read(self, partition: SharePartition, leader_epoch: int = -1) -> tuple[ErrorCode, ShareState | None]:
        found: list[tuple[ErrorCode, ShareState | None]] = []
        self.coordinator.read(partition, leader_epoch, lambda error, state: found.append((error, state)))
        return found[0]

    def summary(self, partition: SharePartition) -> tuple[ErrorCode, ShareState | None]:
        found: list[tuple[ErrorCode, ShareState | None]] = []
        self.coordinator.summary(partition, lambda error, state: found.append((error, state)))
        return found[0]

    def delete(self, partition: SharePartition) -> ErrorCode:
        found: list[ErrorCode] = []
        self.coordinator.delete(partition, found.append)
        return found[0]

    def log_of(self, partition: SharePartition) -> TrimmedPartition:
        index = self.coordinator.runtime.partition_index(partition.key)
        assert index is not None
        return self.hosted[index]

    def states(self) -> dict[SharePartition, ShareState]:
        """The stored state of every share partition."""
        machines: list[ShareStateMachine] = [shard.state for shard in self.coordinator.runtime.loaded_shards()]
        return {partition: state for machine in machines for partition, state in machine.states.items()}
