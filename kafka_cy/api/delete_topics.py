"""DeleteTopics.

Topics are deleted by name, and from version 6 on by id. The logs are renamed at once and removed after
`file.delete.delay.ms`. With `delete.topic.enable=false`, or a negative timeout, nothing is deleted.
"""

from __future__ import annotations

from collections import Counter
from datetime import timedelta
from typing import TYPE_CHECKING, Any, cast

from kafka_cy.api.change_lines import log_each
from kafka_cy.api.id_keys import id_key
from kafka_cy.api.registry import handler
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from uuid import UUID

    from kio.schema.delete_topics.v5.request import DeleteTopicsRequest as DeleteTopicsRequestV5
    from kio.schema.delete_topics.v6.request import DeleteTopicsRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import ChangesTopics


@handler(api_key=20)
def handle(request: Request[DeleteTopicsRequest], context: ChangesTopics) -> dict[str, Any]:
    """Delete each topic; an error of one does not affect the others."""
    body = request.body
    asked: list[tuple[str | None, UUID | None]]
    if request.api_version >= 6:
        asked = [(topic.name, topic.topic_id) for topic in body.topics]
    else:
        asked = [(name, None) for name in cast("DeleteTopicsRequestV5", body).topic_names]
    if body.timeout < timedelta(0):
        return {"responses": [_refused(name, topic_id, ErrorCode.REQUEST_TIMED_OUT) for name, topic_id in asked]}
    if not context.config["delete.topic.enable"]:
        code = ErrorCode.TOPIC_DELETION_DISABLED if request.api_version >= 3 else ErrorCode.INVALID_REQUEST
        return {"responses": [_refused(name, topic_id, code) for name, topic_id in asked]}
    responses = []
    by_id = {id_key(topic_id) for name, topic_id in asked if name is None}
    known = [context.cluster.topics[name] for name, _ in asked if name in context.cluster.topics]
    both_ways = {topic.name: topic.id for topic in known if id_key(topic.id) in by_id}
    for twice, its_id in both_ways.items():
        message = "The provided topic name maps to an ID that was already supplied."
        responses.append(_refused(twice, its_id, ErrorCode.INVALID_REQUEST, message))
    ids_both_ways = {id_key(topic_id) for topic_id in both_ways.values()}
    times = Counter((name, id_key(topic_id)) for name, topic_id in asked)
    distinct = {(name, id_key(topic_id)): topic_id for name, topic_id in asked}
    with context.topic_changes.batch():
        for (name, key), topic_id in distinct.items():
            if name not in both_ways and (name is not None or key not in ids_both_ways):
                responses.append(_delete(name, topic_id, times[name, key], context))
    deleted = [
        {"topic": each["name"], "id": each["topic_id"]} for each in responses if each["error_code"] is ErrorCode.NONE
    ]
    log_each(context.log, "topic deleted", deleted, request.sender)
    return {"responses": responses}


def _delete(name: str | None, topic_id: Any, times: int, context: ChangesTopics) -> dict[str, Any]:
    cluster = context.cluster
    if times > 1:
        return _refused(
            name,
            topic_id,
            ErrorCode.INVALID_REQUEST,
            "Duplicate topic name." if name is not None else "Duplicate topic id.",
        )
    if (name is None) == (topic_id is None):
        message = (
            "Neither topic name nor id were specified."
            if name is None
            else "You may not specify both topic name and topic id."
        )
        return _refused(name, topic_id, ErrorCode.INVALID_REQUEST, message)
    topic = cluster.topics.get(name) if name is not None else cluster.topic_by_id.get(topic_id)
    if topic is None:
        code = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION if name is not None else ErrorCode.UNKNOWN_TOPIC_ID
        what = "topic-partition" if name is not None else "topic ID"
        return _refused(name, topic_id, code, f"This server does not host this {what}.")
    context.topic_changes.delete_topic(topic.name)
    return {"name": topic.name, "topic_id": topic.id, "error_code": ErrorCode.NONE, "error_message": None}


def _refused(name: str | None, topic_id: Any, code: ErrorCode, message: str | None = None) -> dict[str, Any]:
    return {"name": name, "topic_id": topic_id, "error_code": code, "error_message": message}
