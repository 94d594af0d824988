"""Expiry of committed offsets after `offsets.retention.minutes`, and of groups that have nothing left."""

from __future__ import annotations

from collections.abc import Iterator

from kafka_cy.coordinator.group import NO_TOPICS, Group, committed_partitions, offset_tombstones
from kafka_cy.coordinator.offsets.pieces import Piece, pieces_of
from kafka_cy.coordinator.runtime.result import CoordinatorResult


def expiry_pieces(group: Group, size: int) -> Iterator[Piece | None]:
    """The group's offsets in pieces for `expire`, the last one possibly empty. Offsets may come and go between two.

    None is a step that only looks at what members read.
    """
    if group.expires:
        yield from group.look_for_unread()
        yield from pieces_of(committed_partitions(group.offsets), size)
        group.unread = NO_TOPICS


def expire(group: Group | None, piece: Piece, now_ms: int, retention_ms: int) -> CoordinatorResult[bool]:
    """Remove the offsets of the piece that are too old, and the group if nothing else is left. Responds whether it is."""
    if group is None or not group.expires:  # a group of another kind may have taken the name
        return CoordinatorResult(response=False)
    doomed = [each for each in piece if _is_due(group, *each, now_ms, retention_ms)]
    vanishes = len(doomed) == group.offsets.count and group.is_empty and group.pending is None
    records = offset_tombstones(group.group_id, doomed) + (group.tombstones() if vanishes else [])
    return CoordinatorResult(records, vanishes)


def _is_due(group: Group, topic: str, partition: int, now_ms: int, retention_ms: int) -> bool:
    """Whether the offset's time is over. One with an expiry of its own (OffsetCommit v2-4) goes at that time.

    One that an open transaction will replace stays: its tombstone would remove the offset of the transaction, too.
    """
    if group.is_pending(topic, partition):
        return False
    committed = group.offsets.find(topic, partition)
    start_ms = group.offset_expiry_start_ms(topic, committed) if committed is not None else None
    if committed is None or start_ms is None:
        return False
    own_ms = committed.expire_timestamp_ms
    return now_ms >= (own_ms if own_ms >= 0 else start_ms + retention_ms)
