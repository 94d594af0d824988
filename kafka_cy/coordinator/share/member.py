"""A member of a share group: what it is, and which partitions it has. Never changed: an update is another object."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Set
from typing import Final, NamedTuple

from kafka_cy.coordinator.modern.assignment import NO_PARTITIONS, Partitions
from kafka_cy.coordinator.records import Record
from kafka_cy.coordinator.share.records import (
    CurrentMember,
    CurrentMemberKey,
    Member,
    MemberKey,
    TargetMember,
    TargetMemberKey,
    TopicPartitions,
)

LEAVE_EPOCH: Final = -1  # what a leaving member sends
STABLE: Final = 0  # the only state of members: nobody has to give up anything before others get it
NO_DETAILS: Final = Member(None, "", "", ())


class ShareMember(NamedTuple):
    """`details` is what the member said of itself."""

    member_id: str
    details: Member = NO_DETAILS
    member_epoch: int = 0
    previous_member_epoch: int = 0
    assigned: Partitions = NO_PARTITIONS

    def moved_to(self, epoch: int, assigned: Partitions) -> ShareMember:
        """The member with the assignment of that epoch."""
        return self._replace(member_epoch=epoch, previous_member_epoch=self.member_epoch, assigned=assigned)


# -- records --


def member_record(group_id: str, member: ShareMember) -> Record:
    """What the member is and wants."""
    return MemberKey(group_id, member.member_id), member.details


def target_record(group_id: str, member_id: str, partitions: Partitions) -> Record:
    """The member's part of the target assignment."""
    return TargetMemberKey(group_id, member_id), TargetMember(_rows(partitions))


def current_record(group_id: str, member: ShareMember) -> Record:
    """The member's epochs and partitions."""
    value = CurrentMember(member.member_epoch, member.previous_member_epoch, STABLE, _rows(member.assigned))
    return CurrentMemberKey(group_id, member.member_id), value


def removal_records(group_id: str, member_id: str) -> list[Record]:
    """The tombstones of a member."""
    keys = (CurrentMemberKey(group_id, member_id), TargetMemberKey(group_id, member_id), MemberKey(group_id, member_id))
    return [(key, None) for key in keys]


def _rows(partitions: Partitions) -> tuple[TopicPartitions, ...]:
    return tuple(TopicPartitions(topic_id, tuple(sorted(each))) for topic_id, each in partitions.items())


def partitions_of(rows: Iterable[TopicPartitions]) -> Partitions:
    """What a record says."""
    return {row.topic_id: frozenset(row.partitions) for row in rows}


def of_topics(partitions: Partitions, topic_ids: Iterable[uuid.UUID]) -> Partitions:
    """Only the partitions of these topics; the same object if these are all."""
    wanted = set(topic_ids)
    if wanted.issuperset(partitions):
        return partitions
    return {topic_id: each for topic_id, each in partitions.items() if topic_id in wanted}


def all_of(assignments: Iterable[Partitions]) -> Mapping[uuid.UUID, Set[int]]:
    """What is in any of the assignments."""
    found: dict[uuid.UUID, set[int]] = {}
    for assignment in assignments:
        for topic_id, partitions in assignment.items():
            found.setdefault(topic_id, set()).update(partitions)
    return found
