"""Builds and encodes long responses on a thread, one after the other, so that they do not hold up the loop."""

from __future__ import annotations

import queue
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from kafka_cy.base.named_thread import NamedThread

if TYPE_CHECKING:
    from kafka_cy.api.context import Make, Prepare, Request
    from kafka_cy.server.control_loop import ControlLoop

Job = tuple["Request[Any]", "Make"]


class LongResponses:
    """One response is built at a time, so that memory contains the data of only one; the other requests wait in order.

    Owner: the loop's thread. The thread `long-responses` starts with the first request; it only touches its current job.
    Limit: the network layer bounds the requests that wait.
    """

    def __init__(self, loop: ControlLoop, fail: Callable[[Request[Any], Exception], None]) -> None:
        """`fail` answers a request after an exception; any thread may call it."""
        self._loop = loop
        self._fail = fail
        self._waiting: deque[tuple[Request[Any], Prepare]] = deque()
        self._busy = False
        self._jobs: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._thread: NamedThread | None = None

    def add(self, request: Request[Any], prepare: Prepare) -> None:
        """Respond to the request when its turn comes: see Request.respond_long."""
        self._waiting.append((request, prepare))
        if not self._busy:
            self._next()

    def stop(self) -> None:
        """End the thread after its current response."""
        if self._thread is not None:
            self._jobs.put(None)
            self._thread.join()

    def _next(self) -> None:
        while self._waiting and not self._busy:
            request, prepare = self._waiting.popleft()
            self._busy = True
            try:
                prepare(partial(self._build, request))
            except Exception as error:  # noqa: BLE001 a fault costs only this request
                self._fail(request, error)
                self._busy = False

    def _build(self, request: Request[Any], make: Make) -> None:
        if self._thread is None:
            self._thread = NamedThread(target=self._work, name="long-responses", daemon=True)
            self._thread.start()
        self._jobs.put((request, make))

    def _work(self) -> None:
        while True:
            job = self._jobs.get()
            if job is None:
                return
            request, make = job
            try:
                request.respond(make())
            except Exception as error:  # noqa: BLE001 a fault costs only this request
                self._fail(request, error)
            del job, request, make  # free the memory before the next job
            self._loop.call_soon_threadsafe(self._over)

    def _over(self) -> None:
        self._busy = False
        self._next()
