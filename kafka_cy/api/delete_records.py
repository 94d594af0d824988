"""DeleteRecords: moves a partition's log start offset forward.

Offset -1 means up to the high watermark. Only topics whose cleanup.policy deletes, and none of the broker's own.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from kafka_cy.api.authorization import TOPIC_DENIED, may_topic
from kafka_cy.api.change_pieces import add_task
from kafka_cy.api.registry import handler
from kafka_cy.authorizer.acls import Operation
from kafka_cy.base.slices import AT_ONCE_MAX
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kio.schema.delete_records.v2.request import DeleteRecordsRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import DeletesRecords, ReadsCluster

TO_HIGH_WATERMARK = -1
NO_OFFSET = -1


@handler(api_key=21)
def handle(request: Request[DeleteRecordsRequest], context: DeletesRecords) -> dict[str, Any] | None:
    """Every partition by itself; the response has the new log start offset. Many partitions are worked on in slices."""
    asked: dict[str, dict[int, int]] = {}  # of a partition that is named twice the last offset counts
    for topic in request.body.topics:
        for partition in topic.partitions:
            asked.setdefault(topic.name, {})[partition.partition_index] = partition.offset
    topics: list[dict[str, Any]] = []

    def steps() -> Iterator[None]:
        for name, offsets in asked.items():
            partitions: list[dict[str, Any]] = []
            allowed = may_topic(request, Operation.DELETE, name)
            for index, offset in offsets.items():
                low, code = _delete(name, index, offset, context) if allowed else (NO_OFFSET, TOPIC_DENIED)
                partitions.append({"partition_index": index, "low_watermark": low, "error_code": code})
                yield
            topics.append({"name": name, "partitions": partitions})

    if sum(map(len, asked.values())) > AT_ONCE_MAX:
        request.respond_long(
            lambda ready: add_task(request, context.slices, steps(), lambda: ready(lambda: {"topics": topics}))
        )
        return None
    for _ in steps():
        pass
    return {"topics": topics}


def _delete(name: str, index: int, offset: int, context: ReadsCluster) -> tuple[int, ErrorCode]:
    topic = context.cluster.topics.get(name)
    if topic is None or not 0 <= index < len(topic.partitions):
        return NO_OFFSET, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    if topic.internal:
        return NO_OFFSET, ErrorCode.INVALID_TOPIC_EXCEPTION
    hosted, logs = context.cluster.partition(name, index), context.cluster.logs
    if hosted is None or logs is None:
        return NO_OFFSET, context.cluster.unavailable(name, index)
    if "delete" not in logs.config_of(name)["cleanup.policy"]:  # what is stored may not be allowed
        return NO_OFFSET, ErrorCode.POLICY_VIOLATION
    from kafka_cy.storage.log import StorageFailure

    target = hosted.high_watermark if offset == TO_HIGH_WATERMARK else offset
    if target < 0 or target > hosted.high_watermark:
        return NO_OFFSET, ErrorCode.OFFSET_OUT_OF_RANGE
    try:
        if target > hosted.log_start_offset:
            hosted.delete_records(target)
    except (OSError, StorageFailure):
        return NO_OFFSET, ErrorCode.KAFKA_STORAGE_ERROR
    return hosted.log_start_offset, ErrorCode.NONE
