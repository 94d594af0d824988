"""A share group (KIP-932): what is stored of it. Only `replay` changes it; timers and running work are soft state.

Kafka: ShareGroup, ModernGroup.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Generator, Iterator
from functools import partial
from typing import Any, ClassVar, Final

from kafka_cy.base.slices import at_once
from kafka_cy.coordinator.commit_request import CommitRequest
from kafka_cy.coordinator.group import LagMember
from kafka_cy.coordinator.modern.assignment import NO_PARTITIONS, Partitions
from kafka_cy.coordinator.modern.deadlines import Deadlines
from kafka_cy.coordinator.modern.group import NAMES_FEW, ModernGroup, look
from kafka_cy.coordinator.modern.limits import PARTITION_BYTES, partition_bytes
from kafka_cy.coordinator.modern.names import PIECE_NAMES, ChangedNames, count_names, distinct, in_pieces
from kafka_cy.coordinator.open_groups import OPEN_FOR_NOBODY
from kafka_cy.coordinator.records import CommittedOffset, Record
from kafka_cy.coordinator.share import records as stored
from kafka_cy.coordinator.share.assignor import SimpleAssignor
from kafka_cy.coordinator.share.limits import CHARACTER_BYTES, MEMBER_OBJECT_BYTES, member_bytes
from kafka_cy.coordinator.share.member import ShareMember, partitions_of
from kafka_cy.coordinator.share.state_partitions import NO_STATES, ShareStates, states_of
from kafka_cy.protocol.errors import ErrorCode

Steps = Generator[object, None, None]
FIRST_EPOCH: Final = 1  # of a new group; it is not stored
NO_ASSIGNMENT_EPOCH: Final = -1  # the target assignment was removed
EMPTY, STABLE = "Empty", "Stable"


class ShareGroup(ModernGroup):
    """Limits: `group.share.max.size` members, `MEMBER_BYTES_MAX` for all groups together; the partitions of a group have to
    fit into a record (`message.max.bytes`)."""

    __slots__ = (
        "assigning", "assignment_epoch", "assignment_timestamp_ms", "by_name", "counted_bytes", "deadlines", "epoch",
        "held_bytes", "initialize_failures", "initialize_not_before_s", "metadata_hash", "recorded", "settled",
        "states", "states_count", "states_recorded", "target", "topics_version",
    )  # fmt: skip

    kind: ClassVar[str] = "share"
    expires: ClassVar[bool] = False  # it would lose its place in the partitions: states do not go with the group
    HEARTBEAT_KEY: ClassVar[int] = 76

    def __init__(self, group_id: str) -> None:
        super().__init__(group_id)
        self.recorded = False
        self.epoch = FIRST_EPOCH
        self.metadata_hash = 0
        self.assignment_epoch = FIRST_EPOCH
        self.assignment_timestamp_ms = 0
        self.members: dict[str, ShareMember] = {}
        self.target: dict[str, Partitions] = {}
        self.states: ShareStates = NO_STATES
        self.states_count = 0  # partitions of `states`
        self.states_recorded = False
        # Follow from the members.
        self.by_name: Counter[str] = Counter()  # topic -> members that name it
        self.held_bytes = 0  # of MEMBER_BYTES_MAX
        # Soft state.
        self.counted_bytes = 0  # what of held_bytes the coordinator has counted
        self.deadlines: Deadlines | None = None
        self.topics_version = 0  # of Topics, when the metadata hash was compared last
        self.settled: object = None  # as what the group was when nothing was left to initialize or to assign
        self.assigning = False  # a target assignment is being computed
        self.initialize_failures = 0  # in a row
        self.initialize_not_before_s = 0.0

    # -- replay --

    def _replay(self, key: Any, value: Any) -> None:
        at_once(_REPLAY[type(key)](self, key, value))

    def replay_steps(self, key: Any, value: Any) -> Iterator[object]:
        self.steady = None
        steps: Steps = _REPLAY[type(key)](self, key, value)
        return steps

    def _replay_group(self, key: stored.GroupKey, value: stored.Group | None) -> Steps:
        self.recorded = value is not None
        if value is not None:
            self.epoch, self.metadata_hash = value
            return
        for member in list(self.members.values()):
            yield from self._put(member, None)
        for member_id in list(self.target):
            yield from self._put_target(member_id, None)

    def _replay_member(self, key: stored.MemberKey, value: stored.Member | None) -> Steps:
        old = self.members.get(key.member_id)
        new: ShareMember | None = None
        if value is not None:
            names = value.subscribed_topic_names
            details = value._replace(subscribed_topic_names=(yield from look(len(names), partial(distinct, names))))
            new = (old or ShareMember(key.member_id))._replace(details=details)
        yield from self._put(old, new)

    def _replay_current(self, key: stored.CurrentMemberKey, value: stored.CurrentMember | None) -> Steps:
        old = self.members.get(key.member_id)
        if value is not None:
            new = (old or ShareMember(key.member_id))._replace(
                member_epoch=value.member_epoch, previous_member_epoch=value.previous_member_epoch,
                assigned=(yield from _assignment(value.assigned_partitions)),
            )  # fmt: skip
            yield from self._put(old, new)
        elif old is not None:
            yield from self._put(old, ShareMember(old.member_id, old.details))

    def _replay_target_metadata(self, key: stored.TargetMetadataKey, value: stored.TargetMetadata | None) -> Steps:
        none = stored.TargetMetadata(NO_ASSIGNMENT_EPOCH)
        self.assignment_epoch, self.assignment_timestamp_ms = value or none
        yield from ()

    def _replay_target_member(self, key: stored.TargetMemberKey, value: stored.TargetMember | None) -> Steps:
        target = None if value is None else (yield from _assignment(value.topic_partitions))
        yield from self._put_target(key.member_id, target)

    def _replay_states(self, key: stored.StatePartitionsKey, value: stored.StatePartitions | None) -> Steps:
        states, count = NO_STATES, 0
        if value is not None:
            rows = (*value.initializing_topics, *value.initialized_topics)
            size = len(value.deleting_topics) + _rows_size(rows)
            states = yield from look(size, partial(states_of, value))
            count = yield from look(len(rows), states.partition_count)
        self.states_recorded = value is not None
        self.held_bytes += PARTITION_BYTES * (count - self.states_count)
        self.states, self.states_count = states, count

    def _put_target(self, member_id: str, target: Partitions | None) -> Steps:
        """Replace or remove a member's part of the target assignment."""
        change = yield from _bytes_of(target or NO_PARTITIONS)
        change -= yield from _bytes_of(self.target_of(member_id))
        if target is None:
            self.target.pop(member_id, None)
        else:
            self.target[member_id] = target
        self.held_bytes += change

    def _put(self, old: ShareMember | None, new: ShareMember | None) -> Steps:
        """Replace a member in one step, and what follows from the members in others."""
        if old is not None:
            self._republish(old, new)
        if new is not None:
            self.members[new.member_id] = new
        elif old is not None:
            del self.members[old.member_id]
        change = yield from _bytes_of(_assigned(new))
        change -= yield from _bytes_of(_assigned(old))
        if old is None or new is None or old.details is not new.details:
            changes = [(member, by) for member, by in ((new, 1), (old, -1)) if member is not None]
            for member, by in changes:
                size = partial(member_bytes, self.group_id, member.member_id, member.details)
                change += by * (yield from look(len(member.details.subscribed_topic_names), size))
            count = partial(count_names, self.by_name)
            yield from in_pieces((count, member.details.subscribed_topic_names, by) for member, by in changes)
        self.held_bytes += change

    # -- questions about members --

    def names_after(self, *replaced: ShareMember | None) -> Collection[str]:
        """The topics that members name: without the first member, with the second, without the third, and so on."""
        return at_once(self.names_after_steps(*replaced))

    def names_after_steps(self, *replaced: ShareMember | None) -> Generator[object, None, Collection[str]]:
        """names_after() as a task for slices."""
        names = ChangedNames(self.by_name)
        yield from in_pieces(
            (names.change, member.details.subscribed_topic_names, 1 if place % 2 else -1)
            for place, member in enumerate(replaced)
            if member is not None
        )
        return names

    def target_of(self, member_id: str) -> Partitions:
        """The member's part of the target assignment."""
        return self.target.get(member_id, NO_PARTITIONS)

    @property
    def size(self) -> int:
        """At least how many names and partitions the group has."""
        besides = MEMBER_OBJECT_BYTES + CHARACTER_BYTES * len(self.group_id)
        return (self.held_bytes - besides * len(self.members)) // PARTITION_BYTES

    # -- what the coordinator asks of every kind of group --

    @property
    def is_recorded(self) -> bool:
        return self.recorded or self.states_recorded or bool(self.members or self.target)

    @property
    def state_name(self) -> str:
        return STABLE if self.members else EMPTY

    @property
    def protocol_name(self) -> str:
        return SimpleAssignor.name if self.members else ""

    def lag_members(self) -> list[LagMember]:
        members = list(self.members.values())
        return [
            LagMember(each.member_id, each.details.client_id, each.details.client_host, each.assigned) for each in members
        ]

    def is_subscribed(self, topic: str) -> bool:
        return topic in self.by_name

    @property
    def open_for(self) -> int:
        return OPEN_FOR_NOBODY

    def validate_offset_commit(self, request: CommitRequest) -> ErrorCode:
        """A share group has no committed offsets."""
        return ErrorCode.GROUP_ID_NOT_FOUND

    def validate_offset_fetch(self, member_id: str | None, member_epoch: int) -> ErrorCode:
        return ErrorCode.GROUP_ID_NOT_FOUND

    def committed(self, member_id: str, now_s: float) -> None:
        """Never happens."""

    def validate_offset_delete(self) -> ErrorCode:
        return ErrorCode.GROUP_ID_NOT_FOUND

    def offset_expiry_start_ms(self, topic: str, committed: CommittedOffset) -> int | None:
        """Share groups never expire."""
        return None

    def tombstones(self) -> list[Record]:
        group_id, member_ids = self.group_id, list(self.members)
        keys: list[Any] = [stored.CurrentMemberKey(group_id, each) for each in member_ids]
        keys += [stored.TargetMemberKey(group_id, each) for each in member_ids]
        keys.append(stored.TargetMetadataKey(group_id))
        keys += [stored.MemberKey(group_id, each) for each in member_ids]
        keys += [stored.StatePartitionsKey(group_id), stored.GroupKey(group_id)]
        return [(key, None) for key in keys]


def _assigned(member: ShareMember | None) -> Partitions:
    return NO_PARTITIONS if member is None else member.assigned


def _rows_size(rows: Collection[Any]) -> int:
    """How much it takes to read rows of topics and partitions; these count only if the rows are few."""
    if len(rows) > NAMES_FEW:
        return len(rows)
    return len(rows) + sum(len(each.partitions) for each in rows) * NAMES_FEW // PIECE_NAMES


def _assignment(rows: Collection[stored.TopicPartitions]) -> Generator[object, None, Partitions]:
    return look(_rows_size(rows), partial(partitions_of, rows))


def _bytes_of(partitions: Partitions) -> Generator[object, None, int]:
    return look(len(partitions), partial(partition_bytes, partitions))


_REPLAY: Final[dict[type[Any], Any]] = {
    stored.GroupKey: ShareGroup._replay_group,
    stored.MemberKey: ShareGroup._replay_member,
    stored.CurrentMemberKey: ShareGroup._replay_current,
    stored.TargetMetadataKey: ShareGroup._replay_target_metadata,
    stored.TargetMemberKey: ShareGroup._replay_target_member,
    stored.StatePartitionsKey: ShareGroup._replay_states,
}
