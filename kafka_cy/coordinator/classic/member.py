"""A member of a classic group."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kafka_cy.coordinator.classic.limits import member_bytes

Respond = Callable[[dict[str, Any]], None]


class Member:
    """One member. `awaiting_join` and `awaiting_sync` hold a request that waits; all times are monotonic seconds."""

    __slots__ = (
        "assignment",
        "awaiting_join",
        "awaiting_sync",
        "client_host",
        "client_id",
        "group_id",
        "instance_id",
        "is_new",
        "last_heartbeat_s",
        "member_id",
        "protocols",
        "rebalance_timeout_ms",
        "session_timeout_ms",
    )

    def __init__(
        self, group_id: str, member_id: str, instance_id: str | None, client_id: str, client_host: str,
        rebalance_timeout_ms: int, session_timeout_ms: int, protocols: list[tuple[str, bytes]], last_heartbeat_s: float,
        assignment: bytes = b"",
    ) -> None:  # fmt: skip
        self.group_id = group_id
        self.member_id = member_id
        self.instance_id = instance_id
        self.client_id = client_id
        self.client_host = client_host
        self.rebalance_timeout_ms = rebalance_timeout_ms
        self.session_timeout_ms = session_timeout_ms
        self.protocols = protocols  # (name, subscription), in the order of the member's preference
        self.last_heartbeat_s = last_heartbeat_s
        self.assignment = assignment
        self.is_new = False  # waits for the end of its first join phase
        self.awaiting_join: Respond | None = None
        self.awaiting_sync: Respond | None = None

    @property
    def held_bytes(self) -> int:
        """How much of `MEMBER_BYTES_MAX` the member takes."""
        return member_bytes(
            self.group_id, self.member_id, self.instance_id, self.client_id, self.protocols, self.assignment
        )

    def metadata(self, protocol: str | None) -> bytes:
        """The member's subscription for the protocol."""
        return next((data for name, data in self.protocols if name == protocol), b"")
