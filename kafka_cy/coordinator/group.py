"""A classic consumer group: members, generation, chosen protocol, committed offsets. No timers, no I/O in here."""

from __future__ import annotations

import struct
import uuid
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from kafka_cy.coordinator.records import CommittedOffset, StoredGroup, StoredMember
from kafka_cy.protocol.errors import ErrorCode

Answer = Callable[[dict[str, Any]], None]
CONSUMER_PROTOCOL_TYPE = "consumer"


class GroupState(Enum):
    """The values are the names that DescribeGroups and ListGroups show."""

    EMPTY = "Empty"
    PREPARING_REBALANCE = "PreparingRebalance"
    COMPLETING_REBALANCE = "CompletingRebalance"
    STABLE = "Stable"
    DEAD = "Dead"


@dataclass(slots=True, eq=False)
class Member:
    """One member. `join_answer` and `sync_answer` hold a request that waits; all times are monotonic seconds."""

    member_id: str
    instance_id: str | None
    client_id: str
    client_host: str
    rebalance_timeout_ms: int
    session_timeout_ms: int
    protocols: list[tuple[str, bytes]]
    assignment: bytes = b""
    is_new: bool = False
    last_heartbeat_s: float = 0.0
    join_answer: Answer | None = None
    sync_answer: Answer | None = None

    def metadata(self, protocol: str | None) -> bytes:
        return next((data for name, data in self.protocols if name == protocol), b"")


@dataclass(slots=True, eq=False)
class Group:
    group_id: str
    state: GroupState = GroupState.EMPTY
    previous_state: GroupState = GroupState.EMPTY
    state_timestamp_ms: int = -1  # wall clock of the last change of state
    generation: int = 0
    protocol_type: str = ""
    protocol: str | None = None
    leader: str | None = None
    members: dict[str, Member] = field(default_factory=dict)
    static_members: dict[str, str] = field(default_factory=dict)  # instance id -> member id
    pending_members: dict[str, float] = field(default_factory=dict)  # got MEMBER_ID_REQUIRED -> deadline
    pending_sync: set[str] = field(default_factory=set)
    new_member_added: bool = False  # during the initial delay: extend it
    subscribed_topics: frozenset[str] | None = None
    offsets: dict[str, dict[int, CommittedOffset]] = field(default_factory=dict)
    session_timer: Any = None
    session_due_s: float = 0.0  # when session_timer fires
    join_timer: Any = None
    sync_timer: Any = None

    def in_state(self, *states: GroupState) -> bool:
        return self.state in states

    def transition(self, state: GroupState, wall_clock_ms: int) -> None:
        self.previous_state, self.state, self.state_timestamp_ms = self.state, state, wall_clock_ms

    # -- members --

    def new_member_id(self, client_id: str, instance_id: str | None) -> str:
        return f"{client_id if instance_id is None else instance_id}-{uuid.uuid4()}"

    def add(self, member: Member, protocol_type: str) -> None:
        if not self.members:
            self.protocol_type = protocol_type
        self.pending_members.pop(member.member_id, None)
        self.members[member.member_id] = member
        if member.instance_id is not None:
            self.static_members[member.instance_id] = member.member_id
        if self.leader is None:
            self.leader = member.member_id

    def remove(self, member_id: str) -> Member | None:
        self.pending_members.pop(member_id, None)
        self.pending_sync.discard(member_id)
        member = self.members.pop(member_id, None)
        instance_id = member.instance_id if member is not None else None
        if instance_id is not None and self.static_members.get(instance_id) == member_id:
            del self.static_members[instance_id]
        if self.leader == member_id:
            self.leader = next(iter(self.members), None)
        return member

    def replace_static(self, instance_id: str, new_member_id: str) -> Member:
        """The member keeps everything but its id. Returns it; the old id is unknown (fenced) from now on."""
        old_member_id = self.static_members[instance_id]
        member = self.members.pop(old_member_id)
        self.pending_sync.discard(old_member_id)
        member.member_id = new_member_id
        self.members[new_member_id] = member
        self.static_members[instance_id] = new_member_id
        if self.leader == old_member_id:
            self.leader = new_member_id
        return member

    def validate_member(self, member_id: str, instance_id: str | None) -> ErrorCode:
        if instance_id is not None:
            known = self.static_members.get(instance_id)
            if known is None:
                return ErrorCode.UNKNOWN_MEMBER_ID
            if known != member_id:
                return ErrorCode.FENCED_INSTANCE_ID
        return ErrorCode.NONE if member_id in self.members else ErrorCode.UNKNOWN_MEMBER_ID

    @property
    def rebalance_timeout_ms(self) -> int:
        return max((member.rebalance_timeout_ms for member in self.members.values()), default=0)

    def all_joined(self) -> bool:
        return not self.pending_members and all(member.join_answer for member in self.members.values())

    def elect_joined_leader(self) -> bool:
        """Keep a leader that rejoined, else take a member that did. False when nobody rejoined."""
        current = self.members.get(self.leader or "")
        if current is not None and current.join_answer is not None:
            return True
        for member in self.members.values():
            if member.join_answer is not None:
                self.leader = member.member_id
                return True
        return False

    # -- protocols --

    def supports(self, protocol_type: str, protocols: Iterable[str]) -> bool:
        names = set(protocols)
        if not self.members:
            return bool(protocol_type and names)
        return protocol_type == self.protocol_type and not names.isdisjoint(self.common_protocols())

    def common_protocols(self) -> set[str]:
        common: set[str] | None = None
        for member in self.members.values():
            names = {name for name, _ in member.protocols}
            common = names if common is None else common & names
        return common or set()

    def select_protocol(self) -> str | None:
        """Each member votes for the first of its protocols that all know; the earliest of the most voted wins."""
        common = self.common_protocols()
        votes: Counter[str] = Counter()
        for member in self.members.values():
            votes.update([name for name, _ in member.protocols if name in common][:1])
        return votes.most_common(1)[0][0] if votes else None

    def next_generation(self, wall_clock_ms: int) -> None:
        self.generation = self.generation + 1 if self.generation < 0x7FFFFFFF else 1
        self.pending_sync.clear()
        if self.members:
            self.protocol = self.select_protocol()
            self.transition(GroupState.COMPLETING_REBALANCE, wall_clock_ms)
        else:
            self.protocol = None
            self.leader = None
            self.transition(GroupState.EMPTY, wall_clock_ms)
        self.subscribed_topics = self._compute_subscribed_topics()

    def _compute_subscribed_topics(self) -> frozenset[str] | None:
        if self.protocol_type != CONSUMER_PROTOCOL_TYPE:
            return None
        if not self.members:
            return frozenset()
        if self.protocol is None:
            return None
        topics: set[str] = set()
        for member in self.members.values():
            parsed = subscription_topics(member.metadata(self.protocol))
            if parsed is None:
                return None
            topics |= parsed
        return frozenset(topics)

    def is_subscribed(self, topic: str) -> bool:
        if self.subscribed_topics is None:
            return self.protocol_type == CONSUMER_PROTOCOL_TYPE
        return topic in self.subscribed_topics

    # -- stored form --

    def stored(self, assignments: dict[str, bytes] | None = None) -> StoredGroup:
        """As the group record has it; `assignments` replaces those of the members (set after the append only)."""

        def member_of(member: Member) -> StoredMember:
            assignment = member.assignment if assignments is None else assignments.get(member.member_id, b"")
            return StoredMember(
                member.member_id, member.instance_id, member.client_id, member.client_host,
                member.rebalance_timeout_ms, member.session_timeout_ms, member.metadata(self.protocol), assignment,
            )  # fmt: skip

        return StoredGroup(
            self.protocol_type, self.generation, self.protocol, self.leader, self.state_timestamp_ms,
            tuple(member_of(member) for member in self.members.values()),
        )  # fmt: skip

    def restore(self, stored: StoredGroup) -> None:
        """Take over what a group record says (replay of the log). Committed offsets stay."""
        self.members.clear()
        self.static_members.clear()
        self.protocol_type, self.generation = stored.protocol_type, stored.generation
        self.protocol, self.leader = stored.protocol, stored.leader
        self.state_timestamp_ms = stored.state_timestamp_ms
        self.state = GroupState.STABLE if stored.members else GroupState.EMPTY
        self.previous_state = self.state
        for member in stored.members:
            protocols = [(stored.protocol or "", member.subscription)]
            restored = Member(
                member.member_id, member.instance_id, member.client_id, member.client_host,
                member.rebalance_timeout_ms, member.session_timeout_ms, protocols, member.assignment,
            )  # fmt: skip
            self.members[member.member_id] = restored
            if member.instance_id is not None:
                self.static_members[member.instance_id] = member.member_id
        self.subscribed_topics = self._compute_subscribed_topics()


def subscription_topics(metadata: bytes) -> set[str] | None:
    """The topics of a ConsumerProtocol subscription (int16 version, array of strings, ...); None when it is not one."""
    try:
        version, count = struct.unpack_from(">hi", metadata)
        if version < 0 or count < 0 or count > len(metadata):
            return None
        topics, position = set(), 6
        for _ in range(count):
            (size,) = struct.unpack_from(">h", metadata, position)
            position += 2 + size
            if size < 0 or position > len(metadata):
                return None
            topics.add(metadata[position - size : position].decode("utf-8"))
        return topics
    except (struct.error, UnicodeDecodeError):
        return None
