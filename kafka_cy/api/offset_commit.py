"""OffsetCommit (API 8): a group stores how far it has read.

v2-4: a retention time of the request gives these offsets an expiry of their own. v6: leader epoch. v7: group
instance id. v9 (KIP-848): an unknown group is GROUP_ID_NOT_FOUND (before v9: ILLEGAL_GENERATION). v10 (KIP-848): topic
ids instead of names, UNKNOWN_TOPIC_ID. Partitions that do not exist: UNKNOWN_TOPIC_OR_PARTITION. A group's error
stands at each partition.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from kafka_cy.api.durations import milliseconds
from kafka_cy.api.id_keys import id_key
from kafka_cy.api.registry import handler
from kafka_cy.coordinator.offsets.commit import CommitPartition, CommitRequest
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kio.schema.offset_commit.v4.request import OffsetCommitRequest as OffsetCommitRequestV4
    from kio.schema.offset_commit.v9.request import OffsetCommitRequestTopic as NamedTopic
    from kio.schema.offset_commit.v10.request import OffsetCommitRequest, OffsetCommitRequestTopic

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import UsesOffsets
    from kafka_cy.cluster.topics import Topic


@handler(api_key=8)
def handle(request: Request[OffsetCommitRequest], context: UsesOffsets) -> dict[str, Any] | None:
    """Commit the offsets of the partitions that exist; respond when they are stored."""
    body, version = request.body, request.api_version
    refused: dict[tuple[str | bytes | None, int], ErrorCode] = {}  # by the topic as the request names it
    names: dict[str | bytes | None, str] = {}
    accepted: list[CommitPartition] = []
    for asked in body.topics:
        identity = _identity(asked, version)
        topic = _topic(asked, version, context)
        unknown = ErrorCode.UNKNOWN_TOPIC_ID if version >= 10 else ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        for each in asked.partitions:
            if topic is None:
                refused[identity, each.partition_index] = unknown
            elif not 0 <= each.partition_index < len(topic.partitions):
                refused[identity, each.partition_index] = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
            else:
                names[identity] = topic.name
                epoch = each.committed_leader_epoch if version >= 6 else -1
                metadata = each.committed_metadata
                accepted.append(
                    CommitPartition(topic.name, topic.id, each.partition_index, each.committed_offset, epoch, metadata)
                )

    def done(error: ErrorCode, errors: dict[tuple[str, int], ErrorCode]) -> None:
        def code(identity: str | bytes | None, index: int) -> int:
            found = refused.get((identity, index))
            return int(found or error or errors[names[identity], index])

        topics = []
        for asked in body.topics:
            identity = _identity(asked, version)
            partitions = [
                {"partition_index": each.partition_index, "error_code": code(identity, each.partition_index)}
                for each in asked.partitions
            ]
            named = {"topic_id": asked.topic_id} if version >= 10 else {"name": identity}
            topics.append({**named, "partitions": partitions})
        request.respond({"throttle_time": 0, "topics": topics})

    context.groups.commit(
        CommitRequest(
            group_id=body.group_id,
            generation=body.generation_id_or_member_epoch,
            member_id=body.member_id,
            instance_id=body.group_instance_id if version >= 7 else None,
            retention_ms=milliseconds(cast("OffsetCommitRequestV4", body).retention_time) if version <= 4 else -1,
            knows_unknown_groups=version >= 9,
            partitions=accepted,
        ),
        done,
    )
    return None


def _identity(asked: OffsetCommitRequestTopic, version: int) -> str | bytes | None:
    """The topic as the request names it: by id since version 10."""
    return id_key(asked.topic_id) if version >= 10 else cast("NamedTopic", asked).name


def _topic(asked: OffsetCommitRequestTopic, version: int, context: UsesOffsets) -> Topic | None:
    if version < 10:
        return context.cluster.topics.get(cast("NamedTopic", asked).name)
    return context.cluster.topic_by_id.get(asked.topic_id) if asked.topic_id is not None else None
