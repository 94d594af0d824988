"""DescribeShareGroupOffsets (API 90, KIP-932): where share groups begin to read. v1 (KIP-1226): the lag.

What does not exist has the offset -1, without an error: groups, topics, partitions, states.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from kafka_cy.api.authorization import GROUP_DENIED, MESSAGES, TOPIC_DENIED, denied, may_group, may_topic
from kafka_cy.api.change_pieces import guarded
from kafka_cy.api.offset_commit_cold import answer
from kafka_cy.api.registry import handler
from kafka_cy.api.share_enabled import has_share_groups
from kafka_cy.authorizer.acls import Operation
from kafka_cy.base.slices import AT_ONCE_MAX, at_once, in_work
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kio.schema.describe_share_group_offsets.v1.request import DescribeShareGroupOffsetsRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import UsesOffsets
    from kafka_cy.coordinator.share.offsets import Described

PARTITIONS_AT_ONCE: Final = 500  # topics and partitions of a response that is built on the loop

@handler(api_key=90)
def handle(request: Request[DescribeShareGroupOffsetsRequest], context: UsesOffsets) -> None:
    """Respond when all groups were looked at. A group that is named again takes the place of the first."""
    asked = {str(group.group_id): group.topics for group in request.body.groups}
    if not has_share_groups(context):
        refused = {"topics": [], "error_code": int(ErrorCode.UNSUPPORTED_VERSION), "error_message": None}
        request.respond({"throttle_time": 0, "groups": [{"group_id": each, **refused} for each in asked]})
        return
    found: dict[str, tuple[ErrorCode, Described]] = {}

    def done(group_id: str, error: ErrorCode, described: Described) -> None:
        found[group_id] = error, described
        if len(found) == len(asked):
            answer(request, response, is_long=_has_many(found))

    def response() -> dict[str, Any]:
        return {"throttle_time": 0, "groups": [group(group_id, *found[group_id]) for group_id in asked]}

    def group(group_id: str, error: ErrorCode, described: Described) -> dict[str, Any]:
        return {
            "group_id": group_id,
            "topics": _topics(request, described, shows_all=asked[group_id] is None),
            "error_code": int(error),
            "error_message": MESSAGES.get(error),
        }

    def steps() -> Generator[object, None, None]:
        for group_id, topics in asked.items():
            if not may_group(request, Operation.DESCRIBE, group_id):
                done(group_id, GROUP_DENIED, {})
                yield None
                continue
            wanted: dict[str, Sequence[int]] | None = None
            if topics is not None:
                wanted = yield from in_work(partial(_wanted, topics))
            context.groups.share_offsets.describe(group_id, wanted, request.guarded(partial(done, group_id)))
            yield None

    if not asked:
        request.respond({"throttle_time": 0, "groups": []})
    elif sum(1 + len(topics or ()) for topics in asked.values()) > AT_ONCE_MAX:
        context.groups.in_slices(guarded(request, steps()), lambda: None)
    else:
        at_once(steps())


def _wanted(topics: Iterable[Any]) -> dict[str, Sequence[int]]:
    return {topic.topic_name: topic.partitions for topic in topics}


def _has_many(found: dict[str, tuple[ErrorCode, Described]]) -> bool:
    """Whether it takes more than about a millisecond to show them. It counts no further."""
    left = PARTITIONS_AT_ONCE
    for _, described in found.values():
        for _, offsets in described.values():
            left -= 1 + len(offsets)
            if left < 0:
                return True
    return False


def _topics(request: Request[Any], described: Described, *, shows_all: bool) -> list[dict[str, Any]]:
    """Topics that the sender may not describe are left out if nobody named them; else they get an error, after the others."""
    shown, refused = [], []
    for name, (topic_id, offsets) in described.items():
        if may_topic(request, Operation.DESCRIBE, name, log_denied=not shows_all):
            shown.append(_topic(name, topic_id, offsets, request.api_version))
        elif not shows_all:
            partitions = [{"partition_index": index, **denied(TOPIC_DENIED)} for index in offsets]
            refused.append({"topic_name": name, "topic_id": None, "partitions": partitions})
    return shown + refused


def _topic(name: str, topic_id: Any, offsets: dict[int, Any], version: int) -> dict[str, Any]:
    partitions = []
    for index, offset in offsets.items():
        shown = {
            "partition_index": index,
            "start_offset": offset.start_offset,
            "leader_epoch": offset.leader_epoch,
            "error_code": 0,
            "error_message": None,
        }
        partitions.append(shown | {"lag": offset.lag} if version >= 1 else shown)
    return {"topic_name": name, "topic_id": topic_id, "partitions": partitions}
