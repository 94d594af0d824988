"""Metadata: the requests that the reactors forward: unknown topics, creation on demand, unusual requests.

A topic that is created on demand is already in this response with its partitions and leaders (Kafka answers that it is
unknown, and creates it meanwhile). Version 0 takes an empty list for all topics, later versions null. From version 12 on,
topics can be asked for by id.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum
from typing import TYPE_CHECKING, Any
from uuid import UUID

from kafka_cy.api.authorization import TOPIC_DENIED, may_cluster, may_topic
from kafka_cy.api.authorized_operations import NOT_ASKED, cluster_operations
from kafka_cy.api.batch_limit import RECORDS_PER_REQUEST_MAX
from kafka_cy.api.change_pieces import add_task
from kafka_cy.api.id_keys import id_key
from kafka_cy.api.registry import handler
from kafka_cy.api.topic_responses import brokers_response, partition_response, topic_response
from kafka_cy.authorizer.acls import Operation
from kafka_cy.base.slices import AT_ONCE_MAX
from kafka_cy.cluster.topic_names import problem_of
from kafka_cy.cluster.topics import Topic
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kio.schema.metadata.v13.request import MetadataRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import AnswersMetadata


class Place(IntEnum):
    """Where a topic is in a response to a request that names topics: Kafka's order. Of one kind, the request's order counts."""

    UNKNOWN_ID = 0
    KNOWN = 1
    UNKNOWN = 2
    NOT_CREATED = 3
    NOT_DESCRIBED = 4


@handler(api_key=3)
def handle(request: Request[MetadataRequest], context: AnswersMetadata) -> None:
    """Describe the requested topics. Create missing ones if the client and the broker allow it."""
    missing: dict[str, None] = {}
    steps = _find_missing(request, context, missing)

    def create() -> None:
        if missing:
            context.create_topics(list(missing), request, request.guarded(lambda: _respond(request, context)))
        else:
            _respond(request, context)

    if request.authorizer is not None and len(request.body.topics or ()) > AT_ONCE_MAX:
        add_task(request, context.slices, steps, create)
        return
    for _ in steps:
        pass
    create()


def _respond(request: Request[MetadataRequest], context: AnswersMetadata) -> None:
    """At once for a few topics; a longer response is built on another thread."""
    asked = request.body.topics
    count = len(asked) if asked or (asked is not None and request.api_version > 0) else len(context.cluster.topics)
    if count <= AT_ONCE_MAX:
        request.respond(_response(request, context))
    else:
        request.respond_long(lambda ready: ready(lambda: _response(request, context)))


def _find_missing(request: Request[MetadataRequest], context: AnswersMetadata, names: dict[str, None]) -> Iterator[None]:
    """Put the names of the request's topics that do not exist and may be created into `names`. A topic in each step."""
    if not request.body.topics or not _creates(request, context):
        return
    for asked in request.body.topics:
        name = asked.name
        if name is None or _topic_id(asked) is not None or name in context.cluster.topics:
            continue
        if may_topic(request, Operation.DESCRIBE, name, log_denied=False) and _may_create(request, name, log_denied=False):
            names[name] = None
        if len(names) > RECORDS_PER_REQUEST_MAX:
            return  # the controller loop will refuse them
        yield


def _creates(request: Request[MetadataRequest], context: AnswersMetadata) -> bool:
    """Whether topics that do not exist are created."""
    return getattr(request.body, "allow_auto_topic_creation", True) and context.config["auto.create.topics.enable"]


def _may_create(request: Request[Any], name: str, *, log_denied: bool = True) -> bool:
    return may_cluster(request, Operation.CREATE, log_denied=False) or may_topic(
        request, Operation.CREATE, name, log_denied=log_denied
    )


def _response(request: Request[MetadataRequest], context: AnswersMetadata) -> dict[str, Any]:
    body, version = request.body, request.api_version
    with_operations = version >= 8 and body.include_topic_authorized_operations
    if body.topics is None or (version == 0 and not body.topics):
        known = context.cluster.all_topics()
        shown = [topic for topic in known if may_topic(request, Operation.DESCRIBE, topic.name, log_denied=False)]
        topics = [_known(request, topic, with_operations, context) for topic in shown]
    else:
        # A topic that is asked for twice, by name or id, is in the response once.
        distinct = {(asked.name, id_key(_topic_id(asked))): asked for asked in body.topics}
        found = [_asked(request, asked, with_operations, context) for asked in distinct.values()]
        found.sort(key=lambda each: each[0])
        topics = list({(each["name"], id_key(each["topic_id"])): each for _, each in found}.values())
    operations = getattr(body, "include_cluster_authorized_operations", False)
    return {
        "brokers": brokers_response(request, context, "node_id"),
        "cluster_id": context.cluster_id,
        "controller_id": context.cluster.controller_id,
        "topics": topics,
        "cluster_authorized_operations": cluster_operations(request) if operations else NOT_ASKED,
    }


def _asked(request: Request[Any], asked: Any, with_operations: bool, context: AnswersMetadata) -> tuple[Place, dict[str, Any]]:
    version, topic_id = request.api_version, _topic_id(asked)
    place = Place.UNKNOWN if topic_id is None else Place.UNKNOWN_ID
    if asked.name is None or topic_id is not None:
        topic = context.cluster.topic_by_id.get(topic_id) if topic_id is not None else None
        code = ErrorCode.UNKNOWN_TOPIC_ID
    else:
        topic = context.cluster.topics.get(asked.name)
        bad_name = problem_of(asked.name) is not None or context.cluster.collides_with(asked.name) is not None
        code = ErrorCode.INVALID_TOPIC_EXCEPTION if bad_name else ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    if topic_id is None and asked.name is not None:
        if not may_topic(request, Operation.DESCRIBE, asked.name):
            place = Place.NOT_DESCRIBED
        elif topic is None and _creates(request, context) and not _may_create(request, asked.name):
            place = Place.NOT_CREATED
    elif topic is not None and not may_topic(request, Operation.DESCRIBE, topic.name):
        place = Place.NOT_DESCRIBED
    denied = place in (Place.NOT_CREATED, Place.NOT_DESCRIBED)
    if topic is not None and not denied:
        return Place.KNOWN, _known(request, topic, with_operations, context)
    if denied:
        code = TOPIC_DENIED
    name = asked.name if topic_id is None else None  # an id counts, even if a name comes with it, as Java's empty one
    if name is None and version < 12:
        name = ""
    return place, {"error_code": code, "name": name, "topic_id": topic_id, "is_internal": False, "partitions": []}


def _topic_id(asked: Any) -> UUID | None:
    """The id that a topic is asked by; None if it is asked by name."""
    topic_id: UUID | None = getattr(asked, "topic_id", None)
    return topic_id


def _known(request: Request[Any], topic: Topic, with_operations: bool, context: AnswersMetadata) -> dict[str, Any]:
    partitions = [partition_response(topic, each, context) for each in topic.partitions if each.replicas]
    return topic_response(request, topic, partitions, with_operations)
