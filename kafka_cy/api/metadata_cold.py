"""Metadata, versions 0-13: what the reactors hand over: unknown topics, creation on demand, all odd requests.

A topic that is created on demand is in this very answer with its partitions and leaders. Version 0 reads an empty list
as all topics, later versions null. From version 10 on topics can be asked by id.
"""

from __future__ import annotations

import contextlib
from typing import Any

from kafka_cy.api.authorized_operations import CLUSTER_ALL, NOT_ASKED
from kafka_cy.api.context import ApiContext, Request
from kafka_cy.api.registry import handler
from kafka_cy.api.topic_answers import brokers_answer, partition_answer, topic_answer
from kafka_cy.api.topic_creation import TopicRefused, create_on_demand
from kafka_cy.cluster.topic_names import problem_of
from kafka_cy.cluster.topics import Topic
from kafka_cy.protocol.errors import ErrorCode


@handler(api_key=3, versions=(0, 13))
def handle(request: Request, context: ApiContext) -> dict[str, Any]:
    """Answer for all topics asked for, creating missing ones where both sides allow it."""
    body, version = request.body, request.api_version
    with_operations = version >= 8 and body.include_topic_authorized_operations
    if body.topics is None or (version == 0 and not body.topics):
        topics = [_known(topic, with_operations, context) for topic in context.cluster.topics.values()]
    else:
        wanted = getattr(body, "allow_auto_topic_creation", True)
        may_create = wanted and bool(context.config["auto.create.topics.enable"])
        with context.cluster.batch():
            for asked in body.topics:
                if may_create and asked.name is not None and asked.name not in context.cluster.topics:
                    _create(asked.name, context)
        answers = [_asked(asked, version, with_operations, context) for asked in body.topics]
        # A topic that is asked for twice, by name or id, stands in the answer once.
        topics = list({(each["name"], each["topic_id"]): each for each in answers}.values())
    operations = getattr(body, "include_cluster_authorized_operations", False)
    return {
        "brokers": brokers_answer(request, context, "node_id"),
        "cluster_id": context.cluster_id,
        "controller_id": context.broker_id,
        "topics": topics,
        "cluster_authorized_operations": CLUSTER_ALL if operations else NOT_ASKED,
    }


def _create(name: str, context: ApiContext) -> None:
    with contextlib.suppress(TopicRefused):  # the answer says why: a bad name, or a topic that cannot be
        create_on_demand(context.cluster, context.config, name)


def _asked(asked: Any, version: int, with_operations: bool, context: ApiContext) -> dict[str, Any]:
    topic_id = getattr(asked, "topic_id", None)
    if asked.name is None:
        topic = context.cluster.topic_by_id.get(topic_id) if topic_id is not None else None
        code = ErrorCode.UNKNOWN_TOPIC_ID
    else:
        topic = context.cluster.topics.get(asked.name)
        bad_name = problem_of(asked.name) is not None or context.cluster.collides_with(asked.name) is not None
        code = ErrorCode.INVALID_TOPIC_EXCEPTION if bad_name else ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    if topic is not None:
        return _known(topic, with_operations, context)
    name = asked.name if asked.name is not None or version >= 12 else ""
    return {"error_code": code, "name": name, "topic_id": topic_id, "is_internal": False, "partitions": []}


def _known(topic: Topic, with_operations: bool, context: ApiContext) -> dict[str, Any]:
    partitions = [partition_answer(topic, partition, context) for partition in topic.partitions]
    return topic_answer(topic, partitions, with_operations)
