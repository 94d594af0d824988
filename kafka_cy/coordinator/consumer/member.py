"""A member of a consumer group: what it is, and which partitions it has. Never changed: an update is another object."""

from __future__ import annotations

import uuid
from collections.abc import Generator, Iterable, Mapping
from typing import Final, NamedTuple

from kafka_cy.coordinator.consumer.records import (
    CurrentMember,
    CurrentMemberKey,
    Member,
    MemberKey,
    TargetMember,
    TargetMemberKey,
    TopicPartitions,
    TopicPartitionsWithEpochs,
)
from kafka_cy.coordinator.modern.assignment import Partitions
from kafka_cy.coordinator.records import Record

#: Topic id -> partition -> the member epoch at which it was assigned (KIP-1251).
Assigned = Mapping[uuid.UUID, Mapping[int, int]]
NOTHING: Final[Assigned] = {}

# Epochs of a member that is not there; both are also what a leaving member sends.
LEAVE_EPOCH: Final = -1
LEAVE_STATIC_EPOCH: Final = -2  # the instance will come back

# States of a member (Kafka: MemberState)
STABLE: Final = 0
UNREVOKED: Final = 1  # it has to give up partitions
UNRELEASED: Final = 2  # partitions of its target belong to others still
UNKNOWN: Final = 127  # a state of a later version of Kafka

TOPICS_AT_ONCE: Final = 200  # whose partitions one step looks at
NO_DETAILS: Final = Member(None, None, "", "", (), "", -1, None)


class ConsumerMember(NamedTuple):
    """`details` is what the member said of itself. `pending_revocation` are partitions that it has to give up."""

    member_id: str
    details: Member = NO_DETAILS
    member_epoch: int = 0
    previous_member_epoch: int = 0
    state: int = STABLE
    assigned: Assigned = NOTHING
    pending_revocation: Assigned = NOTHING

    @property
    def instance_id(self) -> str | None:
        """The id of a static member."""
        return self.details.instance_id

    @property
    def regex(self) -> str:
        """The regular expression that it subscribes to; empty if there is none."""
        return self.details.subscribed_topic_regex or ""

    @property
    def uses_classic_protocol(self) -> bool:
        """Whether it sends JoinGroup, SyncGroup and Heartbeat."""
        return self.details.classic_member_metadata is not None

    @property
    def has_left(self) -> bool:
        """A static member that said that it will come back."""
        return self.member_epoch == LEAVE_STATIC_EPOCH

    def is_reconciled_to(self, epoch: int) -> bool:
        """Whether it has exactly the partitions of the target assignment of that epoch."""
        return self.state == STABLE and self.member_epoch == epoch

    def moved_to(self, epoch: int, state: int, assigned: Assigned, pending: Assigned) -> ConsumerMember:
        """The member after a step of its reconciliation."""
        return self._replace(
            member_epoch=epoch, previous_member_epoch=self.member_epoch, state=state, assigned=assigned,
            pending_revocation=pending,
        )  # fmt: skip

    def assignment_epoch(self, topic_id: uuid.UUID | None, partition: int) -> int | None:
        """The member epoch at which the partition was assigned; None if the member does not have it."""
        if topic_id is None:
            return None
        epoch = self.assigned.get(topic_id, {}).get(partition)
        return epoch if epoch is not None else self.pending_revocation.get(topic_id, {}).get(partition)


def with_epoch(partitions: Partitions, epoch: int) -> Assigned:
    """The partitions, all of them assigned at that epoch."""
    return {topic_id: dict.fromkeys(sorted(each), epoch) for topic_id, each in partitions.items() if each}


# -- records --


def member_record(group_id: str, member: ConsumerMember) -> Record:
    """What the member is and wants."""
    return MemberKey(group_id, member.member_id), member.details


def target_record(group_id: str, member_id: str, partitions: Partitions) -> Record:
    """The member's part of the target assignment."""
    rows = tuple(TopicPartitions(topic_id, tuple(sorted(each))) for topic_id, each in partitions.items())
    return TargetMemberKey(group_id, member_id), TargetMember(rows)


def current_record(group_id: str, member: ConsumerMember) -> Record:
    """The member's epochs, state and partitions."""
    value = CurrentMember(
        member.member_epoch, member.previous_member_epoch, member.state, _rows(member.assigned),
        _rows(member.pending_revocation),
    )  # fmt: skip
    return CurrentMemberKey(group_id, member.member_id), value


def removal_records(group_id: str, member_id: str) -> list[Record]:
    """The tombstones of a member."""
    keys = (CurrentMemberKey(group_id, member_id), TargetMemberKey(group_id, member_id), MemberKey(group_id, member_id))
    return [(key, None) for key in keys]


def _rows(assigned: Assigned) -> tuple[TopicPartitionsWithEpochs, ...]:
    rows = []
    for topic_id, epochs in assigned.items():
        partitions = tuple(sorted(epochs))
        rows.append(TopicPartitionsWithEpochs(topic_id, partitions, tuple(epochs[each] for each in partitions)))
    return tuple(rows)


def assigned_steps(rows: Iterable[TopicPartitionsWithEpochs], member_epoch: int) -> Generator[None, None, Assigned]:
    """What a record says; where it has no epochs, `member_epoch` counts. A task for slices."""
    found: dict[uuid.UUID, dict[int, int]] = {}
    for count, row in enumerate(rows, 1):
        epochs = row.assignment_epochs or ()
        if len(epochs) != len(row.partitions):
            epochs = (member_epoch,) * len(row.partitions)
        found.setdefault(row.topic_id, {}).update(zip(row.partitions, epochs, strict=True))
        if count % TOPICS_AT_ONCE == 0:
            yield
    return found
