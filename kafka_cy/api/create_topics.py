"""CreateTopics.

A topic has a partition count and a replication factor (-1: the broker's default) or a manual assignment, and configs.
`validate_only` checks everything and creates nothing. From version 5 on, the response contains the partition count, the
replication factor and all configs of the topic, and from version 7 on its id. The topic and its logs exist before the
response is sent. The timeout only matters if it is negative. A name that differs from another topic's only in '.' and '_'
is refused.
"""

from __future__ import annotations

import uuid
from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any, NamedTuple

from kafka_cy.api.change_lines import created_topic, log_each
from kafka_cy.api.config_alterations import TOPIC, warn_of_keys_without_effect
from kafka_cy.api.registry import handler
from kafka_cy.api.topic_creation import (
    PARTITIONS_PER_REQUEST_MAX,
    TOO_MANY_PARTITIONS,
    TopicRefused,
    automatic_assignment,
    check_collision,
    check_configs,
    check_name,
    check_replicas,
)
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kio.schema.create_topics.v7.request import CreateTopicsRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import ChangesTopics
    from kafka_cy.cluster.topics import Topic

RECORDS_PER_REQUEST_MAX = 10_000  # one for each topic, partition and setting, as in Kafka's controller


class Planned(NamedTuple):
    """A topic that passed the checks."""

    name: str
    assignment: list[list[int]]
    configs: dict[str, str]


@handler(api_key=19)
def handle(request: Request[CreateTopicsRequest], context: ChangesTopics) -> dict[str, Any]:
    """Create or check each topic. A bad topic does not affect the others; too many topics refuse the whole request."""
    body = request.body
    names = [topic.name for topic in body.topics]
    times = Counter(names)
    if body.timeout < timedelta(0):
        return {"topics": [_refused(name, TopicRefused(ErrorCode.REQUEST_TIMED_OUT, None)) for name in names]}
    responses, planned = [], []
    for topic in {topic.name: topic for topic in body.topics}.values():
        try:
            if times[topic.name] > 1:
                raise TopicRefused(ErrorCode.INVALID_REQUEST, "Duplicate topic name.")
            planned.append(_plan(topic, context))
        except TopicRefused as refused:
            responses.append(_refused(topic.name, refused))
    excess = _excess(body.topics, planned)
    if excess is not None:
        return {"topics": [_refused(name, excess) for name in dict.fromkeys(names)]}
    created: list[Topic] = []
    with context.topic_changes.batch():
        for each in planned:
            try:
                responses.append(_create(each, body.validate_only, context, created))
            except TopicRefused as refused:
                responses.append(_refused(each.name, refused))
    log_each(context.log, "topic created", [created_topic(topic) for topic in created], request.sender)
    if not body.validate_only:
        # One warning for each key, however many topics of the request set it.
        settings = {key: (each.name, text) for each in planned for key, text in each.configs.items()}
        for key, (name, text) in settings.items():
            warn_of_keys_without_effect(context, TOPIC, name, {key: text})
    return {"topics": responses}


def _refused(name: str, refused: TopicRefused) -> dict[str, Any]:
    return {"name": name, "error_code": refused.code, "error_message": refused.message, "configs": []}


def _excess(topics: Any, planned: list[Planned]) -> TopicRefused | None:
    """Why the whole request is too large, or None."""
    if sum(max(topic.num_partitions, len(topic.assignments)) for topic in topics) > PARTITIONS_PER_REQUEST_MAX:
        return TopicRefused(ErrorCode.POLICY_VIOLATION, TOO_MANY_PARTITIONS)
    if sum(1 + len(each.assignment) + len(each.configs) for each in planned) > RECORDS_PER_REQUEST_MAX:
        return TopicRefused(ErrorCode.POLICY_VIOLATION, "Unable to perform excessively large batch operation.")
    return None


def _plan(topic: Any, context: ChangesTopics) -> Planned:
    check_name(context.cluster, topic.name)
    assignment = _assignment(topic, context)
    configs = _configs(topic)
    check_configs(context.config, topic.name, configs)
    return Planned(topic.name, assignment, configs)


def _create(topic: Planned, validate_only: bool, context: ChangesTopics, created: list[Topic]) -> dict[str, Any]:
    check_collision(context.topic_changes, topic.name)  # with another topic of this request
    topic_id = uuid.uuid4()  # with validate_only the id has no meaning
    if not validate_only:
        created.append(context.topic_changes.create_topic(topic.name, topic.assignment, topic.configs))
        topic_id = created[-1].id
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


def _assignment(topic: Any, context: ChangesTopics) -> list[list[int]]:
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


def topic_config_entries(context: ChangesTopics, overrides: dict[str, str]) -> list[dict[str, Any]]:
    """All settings of a topic with these overrides, as the response lists them."""
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
