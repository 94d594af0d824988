"""The owner of a ZooKeeper store in tests: the test's thread, which runs what is posted while it waits."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Any

from kafka_cy.cluster.store import AsyncStore, Operation, Request, SessionEvent, StoreError
from kafka_cy.cluster.store_calls import StoreCalls, run
from kafka_cy.cluster.zookeeper_store import ZooKeeperStore

WAIT_S_MAX = 60.0


class Log:
    """Keeps the lines."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def info(self, what: str, **details: Any) -> None:
        self.lines.append(what)

    warning = error = info

    def repeated(self, level: str, what: str, details: dict[str, Any]) -> None:
        self.lines.append(what)

    def count(self, part: str) -> int:
        return sum(part in line for line in self.lines)


class Owner:
    """A store and its loop."""

    def __init__(
        self, connect: str | None = None, *, session_timeout_ms: int = 10000, in_flight_max: int = 10
    ) -> None:
        self._posted: queue.Queue[tuple[Callable[..., object], tuple[Any, ...]]] = queue.Queue()
        self.log = Log()
        self.events: list[SessionEvent] = []
        self.store: AsyncStore
        if connect is not None:
            self.zookeeper = ZooKeeperStore(
                connect, self.post, self.call_later, self.log, session_timeout_ms=session_timeout_ms, in_flight_max=in_flight_max
            )
            self.use(self.zookeeper)
            self.zookeeper.start()

    def use(self, store: AsyncStore) -> None:
        self.store = store
        store.listen(self.events.append)

    def post(self, function: Callable[..., object], *arguments: Any) -> None:
        self._posted.put((function, arguments))

    def call_later(self, delay_ms: float, function: Callable[[], object]) -> None:
        timer = threading.Timer(delay_ms / 1000, self.post, [function])
        timer.daemon = True
        timer.start()

    def steps(self, steps: Callable[[StoreCalls], Any]) -> Any:
        """Run steps over the store; what they raise is raised."""
        ended: list[tuple[Any, Exception | None]] = []
        run(steps(StoreCalls(self.store, self.call_later)), lambda value, fault: ended.append((value, fault)))
        self.run_until(lambda: ended)
        if ended[0][1] is not None:
            raise ended[0][1]
        return ended[0][0]

    def __enter__(self) -> Owner:
        return self

    def __exit__(self, *failure: object) -> None:
        self.store.close()

    def run_until(self, condition: Callable[[], object]) -> None:
        """Run what is posted until the condition holds."""
        deadline = time.monotonic() + WAIT_S_MAX
        while not condition():
            try:
                function, arguments = self._posted.get(timeout=max(0.0, min(0.1, deadline - time.monotonic())))
            except queue.Empty:
                assert time.monotonic() < deadline, f"waited in vain; {self.events}, {self.log.lines}"
                continue
            function(*arguments)

    def run_one(self) -> None:
        """Run the next posted function; wait for it."""
        function, arguments = self._posted.get(timeout=WAIT_S_MAX)
        function(*arguments)

    def run_for(self, count: int) -> None:
        """Run at most this many posted functions that are there already."""
        for _ in range(count):
            try:
                function, arguments = self._posted.get_nowait()
            except queue.Empty:
                return
            function(*arguments)

    def answer(self, ask: Callable[[Callable[[Any, StoreError | None], object]], object]) -> Any:
        """What `done` gets; an error is raised."""
        answers: list[tuple[Any, StoreError | None]] = []
        ask(lambda answer, error: answers.append((answer, error)))
        self.run_until(lambda: answers)
        if answers[0][1] is not None:
            raise answers[0][1]
        return answers[0][0]

    def read(self, *requests: Request) -> list[Any]:
        return self.answer(lambda done: self.store.read(requests, done))

    def change(self, *operations: Operation) -> list[Any]:
        return self.answer(lambda done: self.store.submit(operations, done))

    def saw(self, *events: SessionEvent) -> bool:
        return list(events) == self.events[-len(events) :]
