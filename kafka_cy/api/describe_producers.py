"""DescribeProducers (KIP-664): the producers whose sequence numbers a partition remembers.

A partition that is named twice is described once (Kafka repeats it): a small request must not make a response of any size.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from kafka_cy.api.authorization import MESSAGES, TOPIC_DENIED, may_topic
from kafka_cy.api.change_pieces import add_task
from kafka_cy.api.registry import handler
from kafka_cy.authorizer.acls import Operation
from kafka_cy.cluster.topic_names import problem_of
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kio.schema.describe_producers.v0.request import DescribeProducersRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import DescribesProducers, ReadsCluster
    from kafka_cy.storage.log import PartitionLog


@handler(api_key=61)
def handle(request: Request[DescribeProducersRequest], context: DescribesProducers) -> None:
    """Every partition that was named. Many are looked at in slices, and another thread lists their producers."""
    topics: list[dict[str, Any]] = []
    logs: list[tuple[dict[str, Any], PartitionLog]] = []  # a partition's row, and its log

    def steps() -> Iterator[None]:
        described: dict[str, set[int]] = {}
        for asked in request.body.topics:
            allowed = problem_of(asked.name) is not None or may_topic(request, Operation.READ, asked.name)
            partitions: list[dict[str, Any]] = []
            topics.append({"name": asked.name, "partitions": partitions})
            before = described.setdefault(asked.name, set())
            yield
            for index in asked.partition_indexes:
                if index not in before:
                    before.add(index)
                    partitions.append(_partition(asked.name, index, context, logs, allowed=allowed))
                yield

    def response() -> dict[str, Any]:
        for row, log in logs:
            row["active_producers"] = [_producer(entry) for entry in log.producers()]
        return {"topics": topics}

    request.respond_long(lambda ready: add_task(request, context.slices, steps(), lambda: ready(response)))


def _partition(
    name: str, index: int, context: ReadsCluster, logs: list[tuple[dict[str, Any], PartitionLog]], *, allowed: bool
) -> dict[str, Any]:
    """The row of a partition, without its producers; its log is added to `logs` if they can be listed."""
    topic = context.cluster.topics.get(name)
    hosted = context.cluster.partition(name, index)
    message: str | None
    code, message = ErrorCode.NONE, None
    problem = problem_of(name)
    if problem is not None:
        code, message = ErrorCode.INVALID_TOPIC_EXCEPTION, f"Topic name is invalid: {problem}"
    elif not allowed:
        code, message = TOPIC_DENIED, MESSAGES[TOPIC_DENIED]
    elif topic is None or not 0 <= index < len(topic.partitions):
        code = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        message = "This server does not host this topic-partition." if topic is None else None
    elif hosted is None:
        code = context.cluster.unavailable(name, index)
    row: dict[str, Any] = {
        "partition_index": index, "error_code": code, "error_message": message, "active_producers": [],
    }  # fmt: skip
    if not code and hosted is not None:
        logs.append((row, hosted.log))
    return row


def _producer(entry: tuple[int, int, int, int, int, int]) -> dict[str, int]:
    producer_id, epoch, last_sequence, last_timestamp_ms, coordinator_epoch, first_offset = entry
    return {
        "producer_id": producer_id,
        "producer_epoch": epoch,
        "last_sequence": last_sequence,
        "last_timestamp": last_timestamp_ms,
        "coordinator_epoch": coordinator_epoch,
        "current_txn_start_offset": first_offset,
    }
