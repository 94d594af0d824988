"""Heartbeat (API 12): the half that needs a decision.

Reactors respond to members of Stable and CompletingRebalance groups (`kafka_cy.api.heartbeat`). They forward the rest:
unknown members, old generations, fenced instances, groups that rebalance.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kafka_cy.api.authorization import GROUP_DENIED, may_group
from kafka_cy.api.registry import handler
from kafka_cy.authorizer.acls import Operation

if TYPE_CHECKING:
    from kio.schema.heartbeat.v4.request import HeartbeatRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import UsesGroups
    from kafka_cy.protocol.errors import ErrorCode


@handler(api_key=12)
def handle(request: Request[HeartbeatRequest], context: UsesGroups) -> dict[str, Any] | None:
    """Respond with the error that the coordinator finds."""
    body = request.body
    if not may_group(request, Operation.READ, body.group_id):
        return {"throttle_time": 0, "error_code": int(GROUP_DENIED)}

    def respond(error: ErrorCode) -> None:
        request.respond({"throttle_time": 0, "error_code": int(error)})

    instance_id = body.group_instance_id if request.api_version >= 3 else None
    context.groups.classic.heartbeat(body.group_id, body.member_id, instance_id, body.generation_id, respond)
    return None
