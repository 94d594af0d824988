"""What kind of groups there are, and share groups and streams groups, which librdkafka's admin client does not know."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from kafka_cy.tools.client import ToolError
from kafka_cy.tools.cluster import broker_addresses
from kafka_cy.tools.raw_client import LIST_GROUPS, RawClient, coordinator_of, error_name, require_success

SHARE_DESCRIBE, STREAMS_DESCRIBE = 77, 89
SHARE_OFFSETS_DESCRIBE, SHARE_OFFSETS_ALTER, SHARE_OFFSETS_DELETE = 90, 91, 92
GROUP_ID_NOT_FOUND = 69
TYPES = ("Classic", "Consumer", "Share", "Streams")  # as Kafka's GroupType prints them
Place = tuple[str, int]  # topic and partition


class Listed(NamedTuple):
    """One group of ListGroups; brokers before 4.0 tell no type."""

    group: str
    state: str
    type: str


class GroupMember(NamedTuple):
    """A member, with the partitions that it reads."""

    member_id: str
    host: str
    client_id: str
    partitions: list[Place]


class GroupState(NamedTuple):
    """A described group; `coordinator` is `host:port (id)`."""

    coordinator: str
    assignor: str
    state: str
    members: list[GroupMember]


class ShareOffset(NamedTuple):
    """Where a share group is in a partition; None: it has not begun, or the lag is not known."""

    start: int | None
    lag: int | None


def listed_groups(bootstrap_servers: str) -> list[Listed]:
    """All groups, sorted by name. Raises ToolError."""
    found: set[Listed] = set()
    for address in broker_addresses(bootstrap_servers).values():
        with RawClient(address) as client:
            answer = client.request(LIST_GROUPS, {"states_filter": (), "types_filter": ()})
        require_success(answer.error_code, None, f"Broker {address}")
        for each in answer.groups:
            kind = getattr(each, "group_type", "") or ("Classic" if each.protocol_type else "")
            found.add(Listed(each.group_id, getattr(each, "group_state", ""), kind.title()))
    return sorted(found)


def type_of(bootstrap_servers: str, group: str) -> str:
    """One of TYPES; empty if there is no such group. Raises ToolError."""
    return next((each.type for each in listed_groups(bootstrap_servers) if each.group == group), "")


def described_share(bootstrap_servers: str, group: str) -> GroupState:
    """A share group. Raises ToolError."""
    found, coordinator = _described(bootstrap_servers, SHARE_DESCRIBE, group)
    members = [
        GroupMember(
            each.member_id,
            each.client_host,
            each.client_id,
            [(row.topic_name, index) for row in each.assignment.topic_partitions for index in row.partitions],
        )
        for each in found.members
    ]
    return GroupState(coordinator, found.assignor_name, found.group_state, members)


def described_streams(bootstrap_servers: str, group: str) -> GroupState:
    """A streams group; a member reads the source topics of its active tasks. Raises ToolError."""
    found, coordinator = _described(bootstrap_servers, STREAMS_DESCRIBE, group)
    topics = {
        each.subtopology_id: [*each.source_topics, *(topic.name for topic in each.repartition_source_topics)]
        for each in (found.topology.subtopologies or () if found.topology else ())
    }
    members = []
    for each in found.members:
        places = [
            (topic, index)
            for task in each.assignment.active_tasks
            for topic in topics.get(task.subtopology_id, ())
            for index in task.partitions
        ]
        members.append(GroupMember(each.member_id, each.client_host, each.client_id, places))
    return GroupState(coordinator, "", found.group_state, members)


def _described(bootstrap_servers: str, api_key: int, group: str) -> tuple[Any, str]:
    with coordinator_of(bootstrap_servers, group) as client:
        (found,) = client.request(api_key, {"group_ids": (group,), "include_authorized_operations": False}).groups
    if found.error_code == GROUP_ID_NOT_FOUND:
        raise ToolError(f"Group {group} does not exist.")
    require_success(found.error_code, found.error_message, f"Group {group}")
    return found, f"{client.address} ({client.node_id})"


def share_offsets(bootstrap_servers: str, group: str) -> dict[Place, ShareOffset]:
    """Start offset and lag of each partition that a share group reads. Raises ToolError."""
    with coordinator_of(bootstrap_servers, group) as client:
        answer = client.request(SHARE_OFFSETS_DESCRIBE, {"groups": ({"group_id": group, "topics": None},)})
    (found,) = answer.groups
    require_success(found.error_code, found.error_message, f"Share group {group}")
    offsets = {}
    for topic in found.topics:
        for each in topic.partitions:
            require_success(each.error_code, each.error_message, f"{topic.topic_name}-{each.partition_index}")
            start = each.start_offset if each.start_offset >= 0 else None
            lag = getattr(each, "lag", -1)
            offsets[topic.topic_name, each.partition_index] = ShareOffset(start, lag if lag >= 0 else None)
    return offsets


def set_share_offsets(bootstrap_servers: str, group: str, offsets: dict[Place, int]) -> None:
    """Let an empty share group begin at these offsets. Raises ToolError."""
    topics: dict[str, list[dict[str, int]]] = {}
    for (topic, index), offset in offsets.items():
        topics.setdefault(topic, []).append({"partition_index": index, "start_offset": offset})
    wanted = tuple({"topic_name": topic, "partitions": tuple(rows)} for topic, rows in topics.items())
    with coordinator_of(bootstrap_servers, group) as client:
        answer = client.request(SHARE_OFFSETS_ALTER, {"group_id": group, "topics": wanted})
    require_success(answer.error_code, answer.error_message, f"Share group {group}")
    for response in answer.responses:
        for each in response.partitions:
            require_success(each.error_code, each.error_message, f"{response.topic_name}-{each.partition_index}")


def delete_share_offsets(bootstrap_servers: str, group: str, topics: Iterable[str]) -> list[tuple[str, str]]:
    """Let a share group forget topics; the result of each. Raises ToolError."""
    wanted = tuple({"topic_name": topic} for topic in dict.fromkeys(topics))
    with coordinator_of(bootstrap_servers, group) as client:
        answer = client.request(SHARE_OFFSETS_DELETE, {"group_id": group, "topics": wanted})
    require_success(answer.error_code, answer.error_message, f"Share group {group}")
    return [
        (each.topic_name, f"refused: {error_name(each.error_code)}" if each.error_code else "deleted")
        for each in answer.responses
    ]
