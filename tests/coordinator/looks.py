"""Names and ids that count who looks at them: sorts, hashes or compares. So a test sees how much one turn of the loop does."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager

from .fakes import FakeLoop


class Looks:
    """How often a turn of the loop looks at a name or an id, and the most."""

    now = most = 0
    is_on = False  # the loop works, and not the test or another thread

    def add(self) -> None:
        if self.is_on:
            self.now += 1
            self.most = max(self.most, self.now)

    @contextmanager
    def of_turn(self) -> Iterator[None]:
        """Count."""
        self.now, self.is_on = 0, True
        try:
            yield
        finally:
            self.is_on = False


LOOKS = Looks()


class Name(str):
    """A topic's name that counts who looks at it."""

    __slots__ = ()

    def __hash__(self) -> int:
        LOOKS.add()
        return super().__hash__()

    def __eq__(self, other: object) -> bool:
        return super().__eq__(other)

    def __lt__(self, other: str) -> bool:
        LOOKS.add()
        return super().__lt__(other)


class Id(uuid.UUID):
    """A topic's id that counts who looks at it."""

    __slots__ = ()

    def __hash__(self) -> int:
        LOOKS.add()
        return super().__hash__()


def turns_of(loop: FakeLoop) -> Iterator[None]:
    """What is due, and works on the other thread, one after the other. Only what the loop does is counted."""
    assert loop.threads is not None
    while True:
        if loop.threads:
            work, done = loop.threads.pop(0)
            work()
            with LOOKS.of_turn():
                done()
        elif loop.timers and loop.timers[0][0] <= loop.time_s:
            with LOOKS.of_turn():
                loop.run_next()
        else:
            return
        yield
