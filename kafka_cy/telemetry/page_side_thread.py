"""A thread beside a page's own one for what takes long without the GIL: hashes of passwords, and handshakes."""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Callable
from queue import Full, Queue
from typing import Any

from kafka_cy.base.named_thread import NamedThread
from kafka_cy.telemetry.page_thread import give_way


class SideThread:
    """Does one thing after the other. Owner: the page's thread. The first thing starts it."""

    def __init__(self, name: str, work: Callable[[Any, Any], Any], waiting_max: int) -> None:
        """`work(connection, what)` gives the result of each thing; it must not raise."""
        self._name = name
        self._work = work
        self._waiting: Queue[tuple[Any, Any] | None] = Queue(waiting_max)
        self._finished: deque[tuple[Any, Any, Any]] = deque()
        self._waker, self.woken = socket.socketpair()  # readable: there are results
        self._waker.setblocking(False)
        self.woken.setblocking(False)
        self._thread: NamedThread | None = None

    def submit(self, connection: Any, what: Any) -> bool:
        """Do it for a connection; False: too much waits."""
        if self._thread is None:
            thread = NamedThread(target=self._run, name=self._name, daemon=True)
            thread.start()
            self._thread = thread  # after a failed start, the next thing tries again
        try:
            self._waiting.put_nowait((connection, what))
        except Full:
            return False
        return True

    def results(self) -> list[tuple[Any, Any, Any]]:
        """(connection, what, the result) of all that is done."""
        try:
            self.woken.recv(4096)
        except BlockingIOError:
            pass
        return [self._finished.popleft() for _ in range(len(self._finished))]

    def stop(self) -> None:
        """End the thread after what it is doing."""
        while self._thread is not None:
            try:
                self._waiting.put_nowait(None)
                break
            except Full:
                self._waiting.get_nowait()

    def _run(self) -> None:
        give_way()
        while (thing := self._waiting.get()) is not None:
            self._finished.append((*thing, self._work(*thing)))
            try:
                self._waker.send(b"x")
            except BlockingIOError:
                pass  # it is readable anyway
