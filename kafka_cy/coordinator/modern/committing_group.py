"""What consumer and streams groups answer in the same way about offsets: KIP-848, KIP-1071, KIP-1251."""

from __future__ import annotations

from abc import abstractmethod
from typing import Any

from kafka_cy.coordinator.commit_request import CommitRequest
from kafka_cy.coordinator.modern.group import ModernGroup
from kafka_cy.coordinator.records import CommittedOffset
from kafka_cy.protocol.errors import ErrorCode


class CommittingGroup(ModernGroup):
    """A group whose members commit offsets with their member epoch."""

    __slots__ = ()

    # -- what differs --

    def _is_classic(self, member: Any) -> bool:
        """Whether the member sends JoinGroup, SyncGroup and Heartbeat."""
        return False

    def _stale(self, member: Any, request: CommitRequest | None) -> ErrorCode:
        """The error for another epoch than the member's; `request` is None for OffsetFetch."""
        return ErrorCode.STALE_MEMBER_EPOCH

    @abstractmethod
    def _assigned_at(self, member: Any, partition: Any) -> int | None:
        """The member epoch at which a partition of a commit was assigned; None if the member does not have it."""

    # -- what the coordinator asks of every kind of group --

    def validate_offset_commit(self, request: CommitRequest) -> ErrorCode:
        epoch, member_id = request.generation, request.member_id
        if epoch < 0 and not self.members:
            return ErrorCode.NONE
        if request.is_transactional and epoch == -1 and not member_id and request.instance_id is None:
            return ErrorCode.NONE
        member = self.members.get(member_id)
        if member is None:
            return ErrorCode.UNKNOWN_MEMBER_ID
        if not (request.is_transactional or self._is_classic(member) or request.knows_unknown_groups):
            return ErrorCode.UNSUPPORTED_VERSION
        if epoch == member.member_epoch:
            return ErrorCode.NONE
        if epoch > member.member_epoch:
            return self._stale(member, request)
        for each in request.partitions:  # KIP-1251: an older epoch will do for partitions that were assigned at it
            assigned = self._assigned_at(member, each)
            if assigned is None or epoch < assigned:
                return self._stale(member, request)
        return ErrorCode.NONE

    def validate_offset_fetch(self, member_id: str | None, member_epoch: int) -> ErrorCode:
        if member_id is None and member_epoch < 0:
            return ErrorCode.NONE
        member = self.members.get(member_id or "")
        if member is None:
            return ErrorCode.UNKNOWN_MEMBER_ID
        return ErrorCode.NONE if member_epoch == member.member_epoch else self._stale(member, None)

    def committed(self, member_id: str, now_s: float) -> None:
        """Reactors may store the member's next commits. Only heartbeats prolong sessions."""
        member = self.members.get(member_id)
        if member is not None and not self._is_classic(member):
            self.published.add(member_id, member.member_epoch)

    def validate_offset_delete(self) -> ErrorCode:
        return ErrorCode.NONE

    def offset_expiry_start_ms(self, topic: str, committed: CommittedOffset) -> int | None:
        """Since the commit, for topics that no member reads."""
        return None if self.is_subscribed(topic) else committed.commit_timestamp_ms
