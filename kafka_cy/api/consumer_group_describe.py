"""ConsumerGroupDescribe (API 69, KIP-848): state, members, assignments and target assignments of consumer groups.

v1: the type of each member (0 classic protocol, 1 consumer protocol). Other groups are GROUP_ID_NOT_FOUND.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kafka_cy.api.group_descriptions import describe_groups, topics_of_members
from kafka_cy.api.registry import handler

if TYPE_CHECKING:
    from kio.schema.consumer_group_describe.v1.request import ConsumerGroupDescribeRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import UsesModernGroups


@handler(api_key=69)
def handle(request: Request[ConsumerGroupDescribeRequest], context: UsesModernGroups) -> dict[str, Any] | None:
    """One entry for each group of the request."""
    return describe_groups(request, context, context.groups.consumer, topics_of_members)
