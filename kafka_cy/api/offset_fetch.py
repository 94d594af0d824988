"""OffsetFetch (API 9): the committed offsets of groups.

v1: errors stand at each partition. v2-7: at the top level. v2: null topics = all offsets of the group. v5: leader
epoch. v7 (KIP-447): require_stable: a partition for which an open transaction has an offset is UNSTABLE_OFFSET_COMMIT.
v8 (KIP-709): several groups, each with its own error. v9 (KIP-848): member id and epoch, which a classic group ignores;
in a consumer group an epoch that is not the member's is STALE_MEMBER_EPOCH. v10: topic ids, UNKNOWN_TOPIC_ID. An
unknown group, or a partition without a committed offset: offset -1 and no error.

A group that occurs twice gets INVALID_REQUEST the second time (Kafka repeats its offsets). Otherwise a small request
that repeats one group could cause a response of any size.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from kafka_cy.api.authorization import GROUP_DENIED, TOPIC_DENIED, may_group, may_topic
from kafka_cy.api.registry import handler
from kafka_cy.api.topic_rights import with_denied
from kafka_cy.authorizer.acls import Operation
from kafka_cy.base.slices import AT_ONCE_MAX
from kafka_cy.coordinator.committed_offsets import OffsetsCopy
from kafka_cy.coordinator.group import Group
from kafka_cy.coordinator.records import CommittedOffset
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kio.schema.offset_fetch.v10.request import OffsetFetchRequest
    from kio.schema.offset_fetch.v10.request import OffsetFetchRequestGroup as WantedGroup  # before v8 the body is one

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import UsesOffsets

FEW_PARTITIONS = 500  # limit for a response that is built at once; a longer one is built on another thread
Offsets = OffsetsCopy | list[tuple[int, CommittedOffset | None]]


class FoundTopic(NamedTuple):
    """One topic of the response: how the response names it, and a copy of its offsets at one moment."""

    name: str
    named: dict[str, Any]
    offsets: Offsets
    of_topic: uuid.UUID | None = None  # offsets of another topic id are ignored
    unstable: frozenset[int] = frozenset()  # partitions with offsets in open transactions, when a stable offset is required
    is_unknown: bool = False
    is_denied: bool = False


Result = tuple[ErrorCode, list[FoundTopic] | ErrorCode | None]


@handler(api_key=9)
def handle(request: Request[OffsetFetchRequest], context: UsesOffsets) -> dict[str, Any] | None:
    """Look up the offsets. Nothing is written, and only stored offsets are returned; denied groups are not looked at."""
    body, version = request.body, request.api_version
    wanted = body.groups if version >= 8 else [cast("WantedGroup", body)]
    first = {group.group_id: place for place, group in reversed(list(enumerate(wanted)))}

    def look(place: int, group: Group | None) -> list[FoundTopic] | ErrorCode:
        each = wanted[place]
        if first[each.group_id] != place:
            return ErrorCode.INVALID_REQUEST  # a repeated group
        if version >= 9 and group is not None:
            error = group.validate_offset_fetch(each.member_id, each.member_epoch)
            if error:
                return error
        found = _found(context, each, group, version)
        return _with_unstable(found, group) if version >= 7 and body.require_stable else found

    def allows(group_id: str) -> bool:
        return may_group(request, Operation.DESCRIBE, group_id)

    def response(results: Mapping[int, Result]) -> dict[str, Any]:
        groups = []
        for place, each in enumerate(wanted):
            error, found = results.get(place, (GROUP_DENIED, None))
            if isinstance(found, ErrorCode):
                error, found = found, None
            shown = _allowed(request, found or [], shows_all=each.topics is None)
            groups.append({"group_id": each.group_id, "topics": _topics(shown), "error_code": int(error)})
        return {"throttle_time": 0, "groups": groups} if version >= 8 else _single(groups[0], body, version)

    def fetch(denied: Collection[str], ready: Callable[[Callable[[], dict[str, Any]]], object]) -> None:
        places = [place for place, each in enumerate(wanted) if each.group_id not in denied]

        def done(results: list[Result]) -> None:
            found = dict(zip(places, results, strict=True))
            ready(lambda: response(found))

        ids = [wanted[place].group_id for place in places]
        context.groups.fetch(ids, lambda at, group: look(places[at], group), done)

    if len(wanted) > AT_ONCE_MAX:
        request.respond_long(
            lambda ready: with_denied(request, context, list(first), allows, lambda denied: fetch(denied, ready))
        )
        return None
    denied = {group_id for group_id in first if not allows(group_id)}
    if _is_short(context, [each for each in wanted if each.group_id not in denied]):
        fetch(denied, lambda make: request.respond(make()))
    else:
        request.respond_long(lambda ready: fetch(denied, ready))
    return None


def _is_short(context: UsesOffsets, wanted: Sequence[Any]) -> bool:
    """Whether the response has so few partitions that it can be built at once."""
    count = 0
    for each in wanted:
        if each.topics is None:
            count += context.groups.offsets_count(each.group_id)
        else:
            count += sum(1 + len(topic.partition_indexes) for topic in each.topics)
    return count <= FEW_PARTITIONS


def _single(group: dict[str, Any], body: Any, version: int) -> dict[str, Any]:
    """The response before v8, which has one group."""
    error, topics = group["error_code"], group["topics"]
    if error and version < 2:
        topics = [_failed_topic(topic.name, topic.partition_indexes, error) for topic in body.topics]
    return {"throttle_time": 0, "topics": topics, "error_code": error}


# -- lookup on the coordinator's thread --


def _found(context: UsesOffsets, wanted: Any, group: Group | None, version: int) -> list[FoundTopic]:
    if wanted.topics is None:
        return _all_topics(context, group, version)
    if version < 10:
        return [_by_name(group, topic.name, topic.partition_indexes) for topic in wanted.topics]
    found = [_by_id(context, group, topic.topic_id, topic.partition_indexes) for topic in wanted.topics]
    # Kafka puts unknown topics after the others, except those without a partition.
    return [each for each in found if not _is_unknown(each)] + [*filter(_is_unknown, found)]


def _is_unknown(topic: FoundTopic) -> bool:
    return topic.is_unknown and bool(topic.offsets)


def _all_topics(context: UsesOffsets, group: Group | None, version: int) -> list[FoundTopic]:
    topics: list[FoundTopic] = []
    if group is None:
        return topics
    for name in group.offsets:
        topic = context.cluster.topics.get(name) if version >= 10 else None
        if version < 10:
            topics.append(FoundTopic(name, {"name": name}, group.offsets.copy_of(name)))
        elif topic is not None:
            topics.append(FoundTopic(name, {"topic_id": topic.id}, group.offsets.copy_of(name), of_topic=topic.id))
    return topics


def _by_name(group: Group | None, name: str, indexes: Sequence[int]) -> FoundTopic:
    return FoundTopic(name, {"name": name}, _offsets_of(group, name, indexes))


def _by_id(context: UsesOffsets, group: Group | None, topic_id: uuid.UUID | None, indexes: Sequence[int]) -> FoundTopic:
    topic = context.cluster.topic_by_id.get(topic_id) if topic_id is not None else None
    if topic is None:
        unknown = {"name": "", "topic_id": topic_id}
        return FoundTopic("", unknown, [(index, None) for index in indexes], is_unknown=True)
    return FoundTopic(topic.name, {"topic_id": topic.id}, _offsets_of(group, topic.name, indexes), of_topic=topic.id)


def _offsets_of(group: Group | None, topic: str, indexes: Sequence[int]) -> Offsets:
    return group.offsets.copy_of(topic, indexes) if group is not None else [(index, None) for index in indexes]


def _with_unstable(found: list[FoundTopic], group: Group | None) -> list[FoundTopic]:
    """The topics with their partitions that have offsets in open transactions."""
    pending = group.pending if group is not None else None
    if pending is None:
        return found
    return [each._replace(unstable=frozenset(pending.get(each.name, ()))) for each in found]


# -- the response, which may be built on another thread --


def _allowed(request: Request[Any], found: list[FoundTopic], *, shows_all: bool) -> list[FoundTopic]:
    """Topics that the sender may not describe are left out if nobody named them; else they get an error, after the others."""
    if request.authorizer is None:
        return found
    shown: list[FoundTopic] = []
    denied: list[FoundTopic] = []
    for each in found:
        if each.is_unknown or may_topic(request, Operation.DESCRIBE, each.name):
            shown.append(each)
        else:
            denied.append(each._replace(is_denied=True))
    return shown if shows_all else shown + denied


def _topics(found: list[FoundTopic]) -> list[dict[str, Any]]:
    return [each.named | {"partitions": _partitions(each)} for each in found]


def _partitions(topic: FoundTopic) -> list[dict[str, Any]]:
    offsets = topic.offsets.items() if isinstance(topic.offsets, OffsetsCopy) else topic.offsets
    if topic.is_denied:
        return [_partition(index, None, int(TOPIC_DENIED)) for index, _ in offsets]
    error, unstable = int(ErrorCode.UNKNOWN_TOPIC_ID) if topic.is_unknown else 0, int(ErrorCode.UNSTABLE_OFFSET_COMMIT)
    return [
        _partition(index, None, unstable)
        if index in topic.unstable
        else _partition(index, _if_of_topic(committed, topic.of_topic), error)
        for index, committed in offsets
    ]


def _if_of_topic(committed: CommittedOffset | None, topic_id: uuid.UUID | None) -> CommittedOffset | None:
    """The offset, unless it belongs to an earlier topic with the same name."""
    if committed is None or topic_id is None or committed.topic_id in (None, topic_id):
        return committed
    return None


def _failed_topic(name: str, indexes: Sequence[int], error: int) -> dict[str, Any]:
    return {"name": name, "partitions": [_partition(index, None, error) for index in indexes]}


def _partition(index: int, committed: CommittedOffset | None, error: int) -> dict[str, Any]:
    return {
        "partition_index": index,
        "committed_offset": -1 if committed is None else committed.offset,
        "committed_leader_epoch": -1 if committed is None else committed.leader_epoch,
        "metadata": "" if committed is None else committed.metadata,
        "error_code": error,
    }
