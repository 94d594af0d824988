"""What StreamsGroupDescribe shows of a streams group."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from kafka_cy.coordinator.streams.group import StreamsGroup
from kafka_cy.coordinator.streams.member import StreamsMember
from kafka_cy.coordinator.streams.records import Subtopology, TopicInfo, Topology
from kafka_cy.coordinator.streams.tasks import NO_TASKS, AssignedTasks, Tasks, response_rows


def unknown(group_id: str) -> dict[str, Any]:
    """The fields of a group that cannot be described."""
    return {
        "group_id": group_id, "group_state": "", "group_epoch": 0, "assignment_epoch": 0, "topology": None, "members": [],
    }  # fmt: skip


def describe(group: StreamsGroup, found: dict[str, Any]) -> Iterator[None]:
    """Put the fields of the group into `found`, and its members, of one moment, one after the other, the newest first."""
    members, target = list(group.members.values())[::-1], dict(group.target)
    found["group_state"] = group.state_name
    found["group_epoch"], found["assignment_epoch"] = group.epoch, group.assignment_epoch
    configured = group.configured
    partitions = configured.partitions if configured is not None and configured.is_ready else {}
    found["topology"] = _topology(group.topology, partitions) if group.topology is not None else None
    for member in members:
        found["members"].append(_member(member, target.get(member.member_id, NO_TASKS)))
        yield


def _topology(topology: Topology, partitions: Mapping[str, int]) -> dict[str, Any]:
    """`partitions`: how many the internal topics have, if the group is ready."""
    rows = sorted(topology.subtopologies, key=lambda each: each.subtopology_id)
    return {"epoch": topology.epoch, "subtopologies": [_subtopology(each, partitions) for each in rows]}


def _subtopology(subtopology: Subtopology, partitions: Mapping[str, int]) -> dict[str, Any]:
    return {
        "subtopology_id": subtopology.subtopology_id,
        "source_topics": sorted(subtopology.source_topics),
        "repartition_sink_topics": sorted(subtopology.repartition_sink_topics),
        "state_changelog_topics": _topics(subtopology.state_changelog_topics, partitions),
        "repartition_source_topics": _topics(subtopology.repartition_source_topics, partitions),
    }


def _topics(topics: Iterable[TopicInfo], partitions: Mapping[str, int]) -> list[dict[str, Any]]:
    return [
        {
            "name": topic.name,
            "partitions": partitions.get(topic.name, topic.partitions),
            "replication_factor": topic.replication_factor,
            "topic_configs": [each._asdict() for each in topic.topic_configs],
        }
        for topic in sorted(topics, key=lambda each: each.name)
    ]


def _member(member: StreamsMember, target: Tasks) -> dict[str, Any]:
    details = member.details
    endpoint = details.user_endpoint
    return {
        "member_id": member.member_id,
        "member_epoch": member.member_epoch,
        "instance_id": details.instance_id,
        "rack_id": details.rack_id,
        "client_id": details.client_id,
        "client_host": details.client_host,
        "topology_epoch": details.topology_epoch,
        "process_id": details.process_id,
        "user_endpoint": None if endpoint is None else endpoint._asdict(),
        "client_tags": [each._asdict() for each in details.client_tags],
        "task_offsets": [],
        "task_end_offsets": [],
        "assignment": _assignment(member.assigned),
        "target_assignment": _assignment(target),
        "is_classic": False,
    }


def _assignment(tasks: Tasks | AssignedTasks) -> dict[str, Any]:
    return {
        "active_tasks": response_rows(tasks.active),
        "standby_tasks": response_rows(tasks.standby),
        "warmup_tasks": response_rows(tasks.warmup),
    }
