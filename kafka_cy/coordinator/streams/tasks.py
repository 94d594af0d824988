"""Tasks: a subtopology and a partition of its topics. A member runs active ones, and keeps copies of the state of others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final, NamedTuple

from kafka_cy.coordinator.streams.records import TaskIds

#: Subtopology id -> partitions. Never changed once it is part of a member, a target or a request; no set is empty.
TaskMap = Mapping[str, frozenset[int]]
#: Subtopology id -> partition -> the member epoch at which the task was assigned (KIP-1251).
EpochMap = Mapping[str, Mapping[int, int]]

NO_MAP: Final[Mapping[str, Any]] = MappingProxyType({})


class Tasks(NamedTuple):
    """The tasks of a target assignment, or those that a member says it has."""

    active: TaskMap = NO_MAP
    standby: TaskMap = NO_MAP
    warmup: TaskMap = NO_MAP

    @property
    def is_empty(self) -> bool:
        """Whether there is no task."""
        return not (self.active or self.standby or self.warmup)

    @property
    def size(self) -> int:
        """How many tasks."""
        return sum(len(each) for role in self for each in role.values())

    def contains_any(self, others: AssignedTasks) -> bool:
        """Whether a task of the others is here in the same role."""
        pairs: tuple[tuple[TaskMap, Mapping[str, Any]], ...] = (
            (self.active, others.active), (self.standby, others.standby), (self.warmup, others.warmup)
        )  # fmt: skip
        return any(
            subtopology in here and not here[subtopology].isdisjoint(partitions)
            for here, there in pairs
            for subtopology, partitions in there.items()
        )


class AssignedTasks(NamedTuple):
    """The tasks that a member has, or has to give up."""

    active: EpochMap = NO_MAP
    standby: TaskMap = NO_MAP
    warmup: TaskMap = NO_MAP

    @property
    def is_empty(self) -> bool:
        """Whether there is no task."""
        return not (self.active or self.standby or self.warmup)

    @property
    def size(self) -> int:
        """How many tasks."""
        return sum(len(each) for role in self for each in role.values())

    def contains_all(self, others: Tasks) -> bool:
        """Whether all tasks of the others are here in the same role."""
        pairs: tuple[tuple[Mapping[str, Any], TaskMap], ...] = (
            (self.active, others.active), (self.standby, others.standby), (self.warmup, others.warmup)
        )  # fmt: skip
        return all(
            subtopology in here and all(partition in here[subtopology] for partition in partitions)
            for here, there in pairs
            for subtopology, partitions in there.items()
        )


NO_TASKS: Final = Tasks()
NOTHING: Final = AssignedTasks()


# -- records and responses --


def task_rows(tasks: TaskMap) -> tuple[TaskIds, ...]:
    """As records have them: sorted, without epochs."""
    return tuple(TaskIds(subtopology, tuple(sorted(tasks[subtopology]))) for subtopology in sorted(tasks))


def rows_with_epochs(tasks: EpochMap) -> tuple[TaskIds, ...]:
    """As records have active tasks of a member."""
    rows = []
    for subtopology in sorted(tasks):
        epochs = tasks[subtopology]
        partitions = tuple(sorted(epochs))
        rows.append(TaskIds(subtopology, partitions, tuple(epochs[each] for each in partitions)))
    return tuple(rows)


def tasks_of(rows: Iterable[TaskIds]) -> TaskMap:
    """What a record or a request says."""
    found: dict[str, frozenset[int]] = {}
    for row in rows:
        if row.partitions:
            found[row.subtopology_id] = found.get(row.subtopology_id, frozenset()).union(row.partitions)
    return found


def epochs_of(rows: Iterable[TaskIds], member_epoch: int) -> EpochMap:
    """What a record says of active tasks; where it has no epochs, `member_epoch` counts."""
    found: dict[str, dict[int, int]] = {}
    for row in rows:
        epochs = row.assignment_epochs or ()
        if len(epochs) != len(row.partitions):
            epochs = (member_epoch,) * len(row.partitions)
        if row.partitions:
            found.setdefault(row.subtopology_id, {}).update(zip(row.partitions, epochs, strict=True))
    return found


def response_rows(tasks: Mapping[str, Iterable[int]]) -> list[dict[str, Any]]:
    """As responses show tasks."""
    return [{"subtopology_id": each, "partitions": sorted(tasks[each])} for each in sorted(tasks)]
