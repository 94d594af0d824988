"""What ShareGroupDescribe shows of a share group."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kafka_cy.coordinator.modern.assignment import Partitions
from kafka_cy.coordinator.modern.topics import Topics
from kafka_cy.coordinator.share.assignor import SimpleAssignor
from kafka_cy.coordinator.share.group import ShareGroup
from kafka_cy.coordinator.share.member import ShareMember


def unknown(group_id: str) -> dict[str, Any]:
    """The fields of a group that cannot be described."""
    return {
        "group_id": group_id, "group_state": "", "group_epoch": 0, "assignment_epoch": 0, "assignor_name": "", "members": [],
    }  # fmt: skip


def describe(group: ShareGroup, topics: Topics, found: dict[str, Any]) -> Iterator[None]:
    """Put the fields of the group into `found`, and its members, of one moment, one after the other, the newest first."""
    members = list(group.members.values())[::-1]
    found["group_state"] = group.state_name
    found["group_epoch"], found["assignment_epoch"] = group.epoch, group.assignment_epoch
    found["assignor_name"] = SimpleAssignor.name
    for member in members:
        found["members"].append(_member(member, topics))
        yield


def _member(member: ShareMember, topics: Topics) -> dict[str, Any]:
    details = member.details
    return {
        "member_id": member.member_id,
        "rack_id": details.rack_id,
        "member_epoch": member.member_epoch,
        "client_id": details.client_id,
        "client_host": details.client_host,
        "subscribed_topic_names": details.subscribed_topic_names,
        "assignment": {"topic_partitions": _rows(member.assigned, topics)},
    }


def _rows(partitions: Partitions, topics: Topics) -> list[dict[str, Any]]:
    found = ((topic_id, topics.find_id(topic_id), each) for topic_id, each in partitions.items())
    return [
        {"topic_id": topic_id, "topic_name": topic.name, "partitions": sorted(each)}
        for topic_id, topic, each in found
        if topic is not None
    ]
