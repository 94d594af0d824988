"""What members are told about each other's endpoints (`application.server`): which partitions are where, for interactive queries.

Kafka: EndpointToPartitionsManager.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Final

from kafka_cy.coordinator.modern.topics import Topics
from kafka_cy.coordinator.streams.configured import ConfiguredTopology
from kafka_cy.coordinator.streams.group import StreamsGroup
from kafka_cy.coordinator.streams.member import StreamsMember

ROWS_AS_A_NAME: Final = 10  # members and partitions of rows that take as long as one name of a topology


def rows_size(group: StreamsGroup, enough: int) -> int:
    """How much work the rows are, compared with names of a topology. It is counted up to `enough`."""
    known = group.configured.subtopologies if group.configured is not None else None
    left = enough * ROWS_AS_A_NAME
    for member in group.members.values():
        left -= 1
        has_row = member.details.user_endpoint is not None
        for tasks in (member.assigned.active, member.assigned.standby) if has_row else ():
            for subtopology, partitions in tasks.items():
                found = (known or {}).get(subtopology)
                left -= 1 + len(partitions) * (len(found.sources) if found is not None else 1)
                if left <= 0:
                    return enough
        if left <= 0:
            return enough
    return enough - left // ROWS_AS_A_NAME


def endpoint_rows(
    group: StreamsGroup, updated: StreamsMember, configured: ConfiguredTopology, topics: Topics
) -> list[dict[str, Any]]:
    """A row for each member with an endpoint; none while the topology is not ready. `updated` is a member as it will be.

    Rows of members that have not changed are remembered.
    """
    if not configured.is_ready:
        return []
    everyone = {**group.members, updated.member_id: updated}
    remembered, group.endpoint_rows = group.endpoint_rows, {}
    for member_id, member in everyone.items():
        if member.details.user_endpoint is None:
            continue
        known = remembered.get(member_id)
        if known is None or known[0] is not member.assigned or known[1] is not configured:
            known = (member.assigned, configured, _row(member, configured, topics))
        group.endpoint_rows[member_id] = known
    return [row for *_, row in group.endpoint_rows.values()]


def _row(member: StreamsMember, configured: ConfiguredTopology, topics: Topics) -> dict[str, Any]:
    endpoint = member.details.user_endpoint
    assert endpoint is not None
    return {
        "user_endpoint": {"host": endpoint.host, "port": endpoint.port},
        "active_partitions": _partitions(member.assigned.active, configured, topics),
        "standby_partitions": _partitions(member.assigned.standby, configured, topics),
    }


def _partitions(
    tasks: Mapping[str, Iterable[int]], configured: ConfiguredTopology, topics: Topics
) -> list[dict[str, Any]]:
    """The partitions of source topics that the tasks read."""
    rows = []
    for subtopology, partitions in tasks.items():
        found = (configured.subtopologies or {}).get(subtopology)
        for name in found.sources if found is not None else ():
            topic = topics.find(name)
            count = 0 if topic is None else len(topic.partitions)
            rows.append({"topic": name, "partitions": sorted(each for each in partitions if each < count)})
    return rows
