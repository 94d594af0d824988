"""AlterShareGroupOffsets (API 91, KIP-932): where an empty share group begins to read. An unknown group begins with that.

NON_EMPTY_GROUP, GROUP_ID_NOT_FOUND for groups of other kinds; UNKNOWN_TOPIC_OR_PARTITION for each partition that does not exist.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kafka_cy.api.authorization import GROUP_DENIED, MESSAGES, TOPIC_DENIED, may_group, may_topic
from kafka_cy.api.registry import handler
from kafka_cy.api.share_enabled import has_share_groups
from kafka_cy.api.share_state_topic import with_state_topic
from kafka_cy.authorizer.acls import Operation
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
    asked: dict[str, dict[int, int]] = {}
    for topic in body.topics:
        asked.setdefault(topic.topic_name, {}).update(
            (each.partition_index, each.start_offset) for each in topic.partitions
        )

    denied = {
        name: Altered(None, dict.fromkeys(offsets, TOPIC_DENIED))
        for name, offsets in asked.items()
        if not may_topic(request, Operation.READ, name)
    }

    def respond(result: GroupFailure | dict[str, Altered]) -> None:
        request.respond(_response(result if isinstance(result, GroupFailure) else result | denied))

    def ask() -> None:
        if not has_share_groups(context):
            respond(GroupFailure(ErrorCode.UNSUPPORTED_VERSION))
        elif body.group_id:
            allowed = {name: offsets for name, offsets in asked.items() if name not in denied}
            context.groups.share_offsets.alter(body.group_id, allowed, request.guarded(respond))
        else:
            respond(GroupFailure(ErrorCode.INVALID_GROUP_ID))

    if may_group(request, Operation.READ, body.group_id):
        with_state_topic(request, context, ask)
    else:
        respond(GroupFailure(GROUP_DENIED, MESSAGES[GROUP_DENIED]))


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
