"""What clients can make the coordinator keep for members of share groups, in all groups together.

Kafka has no such limit; `group.share.max.size` bounds the members of one group. A request over the limit gets
GROUP_MAX_SIZE_REACHED.
"""

from __future__ import annotations

from typing import Final

from kafka_cy.coordinator.share.records import Member

MEMBER_BYTES_MAX: Final = 256 << 20  # members with their ids, subscriptions and partitions
MEMBER_OBJECT_BYTES: Final = 1500  # of a member besides the fields that are counted: objects, tables, deadlines
NAME_OBJECT_BYTES: Final = 150  # of a topic name besides its characters
CHARACTER_BYTES: Final = 4  # Python takes up to so much for each character


def member_bytes(group_id: str, member_id: str, details: Member) -> int:
    """How much of `MEMBER_BYTES_MAX` a member takes. `heartbeat_table` has a copy of the group's id for each."""
    characters = len(group_id) + len(member_id) + len(details.client_id) + len(details.rack_id or "")
    names = details.subscribed_topic_names
    return MEMBER_OBJECT_BYTES + NAME_OBJECT_BYTES * len(names) + CHARACTER_BYTES * (characters + sum(map(len, names)))
