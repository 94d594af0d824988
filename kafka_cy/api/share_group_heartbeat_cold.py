"""ShareGroupHeartbeat (API 76, KIP-932): a member joins, stays in, or leaves a share group. The half that needs a decision.

Errors carry a text for the log of the client.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from kafka_cy.api.authorization import GROUP_DENIED, TOPIC_DENIED, may_group
from kafka_cy.api.consumer_group_heartbeat_cold import respond
from kafka_cy.api.registry import handler
from kafka_cy.api.share_enabled import has_share_groups
from kafka_cy.api.share_state_topic import with_state_topic
from kafka_cy.api.topic_rights import may_describe_all
from kafka_cy.authorizer.acls import Operation
from kafka_cy.coordinator.modern.heartbeat_responses import error_response
from kafka_cy.coordinator.share.requests import ShareHeartbeat
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kio.schema.share_group_heartbeat.v1.request import ShareGroupHeartbeatRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import ChangesShareGroups


@handler(api_key=76)
def handle(request: Request[ShareGroupHeartbeatRequest], context: ChangesShareGroups) -> None:
    """Hand the request to the coordinator; the response leaves when what it says is stored."""
    body = request.body
    if not has_share_groups(context):
        request.respond({"throttle_time": 0, **error_response(ErrorCode.UNSUPPORTED_VERSION)})
        return
    if not may_group(request, Operation.READ, body.group_id):
        request.respond({"throttle_time": 0, **error_response(GROUP_DENIED)})
        return
    heartbeat = ShareHeartbeat(
        body.group_id, body.member_id, body.member_epoch, body.rack_id, body.subscribed_topic_names,
        request.client_id or "", "/" + request.client_host,
    )  # fmt: skip

    def ask() -> None:
        context.groups.share.heartbeat(heartbeat, partial(respond, request))

    def begin(may_describe: bool) -> None:
        if may_describe:
            with_state_topic(request, context, ask)
        else:
            request.respond({"throttle_time": 0, **error_response(TOPIC_DENIED)})

    may_describe_all(request, context, body.subscribed_topic_names or (), begin)
