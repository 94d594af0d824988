"""ShareGroupHeartbeat as the coordinator sees it."""

from __future__ import annotations

from typing import NamedTuple

from kafka_cy.coordinator.modern.errors import GroupError
from kafka_cy.coordinator.share.member import LEAVE_EPOCH
from kafka_cy.protocol.errors import ErrorCode


class ShareHeartbeat(NamedTuple):
    """None: as before."""

    group_id: str
    member_id: str
    member_epoch: int
    rack_id: str | None = None
    topic_names: tuple[str, ...] | None = None
    client_id: str = ""
    client_host: str = ""

    def check(self) -> None:
        """Raises GroupError (INVALID_REQUEST)."""
        for text, field in ((self.member_id, "MemberId"), (self.group_id, "GroupId"), (self.rack_id, "RackId")):
            if text is not None and not text.strip():
                raise GroupError(ErrorCode.INVALID_REQUEST, f"{field} can't be empty.")
        if self.member_epoch == 0 and not self.topic_names:
            raise GroupError(ErrorCode.INVALID_REQUEST, "SubscribedTopicNames must be set in first request.")
        if self.member_epoch < LEAVE_EPOCH:
            raise GroupError(ErrorCode.INVALID_REQUEST, "MemberEpoch is invalid.")
