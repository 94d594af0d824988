"""What ConsumerGroupDescribe shows of a consumer group."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from kafka_cy.coordinator.consumer.group import ConsumerGroup
from kafka_cy.coordinator.consumer.member import ConsumerMember
from kafka_cy.coordinator.modern.topics import Topics

CLASSIC_MEMBER, CONSUMER_MEMBER = 0, 1


def unknown(group_id: str) -> dict[str, Any]:
    """The fields of a group that cannot be described."""
    return {
        "group_id": group_id, "group_state": "", "group_epoch": 0, "assignment_epoch": 0, "assignor_name": "", "members": [],
    }  # fmt: skip


def describe(group: ConsumerGroup, topics: Topics, default_assignor: str, found: dict[str, Any]) -> Iterator[None]:
    """Put the fields of the group into `found`, and its members, of one moment, one after the other, the newest first."""
    target = dict(group.target)
    members = list(group.members.values())[::-1]
    found["group_state"] = group.state_name
    found["group_epoch"], found["assignment_epoch"] = group.epoch, group.assignment_epoch
    found["assignor_name"] = group.preferred_assignor(None, None, default_assignor)
    for member in members:
        found["members"].append(_member(member, target.get(member.member_id, {}), topics))
        yield


def _member(member: ConsumerMember, target: Mapping[uuid.UUID, Collection[int]], topics: Topics) -> dict[str, Any]:
    details = member.details
    has: dict[uuid.UUID, list[int]] = {}
    for part in (member.assigned, member.pending_revocation):  # the member answers for what it has to give up, too
        for topic_id, partitions in part.items():
            has.setdefault(topic_id, []).extend(partitions)
    return {
        "member_id": member.member_id,
        "instance_id": details.instance_id,
        "rack_id": details.rack_id,
        "member_epoch": member.member_epoch,
        "client_id": details.client_id,
        "client_host": details.client_host,
        "subscribed_topic_names": details.subscribed_topic_names,
        "subscribed_topic_regex": details.subscribed_topic_regex,
        "assignment": {"topic_partitions": _rows(has, topics)},
        "target_assignment": {"topic_partitions": _rows(target, topics)},
        "member_type": CLASSIC_MEMBER if member.uses_classic_protocol else CONSUMER_MEMBER,
    }


def _rows(partitions: Mapping[uuid.UUID, Collection[int]], topics: Topics) -> list[dict[str, Any]]:
    found = ((topic_id, topics.find_id(topic_id), each) for topic_id, each in partitions.items())
    return [
        {"topic_id": topic_id, "topic_name": topic.name, "partitions": sorted(each)}
        for topic_id, topic, each in found
        if topic is not None
    ]
