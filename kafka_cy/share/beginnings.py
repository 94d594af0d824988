"""Share partitions that begin: the look-up of their first offset, and the line about those that cannot begin."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any

from kafka_cy.base.slices import Work
from kafka_cy.coordinator.runtime.limit_line import LimitLine
from kafka_cy.coordinator.share.state_machine import SharePartition as PartitionKey

Found = Callable[[Callable[[], int]], object]  # it gets what returns the offset, or raises what the look-up raised


class Beginnings:
    """Owner: the loop's thread. Limits: one thread, and one waiting look-up for each share partition that begins."""

    def __init__(self, loop: Any, log: Callable[..., object]) -> None:
        self._loop = loop
        self._failed_line = LimitLine(log, loop.now)  # clients try again at once
        self._waiting: deque[tuple[Work[int], Found]] = deque()  # the first one is under way

    def look_up(self, look: Callable[[], int], found: Found) -> None:
        """Run `look`, which may wait for a disk, on another thread; one after the other."""
        self._waiting.append((Work(look), found))
        if len(self._waiting) == 1:
            self._begin()

    def _begin(self) -> None:
        work, _ = self._waiting[0]
        try:
            self._loop.run_in_thread(work.run, self._ended)
        except Exception as error:  # noqa: BLE001 no thread can be started: whoever waits decides
            work.fail(error)
            self._loop.call_later(0, self._ended)

    def _ended(self) -> None:
        work, found = self._waiting.popleft()
        if self._waiting:
            self._begin()
        found(work.result)

    def failed(self, key: PartitionKey, fault: Exception) -> None:
        """The share partition cannot begin; whoever uses it next begins anew."""
        self._failed_line.write(
            "a share partition cannot begin; its share fetches get an error",
            group=key.group_id, topic_id=str(key.topic_id), partition=key.partition, error=repr(fault),
        )  # fmt: skip
