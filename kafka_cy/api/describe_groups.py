"""DescribeGroups (API 15): state, members and assignments of classic groups.

Subscriptions and assignments are shown while the group is Stable. v3: authorized operations. v4: group instance ids. v6
(KIP-1043): an unknown group is GROUP_ID_NOT_FOUND with a message; before v6 it is "Dead" without an error. So is a group of
another kind. A group that is named twice is described once (Kafka repeats it): a small request must not make a response of
any size.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kafka_cy.api.authorization import GROUP_DENIED, may_group
from kafka_cy.api.authorized_operations import NOT_ASKED, group_operations
from kafka_cy.api.registry import handler
from kafka_cy.authorizer.acls import Operation
from kafka_cy.base.slices import AT_ONCE_MAX
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kio.schema.describe_groups.v6.request import DescribeGroupsRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import UsesGroups

DEAD = "Dead"
MEMBERS_AT_ONCE_MAX = 200  # members of all groups that are described at once, which takes about a millisecond
Description = tuple[ErrorCode, dict[str, Any] | None]


@handler(api_key=15)
def handle(request: Request[DescribeGroupsRequest], context: UsesGroups) -> dict[str, Any] | None:
    """One entry for each group of the request."""
    version = request.api_version
    operations = version >= 3 and request.body.include_authorized_operations
    names = list(dict.fromkeys(request.body.groups))

    def response(found: list[Description]) -> dict[str, Any]:
        refused, groups = [], []
        for name, (error, known) in zip(names, found, strict=True):
            if not may_group(request, Operation.DESCRIBE, name):
                refused.append(_described(name, GROUP_DENIED, None, version))
                continue
            group = _described(name, error, known, version)
            if operations and not group["error_code"]:
                group["authorized_operations"] = group_operations(request, name)
            groups.append(group)
        return {"throttle_time": 0, "groups": refused + groups}

    if len(names) <= AT_ONCE_MAX and context.groups.members_count(names) <= MEMBERS_AT_ONCE_MAX:
        return response([context.groups.describe_group(name) for name in names])
    request.respond_long(
        lambda ready: context.groups.describe_groups(names, lambda found: ready(lambda: response(found)))
    )
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
