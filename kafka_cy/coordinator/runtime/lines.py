"""The order of operations: those on one key are done in the order of their arrival, also when one of them takes long.

A key has a line from the arrival of an operation that takes long until nobody waits behind it. Whatever arrives for the key
meanwhile goes to the end of its line. The first of a line has its turn: an operation that takes long when it is ready
(LongOperations does one after the other), others at once. These are done in slices of their own, so that they wait for
no long task, and many of them do not hold up the loop.

What an operation begins on its own key in its `apply` is a part of it, and is done at once.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from functools import partial
from typing import Final

from kafka_cy.base.slices import Loop, Slices

Call = Callable[[], object]


class Place:
    """An operation that takes long, in the line of its key. `steps` are its work, once it is ready."""

    __slots__ = ("has_turn", "line", "steps")

    def __init__(self, line: Line) -> None:
        self.line = line
        self.steps: Iterator[object] | None = None
        self.has_turn = False


class Line:
    """The operations on one key, the oldest first. It exists while somebody waits, or an operation that takes long is there."""

    __slots__ = ("arrived", "entries", "is_moving", "key")

    def __init__(self, key: str) -> None:
        self.key: Final = key
        self.entries: deque[Place | Call] = deque()
        self.is_moving = False  # those who wait are being done, until the next place
        self.arrived = 0  # since the last step of that; without pieces of long tasks


class Lines:
    """Owner: the coordinator's thread.

    Limits: a connection has `kafkacy.connection.max.control.requests` requests here at most, a group a few timers, and the walks
    over all groups (expiry, deleted topics) have their pieces.
    """

    def __init__(
        self, loop: Loop, long_tasks: Slices, on_turn: Callable[[Place], object], on_fault: Callable[[Exception], object]
    ) -> None:
        """`on_turn` gets a place that is ready when it is the first of its line; it calls `leave` at the end."""
        self._long_tasks = long_tasks
        self._on_turn = on_turn
        self._on_fault = on_fault
        self._slices = Slices(loop, on_fault)
        self._lines: dict[str, Line] = {}
        self._changing: str | None = None  # the key whose operation changes the soft state now

    def __contains__(self, key: str) -> bool:
        return key in self._lines

    def stop(self) -> None:
        """Drop everything: the loop has ended."""
        self._slices.stop()
        self._lines.clear()

    # -- operations that do not take long --

    def run(self, key: str, call: Call) -> None:
        """Do an operation on the key now, or when those before it are done."""
        line = self._lines.get(key)
        if line is None or key == self._changing:
            call()
        else:
            line.entries.append(call)
            if not (self._long_tasks.is_running or self._slices.is_running):
                line.arrived += 1

    def within(self, key: str, change: Call) -> None:
        """Change the soft state: operations on the key that this begins are a part of the operation that changes it."""
        before, self._changing = self._changing, key
        try:
            change()
        finally:
            self._changing = before

    # -- those that do --

    def join(self, key: str) -> Place:
        """The last place in the line of the key. Every place is left some time, whatever happens."""
        line = self._line(key)
        place = Place(line)
        line.entries.append(place)
        return place

    def enter(self, key: str) -> Place:
        """The first place in the line of the key."""
        line = self._line(key)
        place = Place(line)
        line.entries.appendleft(place)
        return place

    def ready(self, place: Place, steps: Iterator[object]) -> None:
        """The place has its turn when it is the first."""
        place.steps = steps
        line = place.line
        if not line.is_moving and line.entries[0] is place:
            self._turn(place)

    def leave(self, place: Place) -> None:
        """The operation is over, or does not take place."""
        line = place.line
        if line.entries and line.entries[0] is place:
            line.entries.popleft()
            self._advance(line)
        else:
            line.entries.remove(place)

    def _line(self, key: str) -> Line:
        line = self._lines.get(key)
        if line is None:
            line = self._lines[key] = Line(key)
        return line

    def _turn(self, place: Place) -> None:
        if place.steps is not None and not place.has_turn:
            place.has_turn = True
            self._on_turn(place)

    def _advance(self, line: Line) -> None:
        """Whoever is the first now has its turn."""
        if line.is_moving:
            return
        if not line.entries:
            self._lines.pop(line.key, None)
            return
        first = line.entries[0]
        if isinstance(first, Place):
            self._turn(first)
        else:
            line.is_moving, line.arrived = True, 0
            self._slices.add(self._move(line), partial(self._moved, line))

    def _move(self, line: Line) -> Iterator[None]:
        """Do what waits, until the next place. A fault in one stops no other.

        Each step does one, and as many as requests and timers have come since the step before. Without a line the loop would have
        done these at once; so the line gets shorter however many come. A walk over all groups waits for nobody: its pieces, which
        come as fast as they can be made, do not count.
        """
        while self._may_move(line):
            count, line.arrived = 1 + line.arrived, 0
            while count and self._may_move(line):
                count -= 1
                self._do_first(line)
            if self._may_move(line):
                yield

    @staticmethod
    def _may_move(line: Line) -> bool:
        return bool(line.entries) and not isinstance(line.entries[0], Place)

    def _do_first(self, line: Line) -> None:
        first = line.entries.popleft()
        assert not isinstance(first, Place)
        try:
            first()
        except Exception as fault:  # noqa: BLE001 the others have their turn
            self._on_fault(fault)

    def _moved(self, line: Line) -> None:
        line.is_moving = False
        self._advance(line)
