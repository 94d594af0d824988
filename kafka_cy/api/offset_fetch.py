"""OffsetFetch (API 9): the committed offsets of groups.

v1: errors stand at each partition. v2-7: at the top level. v2: null topics = all offsets of the group. v5: leader epoch. v7
(KIP-447): require_stable; nothing is pending here, so every offset is stable. v8 (KIP-709): several groups, each
with its own error. v9 (KIP-848): member id and epoch, which a classic group ignores. v10: topic ids,
UNKNOWN_TOPIC_ID. An unknown group, or a partition without a committed offset: offset -1 and no error.

A group that is named twice gets INVALID_REQUEST the second time (Kafka repeats its offsets): a small request for all
offsets of one group over and over would make a response of any size.
"""

from __future__ import annotations

import uuid
from typing import Any

from kafka_cy.api.context import ApiContext, Request
from kafka_cy.api.registry import handler
from kafka_cy.coordinator.group import Group
from kafka_cy.coordinator.records import CommittedOffset
from kafka_cy.protocol.errors import ErrorCode


@handler(api_key=9)
def handle(request: Request, context: ApiContext) -> dict[str, Any] | None:
    """Look the offsets up; nothing is written, and only what is stored is shown."""
    body, version = request.body, request.api_version
    wanted = body.groups if version >= 8 else [body]
    first = {group.group_id: place for place, group in reversed(list(enumerate(wanted)))}

    def look(place: int, group: Group | None) -> list[dict[str, Any]] | None:
        if first[wanted[place].group_id] != place:
            return None
        return _topics(context, wanted[place], group, version)

    def respond(results: list[tuple[ErrorCode, list[dict[str, Any]] | None]]) -> None:
        groups = []
        for each, (error, topics) in zip(wanted, results, strict=True):
            if not error and topics is None:
                error = ErrorCode.INVALID_REQUEST  # a group that is named again
            groups.append({"group_id": each.group_id, "topics": topics or [], "error_code": int(error)})
        request.respond({"throttle_time": 0, "groups": groups} if version >= 8 else _single(groups[0], body, version))

    context.groups.fetch([group.group_id for group in wanted], look, respond)
    return None


def _single(group: dict[str, Any], body: Any, version: int) -> dict[str, Any]:
    """The response before v8, which is about one group."""
    error, topics = group["error_code"], group["topics"]
    if error and version < 2:
        topics = [_failed_topic(topic.name, topic.partition_indexes, error) for topic in body.topics]
    return {"throttle_time": 0, "topics": topics, "error_code": error}


def _topics(context: ApiContext, wanted: Any, group: Group | None, version: int) -> list[dict[str, Any]]:
    if wanted.topics is None:
        return _all_topics(context, group, version)
    if version < 10:
        return [_topic(group, topic.name, topic.partition_indexes) for topic in wanted.topics]
    topics = [_topic_by_id(context, group, topic.topic_id, topic.partition_indexes) for topic in wanted.topics]
    # Kafka puts the topics that it does not know behind the others.
    return [each for each in topics if not _is_unknown(each)] + [*filter(_is_unknown, topics)]


def _all_topics(context: ApiContext, group: Group | None, version: int) -> list[dict[str, Any]]:
    topics = []
    for name, partitions in group.offsets.items() if group is not None else ():
        if version < 10:
            topics.append(_topic(group, name, list(partitions)))
        elif name in context.cluster.topics:
            topics.append(_topic_by_id(context, group, context.cluster.topics[name].id, list(partitions)))
    return topics


def _topic(group: Group | None, name: str, indexes: list[int]) -> dict[str, Any]:
    offsets = group.offsets.get(name, {}) if group is not None else {}
    return {"name": name, "partitions": [_partition(index, offsets.get(index)) for index in indexes]}


def _topic_by_id(
    context: ApiContext, group: Group | None, topic_id: uuid.UUID | None, indexes: list[int]
) -> dict[str, Any]:
    topic = context.cluster.topic_by_id.get(topic_id) if topic_id is not None else None
    if topic is None:
        return _failed_topic("", indexes, int(ErrorCode.UNKNOWN_TOPIC_ID)) | {"topic_id": topic_id}
    offsets = group.offsets.get(topic.name, {}) if group is not None else {}
    # An offset of an earlier topic of the same name does not belong to this one.
    found = [(index, offsets.get(index)) for index in indexes]
    partitions = [
        _partition(index, each if each is not None and each.topic_id in (None, topic.id) else None)
        for index, each in found
    ]
    return {"topic_id": topic.id, "partitions": partitions}


def _is_unknown(topic: dict[str, Any]) -> bool:
    return any(each["error_code"] == ErrorCode.UNKNOWN_TOPIC_ID for each in topic["partitions"])


def _failed_topic(name: str, indexes: list[int], error: int) -> dict[str, Any]:
    return {"name": name, "partitions": [_partition(index, None) | {"error_code": error} for index in indexes]}


def _partition(index: int, committed: CommittedOffset | None) -> dict[str, Any]:
    return {
        "partition_index": index,
        "committed_offset": -1 if committed is None else committed.offset,
        "committed_leader_epoch": -1 if committed is None else committed.leader_epoch,
        "metadata": "" if committed is None else committed.metadata,
        "error_code": 0,
    }
