"""DescribeTopicPartitions (KIP-966).

Topics are in the order of their names. A response has at most `response_partition_limit` partitions, and never more than
`max.request.partition.size.limit`; the client asks for the rest with the cursor of the response. A cursor at a topic that
is not requested, or at a negative partition, is INVALID_REQUEST for all topics. The lists of eligible leader replicas are
empty, because no replica outside of the ISR is eligible.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING, Any

from kafka_cy.api.authorization import TOPIC_DENIED, may_topic
from kafka_cy.api.authorized_operations import NOT_ASKED, topic_operations
from kafka_cy.api.registry import handler
from kafka_cy.api.topic_responses import partition_response, topic_response
from kafka_cy.authorizer.acls import Operation
from kafka_cy.base.slices import AT_ONCE_MAX
from kafka_cy.cluster.topic_names import problem_of
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kio.schema.describe_topic_partitions.v0.request import DescribeTopicPartitionsRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import DescribesTopics

PARTITION_LIMIT_DEFAULT = 2000
NO_ELIGIBLE_REPLICAS: dict[str, list[int]] = {"eligible_leader_replicas": [], "last_known_elr": []}


@handler(api_key=75)
def handle(request: Request[DescribeTopicPartitionsRequest], context: DescribesTopics) -> dict[str, Any] | None:
    """Respond with one page of topics and partitions. Another thread makes a large one."""
    known, named = context.cluster.topics, request.body.topics
    names: Collection[str] = known if not named else [each.name for each in named] if len(named) <= AT_ONCE_MAX else ()
    if names and len(names) <= AT_ONCE_MAX and sum(map(context.cluster.partition_count, names)) <= AT_ONCE_MAX:
        return _response(request, context)
    request.respond_long(lambda ready: ready(lambda: _response(request, context)))
    return None


def _response(request: Request[DescribeTopicPartitionsRequest], context: DescribesTopics) -> dict[str, Any]:
    """Any thread."""
    body = request.body
    cursor = body.cursor
    named = sorted({topic.name for topic in body.topics}) if body.topics else sorted(context.cluster.topics)
    if cursor is not None and (cursor.partition_index < 0 or (body.topics and cursor.topic_name not in named)):
        refused = named if body.topics else []
        return {"topics": [_refused(name, ErrorCode.INVALID_REQUEST) for name in refused], "next_cursor": None}
    limit_max = int(context.config.get("max.request.partition.size.limit", PARTITION_LIMIT_DEFAULT))
    room = max(1, min(body.response_partition_limit, limit_max))
    topics: list[dict[str, Any]] = []
    denied: list[dict[str, Any]] = []
    next_cursor = None
    for name in named:
        if cursor is not None and name < cursor.topic_name:
            continue
        if not may_topic(request, Operation.DESCRIBE, name, log_denied=bool(body.topics)):
            if body.topics:
                denied.append(_refused(name, TOPIC_DENIED))
            continue
        if room == 0:
            next_cursor = {"topic_name": name, "partition_index": 0}
            break
        first = cursor.partition_index if cursor is not None and name == cursor.topic_name else 0
        topic = context.cluster.topics.get(name)
        if topic is None:
            if problem_of(name) is not None:
                topics.append(_refused(name, ErrorCode.INVALID_TOPIC_EXCEPTION))
            else:
                topics.append(_refused(name, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, topic_operations(request, name)))
            continue
        page = topic.partitions[first : first + room]
        partitions = [partition_response(topic, p, context) | NO_ELIGIBLE_REPLICAS for p in page if p.replicas]
        topics.append(topic_response(request, topic, partitions, True))
        room -= len(page)
        if first + len(page) < len(topic.partitions):
            next_cursor = {"topic_name": name, "partition_index": first + len(page)}
            break
    return {"topics": topics + denied, "next_cursor": next_cursor}


def _refused(name: str, code: ErrorCode, operations: int = NOT_ASKED) -> dict[str, Any]:
    return {
        "error_code": code,
        "name": name,
        "topic_id": None,
        "partitions": [],
        "topic_authorized_operations": operations,
    }
