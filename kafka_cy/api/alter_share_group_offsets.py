"""AlterShareGroupOffsets (API 91, KIP-932): where an empty share group begins to read. An unknown group begins with that.

NON_EMPTY_GROUP, GROUP_ID_NOT_FOUND for groups of other kinds; UNKNOWN_TOPIC_OR_PARTITION for each partition that does not exist.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from kafka_cy.api.authorization import GROUP_DENIED, MESSAGES, TOPIC_DENIED, may_group
from kafka_cy.api.change_pieces import add_task
from kafka_cy.api.offset_commit_cold import ANSWERED_AT_ONCE_MAX, answer, has_many
from kafka_cy.api.registry import handler
from kafka_cy.api.share_enabled import has_share_groups
from kafka_cy.api.share_state_topic import with_state_topic
from kafka_cy.api.topic_rights import with_denied_topics
from kafka_cy.authorizer.acls import Operation
from kafka_cy.base.slices import in_work
from kafka_cy.coordinator.share.offsets import Altered, GroupFailure
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kio.schema.alter_share_group_offsets.v0.request import AlterShareGroupOffsetsRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import ChangesShareGroups

UNKNOWN = "This server does not host this topic-partition."


@handler(api_key=91)
def handle(request: Request[AlterShareGroupOffsetsRequest], context: ChangesShareGroups) -> None:
    """Respond when all offsets are stored. A partition that is named twice gets the last offset."""
    body = request.body
    if not has_share_groups(context):
        request.respond(_response(GroupFailure(ErrorCode.UNSUPPORTED_VERSION)))
        return
    if not may_group(request, Operation.READ, body.group_id):
        request.respond(_response(GroupFailure(GROUP_DENIED, MESSAGES[GROUP_DENIED])))
        return
    asked: dict[str, dict[int, int]] = {}
    is_long = has_many(request, ANSWERED_AT_ONCE_MAX)
    denied: dict[str, Altered] = {}

    def respond(result: GroupFailure | dict[str, Altered]) -> None:
        found = result if isinstance(result, GroupFailure) or not denied else result | denied
        answer(request, partial(_response, found), is_long=is_long)

    def ask(names: set[str]) -> None:
        if names:
            denied.update((name, Altered(None, dict.fromkeys(asked[name], TOPIC_DENIED))) for name in asked if name in names)
        with_state_topic(request, context, alter)

    def alter() -> None:
        if body.group_id:
            allowed = {name: offsets for name, offsets in asked.items() if name not in denied} if denied else asked
            context.groups.share_offsets.alter(body.group_id, allowed, request.guarded(respond))
        else:
            respond(GroupFailure(ErrorCode.INVALID_GROUP_ID))

    def read() -> None:
        for topic in body.topics:
            asked.setdefault(topic.topic_name, {}).update((each.partition_index, each.start_offset) for each in topic.partitions)

    def begin() -> None:
        with_denied_topics(request, context, Operation.READ, asked, ask)

    if is_long:
        add_task(request, context.slices, in_work(read), begin)
    else:
        read()
        begin()


def _response(result: GroupFailure | dict[str, Altered]) -> dict[str, Any]:
    if isinstance(result, GroupFailure):
        return {
            "throttle_time": 0, "error_code": int(result.error), "error_message": result.message, "responses": [],
        }  # fmt: skip
    topics = [
        {
            "topic_name": name,
            "topic_id": topic.topic_id,
            "partitions": [
                {
                    "partition_index": index,
                    "error_code": int(error),
                    "error_message": UNKNOWN if error is ErrorCode.UNKNOWN_TOPIC_OR_PARTITION else MESSAGES.get(error),
                }
                for index, error in topic.errors.items()
            ],
        }
        for name, topic in result.items()
    ]
    return {"throttle_time": 0, "error_code": 0, "error_message": None, "responses": topics}
