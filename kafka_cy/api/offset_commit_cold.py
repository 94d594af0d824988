"""OffsetCommit (API 8): a group stores how far it has read. The half that needs a decision.

Reactors store the commits of groups that are open (`kafka_cy.api.offset_commit`) and forward the rest.

v2-4: a retention time of the request gives these offsets an expiry of their own. v6: leader epoch. v7: group
instance id. v9 (KIP-848): an unknown group is GROUP_ID_NOT_FOUND (before v9: ILLEGAL_GENERATION). v10 (KIP-848): topic
ids instead of names, UNKNOWN_TOPIC_ID. Partitions that do not exist: UNKNOWN_TOPIC_OR_PARTITION. A group's error
stands at each partition.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Generator, Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from kafka_cy.api.authorization import GROUP_DENIED, TOPIC_DENIED, may_group, may_topic
from kafka_cy.api.durations import milliseconds
from kafka_cy.api.id_keys import id_key
from kafka_cy.api.registry import handler
from kafka_cy.authorizer.acls import Operation
from kafka_cy.coordinator.commit_request import CommitPartition, CommitRequest
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kio.schema.offset_commit.v4.request import OffsetCommitRequest as OffsetCommitRequestV4
    from kio.schema.offset_commit.v9.request import OffsetCommitRequestTopic as NamedTopic
    from kio.schema.offset_commit.v10.request import OffsetCommitRequest, OffsetCommitRequestTopic

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import UsesOffsets
    from kafka_cy.cluster.topics import Topic

ANSWERED_AT_ONCE_MAX = 1000  # topics and partitions; a longer request is looked at in slices, and answered from another thread
STEP_PARTITIONS = 250  # of a longer request, that one step looks at; topics count, too


class Found:
    """What is known about the partitions of an OffsetCommit, by the topics as the request names them."""

    __slots__ = ("accepted", "has_too_many", "names", "refused", "topic_ids")

    def __init__(self) -> None:
        self.accepted: list[CommitPartition] = []
        self.refused: dict[tuple[str | bytes | None, int], ErrorCode] = {}
        self.names: dict[str | bytes | None, str] = {}  # of the topics with accepted partitions
        self.topic_ids: dict[str, uuid.UUID] = {}  # of the same
        self.has_too_many = False  # no batch can hold them

    def code(
        self, error: ErrorCode, errors: Mapping[tuple[str, int], ErrorCode], identity: str | bytes | None, index: int
    ) -> ErrorCode:
        """The error of a partition; `error` is that of all, `errors` are those of accepted ones."""
        if self.has_too_many:
            return ErrorCode.UNKNOWN_SERVER_ERROR
        return self.refused.get((identity, index)) or error or errors[self.names[identity], index]


@handler(api_key=8)
def handle(request: Request[OffsetCommitRequest], context: UsesOffsets) -> None:
    """Commit the offsets of the partitions that exist; respond when they are stored."""
    found, is_long = Found(), has_many(request, ANSWERED_AT_ONCE_MAX)
    steps = _look(request, context, found)

    def done(error: ErrorCode, errors: Mapping[tuple[str, int], ErrorCode]) -> None:
        answer(request, partial(_response, request, partial(found.code, error, errors)), is_long=is_long)

    if not may_group(request, Operation.READ, request.body.group_id):
        done(GROUP_DENIED, {})
        return
    if is_long:
        body, version = request.body, request.api_version
        commit = partial(_commit, body, version, found)
        context.groups.commit_long(body.group_id, in_steps(steps), commit, done)
        return
    for _ in steps:
        pass
    commit_request = _commit(request.body, request.api_version, found)
    if commit_request is None:
        done(ErrorCode.UNKNOWN_SERVER_ERROR, {})
    else:
        context.groups.commit(commit_request, done)


def _look(request: Request[OffsetCommitRequest], context: UsesOffsets, found: Found) -> Iterator[None]:
    """Look at every partition. A topic or partition in each step."""
    version = request.api_version
    unknown = ErrorCode.UNKNOWN_TOPIC_ID if version >= 10 else ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    found.has_too_many = yield from has_too_many_offsets(request, context)
    for asked in () if found.has_too_many else request.body.topics:
        identity, topic = _identity(asked, version), _topic(asked, version, context)
        name = topic.name if topic is not None else None if version >= 10 else cast("NamedTopic", asked).name
        allowed = name is None or may_topic(request, Operation.READ, name)
        yield
        for each in asked.partitions:
            if not allowed:
                found.refused[identity, each.partition_index] = TOPIC_DENIED
            elif topic is None:
                found.refused[identity, each.partition_index] = unknown
            elif not 0 <= each.partition_index < len(topic.partitions):
                found.refused[identity, each.partition_index] = ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
            else:
                found.names[identity] = topic.name
                found.topic_ids.setdefault(topic.name, topic.id)
                epoch = each.committed_leader_epoch if version >= 6 else -1
                metadata = each.committed_metadata
                found.accepted.append(
                    CommitPartition(topic.name, topic.id, each.partition_index, each.committed_offset, epoch, metadata)
                )
            yield


def has_many(request: Request[Any], few: int) -> bool:
    """Whether an OffsetCommit or TxnOffsetCommit has more than `few` topics and partitions."""
    for topic in request.body.topics:
        few -= 1 + len(topic.partitions)
        if few < 0:
            return True
    return False


def has_too_many_offsets(request: Request[Any], context: UsesOffsets) -> Generator[None, None, bool]:
    """Whether no batch can hold the offsets of this OffsetCommit or TxnOffsetCommit. A topic in each step."""
    left: int = context.groups.offset_commit.offsets_max()
    for topic in request.body.topics:
        left -= len(topic.partitions)
        if left < 0:
            return True
        yield
    return False


def in_steps(each: Iterator[None]) -> Iterator[None]:
    """Steps of a task for slices, each with several of the small ones."""
    for place, _ in enumerate(each):
        if place % STEP_PARTITIONS == 0:
            yield


def answer(request: Request[Any], make: Callable[[], dict[str, Any]], *, is_long: bool) -> None:
    """Respond, from another thread if the request is long."""
    if is_long:
        request.respond_long(lambda ready: ready(make))
    else:
        request.respond(make())


def _commit(body: OffsetCommitRequest, version: int, found: Found) -> CommitRequest | None:
    """What the coordinator is to store; None if no batch can hold it."""
    if found.has_too_many:
        return None
    return CommitRequest(
        group_id=body.group_id,
        generation=body.generation_id_or_member_epoch,
        member_id=body.member_id,
        instance_id=body.group_instance_id if version >= 7 else None,
        retention_ms=milliseconds(cast("OffsetCommitRequestV4", body).retention_time) if version <= 4 else -1,
        knows_unknown_groups=version >= 9,
        partitions=found.accepted,
        topic_ids=found.topic_ids,
    )


def _response(
    request: Request[OffsetCommitRequest], code: Callable[[str | bytes | None, int], ErrorCode]
) -> dict[str, Any]:
    """`code` gives the error of a partition, of the topic as the request names it. Any thread."""
    topics = []
    for asked in request.body.topics:
        identity = _identity(asked, request.api_version)
        partitions = [
            {"partition_index": each.partition_index, "error_code": int(code(identity, each.partition_index))}
            for each in asked.partitions
        ]
        named = {"topic_id": asked.topic_id} if request.api_version >= 10 else {"name": identity}
        topics.append({**named, "partitions": partitions})
    return {"throttle_time": 0, "topics": topics}


def _identity(asked: OffsetCommitRequestTopic, version: int) -> str | bytes | None:
    """The topic as the request names it: by id since version 10."""
    return id_key(asked.topic_id) if version >= 10 else cast("NamedTopic", asked).name


def _topic(asked: OffsetCommitRequestTopic, version: int, context: UsesOffsets) -> Topic | None:
    if version < 10:
        return context.cluster.topics.get(cast("NamedTopic", asked).name)
    return context.cluster.topic_by_id.get(asked.topic_id) if asked.topic_id is not None else None
