"""LeaveGroup (API 13): members leave a classic group.

v0-2 name one member and have its error at the top level. v3 (KIP-345): several members, by id or by group instance id with an
empty member id, each with its own error. v5: reason (ignored).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from kafka_cy.api.authorization import GROUP_DENIED, may_group
from kafka_cy.api.group_bodies import read_body
from kafka_cy.api.offset_commit_cold import ANSWERED_AT_ONCE_MAX, answer
from kafka_cy.api.registry import handler
from kafka_cy.authorizer.acls import Operation
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kio.schema.leave_group.v2.request import LeaveGroupRequest as LeaveGroupRequestV2
    from kio.schema.leave_group.v5.request import LeaveGroupRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import UsesGroups


@handler(api_key=13)
def handle(request: Request[LeaveGroupRequest], context: UsesGroups) -> dict[str, Any] | None:
    """Remove the members; the group rebalances if one really left."""
    body, version = request.body, request.api_version

    def read() -> list[tuple[str, str | None]]:
        if version < 3:
            return [(cast("LeaveGroupRequestV2", body).member_id, None)]
        return [(member.member_id, member.group_instance_id) for member in body.members]

    def respond(error: ErrorCode, left: list[dict[str, Any]]) -> None:
        if version < 3:
            request.respond({"throttle_time": 0, "error_code": int(error) or left[0]["error_code"]})
        else:
            response = {"throttle_time": 0, "error_code": int(error), "members": left}
            answer(request, lambda: response, is_long=len(left) > ANSWERED_AT_ONCE_MAX)

    if not may_group(request, Operation.READ, body.group_id):
        respond(GROUP_DENIED, [])
        return None
    read_body(request, context, read, lambda members: context.groups.classic.leave(body.group_id, members, respond))
    return None
