"""JoinGroup (API 11): a member asks for a place in a classic group.

The response leaves when the join phase of the rebalance ends. v1: rebalance timeout (before: the session timeout). v4 (KIP-394): a
dynamic member without id gets MEMBER_ID_REQUIRED and an id first. v5 (KIP-345): static members. v7: protocol type in
the response, protocol name nullable. v8: reason (for the log). v9: SkipAssignment for a returning static leader.

More than PROTOCOLS_MAX protocols get INCONSISTENT_GROUP_PROTOCOL, which Kafka gives for a list without any: all clients know this
error of JoinGroup, and none asks again.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from kafka_cy.api.authorization import GROUP_DENIED, may_group
from kafka_cy.api.durations import milliseconds
from kafka_cy.api.registry import handler
from kafka_cy.authorizer.acls import Operation
from kafka_cy.coordinator.classic.limits import PROTOCOLS_MAX
from kafka_cy.coordinator.classic.requests import JoinRequest
from kafka_cy.coordinator.classic.responses import join_error
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kio.schema.join_group.v9.request import JoinGroupRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import UsesGroups

MEMBERS_AT_ONCE: Final = 500
BYTES_AT_ONCE: Final = 500_000  # of their subscriptions


@handler(api_key=11)
def handle(request: Request[JoinGroupRequest], context: UsesGroups) -> dict[str, Any] | None:
    """Hand the request to the coordinator, which responds now or at the end of the join phase."""
    body, version = request.body, request.api_version
    if not may_group(request, Operation.READ, body.group_id):
        respond(request, join_error(GROUP_DENIED))
        return None
    if len(body.protocols) > PROTOCOLS_MAX:  # before the loop looks at them
        respond(request, join_error(ErrorCode.INCONSISTENT_GROUP_PROTOCOL, body.member_id))
        return None
    session_timeout_ms = milliseconds(body.session_timeout)
    rebalance_timeout_ms = milliseconds(body.rebalance_timeout) if version >= 1 else session_timeout_ms
    join = JoinRequest(
        group_id=body.group_id,
        member_id=body.member_id,
        instance_id=body.group_instance_id if version >= 5 else None,
        client_id=request.client_id or "",
        client_host="/" + request.client_host,
        session_timeout_ms=session_timeout_ms,
        rebalance_timeout_ms=rebalance_timeout_ms,
        protocol_type=body.protocol_type,
        protocols=[(protocol.name, bytes(protocol.metadata)) for protocol in body.protocols],
        require_known_member_id=version >= 4,
        supports_skipping_assignment=version >= 9,
        reason=(body.reason or "") if version >= 8 else "",
    )
    request.end_turn()
    context.groups.classic.join(join, partial(respond, request))
    return None


def respond(request: Request[Any], response: dict[str, Any]) -> None:
    """That of the leader of a large group is encoded on another thread: it takes a millisecond for 1,000 members, or a MB."""
    if response["protocol_name"] is None and request.api_version < 7:
        response["protocol_name"] = ""
    whole = {"throttle_time": 0, **response}
    members = response["members"]
    if len(members) > MEMBERS_AT_ONCE or sum(len(each["metadata"]) for each in members) > BYTES_AT_ONCE:
        request.respond_long(lambda ready: ready(lambda: whole))
    else:
        request.respond(whole)
