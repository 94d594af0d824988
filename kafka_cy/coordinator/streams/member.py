"""A member of a streams group (a thread of an application): what it is, and which tasks it has.

Never changed: an update is another object.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from kafka_cy.coordinator.records import Record
from kafka_cy.coordinator.streams.records import (
    CurrentMember,
    CurrentMemberKey,
    Member,
    MemberKey,
    TargetMember,
    TargetMemberKey,
)
from kafka_cy.coordinator.streams.tasks import NOTHING, AssignedTasks, Tasks, rows_with_epochs, task_rows

LEAVE_EPOCH: Final = -1  # of a member that is not there; also what a leaving member sends
LEAVE_STATIC_EPOCH: Final = -2  # what a static member would send; streams groups have none yet

# States of a member (Kafka: streams.MemberState; not the numbers of consumer groups)
STABLE: Final = 1
UNREVOKED: Final = 2  # it has to give up tasks
UNRELEASED: Final = 3  # tasks of its target belong to others still
UNKNOWN: Final = 127  # a state of a later version of Kafka

NO_DETAILS: Final = Member(None, None, "", "", -1, -1, "", None, ())


class StreamsMember(NamedTuple):
    """`details` is what the member said of itself. `pending_revocation` are tasks that it has to give up."""

    member_id: str
    details: Member = NO_DETAILS
    member_epoch: int = 0
    previous_member_epoch: int = 0
    state: int = STABLE
    assigned: AssignedTasks = NOTHING
    pending_revocation: AssignedTasks = NOTHING

    @property
    def process_id(self) -> str:
        """The process that it is part of. Members of one process share the state on its disk."""
        return self.details.process_id

    def is_reconciled_to(self, epoch: int) -> bool:
        """Whether it has exactly the tasks of the target assignment of that epoch."""
        return self.state == STABLE and self.member_epoch == epoch

    def moved_to(self, epoch: int, state: int, assigned: AssignedTasks, pending: AssignedTasks) -> StreamsMember:
        """The member after a step of its reconciliation."""
        return self._replace(
            member_epoch=epoch, previous_member_epoch=self.member_epoch, state=state, assigned=assigned,
            pending_revocation=pending,
        )  # fmt: skip

    def assignment_epoch(self, subtopology: str, partition: int) -> int | None:
        """The member epoch at which the active task was assigned; None if the member does not have it."""
        epoch = self.assigned.active.get(subtopology, {}).get(partition)
        return epoch if epoch is not None else self.pending_revocation.active.get(subtopology, {}).get(partition)


# -- records --


def member_record(group_id: str, member: StreamsMember) -> Record:
    """What the member is."""
    return MemberKey(group_id, member.member_id), member.details


def target_record(group_id: str, member_id: str, tasks: Tasks) -> Record:
    """The member's part of the target assignment."""
    value = TargetMember(task_rows(tasks.active), task_rows(tasks.standby), task_rows(tasks.warmup))
    return TargetMemberKey(group_id, member_id), value


def current_record(group_id: str, member: StreamsMember) -> Record:
    """The member's epochs, state and tasks."""
    has, gives_up = member.assigned, member.pending_revocation
    value = CurrentMember(
        member.member_epoch, member.previous_member_epoch, member.state,
        rows_with_epochs(has.active), task_rows(has.standby), task_rows(has.warmup),
        rows_with_epochs(gives_up.active), task_rows(gives_up.standby), task_rows(gives_up.warmup),
    )  # fmt: skip
    return CurrentMemberKey(group_id, member.member_id), value


def removal_records(group_id: str, member_id: str) -> list[Record]:
    """The tombstones of a member."""
    keys = (CurrentMemberKey(group_id, member_id), TargetMemberKey(group_id, member_id), MemberKey(group_id, member_id))
    return [(key, None) for key in keys]
