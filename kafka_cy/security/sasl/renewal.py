"""Keeps what a broker logs in to others with fresh: a thread gets the next credential before the last one ends."""

from __future__ import annotations

import queue
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Generic, TypeVar

from kafka_cy.base.named_thread import NamedThread

RETRY_S: Final = 10.0  # after a failure, as in Kafka
WAIT_S_MAX: Final = 86_400.0  # at a time

Credential = TypeVar("Credential")


class RenewalFailed(Exception):
    """There is no new credential. The text says why, and has no secret."""


class Renewal(Generic[Credential]):
    """`get()` makes a credential, and says in how many seconds it is to be called again. It may wait for a network, but it ends.

    start() calls it on the thread of the caller, then a thread of its own does. Limit: the caller's, of what it gives to run().
    """

    value: Credential  # from start() on; replaced as a whole, by the thread

    def __init__(self, name: str, get: Callable[[], tuple[Credential, float]]) -> None:
        self._name, self._get = name, get
        #: Called by the thread when why it fails changes; with "" when it succeeds again.
        self.told: Callable[[str], object] = lambda problem: None
        self._jobs: queue.SimpleQueue[Callable[[], object] | None] = queue.SimpleQueue()
        self._due_s = 0.0
        self.problem = ""  # of the last attempt
        self.failures = 0

    def start(self) -> None:
        """Get the first credential, and begin to renew it. Raises RenewalFailed."""
        self._renew()
        if self.problem:
            raise RenewalFailed(self.problem)
        NamedThread(target=self._run, name=self._name, daemon=True).start()

    def run(self, job: Callable[[], object]) -> None:
        """Have the thread call `job`. Any thread."""
        self._jobs.put(job)

    def stop(self) -> None:
        """The thread ends, at once unless it waits for a network; it does not hold up the end of the process."""
        self._jobs.put(None)

    def _run(self) -> None:
        while True:
            wait_s = min(max(0.0, self._due_s - time.monotonic()), WAIT_S_MAX)
            try:
                job = self._jobs.get(timeout=wait_s)
            except queue.Empty:
                before = self.problem
                if time.monotonic() >= self._due_s:
                    self._renew()
                if self.problem != before:
                    self.told(self.problem)
                continue
            if job is None:
                return
            with suppress(Exception):  # a fault of ours must not end the thread
                job()

    def _renew(self) -> None:
        problem, in_s = "", RETRY_S
        try:
            self.value, in_s = self._get()
        except RenewalFailed as error:
            problem = str(error)
        except Exception as error:  # noqa: BLE001 a fault of ours must not end the thread, and its text may hold a secret
            problem = type(error).__name__
        self.failures += bool(problem)
        self._due_s = time.monotonic() + in_s
        self.problem = problem
