"""What the coordinator asks of every kind of group, whatever protocol its members use (Kafka: Group.java)."""

from __future__ import annotations

import uuid
from abc import ABC, abstractmethod
from collections.abc import Collection, Generator, Iterable, Iterator, Mapping
from typing import Any, ClassVar, Final, NamedTuple

from kafka_cy.coordinator.commit_request import CommitRequest
from kafka_cy.coordinator.committed_offsets import CommittedOffsets
from kafka_cy.coordinator.open_groups import OPEN_FOR_NOBODY, OpenGroup, Steady
from kafka_cy.coordinator.pending_partition import PendingPartition
from kafka_cy.coordinator.records import CommittedOffset, OffsetKey, Record
from kafka_cy.protocol.errors import ErrorCode

NO_TOPICS: Final[Collection[str]] = frozenset()


class LagMember(NamedTuple):
    """`assignment` is a ConsumerProtocol assignment of a classic member, else topic id -> partitions, or name -> partitions."""

    member_id: str
    client_id: str
    client_host: str
    assignment: bytes | Mapping[uuid.UUID, Collection[int]] | Mapping[str, Collection[int]]


class Group(ABC):
    """A group and the offsets that it committed. Owner: the coordinator's thread.

    Offsets are replicated state: only `GroupStateMachine.replay` changes them, and reactors while the group's door is open. Any
    thread reads them. The lag page reads copies of `members` from another thread.
    """

    __slots__ = ("door", "group_id", "holds", "offsets", "pending", "place", "steady", "unread", "uses_door")

    kind: ClassVar[str]  # as ListGroups compares it: "classic", ...
    # Whether the group goes with its last offset when it is empty. Kafka: Group.shouldExpire.
    expires: ClassVar[bool] = True

    def __init__(self, group_id: str) -> None:
        self.group_id = group_id
        self.place = 0  # in its state machine's list of groups
        self.offsets = CommittedOffsets()
        # topic -> partition -> producers with an offset in an open transaction; see offsets.pending
        self.pending: dict[str, dict[int, PendingPartition]] | None = None
        # Soft state: what reactors do for the group. See GroupStateMachine.hold.
        self.uses_door = False  # it has committed, or has a steady member, since it was loaded
        self.steady: Steady | None = None  # which heartbeats of members need no decision
        self.door: OpenGroup | None = None  # made when it is opened first
        self.holds = 0  # operations that look at the group now
        self.unread: Collection[str] = NO_TOPICS  # that no member reads; known while their offsets are looked at

    # -- state --

    @abstractmethod
    def replay(self, key: Any, value: Any) -> None:
        """Apply a record of the group; offsets have their own. The value None is a tombstone, also of what was never there.

        When nothing is recorded after a tombstone, the state machine removes the group.
        """

    def replay_steps(self, key: Any, value: Any) -> Iterator[object]:
        """replay() as a task for slices."""
        self.replay(key, value)
        yield from ()

    @property
    @abstractmethod
    def is_recorded(self) -> bool:
        """Whether the log holds a record of the group itself, not only offsets."""

    @property
    @abstractmethod
    def is_empty(self) -> bool:
        """Whether the group may be deleted: it has no members, and nobody is about to become one."""

    @property
    @abstractmethod
    def members_count(self) -> int:
        """How many members the group has."""

    @property
    @abstractmethod
    def state_name(self) -> str:
        """As ListGroups and DescribeGroups show it."""

    @property
    def reads_long(self) -> bool:
        """Whether unread_topics() takes more than about a millisecond, however few the topics are."""
        return False

    @abstractmethod
    def unread_topics(self, topics: Iterable[str]) -> Generator[None, None, set[str]]:
        """Those of the topics that no member reads, nor might read. A task for slices."""

    def look_for_unread(self) -> Generator[None, None, None]:
        """Find out `unread`, if offset_expiry_start_ms() needs it. A task for slices; the group may change meanwhile."""
        yield from ()

    # -- offsets --

    def is_pending(self, topic: str, partition: int) -> bool:
        """Whether an open transaction has an offset for the partition."""
        return self.pending is not None and partition in self.pending.get(topic, ())

    @abstractmethod
    def validate_offset_commit(self, request: CommitRequest) -> ErrorCode:
        """Whether OffsetCommit or TxnOffsetCommit may store offsets for the request's member and generation (or member epoch)."""

    @property
    def open_for(self) -> int:
        """Whose commits need no decision now (OPEN_FOR_...), as far as the group knows."""
        return OPEN_FOR_NOBODY

    def closed(self) -> None:
        """The group leaves its state machine: no reactor finds it any more."""
        if self.door is not None:
            self.door.remove()

    def validate_offset_fetch(self, member_id: str | None, member_epoch: int) -> ErrorCode:
        """Whether OffsetFetch v9 on may read offsets as this member; classic groups ignore both."""
        return ErrorCode.NONE

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

    # -- what the lag page and ListGroups show --

    @property
    @abstractmethod
    def protocol_name(self) -> str:
        """The assignor of the members; empty if there is none."""

    @property
    @abstractmethod
    def protocol_type_name(self) -> str:
        """The protocol type: "consumer" for groups of consumers, also if they are of another kind than classic."""

    @abstractmethod
    def lag_members(self) -> list[LagMember]:
        """The members with the partitions that they have. Any thread."""

    def listed(self) -> dict[str, Any]:
        """The group's entry of a ListGroups response."""
        return {
            "group_id": self.group_id,
            "protocol_type": self.protocol_type_name,
            "group_state": self.state_name,
            "group_type": self.kind,
        }


def offset_tombstones(group_id: str, partitions: Iterable[tuple[str, int]]) -> list[Record]:
    """The records that remove the offsets."""
    return [(OffsetKey(group_id, topic, partition), None) for topic, partition in partitions]


def committed_partitions(offsets: CommittedOffsets) -> Iterator[tuple[str, int]]:
    """The (topic, partition) pairs of the offsets. Any thread."""
    return ((topic, partition) for topic in offsets for partition in offsets.partitions(topic))


def pending_partitions(group: Group) -> Iterator[tuple[str, int]]:
    """The (topic, partition) pairs that the group has offsets of in open transactions."""
    return ((topic, partition) for topic, pending in (group.pending or {}).items() for partition in pending)
