"""The state machine of one partition of `__share_group_state` (Kafka: ShareCoordinatorShard).

The topic is not compacted. A share partition's state is its latest snapshot and the updates after it; what lies before
the oldest snapshot that is still needed can be deleted.
"""

from __future__ import annotations

import base64
import uuid
from collections.abc import Callable, Iterator
from typing import NamedTuple

from kafka_cy.coordinator.runtime.record_reader import BadRecord
from kafka_cy.coordinator.runtime.result import Record, UnsharedState
from kafka_cy.coordinator.share.records import STATE_RECORDS, Snapshot, SnapshotKey, Update, UpdateKey
from kafka_cy.coordinator.share.state_batches import StateBatches, combine, merge


class SharePartition(NamedTuple):
    """A share group's view of a partition."""

    group_id: str
    topic_id: uuid.UUID
    partition: int

    @property
    def key(self) -> str:
        """The string whose hash chooses the partition of `__share_group_state`; also the key of FindCoordinator."""
        topic_id = base64.urlsafe_b64encode(self.topic_id.bytes).decode("ascii").rstrip("=")
        return f"{self.group_id}:{topic_id}:{self.partition}"


def is_share_key(key: str) -> bool:
    """Whether the string is a SharePartition.key."""
    group_id, _, rest = key.partition(":") if key.count(":") == 2 else ("", "", "")
    topic_id, _, partition = rest.partition(":")
    try:
        return bool(group_id) and len(base64.urlsafe_b64decode(topic_id + "==")) == 16 and int(partition) >= 0
    except ValueError:
        return False


class ShareState(NamedTuple):
    """What is stored of a share partition. `start_offset` is -1 while no consumer has read it.

    `updates`: how many were stored since the snapshot. `snapshot_offset`: where the snapshot lies in the log.
    """

    snapshot_epoch: int
    state_epoch: int
    leader_epoch: int
    start_offset: int
    create_timestamp_ms: int
    write_timestamp_ms: int
    batches: StateBatches
    delivery_complete_count: int
    updates: int
    snapshot_offset: int

    def next_snapshot(self) -> Snapshot:
        """A snapshot of the state as it is, to be changed by the caller."""
        return Snapshot(
            self.snapshot_epoch + 1, self.state_epoch, self.leader_epoch, self.start_offset, self.create_timestamp_ms,
            self.write_timestamp_ms, self.batches, self.delivery_complete_count,
        )  # fmt: skip


class ShareStateMachine(UnsharedState):
    """Owner: the coordinator's thread. Limits: those of ShareCoordinator for share partitions and for their batches."""

    def __init__(self) -> None:
        self.states: dict[SharePartition, ShareState] = {}
        self.batch_count = 0  # of all states
        self.skipped = 0  # records that cannot be read; they stay in the log until it is trimmed

    # -- records --

    def encode(self, record: Record) -> tuple[bytes, bytes | None]:
        """Raises BadRecord."""
        return STATE_RECORDS.encode(*record)

    def decode(self, key: bytes, value: bytes | None) -> Record | None:
        try:
            record = STATE_RECORDS.decode(key, value)
        except BadRecord:
            record = None
        if record is None:
            self.skipped += 1
        return record

    def replay(self, record: Record, offset: int, producer_id: int = -1) -> None:
        """A trimmed log may begin with updates of deleted states: they change nothing."""
        key, value = record
        partition = SharePartition(*key)
        if isinstance(key, SnapshotKey):
            old = self.states.pop(partition, None)
            self.batch_count -= len(old.batches) if old is not None else 0
            if value is not None:
                self._replay_snapshot(partition, value, offset)
        elif isinstance(key, UpdateKey) and value is not None and partition in self.states:
            self._replay_update(partition, value)

    def _replay_snapshot(self, partition: SharePartition, snapshot: Snapshot, offset: int) -> None:
        """At the end of the table: the oldest snapshot comes first."""
        batches = combine((), snapshot.state_batches, -1)
        self.batch_count += len(batches)
        self.states[partition] = ShareState(
            snapshot.snapshot_epoch, snapshot.state_epoch, snapshot.leader_epoch, snapshot.start_offset,
            snapshot.create_timestamp_ms, snapshot.write_timestamp_ms, batches,
            snapshot.delivery_complete_count, 0, offset,
        )  # fmt: skip

    def _replay_update(self, partition: SharePartition, update: Update) -> None:
        state = self.states[partition]
        start_offset = state.start_offset if update.start_offset == -1 else update.start_offset
        batches = merge(state.batches, update.state_batches, start_offset)
        self.batch_count += len(batches) - len(state.batches)
        self.states[partition] = state._replace(
            leader_epoch=update.leader_epoch,
            start_offset=start_offset,
            batches=batches,
            delivery_complete_count=update.delivery_complete_count,
            updates=state.updates + 1,
        )

    # -- what can be deleted --

    def first_needed_offset(self) -> int | None:
        """Where the oldest snapshot lies: records below it can be deleted. None if there is no state."""
        return next((state.snapshot_offset for state in self.states.values()), None)

    # -- soft state: there is none --

    def loaded(self, on_fault: Callable[[Exception], object]) -> Iterator[None]:
        return iter(())

    def remarks(self) -> list[str]:
        return [f"{self.skipped} records of share state could not be read"] if self.skipped else []

    def unloaded(self, on_fault: Callable[[Exception], object]) -> Iterator[None]:
        while self.states:
            self.states.popitem()
            yield

    def restart(self, key: str) -> None:
        """Nothing waits."""
