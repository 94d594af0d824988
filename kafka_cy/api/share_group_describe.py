"""ShareGroupDescribe (API 77, KIP-932): state, members and assignments of share groups.

Other groups are GROUP_ID_NOT_FOUND.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kafka_cy.api.group_descriptions import describe_groups, topics_of_members
from kafka_cy.api.registry import handler

if TYPE_CHECKING:
    from kio.schema.share_group_describe.v1.request import ShareGroupDescribeRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import UsesModernGroups


@handler(api_key=77)
def handle(request: Request[ShareGroupDescribeRequest], context: UsesModernGroups) -> dict[str, Any] | None:
    """One entry for each group of the request."""
    return describe_groups(request, context, context.groups.share, topics_of_members)
