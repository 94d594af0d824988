"""OffsetDelete (API 47, KIP-496): forget committed offsets of partitions.

Topics that the group is subscribed to: GROUP_SUBSCRIBED_TO_TOPIC. Unknown group: GROUP_ID_NOT_FOUND. Partitions that do
not exist: UNKNOWN_TOPIC_OR_PARTITION. An offset that was never committed: no error.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

from kafka_cy.api.authorization import GROUP_DENIED, TOPIC_DENIED, may_group
from kafka_cy.api.offset_commit_cold import ANSWERED_AT_ONCE_MAX, answer, has_many, in_steps
from kafka_cy.api.registry import handler
from kafka_cy.api.topic_rights import with_denied_topics
from kafka_cy.authorizer.acls import Operation
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kio.schema.offset_delete.v0.request import OffsetDeleteRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import UsesOffsets


@handler(api_key=47)
def handle(request: Request[OffsetDeleteRequest], context: UsesOffsets) -> dict[str, Any] | None:
    """Write tombstones for the offsets, then respond with an error for each partition."""
    body = request.body
    if not may_group(request, Operation.DELETE, body.group_id):
        return {"error_code": int(GROUP_DENIED), "throttle_time": 0, "topics": []}
    is_long = has_many(request, ANSWERED_AT_ONCE_MAX)
    denied: set[str] = set()
    refused_topics: set[str] = set()  # denied, or unknown
    known: list[tuple[str, int]] = []  # partitions that exist, and may be asked about

    def look() -> Iterator[None]:
        for asked in body.topics:
            topic = context.cluster.topics.get(asked.name) if asked.name not in denied else None
            count = len(topic.partitions) if topic is not None else 0
            if topic is None:
                refused_topics.add(asked.name)
            yield
            for each in asked.partitions:
                if 0 <= each.partition_index < count:
                    known.append((asked.name, each.partition_index))
                yield

    def response(error: ErrorCode, errors: dict[tuple[str, int], ErrorCode]) -> dict[str, Any]:
        def code(name: str, index: int) -> int:
            if name in denied:
                return int(TOPIC_DENIED)
            return int(errors.get((name, index), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION))

        refused: dict[str, list[dict[str, int]]] = {}
        answered: list[tuple[str, list[dict[str, int]]]] = []  # as often as the request names the topic
        for topic in body.topics if not error else ():
            if topic.name in refused_topics:
                refused.setdefault(topic.name, [])
            answers: list[dict[str, int]] = []
            for each in topic.partitions:
                place = topic.name, each.partition_index
                part = answers if place in errors else refused.setdefault(topic.name, [])
                part.append({"partition_index": place[1], "error_code": code(*place)})
            if answers:
                answered.append((topic.name, answers))
        if refused:  # as in Kafka, what the group is not asked about comes first, and takes in the others of its topic
            for name, answers in answered:
                refused.setdefault(name, []).extend(answers)
            answered = list(refused.items())
        topics = [{"name": name, "partitions": partitions} for name, partitions in answered]
        return {"error_code": int(error), "throttle_time": 0, "topics": topics}

    def done(error: ErrorCode, errors: dict[tuple[str, int], ErrorCode]) -> None:
        answer(request, partial(response, error, errors), is_long=is_long)

    def delete(names: set[str]) -> None:
        denied.update(names)
        for _ in () if is_long else look():
            pass
        context.groups.delete_offsets(body.group_id, known, done, in_steps(look()) if is_long else None)

    topics = list(dict.fromkeys(topic.name for topic in body.topics)) if request.authorizer is not None else []
    with_denied_topics(request, context, Operation.READ, topics, delete)
    return None
