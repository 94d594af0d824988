"""Which process has which task. Part of a streams group's replicated state: only its replay calls `add` and `remove`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, Final

from kafka_cy.coordinator.streams.tasks import AssignedTasks

NOBODY: frozenset[str] = frozenset()
PIECE_TASKS: Final = 2000  # of a subtopology that change their owner in one step


class TaskOwners:
    """An active task has one process; each process may have it as a standby or warm-up task besides.

    A compacted log may show two owners of a task for a moment: the last one counts.
    """

    __slots__ = ("active", "standby", "warmup")

    def __init__(self) -> None:
        self.active: dict[str, dict[int, str]] = {}  # subtopology -> partition -> process id
        self.standby: dict[str, dict[int, set[str]]] = {}
        self.warmup: dict[str, dict[int, set[str]]] = {}

    # -- changes --

    def add(self, process_id: str, tasks: AssignedTasks) -> Iterator[None]:
        """A member of the process has the tasks. A task for slices."""
        for subtopology, piece in pieces(tasks.active):
            self.active.setdefault(subtopology, {}).update(dict.fromkeys(piece, process_id))
            yield
        for found, role in ((self.standby, tasks.standby), (self.warmup, tasks.warmup)):
            for subtopology, piece in pieces(role):
                processes = found.setdefault(subtopology, {})
                for partition in piece:
                    processes.setdefault(partition, set()).add(process_id)
                yield

    def remove(self, process_id: str, tasks: AssignedTasks) -> Iterator[None]:
        """A member of the process no longer has the tasks. A task for slices."""
        for subtopology, piece in pieces(tasks.active):
            owners = self.active.get(subtopology, {})
            for partition in piece:
                if owners.get(partition) == process_id:
                    del owners[partition]
            _drop_empty(self.active, subtopology)
            yield
        for found, role in ((self.standby, tasks.standby), (self.warmup, tasks.warmup)):
            for subtopology, piece in pieces(role):
                processes = found.get(subtopology, {})
                for partition in piece:
                    processes.get(partition, set()).discard(process_id)
                    _drop_empty(processes, partition)
                _drop_empty(found, subtopology)
                yield

    # -- questions --

    def active_process(self, subtopology: str, partition: int) -> str | None:
        """The process that runs the task."""
        return self.active.get(subtopology, {}).get(partition)

    def has_copy(self, process_id: str, subtopology: str, partition: int) -> bool:
        """Whether the process has the task as a standby or warm-up task."""
        return any(
            process_id in found.get(subtopology, {}).get(partition, NOBODY) for found in (self.standby, self.warmup)
        )

    def stored(self) -> Mapping[str, Any]:
        """A copy, for comparisons."""
        return {
            "active": {each: dict(found) for each, found in self.active.items()},
            "standby": {each: {key: set(has) for key, has in found.items()} for each, found in self.standby.items()},
            "warmup": {each: {key: set(has) for key, has in found.items()} for each, found in self.warmup.items()},
        }


def pieces(tasks: Mapping[str, Iterable[int]]) -> Iterator[tuple[str, Sequence[int]]]:
    """The tasks of one role, by subtopology, at most PIECE_TASKS at once."""
    for subtopology, partitions in tasks.items():
        left = iter(partitions)
        while piece := tuple(islice(left, PIECE_TASKS)):
            yield subtopology, piece


def _drop_empty(found: dict[Any, Any], key: Any) -> None:
    if key in found and not found[key]:
        del found[key]
