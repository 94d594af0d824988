"""Whose turn it is. Several actors have theirs at once, each on a thread.

A seed chooses the actors and what they do. The first requests of actors that are chosen together leave at the same time; which one
the system handles first is the machine's choice, as it is in life.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from types import TracebackType

from raw_client import RawClient

IN_FLIGHT_MAX = 5  # turns; a fetch that waits, for example, lasts while others have theirs
TOGETHER_MAX = 3
Actor = Iterator[None]
_here = threading.local()  # .line: the starting line before which this thread stands


class RacingClient(RawClient):
    """Sends its first request of a turn when the others that were chosen are ready, too."""

    def request_bytes(self, api_key: int, version: int, body: bytes, *, flexible: bool) -> bytes:
        line, _here.line = getattr(_here, "line", None), None
        if line is not None:
            with suppress(threading.BrokenBarrierError):
                line.wait()
        return super().request_bytes(api_key, version, body, flexible=flexible)


def stand_at(line: threading.Barrier | None) -> None:
    """The next request of this thread waits for those of the other threads."""
    _here.line = line


class Turns:
    """An actor has one turn at a time: its requests are in their order."""

    def __init__(self, chance: random.Random) -> None:
        self.actors: list[Actor] = []
        self._chance = chance
        self._pool = ThreadPoolExecutor(IN_FLIGHT_MAX)
        self._running: dict[Actor, Future[bool]] = {}

    def __enter__(self) -> Turns:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown()

    def go(self) -> None:
        """Give turns to some actors that have none. What is drawn depends on the seed and the actors, not on who is ready."""
        count = self._chance.randint(1, TOGETHER_MAX)
        order = self._chance.sample(self.actors, len(self.actors))
        self._collect(IN_FLIGHT_MAX - count)
        chosen = [actor for actor in order if actor in self.actors and actor not in self._running][:count]
        line = threading.Barrier(max(1, len(chosen)))
        for actor in chosen:
            self._running[actor] = self._pool.submit(_turn, actor, line)

    def finish(self) -> None:
        """Wait for all that are under way."""
        self._collect(0)

    def _collect(self, left: int) -> None:
        """Wait until so many turns are left. An actor without a further one goes."""
        while self._running:
            if len(self._running) > left:
                wait(self._running.values(), return_when=FIRST_COMPLETED)
            ended = [actor for actor, turn in self._running.items() if turn.done()]
            for actor in ended:
                if not self._running.pop(actor).result():
                    self.actors.remove(actor)
            if len(self._running) <= left:
                return


def _turn(actor: Actor, line: threading.Barrier) -> bool:
    """Whether the actor wants another one."""
    stand_at(line)
    try:
        return next(actor, actor) is not actor
    finally:
        stand_at(None)
        line.abort()  # one without a request holds up nobody
