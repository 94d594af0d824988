"""Committed offsets: commit, fetch, delete, and their expiry after `offsets.retention.minutes`."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from kafka_cy.coordinator.group import CONSUMER_PROTOCOL_TYPE, Group, GroupState
from kafka_cy.coordinator.records import CommittedOffset, group_key, offset_key, offset_value
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kafka_cy.coordinator.group_coordinator import GroupCoordinator

Record = tuple[bytes, bytes | None]
PartitionErrors = dict[tuple[str, int], ErrorCode]
TOMBSTONES_PER_BATCH_MAX = 2000


@dataclass(slots=True)  # frozen ones cost three times as much to make
class CommitPartition:
    topic: str
    topic_id: uuid.UUID | None
    partition: int
    offset: int
    leader_epoch: int
    metadata: str | None


@dataclass(slots=True)
class CommitRequest:
    """`retention_ms` is -1 unless OffsetCommit v2-4 gave one; `knows_unknown_groups` is OffsetCommit v9 on."""

    group_id: str
    generation: int
    member_id: str
    instance_id: str | None
    retention_ms: int
    knows_unknown_groups: bool
    partitions: list[CommitPartition]


class Offsets:
    """Owner: the control thread."""

    def __init__(self, coordinator: GroupCoordinator) -> None:
        self.coordinator = coordinator
        self.loop = coordinator.loop
        self.metadata_bytes_max: int = coordinator.config["offset.metadata.max.bytes"]
        self.retention_ms: int = coordinator.config["offsets.retention.minutes"] * 60_000

    # -- commit --

    def commit(
        self, groups: dict[str, Group], request: CommitRequest, done: Callable[[ErrorCode, PartitionErrors], None]
    ) -> None:
        """`done` gets the error of the whole request, or 0 and the error of each partition."""
        group = groups.get(request.group_id)
        if group is None and request.generation >= 0:
            unknown = ErrorCode.GROUP_ID_NOT_FOUND if request.knows_unknown_groups else ErrorCode.ILLEGAL_GENERATION
            return done(unknown, {})
        error = ErrorCode.NONE if group is None else self._check_commit(group, request)
        if error:
            return done(error, {})
        now_ms = self.loop.wall_clock_ms()
        expire_ms = now_ms + request.retention_ms if request.retention_ms >= 0 else -1
        errors: PartitionErrors = {}
        accepted: list[tuple[CommitPartition, CommittedOffset]] = []
        for each in request.partitions:
            metadata = each.metadata or ""
            if len(metadata) > self.metadata_bytes_max:
                errors[each.topic, each.partition] = ErrorCode.OFFSET_METADATA_TOO_LARGE
                continue
            errors[each.topic, each.partition] = ErrorCode.NONE
            committed = CommittedOffset(each.offset, each.leader_epoch, metadata, now_ms, expire_ms, each.topic_id)
            accepted.append((each, committed))
        records: list[Record] = [
            (offset_key(request.group_id, each.topic, each.partition), offset_value(committed))
            for each, committed in accepted
        ]
        error = self.coordinator.append(request.group_id, records) if records else ErrorCode.NONE
        if error:
            return done(error, {})
        if group is None:
            group = groups[request.group_id] = Group(request.group_id)
        for each, committed in accepted:
            group.offsets.setdefault(each.topic, {})[each.partition] = committed
        done(ErrorCode.NONE, errors)

    def _check_commit(self, group: Group, request: CommitRequest) -> ErrorCode:
        if group.state is GroupState.DEAD:
            return ErrorCode.COORDINATOR_NOT_AVAILABLE
        if request.generation < 0 and group.state is GroupState.EMPTY:
            return ErrorCode.NONE
        if request.generation < 0 and not request.member_id and request.instance_id is None:
            return ErrorCode.UNKNOWN_MEMBER_ID
        error = group.validate_member(request.member_id, request.instance_id)
        if error:
            return error
        if request.generation != group.generation:
            return ErrorCode.ILLEGAL_GENERATION
        if group.state is GroupState.COMPLETING_REBALANCE:
            return ErrorCode.REBALANCE_IN_PROGRESS
        group.members[request.member_id].last_heartbeat_s = self.loop.now()
        return ErrorCode.NONE

    # -- delete --

    def delete(
        self, group: Group | None, partitions: Iterable[tuple[str, int]],
        done: Callable[[ErrorCode, PartitionErrors], None],
    ) -> None:  # fmt: skip
        """OffsetDelete: offsets of topics that the group is subscribed to stay (GROUP_SUBSCRIBED_TO_TOPIC)."""
        if group is None or group.state is GroupState.DEAD:
            return done(ErrorCode.GROUP_ID_NOT_FOUND, {})
        if group.state is not GroupState.EMPTY and group.protocol_type != CONSUMER_PROTOCOL_TYPE:
            return done(ErrorCode.NON_EMPTY_GROUP, {})
        errors: PartitionErrors = {}
        doomed = []
        for topic, partition in partitions:
            if group.state is not GroupState.EMPTY and group.is_subscribed(topic):
                errors[topic, partition] = ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC
                continue
            errors[topic, partition] = ErrorCode.NONE
            if partition in group.offsets.get(topic, {}) and (topic, partition) not in doomed:
                doomed.append((topic, partition))
        error = self.remove(group, doomed)
        done(error, {} if error else errors)

    def remove(self, group: Group, doomed: list[tuple[str, int]], extra: list[Record] | None = None) -> ErrorCode:
        """Write tombstones for the offsets (and `extra` records after them), then forget them."""
        records: list[Record] = [(offset_key(group.group_id, topic, partition), None) for topic, partition in doomed]
        records += extra or []
        error = self.coordinator.append(group.group_id, records) if records else ErrorCode.NONE
        if not error:
            for topic, partition in doomed:
                group.offsets[topic].pop(partition, None)
                if not group.offsets[topic]:
                    del group.offsets[topic]
        return error

    def remove_all(self, group: Group) -> ErrorCode:
        """Tombstones for every offset and for the group (as Kafka, even if it was never written), in one batch."""
        return self.remove(group, all_partitions(group), [(group_key(group.group_id), None)])

    def remove_topics(self, groups: Iterable[Group], topics: set[str]) -> None:
        """The topics were deleted."""
        for group in groups:
            doomed = [(topic, index) for topic in topics & group.offsets.keys() for index in group.offsets[topic]]
            if doomed:
                self.remove(group, doomed)

    # -- expiry --

    def expire(self, groups: dict[str, Group]) -> int:
        """Forget offsets that are too old, and Empty groups without any. Returns how many offsets went."""
        now_ms = self.loop.wall_clock_ms()
        count = 0
        for group in list(groups.values()):
            doomed = self._expired(group, now_ms)
            vanishes = group.state is GroupState.EMPTY and not group.pending_members
            vanishes = vanishes and len(doomed) == sum(map(len, group.offsets.values()))
            for start in range(0, len(doomed), TOMBSTONES_PER_BATCH_MAX):
                last = vanishes and start + TOMBSTONES_PER_BATCH_MAX >= len(doomed)
                extra: list[Record] = [(group_key(group.group_id), None)] if last else []
                self.remove(group, doomed[start : start + TOMBSTONES_PER_BATCH_MAX], extra)
            if vanishes and not doomed:
                self.remove_all(group)
            if vanishes and not group.offsets:
                group.transition(GroupState.DEAD, now_ms)
                del groups[group.group_id]
            count += len(doomed)
        return count

    def _expired(self, group: Group, now_ms: int) -> list[tuple[str, int]]:
        """From when the clock runs: since the group is Empty; a simple group, or topics that a Stable consumer group
        is no longer subscribed to: since the commit. Offsets with their own expiry go at that time."""
        since_empty = bool(group.protocol_type) and group.state is GroupState.EMPTY
        stable = group.protocol_type == CONSUMER_PROTOCOL_TYPE and group.state is GroupState.STABLE
        stable = stable and group.subscribed_topics is not None
        if group.protocol_type and not since_empty and not stable:
            return []
        expired = []
        for topic, partitions in group.offsets.items():
            if group.state is not GroupState.EMPTY and group.is_subscribed(topic):
                continue
            for partition, committed in partitions.items():
                base_ms = committed.commit_timestamp_ms
                if since_empty and group.state_timestamp_ms >= 0:
                    base_ms = group.state_timestamp_ms
                due_ms = base_ms + self.retention_ms
                if committed.expire_timestamp_ms >= 0:
                    due_ms = committed.expire_timestamp_ms
                if now_ms >= due_ms:
                    expired.append((topic, partition))
        return expired


def all_partitions(group: Group) -> list[tuple[str, int]]:
    return [(topic, partition) for topic, partitions in group.offsets.items() for partition in partitions]
