"""Requests of the group coordinator to the share coordinator: each is about many share partitions, and has one end.

Kafka sends them to itself over the network (DefaultStatePersister).
"""

from __future__ import annotations

import uuid
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sized
from functools import partial
from typing import Any, Final

from kafka_cy.base.slices import AT_ONCE_MAX
from kafka_cy.coordinator.share.state_coordinator import ShareCoordinator
from kafka_cy.coordinator.share.state_machine import SharePartition, ShareState
from kafka_cy.protocol.errors import ErrorCode

Errors = Mapping[uuid.UUID, Mapping[int, ErrorCode]]  # topic id -> partition -> error
Summaries = Mapping[uuid.UUID, Mapping[int, "ShareState | None"]]  # None: there is no state, or it cannot be read
Partitions = Mapping[uuid.UUID, Collection[int]]
Forget = Callable[[SharePartition, ErrorCode], object]
WAITS: Final = object()  # in place of the result of an operation


def has_many(partitions: Mapping[Any, Sized], few: int) -> bool:
    """Whether there are more than `few` partitions. It counts no further."""
    for each in partitions.values():
        few -= max(1, len(each))
        if few < 0:
            return True
    return False


class StateRequests:
    """Owner: the coordinator's thread. Limit: the callers bound the number of requests."""

    def __init__(self, coordinator: ShareCoordinator, forget: Forget) -> None:
        """`forget`: what the leader of a share partition has in memory is void."""
        self.coordinator = coordinator
        self._forget = forget

    def initialize(
        self, group_id: str, epoch: int, offsets: Mapping[uuid.UUID, Mapping[int, int]], done: Callable[[Errors], object]
    ) -> None:
        """Begin the state of each share partition at its offset (-1: where a reader begins by `share.auto.offset.reset`)."""

        def start(partition: SharePartition, respond: Callable[..., object]) -> None:
            offset = offsets[partition.topic_id][partition.partition]
            respond = partial(self._respond_error, partition, ErrorCode.NOT_LEADER_OR_FOLLOWER, respond)
            self.coordinator.initialize(partition, epoch, offset, respond)

        self._each(group_id, offsets, start, ErrorCode.UNKNOWN_SERVER_ERROR, done)

    def delete(self, group_id: str, partitions: Partitions, done: Callable[[Errors], object]) -> None:
        """Delete the states; those that do not exist are no error."""

        def start(partition: SharePartition, respond: Callable[..., object]) -> None:
            respond = partial(self._respond_error, partition, ErrorCode.GROUP_ID_NOT_FOUND, respond)
            self.coordinator.delete(partition, respond)

        self._each(group_id, partitions, start, ErrorCode.UNKNOWN_SERVER_ERROR, done)

    def _respond_error(
        self, partition: SharePartition, told: ErrorCode, respond: Callable[[ErrorCode], object], error: ErrorCode
    ) -> None:
        if not error:
            self._forget(partition, told)
        respond(error)

    def summaries(self, group_id: str, partitions: Partitions, done: Callable[[Summaries], object]) -> None:
        """Read the states without taking them over."""

        def start(partition: SharePartition, respond: Callable[..., object]) -> None:
            self.coordinator.summary(partition, lambda error, state: respond(None if error else state))

        self._each(group_id, partitions, start, None, done)

    def _each(
        self, group_id: str, partitions: Partitions, start: Callable[..., object], fault: Any,
        done: Callable[[dict[uuid.UUID, dict[int, Any]]], object],
    ) -> None:  # fmt: skip
        """Start an operation for each partition, in slices if there are many; call `done` once, with all results. `fault` is the
        result of an operation that raises. `partitions` stay as they are."""
        found: dict[uuid.UUID, dict[int, Any]] = {}
        left = 1  # operations, and the walk over the partitions

        def over() -> None:
            nonlocal left
            left -= 1
            if not left:
                done(found)

        def respond(results: dict[int, Any], partition: int, result: Any) -> None:
            if results[partition] is WAITS:
                results[partition] = result
                over()

        def start_one(topic_id: uuid.UUID, partition: int | None) -> None:
            nonlocal left
            results = found.setdefault(topic_id, {})
            if partition is None or partition in results:
                return
            results[partition], left = WAITS, left + 1
            answer = partial(respond, results, partition)
            try:
                start(SharePartition(group_id, topic_id, partition), answer)
            except Exception:
                answer(fault)
                raise

        if has_many(partitions, AT_ONCE_MAX):
            self.coordinator.runtime.in_slices(_rows(partitions), lambda row: start_one(*row), over)
            return
        try:
            self._start_all(start_one, _rows(partitions))
        finally:
            over()

    @staticmethod
    def _start_all(start: Callable[..., object], rows: Iterable[tuple[uuid.UUID, int | None]]) -> None:
        """A fault in one does not stop the others; raises the last one."""
        fault: Exception | None = None
        for row in rows:
            try:
                start(*row)
            except Exception as error:  # noqa: BLE001 `done` waits for all of them
                fault = error
        if fault is not None:
            raise fault


def _rows(partitions: Partitions) -> Iterator[tuple[uuid.UUID, int | None]]:
    """Every topic, with None, and its partitions."""
    for topic_id, each_of in partitions.items():
        yield topic_id, None
        for each in each_of:
            yield topic_id, each


class StateWork:
    """Work on the states of share partitions: of each group one after the other, so that no request overtakes another.

    Owner: the coordinator's thread. Limit: a piece for each request that waits, and one for each group.
    """

    def __init__(self) -> None:
        self._of_groups: dict[str, deque[Callable[[], object]]] = {}
        self._starting: set[str] = set()  # groups whose work is being started further up the stack

    def is_busy(self, group_id: str) -> bool:
        """Whether there is work on the group's states."""
        return group_id in self._of_groups

    def add(self, group_id: str, start: Callable[[], object]) -> None:
        """Begin the work when all earlier work of the group is over; the work calls `over` at its end, unless it raises before."""
        self._of_groups.setdefault(group_id, deque()).append(start)
        self._start(group_id)

    def over(self, group_id: str) -> None:
        """The work that was begun last is over."""
        self._drop_first(group_id)
        self._start(group_id, goes_on=True)

    def _drop_first(self, group_id: str) -> None:
        work = self._of_groups[group_id]
        work.popleft()
        if not work:
            del self._of_groups[group_id]

    def _start(self, group_id: str, *, goes_on: bool = False) -> None:
        """Start the next piece, and those behind it while they end at once: in a loop, because hundreds may wait.

        Raises what the last piece that failed has raised, when nothing is left that can be started.
        """
        if group_id in self._starting or (not goes_on and len(self._of_groups[group_id]) > 1):
            return
        fault: Exception | None = None
        begun: Callable[[], object] | None = None
        self._starting.add(group_id)
        while group_id in self._of_groups and self._of_groups[group_id][0] is not begun:
            begun = self._of_groups[group_id][0]
            try:
                begun()
            except Exception as error:  # noqa: BLE001 what waits behind it goes on
                fault = error
                if group_id in self._of_groups and self._of_groups[group_id][0] is begun:
                    self._drop_first(group_id)
        self._starting.remove(group_id)
        if fault is not None:
            raise fault
