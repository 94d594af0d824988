"""A consumer group (KIP-848): what is stored of it. Only `replay` changes it; timers and running work are soft state.

Kafka: ConsumerGroup, ModernGroup.
"""

from __future__ import annotations

import uuid
from collections import Counter
from collections.abc import Generator, Iterator
from functools import partial
from typing import Any, ClassVar, Final

from kafka_cy.base.slices import at_once
from kafka_cy.coordinator.commit_request import CommitRequest
from kafka_cy.coordinator.consumer import records as stored
from kafka_cy.coordinator.consumer.limits import member_bytes, regex_bytes
from kafka_cy.coordinator.consumer.member import (
    LEAVE_EPOCH,
    STABLE,
    TOPICS_AT_ONCE,
    UNKNOWN,
    UNRELEASED,
    Assigned,
    ConsumerMember,
    assigned_steps,
)
from kafka_cy.coordinator.consumer.subscriptions import Subscriptions
from kafka_cy.coordinator.group import LagMember
from kafka_cy.coordinator.modern.assignment import NO_PARTITIONS, Partitions
from kafka_cy.coordinator.modern.committing_group import CommittingGroup
from kafka_cy.coordinator.modern.deadlines import Deadlines
from kafka_cy.coordinator.modern.group import NAMES_FEW, look
from kafka_cy.coordinator.modern.limits import partition_bytes
from kafka_cy.coordinator.modern.names import distinct
from kafka_cy.coordinator.modern.published import Words
from kafka_cy.coordinator.records import Record
from kafka_cy.protocol.errors import ErrorCode

FIRST_EPOCH: Final = 1  # of a new group; it is not stored
NO_ASSIGNMENT_EPOCH: Final = -1  # the target assignment was removed

Steps = Generator[object, None, None]
EMPTY, ASSIGNING, RECONCILING, STABLE_STATE = "Empty", "Assigning", "Reconciling", "Stable"


class ConsumerGroup(CommittingGroup):
    """Limits: `group.consumer.max.size` members, `MEMBER_BYTES_MAX` for all groups together."""

    __slots__ = (
        "assigning",
        "assignment_epoch",
        "assignment_timestamp_ms",
        "assignors",
        "classic_members",
        "classic_protocols",
        "counted_bytes",
        "deadlines",
        "epoch",
        "has_partition_metadata",
        "held_bytes",
        "metadata_hash",
        "owners",
        "recorded",
        "regex_topics_version",
        "resolving",
        "resolving_bytes",
        "static_members",
        "subscriptions",
        "target",
        "topics_version",
    )

    kind: ClassVar[str] = "consumer"
    HEARTBEAT_KEY: ClassVar[int] = 68

    def __init__(self, group_id: str) -> None:
        super().__init__(group_id)
        self.recorded = False
        self.epoch = FIRST_EPOCH
        self.metadata_hash = 0
        self.assignment_epoch = FIRST_EPOCH
        self.assignment_timestamp_ms = 0
        self.has_partition_metadata = False  # a record of Kafka up to 4.0, to be removed
        self.members: dict[str, ConsumerMember] = {}
        self.target: dict[str, Partitions] = {}
        self.subscriptions = Subscriptions()
        # Follow from the members.
        self.static_members: dict[str, str] = {}  # instance id -> member id
        self.owners: dict[uuid.UUID, dict[int, str]] = {}  # topic -> partition -> member id
        self.assignors: Counter[str] = Counter()  # that members ask for
        self.classic_members = 0
        self.classic_protocols: Counter[str] = Counter()  # name -> classic members that propose it
        self.held_bytes = 0  # of MEMBER_BYTES_MAX
        # Soft state.
        self.counted_bytes = 0  # what of held_bytes and resolving_bytes the coordinator has counted
        self.deadlines: Deadlines | None = None
        self.topics_version = 0  # of Topics, when the metadata hash was compared last
        self.regex_topics_version = 0  # Topics.created, when the regular expressions were resolved last
        self.resolving = False  # regular expressions are being resolved
        self.resolving_bytes = 0  # of what they match, as far as this is known
        self.assigning = False  # a target assignment is being computed

    # -- replay --

    def _replay(self, key: Any, value: Any) -> None:
        _REPLAY[type(key)](self, key, value)

    def replay_steps(self, key: Any, value: Any) -> Iterator[object]:
        if isinstance(key, stored.MemberKey):
            self.steady = None
            return self._replay_member_steps(key, value)
        if isinstance(key, stored.RegexKey):
            return self._replay_regex_steps(key, value)
        if isinstance(key, stored.CurrentMemberKey):
            self.steady = None
            return self._replay_current_steps(key, value)
        if isinstance(key, stored.TargetMemberKey):
            self.steady = None
            return self._replay_target_member_steps(key, value)
        return super().replay_steps(key, value)

    def _replay_regex_steps(self, key: stored.RegexKey, value: stored.Regex | None) -> Iterator[object]:
        """replay() of the topics of a regular expression. The step ends if they are many, or were."""
        self.steady = None
        known = self.subscriptions.resolved.get(key.regular_expression)
        yield from self._resolve(key.regular_expression, value)
        if any(len(each.topics) > NAMES_FEW for each in (known, value) if each is not None):
            yield None

    def _replay_group(self, key: stored.GroupKey, value: stored.Group | None) -> None:
        self.recorded = value is not None
        if value is not None:
            self.epoch, self.metadata_hash = value.epoch, value.metadata_hash
            return
        for member_id in list(self.members):
            self._put(self.members[member_id], None)
        self.held_bytes -= partition_bytes(*self.target.values())
        self.target.clear()
        for regex in list(self.subscriptions.resolved):
            at_once(self._resolve(regex, None))

    def _replay_partition_metadata(self, key: stored.PartitionMetadataKey, value: Any) -> None:
        self.has_partition_metadata = value is not None

    def _replay_member(self, key: stored.MemberKey, value: stored.Member | None) -> None:
        at_once(self._replay_member_steps(key, value))

    def _replay_member_steps(self, key: stored.MemberKey, value: stored.Member | None) -> Steps:
        old = self.members.get(key.member_id)
        new: ConsumerMember | None = None
        if value is not None:
            names = value.subscribed_topic_names
            details = value._replace(subscribed_topic_names=(yield from look(len(names), partial(distinct, names))))
            new = (old or ConsumerMember(key.member_id))._replace(details=details)
        yield from self._put_steps(old, new)

    def _replay_current(self, key: stored.CurrentMemberKey, value: stored.CurrentMember | None) -> None:
        at_once(self._replay_current_steps(key, value))

    def _replay_current_steps(self, key: stored.CurrentMemberKey, value: stored.CurrentMember | None) -> Steps:
        old = self.members.get(key.member_id)
        if value is not None:
            epoch = value.member_epoch
            assigned = yield from assigned_steps(value.assigned_partitions, epoch)
            pending = yield from assigned_steps(value.partitions_pending_revocation, epoch)
            new = (old or ConsumerMember(key.member_id))._replace(
                member_epoch=epoch, previous_member_epoch=value.previous_member_epoch,
                state=value.state if STABLE <= value.state <= UNRELEASED else UNKNOWN,
                assigned=assigned, pending_revocation=pending,
            )  # fmt: skip
            yield from self._put_steps(old, new)
        elif old is not None:
            yield from self._put_steps(old, ConsumerMember(old.member_id, old.details, LEAVE_EPOCH, LEAVE_EPOCH))

    def _replay_target_metadata(self, key: stored.TargetMetadataKey, value: stored.TargetMetadata | None) -> None:
        none = stored.TargetMetadata(NO_ASSIGNMENT_EPOCH)
        self.assignment_epoch, self.assignment_timestamp_ms = value or none

    def _replay_target_member(self, key: stored.TargetMemberKey, value: stored.TargetMember | None) -> None:
        at_once(self._replay_target_member_steps(key, value))

    def _replay_target_member_steps(self, key: stored.TargetMemberKey, value: stored.TargetMember | None) -> Steps:
        target: dict[uuid.UUID, frozenset[int]] = {}
        if value is None:
            old = self.target.pop(key.member_id, NO_PARTITIONS)
        else:
            for count, row in enumerate(value.topic_partitions, 1):
                target[row.topic_id] = frozenset(row.partitions)
                if count % TOPICS_AT_ONCE == 0:
                    yield None
            old = self.target.get(key.member_id, NO_PARTITIONS)
            self.target[key.member_id] = target
        self.held_bytes += partition_bytes(target) - partition_bytes(old)

    def _replay_regex(self, key: stored.RegexKey, value: stored.Regex | None) -> None:
        at_once(self._resolve(key.regular_expression, value))

    def _resolve(self, regex: str, found: stored.Regex | None) -> Steps:
        """The topics that a regular expression matches are known, or no longer matter."""
        old = self.subscriptions.resolved.get(regex)
        yield from self.subscriptions.resolve_steps(regex, found)
        change = 0
        for each, by in ((found, 1), (old, -1)):
            if each is not None:
                change += by * (yield from look(len(each.topics), partial(regex_bytes, regex, each.topics)))
        self.held_bytes += change

    def _put(self, old: ConsumerMember | None, new: ConsumerMember | None) -> None:
        """Replace a member, and what follows from the members."""
        at_once(self._put_steps(old, new))

    def _put_steps(self, old: ConsumerMember | None, new: ConsumerMember | None) -> Steps:
        """_put() as a task for slices: the member changes in one step, who owns what in several."""
        if old is not None:
            self._republish(old, new)
            yield from self._disown(old.member_id, old.assigned)
            yield from self._disown(old.member_id, old.pending_revocation)
            self.held_bytes -= partition_bytes(old.assigned, old.pending_revocation)
            if old.instance_id is not None and self.static_members.get(old.instance_id) == old.member_id:
                del self.static_members[old.instance_id]
        if new is not None:
            self.members[new.member_id] = new
            yield from self._own(new.member_id, new.assigned)
            yield from self._own(new.member_id, new.pending_revocation)
            self.held_bytes += partition_bytes(new.assigned, new.pending_revocation)
            if new.instance_id is not None:
                self.static_members[new.instance_id] = new.member_id
        elif old is not None:
            del self.members[old.member_id]
        if old is None or new is None or old.details is not new.details:
            yield from self.subscriptions.replace_steps(old, new)
            yield from self._count(old, -1)
            yield from self._count(new, 1)

    def _count(self, member: ConsumerMember | None, change: int) -> Steps:
        if member is None:
            return
        details = member.details
        measure = partial(member_bytes, self.group_id, member.member_id, details)
        size = yield from look(len(details.subscribed_topic_names), measure)
        self.held_bytes += change * size
        if details.server_assignor is not None:
            self.assignors[details.server_assignor] += change
        if details.classic_member_metadata is not None:
            self.classic_members += change
            for name in {each.name for each in details.classic_member_metadata.supported_protocols}:
                self.classic_protocols[name] += change
                if not self.classic_protocols[name]:
                    del self.classic_protocols[name]

    def _own(self, member_id: str, assigned: Assigned) -> Iterator[None]:
        for count, (topic_id, partitions) in enumerate(assigned.items(), 1):
            self.owners.setdefault(topic_id, {}).update(dict.fromkeys(partitions, member_id))
            if count % TOPICS_AT_ONCE == 0:
                yield

    def _disown(self, member_id: str, assigned: Assigned) -> Iterator[None]:
        for count, (topic_id, partitions) in enumerate(assigned.items(), 1):
            if count % TOPICS_AT_ONCE == 0:
                yield
            owners = self.owners.get(topic_id)
            if owners is None:
                continue
            for partition in partitions:
                if owners.get(partition) == member_id:
                    del owners[partition]
            if not owners:
                del self.owners[topic_id]

    # -- questions about members --

    def find_static(self, instance_id: str | None) -> ConsumerMember | None:
        """The member with that instance id."""
        return self.members.get(self.static_members.get(instance_id or "", ""))

    def target_of(self, member_id: str) -> Partitions:
        """The member's part of the target assignment."""
        return self.target.get(member_id, NO_PARTITIONS)

    def preferred_assignor(self, old: ConsumerMember | None, new: ConsumerMember | None, default: str) -> str:
        """The assignor that most members ask for after `new` has replaced `old`."""
        counts = self.assignors.copy()
        for member, change in ((old, -1), (new, 1)):
            if member is not None and member.details.server_assignor is not None:
                counts[member.details.server_assignor] += change
        best = max(counts.values(), default=0)
        asked = [name for name, count in counts.items() if count == best > 0]
        return default if not asked or default in asked else asked[0]

    def waits_for_others(self, member: ConsumerMember) -> bool:
        """Whether a partition of the member's target belongs to another member still."""
        if member.state != UNRELEASED:
            return False
        for topic_id, partitions in self.target_of(member.member_id).items():
            mine, owners = member.assigned.get(topic_id, {}), self.owners.get(topic_id, {})
            if any(partition in owners for partition in partitions if partition not in mine):
                return True
        return False

    # -- what the coordinator asks of every kind of group --

    @property
    def is_recorded(self) -> bool:
        return self.recorded or bool(self.members or self.target or self.subscriptions.resolved)

    @property
    def state_name(self) -> str:
        if not self.members:
            return EMPTY
        if self.epoch > self.assignment_epoch:
            return ASSIGNING
        members = list(self.members.values())  # other threads ask too
        settled = all(member.is_reconciled_to(self.assignment_epoch) for member in members)
        return STABLE_STATE if settled else RECONCILING

    @property
    def protocol_name(self) -> str:
        return max(dict(self.assignors).items(), key=lambda each: each[1], default=("", 0))[0]

    def lag_members(self) -> list[LagMember]:
        members = list(self.members.values())
        return [
            LagMember(each.member_id, each.details.client_id, each.details.client_host, each.assigned) for each in members
        ]

    def is_subscribed(self, topic: str) -> bool:
        return self.subscriptions.contains(topic)

    def _is_classic(self, member: ConsumerMember) -> bool:
        return member.uses_classic_protocol

    def _stale(self, member: ConsumerMember, request: CommitRequest | None) -> ErrorCode:
        is_classic = member.uses_classic_protocol or (request is not None and request.is_transactional)
        return ErrorCode.ILLEGAL_GENERATION if is_classic else ErrorCode.STALE_MEMBER_EPOCH

    def _assigned_at(self, member: ConsumerMember, partition: Any) -> int | None:
        return member.assignment_epoch(partition.topic_id, partition.partition)

    def _words(self, member: ConsumerMember) -> Words:
        details = member.details
        return Words(details.client_id, details.client_host, details.instance_id, details.subscribed_topic_regex)

    def tombstones(self) -> list[Record]:
        return self.tombstones_of(list(self.members))

    def tombstones_of(self, member_ids: list[str]) -> list[Record]:
        """The records that remove the group with these members."""
        group_id = self.group_id
        keys: list[Any] = [stored.CurrentMemberKey(group_id, each) for each in member_ids]
        keys += [stored.TargetMemberKey(group_id, each) for each in member_ids]
        keys.append(stored.TargetMetadataKey(group_id))
        keys += [stored.MemberKey(group_id, each) for each in member_ids]
        keys += [stored.RegexKey(group_id, each) for each in self.subscriptions.resolved]
        keys += [stored.PartitionMetadataKey(group_id), stored.GroupKey(group_id)]
        return [(key, None) for key in keys]


_REPLAY: Final[dict[type[Any], Any]] = {
    stored.GroupKey: ConsumerGroup._replay_group,
    stored.PartitionMetadataKey: ConsumerGroup._replay_partition_metadata,
    stored.MemberKey: ConsumerGroup._replay_member,
    stored.CurrentMemberKey: ConsumerGroup._replay_current,
    stored.TargetMetadataKey: ConsumerGroup._replay_target_metadata,
    stored.TargetMemberKey: ConsumerGroup._replay_target_member,
    stored.RegexKey: ConsumerGroup._replay_regex,
}
