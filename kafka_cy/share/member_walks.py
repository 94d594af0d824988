"""Walks over the partitions of share sessions, in slices: a session may have 100,000.

The walks of one member are done one after the other, in the order of their arrival. So a later request of its session finds what
an earlier one has done, and a new session begins when what the member held in the old one was released.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from kafka_cy.base.slices import AT_ONCE_MAX, Slices, Work
from kafka_cy.share.sessions import SessionKey

Steps = Iterator[object]  # each step is about one partition or a few, or is a Work


class MemberWalks:
    """Owner: the loop's thread. Limit: a connection has `kafkacy.connection.max.control.requests` requests here at most, and a
    session ends once."""

    def __init__(self, loop: Any, on_fault: Callable[[Exception], object]) -> None:
        self.slices = Slices(loop, on_fault)  # of its own: share fetches wait for no long task of another kind
        self._on_fault = on_fault
        self._lines: dict[SessionKey, deque[Iterator[object]]] = {}  # the first walk of each is being done
        self._is_stopping = False

    def __len__(self) -> int:
        return len(self._lines)

    def add(self, key: SessionKey, size: int, steps: Steps, failed: Callable[[], object]) -> None:
        """A walk of the member over `size` partitions: now if they are few and no other walk of the member is under way.

        `failed` is called after a fault in a step, which ends the walk.
        """
        walk = self._guarded(steps, failed)
        line = self._lines.get(key)
        if line is not None:
            line.append(walk)
        elif self._is_short(size):
            _at_once(walk)
        else:
            self._lines[key] = deque([walk])
            self._start(key)

    def add_apart(self, size: int, steps: Steps, failed: Callable[[], object]) -> None:
        """A walk whose place among those of its member does not matter."""
        walk = self._guarded(steps, failed)
        if self._is_short(size):
            _at_once(walk)
        else:
            self.slices.add(walk)

    def stop(self) -> None:
        """The broker stops: walks that begin from now on are done at once."""
        self._is_stopping = True

    def _is_short(self, size: int) -> bool:
        return size <= AT_ONCE_MAX or self._is_stopping

    def _start(self, key: SessionKey) -> None:
        self.slices.add(self._lines[key][0], partial(self._over, key))

    def _over(self, key: SessionKey) -> None:
        line = self._lines[key]
        line.popleft()
        if line:
            self._start(key)
        else:
            del self._lines[key]

    def _guarded(self, steps: Steps, failed: Callable[[], object]) -> Iterator[object]:
        try:
            yield from steps
        except Exception as fault:  # noqa: BLE001 the other walks have their turn
            self._on_fault(fault)
            failed()


def _at_once(walk: Iterator[object]) -> None:
    for step in walk:
        if isinstance(step, Work):
            step.run()
