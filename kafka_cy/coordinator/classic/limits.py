"""What clients can make the coordinator keep for members of classic groups, in all groups together.

Kafka has no such limits; `group.max.size` bounds the members of one group. A JoinGroup over a limit gets
GROUP_MAX_SIZE_REACHED.
"""

from __future__ import annotations

from kafka_cy.coordinator.classic.requests import JoinRequest

PENDING_MEMBERS_MAX = 100_000  # member ids that were given out (MEMBER_ID_REQUIRED) and not used yet
METADATA_BYTES_MAX = 512 << 20  # subscriptions of members, with the names of their protocols


class MembersHeld:
    """The amounts that the limits are compared with. Owner: the coordinator's thread."""

    def __init__(self) -> None:
        self.pending_members = 0
        self.metadata_bytes = 0

    def has_room(self, request: JoinRequest, metadata_bytes_before: int) -> bool:
        """Whether a member may have the metadata of the request instead of what it had before."""
        added = metadata_bytes(request.protocols) - metadata_bytes_before
        return added <= 0 or self.metadata_bytes + added <= METADATA_BYTES_MAX


def metadata_bytes(protocols: list[tuple[str, bytes]]) -> int:
    """The size of a member's protocols."""
    return sum(len(name) + len(data) for name, data in protocols)
