"""Expiry of committed offsets after `offsets.retention.minutes`, and of groups that have nothing left."""

from __future__ import annotations

from typing import NamedTuple

from kafka_cy.coordinator.group import Group, offset_tombstones
from kafka_cy.coordinator.runtime.result import CoordinatorResult

TOMBSTONES_PER_BATCH_MAX = 2000


class Expired(NamedTuple):
    """What one step of the expiry of a group did."""

    offsets: int
    more: bool  # further offsets are due
    group: bool  # the group is gone


def expire(group: Group | None, now_ms: int, retention_ms: int) -> CoordinatorResult[Expired]:
    """Remove the group's offsets that are too old (some, if they are many), and the group if nothing else is left."""
    if group is None:
        return CoordinatorResult(response=Expired(0, False, False))
    due = due_offsets(group, now_ms, retention_ms)
    doomed = due[:TOMBSTONES_PER_BATCH_MAX]
    more = len(doomed) < len(due)
    vanishes = group.is_empty and not more and len(due) == sum(map(len, group.offsets.values()))
    records = offset_tombstones(group.group_id, doomed) + (group.tombstones() if vanishes else [])
    return CoordinatorResult(records, Expired(len(doomed), more, vanishes))


def due_offsets(group: Group, now_ms: int, retention_ms: int) -> list[tuple[str, int]]:
    """The offsets whose time is over. Those with an expiry of their own (OffsetCommit v2-4) go at that time."""
    due = []
    for topic, partitions in group.offsets.items():
        for partition, committed in partitions.items():
            start_ms = group.offset_expiry_start_ms(topic, committed)
            if start_ms is None:
                continue
            own_ms = committed.expire_timestamp_ms
            if now_ms >= (own_ms if own_ms >= 0 else start_ms + retention_ms):
                due.append((topic, partition))
    return due
