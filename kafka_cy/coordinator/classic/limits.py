"""What clients can make the coordinator keep for members of classic groups, in all groups together.

Kafka has no such limits; `group.max.size` bounds the members of one group. A JoinGroup over a limit gets
GROUP_MAX_SIZE_REACHED, but one with too many protocols INCONSISTENT_GROUP_PROTOCOL.
"""

from __future__ import annotations

from kafka_cy.coordinator.classic.requests import JoinRequest

PENDING_MEMBERS_MAX = 100_000  # member ids that were given out (MEMBER_ID_REQUIRED) and not used yet
MEMBER_BYTES_MAX = 512 << 20  # members with their ids, subscriptions and assignments, and ids that were given out
PROTOCOLS_MAX = 1000  # of a JoinGroup: each costs the coordinator's thread about 2 us
STORED_AT_ONCE_MEMBERS = 100  # of a group whose record is made in one step
STORED_AT_ONCE_BYTES = 1_000_000  # of what they hold
MEMBER_OBJECT_BYTES = 1000  # of a member besides the fields that are counted: the object, tables, a request that waits
PROTOCOL_OBJECT_BYTES = 150  # of a protocol besides its name and subscription
PENDING_OBJECT_BYTES = 200  # of an id that was given out besides the id


class MembersHeld:
    """The amounts that the limits are compared with. Owner: the coordinator's thread."""

    def __init__(self) -> None:
        self.pending_members = 0
        self.member_bytes = 0

    def has_room(self, request: JoinRequest, assignment: bytes = b"", bytes_before: int = 0) -> bool:
        """Whether the request may become a member, in place of one that takes `bytes_before` and has the assignment."""
        member_id, instance_id, client_id = request.expected_member_id(), request.instance_id, request.client_id
        size = member_bytes(request.group_id, member_id, instance_id, client_id, request.protocols, assignment)
        added = size - bytes_before
        return added <= 0 or self.member_bytes + added <= MEMBER_BYTES_MAX


def member_bytes(
    group_id: str, member_id: str, instance_id: str | None, client_id: str, protocols: list[tuple[str, bytes]],
    assignment: bytes,
) -> int:  # fmt: skip
    """How much of `MEMBER_BYTES_MAX` a member takes. `heartbeat_table` has a copy of the group's id for each."""
    ids = text_bytes(group_id) + text_bytes(member_id) + text_bytes(instance_id or "") + text_bytes(client_id)
    proposed = sum(PROTOCOL_OBJECT_BYTES + text_bytes(name) + len(data) for name, data in protocols)
    return MEMBER_OBJECT_BYTES + ids + proposed + len(assignment)


def pending_bytes(member_id: str) -> int:
    """How much of `MEMBER_BYTES_MAX` an id takes that was given out."""
    return PENDING_OBJECT_BYTES + text_bytes(member_id)


def text_bytes(text: str) -> int:
    """The memory that the characters take at most: one wide character makes all of them wide."""
    return len(text) if text.isascii() else 4 * len(text)
