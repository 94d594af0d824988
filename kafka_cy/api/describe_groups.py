"""DescribeGroups (API 15): state, members and assignments of classic groups.

Subscriptions and assignments are shown while the group is Stable. v3: authorized operations. v4: group instance ids. v6
(KIP-1043): an unknown group is GROUP_ID_NOT_FOUND with a message; before v6 it is "Dead" without an error. So is a group of
another kind. A group that is named twice is described once (Kafka repeats it): a small request must not make a response of
any size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kafka_cy.api.authorization import GROUP_DENIED, may_group
from kafka_cy.api.authorized_operations import NOT_ASKED, group_operations
from kafka_cy.api.registry import handler
from kafka_cy.api.topic_rights import with_denied
from kafka_cy.authorizer.acls import Operation
from kafka_cy.base.slices import AT_ONCE_MAX
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kio.schema.describe_groups.v6.request import DescribeGroupsRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import UsesModernGroups

DEAD = "Dead"
MEMBERS_AT_ONCE_MAX = 200  # members of all groups that are described at once, which takes about a millisecond
Description = tuple[ErrorCode, dict[str, Any] | None]


@handler(api_key=15)
def handle(request: Request[DescribeGroupsRequest], context: UsesModernGroups) -> dict[str, Any] | None:
    """One entry for each group of the request. Nothing is looked up for what the sender may not describe."""
    version = request.api_version
    operations = version >= 3 and request.body.include_authorized_operations
    names = list(dict.fromkeys(request.body.groups))

    def allows(name: str) -> bool:
        return may_group(request, Operation.DESCRIBE, name)

    def response(allowed: Sequence[str], found: list[Description]) -> dict[str, Any]:
        known_names = set(allowed)
        refused = [_described(name, GROUP_DENIED, None, version) for name in names if name not in known_names]
        groups = []
        for name, (error, known) in zip(allowed, found, strict=True):
            group = _described(name, error, known, version)
            if operations and not group["error_code"]:
                group["authorized_operations"] = group_operations(request, name)
            groups.append(group)
        return {"throttle_time": 0, "groups": refused + groups}

    def describe(ready: Any, allowed: Sequence[str]) -> None:
        context.groups.describe_groups(allowed, lambda found: ready(lambda: response(allowed, found)))

    def ask(ready: Any) -> None:
        def asked(denied_names: set[str]) -> None:
            describe(ready, [each for each in names if each not in denied_names])

        with_denied(request, context, names, allows, asked)

    if len(names) > AT_ONCE_MAX:
        request.respond_long(ask)
        return None
    few = [name for name in names if allows(name)]
    if context.groups.members_count(few) <= MEMBERS_AT_ONCE_MAX and not context.groups.is_busy(few):
        return response(few, [context.groups.describe_group(name) for name in few])
    request.respond_long(lambda ready: describe(ready, few))
    return None


def _described(group_id: str, error: ErrorCode, known: dict[str, Any] | None, version: int) -> dict[str, Any]:
    message = None
    is_other = error is ErrorCode.GROUP_ID_NOT_FOUND
    if version < 6 and is_other:
        error = ErrorCode.NONE
    elif version >= 6 and (is_other or (not error and known is None)):
        error = ErrorCode.GROUP_ID_NOT_FOUND
        message = f"Group {group_id} is not a classic group." if is_other else f"Group {group_id} not found."
    response: dict[str, Any] = {
        "error_code": int(error),
        "error_message": message,
        "group_id": group_id,
        "group_state": DEAD if not error or message else "",
        "protocol_type": "",
        "protocol_data": "",
        "members": [],
        "authorized_operations": NOT_ASKED,
    }
    return response | known if known is not None else response
