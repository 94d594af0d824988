"""SyncGroup (API 14): the leader brings the assignment, the other members wait for their part.

In a Stable group the stored bytes are repeated. v3: group instance id. v5: protocol type and name, checked against the
group's (INCONSISTENT_GROUP_PROTOCOL).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kafka_cy.api.authorization import GROUP_DENIED, may_group
from kafka_cy.api.group_bodies import read_body
from kafka_cy.api.registry import handler
from kafka_cy.authorizer.acls import Operation
from kafka_cy.coordinator.classic.requests import SyncRequest
from kafka_cy.coordinator.classic.responses import sync_error
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kio.schema.sync_group.v5.request import SyncGroupRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import UsesGroups


@handler(api_key=14)
def handle(request: Request[SyncGroupRequest], context: UsesGroups) -> dict[str, Any] | None:
    """Hand the request to the coordinator, which responds when the assignment is stored."""
    body, version = request.body, request.api_version
    protocol_type = body.protocol_type if version >= 5 else None
    protocol = body.protocol_name if version >= 5 else None
    if version >= 5 and (protocol_type is None or protocol is None):
        return {"throttle_time": 0, **sync_error(ErrorCode.INCONSISTENT_GROUP_PROTOCOL)}
    if not may_group(request, Operation.READ, body.group_id):
        return {"throttle_time": 0, **sync_error(GROUP_DENIED)}

    def read() -> SyncRequest:
        return SyncRequest(
            group_id=body.group_id,
            generation=body.generation_id,
            member_id=body.member_id,
            instance_id=body.group_instance_id if version >= 3 else None,
            protocol_type=protocol_type,
            protocol=protocol,
            assignments={each.member_id: bytes(each.assignment) for each in body.assignments},
        )

    def sync(wanted: SyncRequest) -> None:
        request.end_turn()
        context.groups.classic.sync(wanted, lambda response: request.respond({"throttle_time": 0, **response}))

    read_body(request, context, read, sync)
    return None
