"""OffsetCommit: a group stores how far it has read."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple

from kafka_cy.coordinator.group import Group
from kafka_cy.coordinator.records import CommittedOffset, OffsetKey, Record
from kafka_cy.coordinator.runtime.result import CoordinatorResult
from kafka_cy.protocol.errors import ErrorCode

PartitionErrors = dict[tuple[str, int], ErrorCode]
Response = tuple[ErrorCode, PartitionErrors]  # the error of the whole request, or NONE and that of each partition
Result = CoordinatorResult[Response]
RECORD_BYTES_MIN = 40  # of a committed offset in a batch without compression


class CommitPartition(NamedTuple):
    """The offset of one partition, which exists."""

    topic: str
    topic_id: uuid.UUID | None
    partition: int
    offset: int
    leader_epoch: int
    metadata: str | None


class CommitRequest(NamedTuple):
    """`retention_ms` is -1 unless OffsetCommit v2-4 gave one; `knows_unknown_groups` is OffsetCommit v9 on."""

    group_id: str
    generation: int
    member_id: str
    instance_id: str | None
    retention_ms: int
    knows_unknown_groups: bool
    partitions: list[CommitPartition]


class OffsetCommit:
    """Owner: the coordinator's thread."""

    def __init__(self, loop: Any, metadata_chars_max: int, batch_bytes_max: Callable[[], int] | None = None) -> None:
        """`batch_bytes_max`: the largest batch that can be stored; None if it is compressed."""
        self.loop = loop
        self.metadata_chars_max = metadata_chars_max
        self.batch_bytes_max = batch_bytes_max

    def commit(self, groups: Mapping[str, Group], request: CommitRequest) -> Result:
        """The group does not have to exist: one that only stores offsets begins with its first commit."""
        group = groups.get(request.group_id)
        if group is None and request.generation >= 0:
            unknown = ErrorCode.GROUP_ID_NOT_FOUND if request.knows_unknown_groups else ErrorCode.ILLEGAL_GENERATION
            return Result(response=(unknown, {}))
        if group is not None:
            error = group.validate_offset_commit(request.member_id, request.instance_id, request.generation)
            if error:
                return Result(response=(error, {}))
        if self.batch_bytes_max is not None and RECORD_BYTES_MIN * len(request.partitions) > self.batch_bytes_max():
            # The append would fail with this error, after seconds of work on the loop.
            return Result(response=(ErrorCode.UNKNOWN_SERVER_ERROR, {}))
        errors: PartitionErrors = {}
        records = self._records(request, errors)
        apply = None
        if group is not None and request.member_id:
            apply = partial(group.committed, request.member_id, self.loop.now())
        return Result(records, (ErrorCode.NONE, errors), apply)

    def _records(self, request: CommitRequest, errors: PartitionErrors) -> list[Record]:
        now_ms = self.loop.wall_clock_ms()
        own_retention = request.retention_ms >= 0
        expire_ms = now_ms + request.retention_ms if own_retention else -1
        records: list[Record] = []
        for each in request.partitions:
            metadata = each.metadata or ""
            if utf16_length(metadata) > self.metadata_chars_max:
                errors[each.topic, each.partition] = ErrorCode.OFFSET_METADATA_TOO_LARGE
                continue
            errors[each.topic, each.partition] = ErrorCode.NONE
            # A record with an expiry of its own has the old version, which knows neither epoch nor topic id.
            epoch, topic_id = (-1, None) if own_retention else (each.leader_epoch, each.topic_id)
            committed = CommittedOffset(each.offset, epoch, metadata, now_ms, expire_ms, topic_id)
            records.append((OffsetKey(request.group_id, each.topic, each.partition), committed))
        return records


def utf16_length(text: str) -> int:
    """The length as Java counts it."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2
