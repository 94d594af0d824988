"""Removal of committed offsets: OffsetDelete, DeleteGroups, and deleted topics."""

from __future__ import annotations

import uuid
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from typing import Final

from kafka_cy.base.slices import in_work
from kafka_cy.coordinator.group import Group, committed_partitions, offset_tombstones, pending_partitions
from kafka_cy.coordinator.offsets.commit import PartitionErrors, Response
from kafka_cy.coordinator.offsets.pending import PendingOffsets
from kafka_cy.coordinator.offsets.pieces import Piece
from kafka_cy.coordinator.records import OffsetKey, Record
from kafka_cy.coordinator.runtime.result import CoordinatorResult
from kafka_cy.protocol.errors import ErrorCode

DELETED_AT_ONCE: Final = 200  # offsets that are looked at, or removed, in one step, in less than a millisecond


def delete_offsets(
    group: Group | None, partitions: Sequence[tuple[str, int]], size: int
) -> Generator[object, None, CoordinatorResult[Response]]:
    """OffsetDelete: offsets of topics that a member reads stay (GROUP_SUBSCRIBED_TO_TOPIC).

    One batch removes the others. If there are more of them than `size`, there are several batches: it has to be a long operation.
    """
    if group is None:
        return CoordinatorResult(response=(ErrorCode.GROUP_ID_NOT_FOUND, {}))
    error = group.validate_offset_delete()
    if error:
        return CoordinatorResult(response=(error, {}))
    errors: PartitionErrors = {}
    records: list[Record] = []
    topics: dict[str, None] = {}
    for place, (topic, _) in enumerate(partitions):
        if place and place % DELETED_AT_ONCE == 0:
            yield None
        topics[topic] = None
    unread = yield from group.unread_topics(topics)
    for place, each in enumerate(partitions):
        if place and place % DELETED_AT_ONCE == 0:
            yield None
        if each in errors:
            continue
        errors[each] = ErrorCode.NONE if each[0] in unread else ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC
        if not errors[each] and (group.offsets.find(*each) is not None or group.is_pending(*each)):
            records += offset_tombstones(group.group_id, (each,))
    while len(records) > size:
        yield CoordinatorResult(records[-size:])
        del records[-size:]
    return CoordinatorResult(records, (ErrorCode.NONE, errors))


def has_few_offsets(group: Group, few: int) -> bool:
    """Whether the group has not more offsets than that, with those in open transactions."""
    left = few - group.offsets.count
    return left >= 0 and sum(1 for _ in islice(pending_partitions(group), left + 1)) <= left


def delete_group(group: Group | None, size: int) -> Generator[object, None, CoordinatorResult[ErrorCode]]:
    """DeleteGroups: the tombstones of all offsets and of the group.

    A long operation, unless the group has at most `size` offsets: one batch removes as many of them, and the last batch removes the
    group. A crash or an error in between leaves a group with fewer offsets, which can be deleted again. Kafka stores one batch,
    and cannot delete a group for which that is too large.
    """
    if group is None:
        return CoordinatorResult(response=ErrorCode.GROUP_ID_NOT_FOUND)
    error = group.validate_delete()
    if error:
        return CoordinatorResult(response=error)
    offsets = group.offsets
    while not has_few_offsets(group, size):  # the end of a transaction commits offsets in between
        listed = yield from in_work(lambda: list(committed_partitions(offsets)))
        while listed:  # the list is freed in pieces, too
            piece = listed[-size:]
            del listed[-size:]
            yield CoordinatorResult(offset_tombstones(group.group_id, piece))
        while piece := list(islice(pending_partitions(group), size)):
            yield CoordinatorResult(offset_tombstones(group.group_id, piece))
    left = dict.fromkeys(chain(committed_partitions(offsets), pending_partitions(group)))
    return CoordinatorResult(offset_tombstones(group.group_id, left) + group.tombstones(), ErrorCode.NONE)


@dataclass(frozen=True)
class DeletedTopic:
    """All deleted topics of one name: their ids (None if one is not known), and the time of the latest deletion."""

    ids: frozenset[uuid.UUID] | None
    deleted_ms: int

    def merged(self, later: DeletedTopic) -> DeletedTopic:
        """This topic, and one with the same name that was deleted later."""
        ids = None if self.ids is None or later.ids is None else self.ids | later.ids
        return DeletedTopic(ids, max(self.deleted_ms, later.deleted_ms))


def partitions_of_topics(group: Group, topics: Mapping[str, DeletedTopic]) -> list[tuple[str, int]]:
    """The (topic, partition) pairs of these topics that the group has offsets of, also in open transactions."""
    pending = group.pending or {}
    if topics.keys().isdisjoint(group.offsets) and topics.keys().isdisjoint(pending):
        return []
    return [
        (topic, partition)
        for topic in topics.keys() & {*group.offsets, *pending}
        for partition in {*group.offsets.partitions(topic), *pending.get(topic, {})}
    ]


def delete_topics(
    group: Group | None, topics: Mapping[str, DeletedTopic], piece: Piece, pending: PendingOffsets
) -> CoordinatorResult[ErrorCode]:
    """The topics were deleted: remove those of the piece's offsets that belong to them, also in open transactions.

    Offsets of a new topic with the same name stay: they have its id, or are younger.
    """
    if group is None:
        return CoordinatorResult(response=ErrorCode.NONE)
    doomed = []
    for topic, partition in piece:
        committed, deleted = group.offsets.find(topic, partition), topics[topic]
        newest_ms = pending.newest_commit_ms(group, OffsetKey(group.group_id, topic, partition))
        if committed is None and newest_ms is None:
            continue
        is_old = committed is None or (
            committed.commit_timestamp_ms <= deleted.deleted_ms
            and (committed.topic_id is None or deleted.ids is None or committed.topic_id in deleted.ids)
        )
        if is_old and (newest_ms is None or newest_ms <= deleted.deleted_ms):
            doomed.append((topic, partition))
    return CoordinatorResult(offset_tombstones(group.group_id, doomed), ErrorCode.NONE)
