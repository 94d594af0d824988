"""DeleteRecords: moves a partition's log start offset forward.

Offset -1 means up to the high watermark. Only topics whose cleanup.policy deletes, and none of the broker's own. In a cluster, the
response waits until the followers that live have deleted, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from kafka_cy.api.authorization import TOPIC_DENIED, may_topic
from kafka_cy.api.change_pieces import ENTRIES_AT_ONCE, add_task
from kafka_cy.api.delete_waits import NO_OFFSET, Deletion
from kafka_cy.api.registry import handler
from kafka_cy.authorizer.acls import Operation
from kafka_cy.base.slices import AT_ONCE_MAX
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kio.schema.delete_records.v2.request import DeleteRecordsRequest

    from kafka_cy.api.context import Make, Request
    from kafka_cy.api.roles import DeletesRecords, ReadsCluster

TO_HIGH_WATERMARK = -1


@handler(api_key=21)
def handle(request: Request[DeleteRecordsRequest], context: DeletesRecords) -> dict[str, Any] | None:
    """Every partition by itself; the response has the low watermark of each. Many partitions are worked on in slices."""
    count = sum(len(topic.partitions) for topic in request.body.topics)
    timeout = request.body.timeout
    topics: list[dict[str, Any]] = []
    waiting: list[Deletion] = []
    answer = {"topics": topics}

    def steps() -> Iterator[None]:
        asked: dict[str, dict[int, int]] = {}  # of a partition that is named twice the last offset counts
        for topic in request.body.topics:
            for number, partition in enumerate(topic.partitions, 1):
                asked.setdefault(topic.name, {})[partition.partition_index] = partition.offset
                if number % ENTRIES_AT_ONCE == 0:
                    yield
        for name, offsets in asked.items():
            rows: list[dict[str, Any]] = []
            allowed = may_topic(request, Operation.DELETE, name)
            for index, offset in offsets.items():
                row = {"partition_index": index, "low_watermark": NO_OFFSET, "error_code": TOPIC_DENIED}
                deletion = _delete(name, index, offset, row, context) if allowed else None
                if deletion is not None and not deletion.is_settled():
                    waiting.append(deletion)
                rows.append(row)
                yield
            topics.append({"name": name, "partitions": rows})

    def wait(done: Callable[[], object]) -> None:
        """Without the turn of a long request: others must not wait for the followers of these partitions."""
        request.end_turn()
        rows = count + len(topics)
        context.delete_waits.wait(request, waiting, rows, timeout / timedelta(seconds=1), request.guarded(done))

    def worked(ready: Callable[[Make], object]) -> None:
        if waiting:
            wait(lambda: ready(lambda: answer))  # without a second turn: it might find no place, and the records are deleted
        else:
            ready(lambda: answer)

    if count > AT_ONCE_MAX:
        request.respond_long(lambda ready: add_task(request, context.slices, steps(), lambda: worked(ready)))
        return None
    for _ in steps():
        pass
    if not waiting:
        return answer
    wait(lambda: request.respond(answer))
    return None


def _delete(
    name: str, index: int, offset: int, row: dict[str, Any], context: ReadsCluster
) -> Deletion | None:
    """Delete from the leader's log. None: that is refused, and `row` says why."""
    from kafka_cy.storage.log import StorageFailure

    hosted = context.cluster.partition(name, index)
    row["error_code"] = error = _refusal(name, index, hosted, context)
    if error:
        return None
    target = hosted.high_watermark if offset == TO_HIGH_WATERMARK else offset
    if target < 0 or target > hosted.high_watermark:
        row["error_code"] = ErrorCode.OFFSET_OUT_OF_RANGE
        return None
    try:
        if target > hosted.log_start_offset:
            hosted.delete_records(target)
    except (OSError, StorageFailure):
        row["error_code"] = ErrorCode.KAFKA_STORAGE_ERROR
        return None
    return Deletion(hosted, target, row)


def _refusal(name: str, index: int, hosted: Any, context: ReadsCluster) -> ErrorCode:
    topic = context.cluster.topics.get(name)
    if topic is None or not 0 <= index < len(topic.partitions):
        return ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    if topic.internal:
        return ErrorCode.INVALID_TOPIC_EXCEPTION
    logs = context.cluster.logs
    if hosted is None or logs is None:
        return context.cluster.unavailable(name, index)
    if "delete" not in logs.config_of(name)["cleanup.policy"]:  # what is stored may not be allowed
        return ErrorCode.POLICY_VIOLATION
    return ErrorCode.NONE
