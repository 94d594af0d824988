"""JoinGroup and SyncGroup as the coordinator sees them, whatever their version."""

from __future__ import annotations

import uuid
from typing import NamedTuple

from kafka_cy.coordinator.records import fits

NO_UUID = str(uuid.UUID(int=0))


class JoinRequest(NamedTuple):
    """JoinGroup. `protocols` are (name, subscription) pairs, in the order of the member's preference."""

    group_id: str
    member_id: str
    instance_id: str | None
    client_id: str
    client_host: str
    session_timeout_ms: int
    rebalance_timeout_ms: int
    protocol_type: str
    protocols: list[tuple[str, bytes]]
    require_known_member_id: bool  # JoinGroup v4 on
    supports_skipping_assignment: bool  # JoinGroup v9 on
    reason: str = ""  # JoinGroup v8 on; for the log

    def expected_member_id(self) -> str:
        """The member id, or one of the size that a new one will have."""
        if self.member_id:
            return self.member_id
        return (self.client_id if self.instance_id is None else self.instance_id) + "-" + NO_UUID

    def can_be_stored(self) -> bool:
        """Whether every string, and the member id made of them, fits into a group record and a response."""
        strings = (self.group_id, self.expected_member_id(), self.instance_id or "", self.client_id, self.protocol_type)
        return all(map(fits, strings)) and all(fits(name) for name, _ in self.protocols)


class SyncRequest(NamedTuple):
    """SyncGroup. `assignments` is empty unless the leader sends it."""

    group_id: str
    generation: int
    member_id: str
    instance_id: str | None
    protocol_type: str | None
    protocol: str | None
    assignments: dict[str, bytes]
