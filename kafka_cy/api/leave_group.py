"""LeaveGroup (API 13), versions 0-5: members leave a classic group.

v0-2 name one member and have its error on top. v3 (KIP-345): several members, by id or by group instance id with an
empty member id, each with its own error. v5: reason (ignored).
"""

from __future__ import annotations

from typing import Any

from kafka_cy.api.context import ApiContext, Request
from kafka_cy.api.registry import handler
from kafka_cy.protocol.errors import ErrorCode


@handler(api_key=13, versions=(0, 5))
def handle(request: Request, context: ApiContext) -> dict[str, Any] | None:
    """Remove the members; the group rebalances where someone really left."""
    body = request.body
    if request.api_version < 3:
        error, answers = context.groups.leave(body.group_id, [(body.member_id, None)])
        answer = {"error_code": int(error) or answers[0]["error_code"]}
    else:
        members = [(member.member_id, member.group_instance_id) for member in body.members]
        error, answers = context.groups.leave(body.group_id, members)
        answer = {"error_code": int(error), "members": answers}

    def stored(lost: ErrorCode) -> None:
        request.respond({"throttle_time": 0, **(answer if not lost else {"error_code": int(lost), "members": []})})

    context.groups.when_stored(body.group_id, stored)
    return None
