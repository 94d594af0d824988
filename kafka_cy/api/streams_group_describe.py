"""StreamsGroupDescribe (API 89, KIP-1071): state, topology, members, tasks and target assignments of streams groups.

Other groups are GROUP_ID_NOT_FOUND.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kafka_cy.api.group_descriptions import describe_groups
from kafka_cy.api.registry import handler

if TYPE_CHECKING:
    from kio.schema.streams_group_describe.v0.request import StreamsGroupDescribeRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import UsesGroups


@handler(api_key=89)
def handle(request: Request[StreamsGroupDescribeRequest], context: UsesGroups) -> dict[str, Any] | None:
    """One entry for each group of the request."""
    return describe_groups(request, context, context.groups.streams.descriptions)
