"""DeleteShareGroupOffsets (API 92, KIP-932): an empty share group forgets topics.

NON_EMPTY_GROUP, GROUP_ID_NOT_FOUND; UNKNOWN_TOPIC_OR_PARTITION for each topic that the group does not know.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from kafka_cy.api.authorization import GROUP_DENIED, MESSAGES, TOPIC_DENIED, may_group
from kafka_cy.api.offset_commit_cold import ANSWERED_AT_ONCE_MAX, answer
from kafka_cy.api.registry import handler
from kafka_cy.api.share_enabled import has_share_groups
from kafka_cy.api.topic_rights import with_denied_topics
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
    names: list[str] = []
    denied: dict[str, DeletedTopic] = {}

    def respond(result: GroupFailure | dict[str, DeletedTopic]) -> None:
        found = result if isinstance(result, GroupFailure) or not denied else result | denied
        answer(request, partial(_response, found), is_long=len(names) > ANSWERED_AT_ONCE_MAX)

    def delete(refused: set[str]) -> None:
        if not body.group_id:
            respond(GroupFailure(ErrorCode.INVALID_GROUP_ID))
            return
        failure = DeletedTopic(None, TOPIC_DENIED, MESSAGES[TOPIC_DENIED])
        allowed = names
        if refused:
            denied.update((name, failure) for name in names if name in refused)
            allowed = [name for name in names if name not in refused]
        context.groups.share_offsets.delete(body.group_id, allowed, request.guarded(respond))

    if not has_share_groups(context):
        respond(GroupFailure(ErrorCode.UNSUPPORTED_VERSION))
    elif not may_group(request, Operation.DELETE, body.group_id):
        respond(GroupFailure(GROUP_DENIED, MESSAGES[GROUP_DENIED]))
    else:
        names.extend(topic.topic_name for topic in body.topics)
        with_denied_topics(request, context, Operation.READ, list(dict.fromkeys(names)), delete)


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
