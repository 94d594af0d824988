"""What clients can make the coordinator keep for members of consumer groups, in all groups together.

Kafka has no such limits; `group.consumer.max.size` bounds the members of one group. A request over a limit gets
GROUP_MAX_SIZE_REACHED.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from kafka_cy.coordinator.classic.limits import text_bytes
from kafka_cy.coordinator.consumer.records import Member

MEMBER_BYTES_MAX: Final = 512 << 20  # members with their ids, subscriptions and partitions, and what expressions match
MEMBER_OBJECT_BYTES: Final = 2000  # of a member besides the fields that are counted: objects, tables, deadlines
NAME_OBJECT_BYTES: Final = 150  # of a topic name or protocol besides its characters
REGEX_OBJECT_BYTES: Final = 500  # of a resolved regular expression of a group besides its characters and topics
MATCH_BYTES: Final = 100  # of a topic that it matches besides its characters


def member_bytes(group_id: str, member_id: str, details: Member) -> int:
    """How much of `MEMBER_BYTES_MAX` a member takes. `heartbeat_table` has a copy of the group's id for each."""
    texts = (group_id, member_id, details.instance_id, details.rack_id, details.client_id, details.subscribed_topic_regex)
    size = MEMBER_OBJECT_BYTES + sum(text_bytes(each) for each in texts if each)
    size += sum(NAME_OBJECT_BYTES + text_bytes(name) for name in details.subscribed_topic_names)
    if details.classic_member_metadata is not None:
        protocols = details.classic_member_metadata.supported_protocols
        size += sum(NAME_OBJECT_BYTES + text_bytes(each.name) + len(each.metadata) for each in protocols)
    return size


def regex_bytes(regex: str, topics: Sequence[str]) -> int:
    """How much of `MEMBER_BYTES_MAX` a resolved regular expression takes, once for all members of the group that use it."""
    return REGEX_OBJECT_BYTES + text_bytes(regex) + MATCH_BYTES * len(topics) + sum(map(len, topics))
