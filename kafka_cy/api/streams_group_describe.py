"""StreamsGroupDescribe (API 89, KIP-1071): state, topology, members, tasks and target assignments of streams groups.

Other groups are GROUP_ID_NOT_FOUND.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from kafka_cy.api.group_descriptions import describe_groups
from kafka_cy.api.registry import handler

if TYPE_CHECKING:
    from kio.schema.streams_group_describe.v0.request import StreamsGroupDescribeRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import UsesModernGroups

HIDDEN_TOPICS = "The described group uses topics that the client is not authorized to describe."


@handler(api_key=89)
def handle(request: Request[StreamsGroupDescribeRequest], context: UsesModernGroups) -> dict[str, Any] | None:
    """One entry for each group of the request."""
    return describe_groups(request, context, context.groups.streams, _topics, HIDDEN_TOPICS)


def _topics(group: dict[str, Any]) -> Iterator[str]:
    """The topics of a group's topology."""
    for each in group["topology"]["subtopologies"] if group["topology"] is not None else ():
        yield from each["source_topics"]
        yield from each["repartition_sink_topics"]
        yield from (topic["name"] for topic in each["repartition_source_topics"])
        yield from (topic["name"] for topic in each["state_changelog_topics"])
