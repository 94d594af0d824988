"""CreatePartitions.

`count` is the new total. Manual assignments name the replicas of the new partitions only. With `validate_only`, or a
negative timeout, nothing is changed.
"""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from kafka_cy.api.change_lines import log_each
from kafka_cy.api.registry import handler
from kafka_cy.api.topic_creation import TopicRefused, automatic_assignment, check_replicas
from kafka_cy.cluster.assignment import assign_replicas
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kio.schema.create_partitions.v3.request import CreatePartitionsRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import ChangesTopics


@handler(api_key=37)
def handle(request: Request[CreatePartitionsRequest], context: ChangesTopics) -> dict[str, Any]:
    """Extend each topic; an error of one does not affect the others."""
    body = request.body
    names = [topic.name for topic in body.topics]
    if body.timeout < timedelta(0):
        late = {"error_code": ErrorCode.REQUEST_TIMED_OUT, "error_message": None}
        return {"results": [{"name": name, **late} for name in names]}
    times = Counter(names)
    results: list[dict[str, Any]] = []
    extended: list[dict[str, Any]] = []
    with context.topic_changes.batch():
        for topic in {topic.name: topic for topic in body.topics}.values():
            code, message = ErrorCode.NONE, None
            try:
                if times[topic.name] > 1:
                    raise TopicRefused(ErrorCode.INVALID_REQUEST, "Duplicate topic name.")
                added = _assignment(topic, context)
                if not body.validate_only:
                    context.topic_changes.create_partitions(topic.name, added)
                    extended.append({"topic": topic.name, "added": len(added), "partitions": topic.count})
            except TopicRefused as refused:
                code, message = refused.code, refused.message
            results.append({"name": topic.name, "error_code": code, "error_message": message})
    log_each(context.log, "partitions added", extended, request.sender)
    return {"results": results}


def _assignment(topic: Any, context: ChangesTopics) -> list[list[int]]:
    known = context.cluster.topics.get(topic.name)
    if known is None:
        raise TopicRefused(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, None)
    existing, brokers = len(known.partitions), context.cluster.broker_ids
    if topic.count == existing:
        raise TopicRefused(ErrorCode.INVALID_PARTITIONS, f"Topic already has {existing} partition(s).")
    if topic.count < existing:
        raise TopicRefused(
            ErrorCode.INVALID_PARTITIONS,
            f"The topic {topic.name} currently has {existing} partition(s); {topic.count} would not be an increase.",
        )
    added = topic.count - existing
    replication = len(known.partitions[0].replicas)
    if topic.assignments is None:
        automatic_assignment(brokers, added, replication)
        return assign_replicas(brokers, added, replication, existing)
    if len(topic.assignments) != added:
        raise TopicRefused(
            ErrorCode.INVALID_REPLICA_ASSIGNMENT,
            f"Attempted to add {added} additional partition(s), but only {len(topic.assignments)} assignment(s) "
            "were specified.",
        )
    for assignment in topic.assignments:
        check_replicas(assignment.broker_ids, brokers)
        if len(assignment.broker_ids) != replication:
            raise TopicRefused(
                ErrorCode.INVALID_REPLICA_ASSIGNMENT,
                f"The manual partition assignment includes a partition with {len(assignment.broker_ids)} replica(s), "
                f"but this is not consistent with previous partitions, which have {replication} replica(s).",
            )
    return [list(assignment.broker_ids) for assignment in topic.assignments]
