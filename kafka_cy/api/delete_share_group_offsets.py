"""DeleteShareGroupOffsets (API 92, KIP-932): an empty share group forgets topics.

NON_EMPTY_GROUP, GROUP_ID_NOT_FOUND; UNKNOWN_TOPIC_OR_PARTITION for each topic that the group does not know.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kafka_cy.api.authorization import GROUP_DENIED, MESSAGES, TOPIC_DENIED, may_group, may_topic
from kafka_cy.api.registry import handler
from kafka_cy.api.share_enabled import has_share_groups
from kafka_cy.authorizer.acls import Operation
from kafka_cy.coordinator.share.offsets import DeletedTopic, GroupFailure
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kio.schema.delete_share_group_offsets.v0.request import DeleteShareGroupOffsetsRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import UsesOffsets

UNKNOWN = "This server does not host this topic-partition."


@handler(api_key=92)
def handle(request: Request[DeleteShareGroupOffsetsRequest], context: UsesOffsets) -> None:
    """Respond when all states are deleted."""
    body = request.body

    names = [topic.topic_name for topic in body.topics]
    denied = {
        name: DeletedTopic(None, TOPIC_DENIED, MESSAGES[TOPIC_DENIED])
        for name in dict.fromkeys(names)
        if not may_topic(request, Operation.READ, name)
    }

    def respond(result: GroupFailure | dict[str, DeletedTopic]) -> None:
        request.respond(_response(result if isinstance(result, GroupFailure) else result | denied))

    if not has_share_groups(context):
        respond(GroupFailure(ErrorCode.UNSUPPORTED_VERSION))
    elif not may_group(request, Operation.DELETE, body.group_id):
        respond(GroupFailure(GROUP_DENIED, MESSAGES[GROUP_DENIED]))
    elif body.group_id:
        allowed = [name for name in names if name not in denied]
        context.groups.share_offsets.delete(body.group_id, allowed, request.guarded(respond))
    else:
        respond(GroupFailure(ErrorCode.INVALID_GROUP_ID))


def _response(result: GroupFailure | dict[str, DeletedTopic]) -> dict[str, Any]:
    if isinstance(result, GroupFailure):
        return {
            "throttle_time": 0, "error_code": int(result.error), "error_message": result.message, "responses": [],
        }  # fmt: skip
    topics = []
    for name, topic in result.items():
        message = topic.message
        if message is None and topic.error is ErrorCode.UNKNOWN_TOPIC_OR_PARTITION:
            message = UNKNOWN
        topics.append(
            {"topic_name": name, "topic_id": topic.topic_id, "error_code": int(topic.error), "error_message": message}
        )
    return {"throttle_time": 0, "error_code": 0, "error_message": None, "responses": topics}
