"""The next step of a member on its way to the target assignment: give up tasks first, then get those that are free.

Kafka: streams.CurrentAssignmentBuilder.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from kafka_cy.coordinator.modern.errors import GroupError
from kafka_cy.coordinator.streams.member import STABLE, UNKNOWN, UNRELEASED, UNREVOKED, StreamsMember
from kafka_cy.coordinator.streams.owners import TaskOwners
from kafka_cy.coordinator.streams.tasks import NOTHING, AssignedTasks, EpochMap, TaskMap, Tasks
from kafka_cy.protocol.errors import ErrorCode

IsTaken = Callable[[str, int], bool]  # whether the task cannot be had yet


class Reconciliation:
    """What the step depends on besides the member. `owned` is None when the request does not say what the member has."""

    def __init__(self, epoch: int, target: Tasks, owners: TaskOwners, owned: Tasks | None) -> None:
        self.epoch = epoch
        self.target = target
        self.owners = owners
        self.owned = owned

    def step(self, member: StreamsMember) -> StreamsMember:
        """The member after the step; the same one if it has to wait. Raises GroupError (FENCED_MEMBER_EPOCH)."""
        if member.state == UNKNOWN:
            if self.owned is None or not self.owned.is_empty:
                raise GroupError(
                    ErrorCode.FENCED_MEMBER_EPOCH,
                    "The streams group member is in a unknown state. The member must abandon all its tasks and rejoin.",
                )
            return self._advance(member, self.epoch)
        if member.is_reconciled_to(self.epoch):
            return member
        if member.state == UNREVOKED:
            if self._owns_any(member.pending_revocation):
                return member
            return self._advance(member, member.member_epoch + 1)
        return self._advance(member, member.member_epoch)

    def _owns_any(self, tasks: AssignedTasks) -> bool:
        """Whether the member has one of the tasks still, as far as it says."""
        return self.owned is None or self.owned.contains_any(tasks)

    def _advance(self, member: StreamsMember, member_epoch: int) -> StreamsMember:
        """Compare what the member has with its target."""
        has, target, process_id, owners = member.assigned, self.target, member.process_id, self.owners

        def active_is_taken(subtopology: str, partition: int) -> bool:
            taken = owners.active_process(subtopology, partition) is not None
            return taken or owners.has_copy(process_id, subtopology, partition)

        def copy_is_taken(subtopology: str, partition: int) -> bool:
            runs_it = owners.active_process(subtopology, partition) == process_id
            return runs_it or owners.has_copy(process_id, subtopology, partition)

        active = _Difference(has.active, target.active, active_is_taken)
        standby = _Difference(has.standby, target.standby, copy_is_taken)
        warmup = _Difference(has.warmup, target.warmup, copy_is_taken)
        revoked = AssignedTasks(_part(has.active, active.revoked), standby.revoked, warmup.revoked)
        if not revoked.is_empty and self._owns_any(revoked):
            kept = AssignedTasks(_part(has.active, active.kept), standby.kept, warmup.kept)
            return member.moved_to(member_epoch, UNREVOKED, kept, revoked)
        now_active: dict[str, Mapping[int, int]] = {}
        for subtopology, partitions in active.kept_and_new().items():
            before = has.active.get(subtopology, {})
            now_active[subtopology] = {each: before.get(each, self.epoch) for each in sorted(partitions)}
        assigned = AssignedTasks(now_active, standby.kept_and_new(), warmup.kept_and_new())
        waits = active.waits or standby.waits or warmup.waits
        return member.moved_to(self.epoch, UNRELEASED if waits else STABLE, assigned, NOTHING)


class _Difference:
    """What of the tasks in one role a member keeps, has to give up, and can get now. `waits`: there will be more later."""

    def __init__(self, has: Mapping[str, Any], target: TaskMap, is_taken: IsTaken) -> None:
        self.kept: dict[str, frozenset[int]] = {}
        self.revoked: dict[str, frozenset[int]] = {}
        self.new: dict[str, frozenset[int]] = {}
        self.waits = False
        for subtopology in {**has, **target}:
            has_here, wanted = frozenset(has.get(subtopology, ())), target.get(subtopology, frozenset())
            kept, more = has_here & wanted, wanted - has_here
            free = frozenset(each for each in more if not is_taken(subtopology, each))
            self.waits = self.waits or len(free) < len(more)
            for found, partitions in ((self.kept, kept), (self.revoked, has_here - kept), (self.new, free)):
                if partitions:
                    found[subtopology] = partitions

    def kept_and_new(self) -> TaskMap:
        return {each: self.kept.get(each, frozenset()) | self.new.get(each, frozenset()) for each in {**self.kept, **self.new}}


def _part(has: EpochMap, tasks: TaskMap) -> EpochMap:
    """The epochs of some of the tasks."""
    return {subtopology: {each: has[subtopology][each] for each in sorted(tasks[subtopology])} for subtopology in tasks}
