"""What the coordinator asks of every kind of group, whatever protocol its members use (Kafka: Group.java)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any, ClassVar

from kafka_cy.coordinator.records import CommittedOffset, OffsetKey, Record
from kafka_cy.protocol.errors import ErrorCode


class Group(ABC):
    """A group and the offsets that it committed. Owner: the coordinator's thread.

    Offsets are replicated state: only `GroupStateMachine.replay` changes them. The lag page reads copies of `offsets` and
    `members` from another thread.
    """

    __slots__ = ("group_id", "offsets", "place")

    kind: ClassVar[str]  # as ListGroups shows it: "classic", ...

    def __init__(self, group_id: str) -> None:
        self.group_id = group_id
        self.place = 0  # in its state machine's list of groups
        self.offsets: dict[str, dict[int, CommittedOffset]] = {}  # topic -> partition

    # -- state --

    @property
    @abstractmethod
    def is_recorded(self) -> bool:
        """Whether the log holds a record of the group itself, not only offsets."""

    @property
    @abstractmethod
    def is_empty(self) -> bool:
        """Whether the group may be deleted: it has no members, and nobody is about to become one."""

    @abstractmethod
    def is_subscribed(self, topic: str) -> bool:
        """Whether a member reads the topic, or might do so."""

    # -- offsets --

    @abstractmethod
    def validate_offset_commit(self, member_id: str, instance_id: str | None, generation: int) -> ErrorCode:
        """Whether OffsetCommit may store offsets for this member and generation (or member epoch)."""

    @abstractmethod
    def committed(self, member_id: str, now_s: float) -> None:
        """A commit of the member was stored: its session goes on."""

    @abstractmethod
    def validate_offset_delete(self) -> ErrorCode:
        """Whether OffsetDelete may remove offsets of topics that no member reads."""

    @abstractmethod
    def offset_expiry_start_ms(self, topic: str, committed: CommittedOffset) -> int | None:
        """When `offsets.retention.minutes` began for the offset, in wall-clock ms; None while it does not expire."""

    # -- deletion --

    @abstractmethod
    def validate_delete(self) -> ErrorCode:
        """Whether DeleteGroups may remove the group."""

    @abstractmethod
    def tombstones(self) -> list[Record]:
        """The records that remove the group; its offsets have their own."""

    # -- what DescribeGroups and ListGroups show --

    @abstractmethod
    def described(self) -> dict[str, Any]:
        """The fields of a DescribeGroups response that the group knows."""

    @abstractmethod
    def listed(self) -> dict[str, Any]:
        """The group's entry of a ListGroups response."""


def offset_tombstones(group_id: str, partitions: Iterable[tuple[str, int]]) -> list[Record]:
    """The records that remove the offsets."""
    return [(OffsetKey(group_id, topic, partition), None) for topic, partition in partitions]


def all_partitions(group: Group) -> list[tuple[str, int]]:
    """The (topic, partition) pairs that the group has offsets of."""
    return [(topic, partition) for topic, partitions in group.offsets.items() for partition in partitions]
