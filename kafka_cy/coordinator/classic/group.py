"""A classic group: what is stored of it, and its members and rebalance as they are now. No timers, no I/O in here."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Generator, Iterable, Mapping
from enum import Enum
from typing import Any, ClassVar

from kafka_cy.coordinator.classic.limits import STORED_AT_ONCE_BYTES, STORED_AT_ONCE_MEMBERS
from kafka_cy.coordinator.classic.member import Member, Respond
from kafka_cy.coordinator.classic.protocols import CONSUMER_PROTOCOL_TYPE, select_protocol
from kafka_cy.coordinator.classic.subscriptions import AT_ONCE_BYTES, unread_topics
from kafka_cy.coordinator.commit_request import CommitRequest
from kafka_cy.coordinator.group import NO_TOPICS, Group, LagMember
from kafka_cy.coordinator.open_groups import OPEN_FOR_MEMBERS, OPEN_FOR_NOBODY, OPEN_FOR_SIMPLE
from kafka_cy.coordinator.records import CommittedOffset, GroupKey, Record, StoredGroup, StoredMember
from kafka_cy.protocol.errors import ErrorCode

GENERATION_MAX = 0x7FFFFFFF
NOBODY: frozenset[str] = frozenset()


class GroupState(Enum):
    """The values are the names that DescribeGroups and ListGroups show."""

    EMPTY = "Empty"
    PREPARING_REBALANCE = "PreparingRebalance"
    COMPLETING_REBALANCE = "CompletingRebalance"
    STABLE = "Stable"
    DEAD = "Dead"


class ClassicGroup(Group):
    """A group of the classic protocol (JoinGroup, SyncGroup); also a group that only has offsets.

    Replicated, changed by replay only: `stored` and `offsets`. Everything else is soft state, which begins from `stored`
    when the partition has been loaded. It may be ahead of `stored` while a rebalance is under way, and agrees with it
    when the group is Stable or Empty. Limits: `group.max.size` members.
    """

    __slots__ = (
        "awaiting_joins",
        "generation",
        "join_timer",
        "leader",
        "members",
        "new_member_added",
        "pending_members",
        "pending_sync",
        "previous_state",
        "protocol",
        "protocol_members",
        "protocol_type",
        "session_due_s",
        "session_timer",
        "state",
        "state_timestamp_ms",
        "static_members",
        "stored",
        "sync_timer",
    )

    kind: ClassVar[str] = "classic"

    def __init__(self, group_id: str) -> None:
        super().__init__(group_id)
        self.stored: StoredGroup | None = None
        self.state = GroupState.EMPTY
        self.previous_state = GroupState.EMPTY
        self.state_timestamp_ms = -1  # wall clock of the last change of state
        self.generation = 0
        self.protocol_type = ""
        self.protocol: str | None = None
        self.leader: str | None = None
        self.members: dict[str, Member] = {}
        self.static_members: dict[str, str] = {}  # instance id -> member id
        self.pending_members: dict[str, float] = {}  # got MEMBER_ID_REQUIRED -> deadline
        self.pending_sync: set[str] | frozenset[str] = NOBODY  # have not sent SyncGroup after the join phase
        # Kept up to date with `members`, so that a JoinGroup costs the same in a large group.
        self.awaiting_joins = 0  # members whose JoinGroup waits
        self.protocol_members: dict[str, int] = {}  # name of a protocol -> how many members propose it
        self.new_member_added = False  # during the initial delay: extend it
        self.session_timer: Any = None
        self.session_due_s = 0.0  # when session_timer fires
        self.join_timer: Any = None
        self.sync_timer: Any = None

    def in_state(self, *states: GroupState) -> bool:
        """Whether the group is in one of the states."""
        return self.state in states

    def transition(self, state: GroupState, wall_clock_ms: int) -> None:
        """Change the state."""
        self.previous_state, self.state, self.state_timestamp_ms = self.state, state, wall_clock_ms

    # -- stored and live --

    def to_stored(
        self, assignments: dict[str, bytes] | None = None, members: Collection[Member] | None = None,
        leader: str | None = None,
    ) -> StoredGroup:  # fmt: skip
        """The group as a record has it; the arguments replace what is live."""

        def stored_member(member: Member) -> StoredMember:
            assignment = member.assignment if assignments is None else assignments.get(member.member_id, b"")
            return StoredMember(
                member.member_id, member.instance_id, member.client_id, member.client_host,
                member.rebalance_timeout_ms, member.session_timeout_ms, member.metadata(self.protocol), assignment,
            )  # fmt: skip

        everyone = self.members.values() if members is None else members
        return StoredGroup(
            self.protocol_type, self.generation, self.protocol, self.leader if leader is None else leader,
            self.state_timestamp_ms, tuple(map(stored_member, everyone)),
        )  # fmt: skip

    def restore(self, now_s: float) -> None:
        """Begin the soft state from what is stored; sessions begin now."""
        self.members.clear()
        self.static_members.clear()
        self.protocol_members = {}
        self.awaiting_joins = 0
        self.pending_sync = NOBODY
        stored = self.stored
        if stored is None:
            self.state = self.previous_state = GroupState.EMPTY
            return
        self.protocol_type, self.generation = stored.protocol_type, stored.generation
        self.protocol, self.leader = stored.protocol, stored.leader
        self.state_timestamp_ms = stored.state_timestamp_ms
        self.state = self.previous_state = GroupState.STABLE if stored.members else GroupState.EMPTY
        for member in stored.members:
            self._put(
                Member(
                    self.group_id, member.member_id, member.instance_id, member.client_id, member.client_host,
                    member.rebalance_timeout_ms, member.session_timeout_ms,
                    [(stored.protocol or "", member.subscription)], now_s, member.assignment,
                )
            )  # fmt: skip

    def become_stable(self, stored: StoredGroup, wall_clock_ms: int) -> int:
        """The leader's assignment is stored. Returns how many bytes more the members take."""
        self.transition(GroupState.STABLE, wall_clock_ms)
        return self.assign({member.member_id: member.assignment for member in stored.members})

    def assign(self, assignments: Mapping[str, bytes]) -> int:
        """Give the members their assignments, and the others empty ones. Returns how many bytes more they take."""
        added = 0
        for member_id, member in self.members.items():
            assignment = assignments.get(member_id, b"")
            added += len(assignment) - len(member.assignment)
            member.assignment = assignment
        return added

    def become_empty(self, stored: StoredGroup) -> None:
        """The last member has gone."""
        self.generation, self.protocol, self.leader = stored.generation, None, None
        self.pending_sync = NOBODY
        self.transition(GroupState.EMPTY, stored.state_timestamp_ms)

    def next_generation(self) -> int:
        """The number of the generation after this one."""
        return self.generation + 1 if self.generation < GENERATION_MAX else 1

    def begin_generation(self, wall_clock_ms: int) -> None:
        """The join phase is over: choose the protocol, wait for the leader's assignment."""
        self.generation = self.next_generation()
        self.pending_sync = set(self.members)
        self.protocol = select_protocol(self.members.values(), self._common_protocols())
        self.transition(GroupState.COMPLETING_REBALANCE, wall_clock_ms)

    def _common_protocols(self) -> set[str]:
        """The names that every member proposes. It looks at the first member only."""
        first, everybody = next(iter(self.members.values()), None), len(self.members)
        protocols = first.protocols if first is not None else ()
        return {name for name, _ in protocols if self.protocol_members[name] == everybody}

    # -- members --

    def new_member_id(self, client_id: str, instance_id: str | None) -> str:
        """A member id that nobody has."""
        return f"{client_id if instance_id is None else instance_id}-{uuid.uuid4()}"

    def _put(self, member: Member) -> None:
        self.members[member.member_id] = member
        self._count_protocols(member, 1)
        if member.instance_id is not None:
            self.static_members[member.instance_id] = member.member_id

    def _count_protocols(self, member: Member, change: int) -> None:
        counts = self.protocol_members
        for name in {name for name, _ in member.protocols}:
            count = counts.get(name, 0) + change
            if count:
                counts[name] = count
            else:
                del counts[name]

    def set_protocols(self, member: Member, protocols: list[tuple[str, bytes]]) -> None:
        """The member proposes other protocols, or has another subscription."""
        self._count_protocols(member, -1)
        member.protocols = protocols
        self._count_protocols(member, 1)

    def await_join(self, member: Member, respond: Respond) -> None:
        """The member's JoinGroup waits for the end of the join phase."""
        if member.awaiting_join is None:
            self.awaiting_joins += 1
        member.awaiting_join = respond

    def take_join(self, member: Member) -> Respond | None:
        """The member's JoinGroup, which no longer waits; None when none did."""
        respond, member.awaiting_join = member.awaiting_join, None
        if respond is not None:
            self.awaiting_joins -= 1
        return respond

    def forget_sync(self, member_id: str) -> None:
        """The member's SyncGroup is no longer missing."""
        if self.pending_sync:
            assert isinstance(self.pending_sync, set)
            self.pending_sync.discard(member_id)

    def add(self, member: Member, protocol_type: str) -> None:
        """A new member; the first one sets the protocol type, and leads until the join phase ends."""
        if not self.members:
            self.protocol_type = protocol_type
        self._put(member)
        if self.leader is None:
            self.leader = member.member_id

    def remove(self, member_id: str) -> Member | None:
        """Forget a member. Returns it, for the caller to respond to its requests; None when it is unknown."""
        self.forget_sync(member_id)
        member = self.members.pop(member_id, None)
        if member is not None:
            self._count_protocols(member, -1)
        instance_id = member.instance_id if member is not None else None
        if instance_id is not None and self.static_members.get(instance_id) == member_id:
            del self.static_members[instance_id]
        if self.leader == member_id:
            self.leader = next(iter(self.members), None)
        return member

    def replace_static(self, old: Member, new: Member) -> None:
        """A static member came back under another id; the old id is fenced from now on."""
        del self.members[old.member_id]
        self._count_protocols(old, -1)
        self.forget_sync(old.member_id)
        self._put(new)
        if self.leader == old.member_id:
            self.leader = new.member_id

    def validate_member(self, member_id: str, instance_id: str | None) -> ErrorCode:
        """UNKNOWN_MEMBER_ID, FENCED_INSTANCE_ID when another member took over the instance id, or NONE."""
        if instance_id is not None:
            known = self.static_members.get(instance_id)
            if known is None:
                return ErrorCode.UNKNOWN_MEMBER_ID
            if known != member_id:
                return ErrorCode.FENCED_INSTANCE_ID
        return ErrorCode.NONE if member_id in self.members else ErrorCode.UNKNOWN_MEMBER_ID

    @property
    def rebalance_timeout_ms(self) -> int:
        """The largest of the members' rebalance timeouts."""
        return max((member.rebalance_timeout_ms for member in self.members.values()), default=0)

    def held_bytes(self) -> int:
        """How much of `MEMBER_BYTES_MAX` the members take."""
        return sum(member.held_bytes for member in self.members.values())

    def is_large(self) -> bool:
        """Whether it takes more than about a millisecond to make the group's record."""
        return len(self.members) > STORED_AT_ONCE_MEMBERS or self.held_bytes() > STORED_AT_ONCE_BYTES

    def all_joined(self) -> bool:
        """Whether every member waits for the end of the join phase."""
        return not self.pending_members and self.awaiting_joins == len(self.members)

    def elect_joined_leader(self) -> bool:
        """Keep a leader that rejoined, else take a member that did. False when nobody rejoined."""
        current = self.members.get(self.leader or "")
        if current is not None and current.awaiting_join is not None:
            return True
        for member in self.members.values():
            if member.awaiting_join is not None:
                self.leader = member.member_id
                return True
        return False

    def supports(self, protocol_type: str, protocols: Iterable[str]) -> bool:
        """Whether a member with these protocols can join: one of them is known to all members."""
        if not self.members:
            return bool(protocol_type) and any(True for _ in protocols)
        everybody = len(self.members)
        return protocol_type == self.protocol_type and any(
            self.protocol_members.get(name) == everybody for name in protocols
        )

    # -- what the coordinator asks of every kind of group --

    def replay(self, key: Any, value: Any) -> None:
        self.stored = value
        self.unread = NO_TOPICS

    @property
    def is_recorded(self) -> bool:
        return self.stored is not None

    @property
    def members_count(self) -> int:
        return len(self.members)

    @property
    def state_name(self) -> str:
        return self.state.value

    @property
    def is_empty(self) -> bool:
        return self.state is GroupState.EMPTY and not self.pending_members

    @property
    def protocol_name(self) -> str:
        return self.protocol or ""

    @property
    def protocol_type_name(self) -> str:
        return self.protocol_type

    def lag_members(self) -> list[LagMember]:
        members = list(self.members.values())
        return [LagMember(each.member_id, each.client_id, each.client_host, each.assignment) for each in members]

    def _subscriptions(self) -> list[bytes]:
        """Those with which the members began the generation: a join phase that is under way changes nothing yet."""
        if self.stored is None or self.stored.generation != self.generation:  # it has no assignment yet
            return [member.metadata(self.protocol) for member in self.members.values()]
        return [member.subscription for member in self.stored.members]

    @property
    def reads_long(self) -> bool:
        return sum(map(len, self._subscriptions())) > AT_ONCE_BYTES

    def unread_topics(self, topics: Iterable[str]) -> Generator[None, None, set[str]]:
        if self.state is GroupState.EMPTY or self.protocol_type != CONSUMER_PROTOCOL_TYPE:
            return set(topics)
        if self.generation == 0:
            return set()  # the first members are about to join: nobody knows what they read
        return (yield from unread_topics(self._subscriptions(), topics))

    def look_for_unread(self) -> Generator[None, None, None]:
        stored = self.stored
        if self.state is not GroupState.STABLE or self.protocol_type != CONSUMER_PROTOCOL_TYPE:
            return
        unread = yield from self.unread_topics(self.offsets)
        if self.stored is stored:
            self.unread = unread

    def validate_offset_commit(self, request: CommitRequest) -> ErrorCode:
        _, generation, member_id, instance_id, *_ = request
        if generation < 0 and self.state is GroupState.EMPTY:
            return ErrorCode.NONE
        if generation < 0 and not member_id and instance_id is None:
            return ErrorCode.NONE if request.is_transactional else ErrorCode.UNKNOWN_MEMBER_ID
        error = self.validate_member(member_id, instance_id)
        if error:
            return error
        if generation != self.generation:
            return ErrorCode.ILLEGAL_GENERATION
        completing = self.state is GroupState.COMPLETING_REBALANCE and not request.is_transactional
        return ErrorCode.REBALANCE_IN_PROGRESS if completing else ErrorCode.NONE

    @property
    def open_for(self) -> int:
        if self.state is GroupState.STABLE:
            return OPEN_FOR_MEMBERS
        return OPEN_FOR_SIMPLE if self.state is GroupState.EMPTY else OPEN_FOR_NOBODY

    def committed(self, member_id: str, now_s: float) -> None:
        member = self.members.get(member_id)
        if member is not None:
            member.last_heartbeat_s = now_s

    def validate_offset_delete(self) -> ErrorCode:
        removable = self.state is GroupState.EMPTY or self.protocol_type == CONSUMER_PROTOCOL_TYPE
        return ErrorCode.NONE if removable else ErrorCode.NON_EMPTY_GROUP

    def offset_expiry_start_ms(self, topic: str, committed: CommittedOffset) -> int | None:
        """Since the group is Empty; for a group of offsets only, and for topics that a Stable consumer group no longer
        reads, since the commit."""
        if not self.protocol_type:
            return committed.commit_timestamp_ms
        if self.state is GroupState.EMPTY:
            return self.state_timestamp_ms if self.state_timestamp_ms >= 0 else committed.commit_timestamp_ms
        is_read = self.state is not GroupState.STABLE or topic not in self.unread
        return None if is_read else committed.commit_timestamp_ms

    def validate_delete(self) -> ErrorCode:
        return ErrorCode.NONE if self.state is GroupState.EMPTY else ErrorCode.NON_EMPTY_GROUP

    def tombstones(self) -> list[Record]:
        return [(GroupKey(self.group_id), None)]  # as Kafka, even if the group itself was never written

    def described(self) -> dict[str, Any]:
        stable = self.state is GroupState.STABLE
        members = [
            {
                "member_id": member.member_id,
                "group_instance_id": member.instance_id,
                "client_id": member.client_id,
                "client_host": member.client_host,
                "member_metadata": member.metadata(self.protocol) if stable else b"",
                "member_assignment": member.assignment,  # of the last generation, while the next one forms
            }
            for member in self.members.values()
        ]
        return {
            "group_state": self.state_name,
            "protocol_type": self.protocol_type,
            "protocol_data": (self.protocol or "") if stable else "",
            "members": members,
        }
