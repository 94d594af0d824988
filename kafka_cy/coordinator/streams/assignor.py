"""The assignor of streams groups: balanced over processes and their members, and tasks stay where they or their state are.

Kafka: StickyTaskAssignor, ProcessState. Where Kafka takes any of equally loaded processes, this takes the one with the lowest id.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Final, NamedTuple

from kafka_cy.coordinator.modern.assignment import steps_of
from kafka_cy.coordinator.streams.tasks import TaskMap, Tasks


class StreamsMemberSpec(NamedTuple):
    """A member as the assignor sees it. `before` is its last target assignment."""

    process_id: str
    before: Tasks


class SubtopologySpec(NamedTuple):
    """Only stateful tasks have standby tasks."""

    tasks_count: int
    is_stateful: bool


Task = tuple[str, int]  # subtopology id, partition
TASKS_AT_ONCE: Final = 64  # the tables of as many subtopologies may grow with them


class Process:
    """The members of a process, and what they get. Its load is the number of tasks for each member."""

    def __init__(self, process_id: str) -> None:
        self.process_id = process_id
        self.tasks: defaultdict[str, set[int]] = defaultdict(set)
        self.counts: dict[str, int] = {}  # member id -> tasks
        self.by_count: list[tuple[int, str]] = []  # a heap; entries with an old count are skipped
        self._total = 0

    @property
    def load(self) -> float:
        """Tasks for each member."""
        return self._total / len(self.counts)

    def join(self, member_id: str) -> None:
        """The member is part of the process. Members join in the order of their ids, before any task is placed."""
        self.counts[member_id] = 0
        self.by_count.append((0, member_id))

    def add(self, member_id: str, task: Task) -> int:
        """The member gets the task. Returns how many it has then."""
        self.tasks[task[0]].add(task[1])
        self._total += 1
        self.counts[member_id] += 1
        heapq.heappush(self.by_count, (self.counts[member_id], member_id))
        return self.counts[member_id]

    def has(self, task: Task) -> bool:
        """Whether a member has the task, or a copy."""
        return task[1] in self.tasks[task[0]]

    def least_loaded(self) -> str:
        """The member with the fewest tasks."""
        while self.by_count[0][0] != self.counts[self.by_count[0][1]]:
            heapq.heappop(self.by_count)
        return self.by_count[0][1]


class Quota:
    """How many tasks each member may have, so that all get about the same; members that reached it leave the calculation."""

    def __init__(self, tasks: int, members: int) -> None:
        self._tasks = tasks
        self._members = members
        self.each = 0
        self._compute()

    def _compute(self) -> None:
        self.each = -(-self._tasks // self._members) if self._members else 0

    def reached(self, count: int) -> None:
        """A member has so many tasks now."""
        if count == self.each:
            self._members -= 1
            self._tasks -= count
            self._compute()


class StickyTaskAssignor:
    """One computation: `steps()`, each of which takes less than about a millisecond, then `tasks_of()`.

    What is known of tasks is in one dictionary for each subtopology: one for 100,000 tasks would take 3 ms whenever it grows.
    """

    def __init__(
        self, members: Mapping[str, StreamsMemberSpec], subtopologies: Mapping[str, SubtopologySpec], standby_replicas: int
    ) -> None:
        self._members = members
        self._subtopologies = subtopologies
        self._standby_replicas = standby_replicas
        tasks = sum(each.tasks_count for each in subtopologies.values())
        copies = standby_replicas * sum(each.tasks_count for each in subtopologies.values() if each.is_stateful)
        self._active_quota = Quota(tasks, len(members))
        self._quota = Quota(tasks + copies, len(members))
        self._processes: dict[str, Process] = {}
        self._ran: defaultdict[str, dict[int, str]] = defaultdict(dict)  # task -> the member that ran it
        self._kept: defaultdict[str, dict[int, list[str]]] = defaultdict(dict)  # task -> members that had a copy
        self._placed: defaultdict[str, set[int]] = defaultdict(set)  # active tasks
        self._active: dict[str, list[Task]] = {member_id: [] for member_id in members}
        self._standby: dict[str, list[Task]] = {member_id: [] for member_id in members}
        self.unplaced = 0  # copies for which there are too few processes

    def steps(self) -> Iterator[None]:
        """The computation."""
        yield from self._look_at_members()
        if self._members:
            yield from self._assign_active()
            yield from self._assign_standby()

    def tasks_of(self, member_id: str) -> Tasks:
        """What the member gets."""
        return Tasks(_task_map(self._active[member_id]), _task_map(self._standby[member_id]))

    def _look_at_members(self) -> Iterator[None]:
        for member_id in sorted(self._members):
            process_id, before = self._members[member_id]
            if process_id not in self._processes:
                self._processes[process_id] = Process(process_id)
            self._processes[process_id].join(member_id)
            for piece in steps_of(_tasks_of(before.active)):
                for subtopology, partition in piece:
                    self._ran[subtopology][partition] = member_id
                yield
            for piece in steps_of(_tasks_of(before.standby)):
                for subtopology, partition in piece:
                    self._kept[subtopology].setdefault(partition, []).append(member_id)
                yield

    def _by_subtopology(self, *, stateful: bool = False, backwards: bool = False) -> Iterator[Task]:
        """All tasks, or only the stateful ones, by subtopology and partition."""
        for subtopology in self._names(stateful, backwards):
            count = self._subtopologies[subtopology].tasks_count
            for partition in reversed(range(count)) if backwards else range(count):
                yield subtopology, partition

    def _by_partition(self, *, stateful: bool = False) -> Iterator[Task]:
        """The same by partition and subtopology."""
        names, partition = self._names(stateful, False), 0
        while names:
            names = [each for each in names if partition < self._subtopologies[each].tasks_count]
            for subtopology in names:
                yield subtopology, partition
            partition += 1

    def _names(self, stateful: bool, backwards: bool) -> list[str]:
        names = [name for name, each in self._subtopologies.items() if each.is_stateful or not stateful]
        return sorted(names, reverse=backwards)

    def _process_of(self, member_id: str) -> Process:
        return self._processes[self._members[member_id].process_id]

    def _count(self, member_id: str) -> int:
        return self._process_of(member_id).counts[member_id]

    def _runner(self, task: Task) -> str | None:
        """The member that ran the task."""
        return self._ran[task[0]].get(task[1])

    def _keeper(self, task: Task) -> str | None:
        """The least loaded member that had a copy of the task, of a process that does not have the task yet."""
        loads = [
            (process.load, process.counts[member_id], member_id)
            for member_id in self._kept[task[0]].get(task[1], ())
            if not (process := self._process_of(member_id)).has(task)
        ]
        return min(loads)[2] if loads else None

    def _by_load(self) -> list[tuple[float, str]]:
        """A heap of all processes."""
        heap = [(process.load, process_id) for process_id, process in self._processes.items()]
        heapq.heapify(heap)
        return heap

    # -- active tasks --

    def _assign_active(self) -> Iterator[None]:
        """A task goes to the member that ran it, else to one that has a copy, else to the least loaded."""
        for holder in (self._runner, self._keeper):
            for piece in steps_of(self._by_partition(), TASKS_AT_ONCE):
                for task in piece:
                    member_id = holder(task) if task[1] not in self._placed[task[0]] else None
                    if member_id is not None and self._count(member_id) < self._active_quota.each:
                        self._add_active(task, member_id)
                yield
        heap = self._by_load()
        for piece in steps_of(self._by_subtopology()):
            for task in piece:
                if task[1] not in self._placed[task[0]]:
                    process = self._processes[heap[0][1]]
                    self._add_active(task, process.least_loaded())
                    heapq.heapreplace(heap, (process.load, process.process_id))
            yield

    def _add_active(self, task: Task, member_id: str) -> None:
        count = self._process_of(member_id).add(member_id, task)
        self._placed[task[0]].add(task[1])
        self._active[member_id].append(task)
        self._active_quota.reached(count)
        self._quota.reached(count)

    # -- standby tasks --

    def _assign_standby(self) -> Iterator[None]:
        """A copy goes to the member that ran the task, else to one that has a copy, else to the least loaded. Each process has
        a task once at most."""
        if not self._standby_replicas:
            return
        tasks: list[Task] = []
        for piece in steps_of(self._by_partition(stateful=True), TASKS_AT_ONCE):
            tasks += piece
            yield
        left: defaultdict[str, dict[int, int]] = defaultdict(dict)  # task -> copies
        for piece in steps_of(reversed(tasks), TASKS_AT_ONCE):
            for task in piece:
                copies = self._standby_replicas
                while copies and self._add_where_it_was(task):
                    copies -= 1
                left[task[0]][task[1]] = copies
            yield
        heap = self._by_load()
        for piece in steps_of(self._by_subtopology(stateful=True, backwards=True)):
            for task in piece:
                for _ in range(left[task[0]][task[1]]):
                    self._add_to_least_loaded(task, heap)
            yield

    def _add_where_it_was(self, task: Task) -> bool:
        for member_id in (self._runner(task), self._keeper(task)):
            if member_id is None or self._process_of(member_id).has(task):
                continue
            if self._count(member_id) < self._quota.each:
                self._add_standby(task, member_id)
                return True
        return False

    def _add_to_least_loaded(self, task: Task, heap: list[tuple[float, str]]) -> None:
        have_it = []
        while heap and self._processes[heap[0][1]].has(task):  # as many processes as the task has copies at most
            have_it.append(heapq.heappop(heap))
        if heap:
            process = self._processes[heap[0][1]]
            self._add_standby(task, process.least_loaded())
            heapq.heapreplace(heap, (process.load, process.process_id))
        else:
            self.unplaced += 1
        for each in have_it:
            heapq.heappush(heap, each)

    def _add_standby(self, task: Task, member_id: str) -> None:
        self._standby[member_id].append(task)
        self._quota.reached(self._process_of(member_id).add(member_id, task))


def _tasks_of(tasks: TaskMap) -> Iterator[Task]:
    for subtopology, partitions in tasks.items():
        for partition in partitions:
            yield subtopology, partition


def _task_map(tasks: list[Task]) -> TaskMap:
    found: dict[str, set[int]] = {}
    for subtopology, partition in tasks:
        found.setdefault(subtopology, set()).add(partition)
    return {subtopology: frozenset(partitions) for subtopology, partitions in found.items()}
