"""How many offsets groups committed, and how many expired or were deleted: counts of the group coordinator for metrics.

Kafka: OffsetCommits, OffsetExpired and OffsetDeletions of GroupCoordinatorMetrics. Commits that a reactor stores are counted there
(kafka_cy.api.offset_commit).
"""

from __future__ import annotations

from collections.abc import Generator
from functools import partial
from typing import Any, TypeVar

from kafka_cy.coordinator.records import OffsetKey
from kafka_cy.coordinator.runtime.result import CoordinatorResult

R = TypeVar("R")


class GroupCounts:
    """Owner: the coordinator's thread; any thread may read. A result counts when its records are replayed."""

    __slots__ = ("commits", "deletions", "expirations")

    def __init__(self) -> None:
        self.commits = self.expirations = self.deletions = 0

    def committed(self, result: CoordinatorResult[R]) -> CoordinatorResult[R]:
        """Its records are committed offsets."""
        return self._counted("commits", result)

    def expired(self, result: CoordinatorResult[R]) -> CoordinatorResult[R]:
        """Its records remove offsets whose time is over."""
        return self._counted("expirations", result)

    def deleted(self, result: CoordinatorResult[R]) -> CoordinatorResult[R]:
        """Its records remove offsets that somebody deleted."""
        return self._counted("deletions", result)

    def deleted_in_steps(
        self, steps: Generator[object, None, CoordinatorResult[R]]
    ) -> Generator[object, None, CoordinatorResult[R]]:
        """deleted() for every batch of a long operation."""
        while True:
            try:
                step = next(steps)
            except StopIteration as end:
                return self.deleted(end.value)
            yield self.deleted(step) if isinstance(step, CoordinatorResult) else step

    def _counted(self, name: str, result: CoordinatorResult[R]) -> CoordinatorResult[R]:
        count = sum(isinstance(key, OffsetKey) for key, _ in result.records)
        if count:
            result.apply = partial(self._count, name, count, result.apply)
        return result

    def _count(self, name: str, count: int, then: Any) -> None:
        setattr(self, name, getattr(self, name) + count)
        if then is not None:
            then()
