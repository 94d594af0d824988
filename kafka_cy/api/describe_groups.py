"""DescribeGroups (API 15), versions 0-6: state, members and assignments of classic groups.

Subscriptions and assignments are shown while the group is Stable. v3: authorized operations (all of them: there is no
authorizer). v4: group instance ids. v6 (KIP-1043): an unknown group is GROUP_ID_NOT_FOUND with a message; before it is
"Dead" without an error.
"""

from __future__ import annotations

from typing import Any

from kafka_cy.api.authorized_operations import GROUP_ALL
from kafka_cy.api.context import ApiContext, Request
from kafka_cy.api.registry import handler
from kafka_cy.coordinator.administration import describe_group


@handler(api_key=15, versions=(0, 6))
def handle(request: Request, context: ApiContext) -> dict[str, Any]:
    """One entry per group asked for."""
    version = request.api_version
    operations = version >= 3 and request.body.include_authorized_operations
    groups = []
    for name in request.body.groups:
        group = describe_group(context.groups, name, unknown_is_error=version >= 6)
        if operations and not group["error_code"]:
            group["authorized_operations"] = GROUP_ALL
        groups.append(group)
    return {"throttle_time": 0, "groups": groups}
