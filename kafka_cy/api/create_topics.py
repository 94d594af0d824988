"""CreateTopics, versions 2-7.

Topics are created with counts (-1: the broker's default) or an assignment by hand, and configs; `validate_only` checks
everything and creates nothing. Version 5+ answers with the partition count, replication factor and all configs of the
topic, version 7 with its id. A topic exists, with its logs, when the answer is sent; a time-out is only looked at when it
has passed before the request came.
Names that differ from another topic's in '.' and '_' only are refused.
"""

from __future__ import annotations

import uuid
from datetime import timedelta
from typing import Any, NamedTuple

from kafka_cy.api.context import ApiContext, Request
from kafka_cy.api.registry import handler
from kafka_cy.api.topic_creation import (
    PARTITIONS_PER_REQUEST_MAX,
    TOO_MANY_PARTITIONS,
    TopicRefused,
    automatic_assignment,
    check_configs,
    check_name,
    check_replicas,
)
from kafka_cy.protocol.errors import ErrorCode

RECORDS_PER_REQUEST_MAX = 10_000  # one for each topic, partition and setting, as in Kafka's controller


class Planned(NamedTuple):
    """A topic that may be created."""

    name: str
    assignment: list[list[int]]
    configs: dict[str, str]


@handler(api_key=19, versions=(2, 7))
def handle(request: Request, context: ApiContext) -> dict[str, Any]:
    """Create or only check each topic by itself; one bad topic does not hinder the others, one too many all."""
    body = request.body
    names = [topic.name for topic in body.topics]
    if body.timeout < timedelta(0):
        return {"topics": [_refused(name, TopicRefused(ErrorCode.REQUEST_TIMED_OUT, None)) for name in names]}
    answers, planned = [], []
    for topic in {topic.name: topic for topic in body.topics}.values():
        try:
            if names.count(topic.name) > 1:
                raise TopicRefused(ErrorCode.INVALID_REQUEST, "Duplicate topic name.")
            planned.append(_plan(topic, context))
        except TopicRefused as refused:
            answers.append(_refused(topic.name, refused))
    excess = _excess(body.topics, planned)
    if excess is not None:
        return {"topics": [_refused(name, excess) for name in dict.fromkeys(names)]}
    with context.cluster.batch():
        for each in planned:
            try:
                answers.append(_create(each, body.validate_only, context))
            except TopicRefused as refused:
                answers.append(_refused(each.name, refused))
    return {"topics": answers}


def _refused(name: str, refused: TopicRefused) -> dict[str, Any]:
    return {"name": name, "error_code": refused.code, "error_message": refused.message, "configs": []}


def _excess(topics: Any, planned: list[Planned]) -> TopicRefused | None:
    """Why the request is too large as a whole."""
    if sum(max(topic.num_partitions, len(topic.assignments)) for topic in topics) > PARTITIONS_PER_REQUEST_MAX:
        return TopicRefused(ErrorCode.POLICY_VIOLATION, TOO_MANY_PARTITIONS)
    if sum(1 + len(each.assignment) + len(each.configs) for each in planned) > RECORDS_PER_REQUEST_MAX:
        return TopicRefused(ErrorCode.POLICY_VIOLATION, "Unable to perform excessively large batch operation.")
    return None


def _plan(topic: Any, context: ApiContext) -> Planned:
    check_name(context.cluster, topic.name)
    assignment = _assignment(topic, context)
    configs = _configs(topic)
    check_configs(context.config, topic.name, configs)
    return Planned(topic.name, assignment, configs)


def _create(topic: Planned, validate_only: bool, context: ApiContext) -> dict[str, Any]:
    check_name(context.cluster, topic.name)  # again: one of this very request may collide with it
    topic_id = uuid.uuid4()  # a check alone gets an id too, which means nothing
    if not validate_only:
        topic_id = context.cluster.create_topic(topic.name, topic.assignment, topic.configs).id
    return {
        "name": topic.name,
        "topic_id": topic_id,
        "error_code": ErrorCode.NONE,
        "error_message": None,
        "num_partitions": len(topic.assignment),
        "replication_factor": len(topic.assignment[0]),
        "configs": topic_config_entries(context, topic.configs),
    }


def _configs(topic: Any) -> dict[str, str]:
    configs: dict[str, str] = {}
    for entry in topic.configs:
        if entry.value is None:
            raise TopicRefused(ErrorCode.INVALID_CONFIG, f"Null value not supported for topic configs: {entry.name}")
        configs[entry.name] = entry.value
    return configs


def _assignment(topic: Any, context: ApiContext) -> list[list[int]]:
    broker_ids = context.cluster.broker_ids
    if not topic.assignments:
        partitions, replication = topic.num_partitions, topic.replication_factor
        if partitions == -1:
            partitions = int(context.config["num.partitions"])
        if replication == -1:
            replication = int(context.config["default.replication.factor"])
        return automatic_assignment(broker_ids, partitions, replication)
    for field, value in (("replication factor", topic.replication_factor), ("numPartitions", topic.num_partitions)):
        if value != -1:
            raise TopicRefused(
                ErrorCode.INVALID_REQUEST,
                f"A manual partition assignment was specified, but {field} was not set to -1.",
            )
    by_index: dict[int, list[int]] = {}
    for entry in topic.assignments:
        if entry.partition_index in by_index:
            raise TopicRefused(
                ErrorCode.INVALID_REPLICA_ASSIGNMENT,
                f"Found multiple manual partition assignments for partition {entry.partition_index}",
            )
        check_replicas(entry.broker_ids, broker_ids)
        by_index[entry.partition_index] = list(entry.broker_ids)
    if sorted(by_index) != list(range(len(by_index))):
        raise TopicRefused(
            ErrorCode.INVALID_REPLICA_ASSIGNMENT, "partitions should be a consecutive 0-based integer sequence"
        )
    if len({len(replicas) for replicas in by_index.values()}) > 1:
        raise TopicRefused(ErrorCode.INVALID_REPLICA_ASSIGNMENT, "Inconsistent replication factor between partitions")
    return [by_index[index] for index in range(len(by_index))]


def topic_config_entries(context: ApiContext, overrides: dict[str, str]) -> list[dict[str, Any]]:
    """All settings of a topic with these overrides, as the answer lists them."""
    from kafka_cy.config.describe import describe_topic

    return [
        {
            "name": entry.key.name,
            "value": entry.value,
            "read_only": entry.read_only,
            "config_source": entry.source,
            "is_sensitive": entry.key.sensitive,
        }
        for entry in describe_topic(context.config, overrides)
    ]
