"""Metadata: the requests that the reactors forward: unknown topics, creation on demand, unusual requests.

A topic that is created on demand is already in this response with its partitions and leaders (Kafka answers that it is
unknown, and creates it meanwhile). Version 0 takes an empty list for all topics, later versions null. From version 12 on,
topics can be asked for by id.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import UUID

from kafka_cy.api.authorized_operations import CLUSTER_ALL, NOT_ASKED
from kafka_cy.api.batch_limit import RECORDS_PER_REQUEST_MAX
from kafka_cy.api.id_keys import id_key
from kafka_cy.api.registry import handler
from kafka_cy.api.topic_responses import brokers_response, partition_response, topic_response
from kafka_cy.base.slices import AT_ONCE_MAX
from kafka_cy.cluster.topic_names import problem_of
from kafka_cy.cluster.topics import Topic
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kio.schema.metadata.v13.request import MetadataRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import AnswersMetadata


@handler(api_key=3)
def handle(request: Request[MetadataRequest], context: AnswersMetadata) -> None:
    """Describe the requested topics. Create missing ones if the client and the broker allow it."""
    missing = _to_create(request, context)
    if missing:
        context.create_topics(missing, request, request.guarded(lambda: _respond(request, context)))
    else:
        _respond(request, context)


def _respond(request: Request[MetadataRequest], context: AnswersMetadata) -> None:
    """At once for a few topics; a longer response is built on another thread."""
    asked = request.body.topics
    count = len(asked) if asked or (asked is not None and request.api_version > 0) else len(context.cluster.topics)
    if count <= AT_ONCE_MAX:
        request.respond(_response(request, context))
    else:
        request.respond_long(lambda ready: ready(lambda: _response(request, context)))


def _to_create(request: Request[MetadataRequest], context: AnswersMetadata) -> list[str]:
    """The names of the request's topics that do not exist and may be created."""
    body = request.body
    wanted = getattr(body, "allow_auto_topic_creation", True)
    if not body.topics or not wanted or not context.config["auto.create.topics.enable"]:
        return []
    names: dict[str, None] = {}
    for asked in body.topics:
        if asked.name is not None and _topic_id(asked) is None and asked.name not in context.cluster.topics:
            names[asked.name] = None
            if len(names) > RECORDS_PER_REQUEST_MAX:
                break  # the controller loop will refuse them
    return list(names)


def _response(request: Request[MetadataRequest], context: AnswersMetadata) -> dict[str, Any]:
    body, version = request.body, request.api_version
    with_operations = version >= 8 and body.include_topic_authorized_operations
    if body.topics is None or (version == 0 and not body.topics):
        topics = [_known(topic, with_operations, context) for topic in context.cluster.all_topics()]
    else:
        # A topic that is asked for twice, by name or id, is in the response once.
        distinct = {(asked.name, id_key(_topic_id(asked))): asked for asked in body.topics}
        found = [_asked(asked, version, with_operations, context) for asked in distinct.values()]
        topics = list({(each["name"], id_key(each["topic_id"])): each for each in found}.values())
    operations = getattr(body, "include_cluster_authorized_operations", False)
    return {
        "brokers": brokers_response(request, context, "node_id"),
        "cluster_id": context.cluster_id,
        "controller_id": context.cluster.controller_id,
        "topics": topics,
        "cluster_authorized_operations": CLUSTER_ALL if operations else NOT_ASKED,
    }


def _asked(asked: Any, version: int, with_operations: bool, context: AnswersMetadata) -> dict[str, Any]:
    topic_id = _topic_id(asked)
    if asked.name is None or topic_id is not None:
        topic = context.cluster.topic_by_id.get(topic_id) if topic_id is not None else None
        code = ErrorCode.UNKNOWN_TOPIC_ID
    else:
        topic = context.cluster.topics.get(asked.name)
        bad_name = problem_of(asked.name) is not None or context.cluster.collides_with(asked.name) is not None
        code = ErrorCode.INVALID_TOPIC_EXCEPTION if bad_name else ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    if topic is not None:
        return _known(topic, with_operations, context)
    name = asked.name if topic_id is None else None  # an id counts, even if a name comes with it, as Java's empty one
    if name is None and version < 12:
        name = ""
    return {"error_code": code, "name": name, "topic_id": topic_id, "is_internal": False, "partitions": []}


def _topic_id(asked: Any) -> UUID | None:
    """The id that a topic is asked by; None if it is asked by name."""
    topic_id: UUID | None = getattr(asked, "topic_id", None)
    return topic_id


def _known(topic: Topic, with_operations: bool, context: AnswersMetadata) -> dict[str, Any]:
    partitions = [partition_response(topic, each, context) for each in topic.partitions if each.replicas]
    return topic_response(topic, partitions, with_operations)
