"""ConsumerGroupHeartbeat as the coordinator sees it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from kafka_cy.coordinator.consumer.member import LEAVE_EPOCH, LEAVE_STATIC_EPOCH
from kafka_cy.coordinator.consumer.reconciliation import Owned
from kafka_cy.coordinator.modern.errors import GroupError
from kafka_cy.protocol.errors import ErrorCode

OWNED_AT_ONCE: Final = 2000  # topics and partitions that are compared with those of the member, in less than half a millisecond


class HeartbeatRequest(NamedTuple):
    """None: not said, or as before. `rebalance_timeout_ms` is -1 then."""

    group_id: str
    member_id: str
    member_epoch: int
    instance_id: str | None = None
    rack_id: str | None = None
    rebalance_timeout_ms: int = -1
    topic_names: tuple[str, ...] | None = None
    topic_regex: str | None = None
    assignor: str | None = None
    owned: Owned | None = None
    client_id: str = ""
    client_host: str = ""
    needs_member_id: bool = True  # ConsumerGroupHeartbeat v1 on
    describes: Callable[[str], bool] | None = None  # whether the sender may describe a topic; None: it may

    @property
    def is_full(self) -> bool:
        """Whether the member says everything again, as it does after an error."""
        subscribes = self.topic_names is not None or self.topic_regex is not None
        return self.rebalance_timeout_ms != -1 and subscribes and self.owned is not None

    @property
    def owns_many(self) -> bool:
        """Whether the member says that it has more than OWNED_AT_ONCE topics and partitions. It counts no further."""
        left = OWNED_AT_ONCE
        for partitions in (self.owned or {}).values():
            left -= 1 + len(partitions)
            if left < 0:
                return True
        return False

    @property
    def says_nothing(self) -> bool:
        """Whether all is as before, apart from what members may repeat: an instance id, and a regular expression."""
        return (
            self.rack_id is None and self.rebalance_timeout_ms == -1 and self.topic_names is None and self.assignor is None
        )

    def check(self, assignors: list[str]) -> None:
        """Raises GroupError: INVALID_REQUEST, UNSUPPORTED_ASSIGNOR."""
        if self.needs_member_id or self.member_epoch > 0 or self.member_epoch == LEAVE_EPOCH:
            _not_blank(self.member_id, "MemberId")
        _not_blank(self.group_id, "GroupId")
        _not_blank(self.instance_id, "InstanceId")
        _not_blank(self.rack_id, "RackId")
        if self.member_epoch == 0:
            self._check_join()
        elif self.member_epoch == LEAVE_STATIC_EPOCH and self.instance_id is None:
            raise _invalid("InstanceId can't be null.")
        elif self.member_epoch < LEAVE_STATIC_EPOCH:
            raise _invalid("MemberEpoch is invalid.")
        if self.assignor is not None and self.assignor not in assignors:
            raise GroupError(
                ErrorCode.UNSUPPORTED_ASSIGNOR,
                f"ServerAssignor {self.assignor} is not supported. Supported assignors: {', '.join(assignors)}.",
            )

    def _check_join(self) -> None:
        if self.rebalance_timeout_ms == -1:
            raise _invalid("RebalanceTimeoutMs must be provided in first request.")
        if self.owned is None or self.owned:
            raise _invalid("TopicPartitions must be empty when (re-)joining.")
        if self.topic_names is None and self.topic_regex is None:
            raise _invalid("Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining.")


def _invalid(message: str) -> GroupError:
    return GroupError(ErrorCode.INVALID_REQUEST, message)


def _not_blank(text: str | None, field: str) -> None:
    if text is not None and not text.strip():
        raise _invalid(f"{field} can't be empty.")
