"""A load by Python threads: what the loads of clients written in Python share."""

from __future__ import annotations

import resource
import threading
import time
from collections.abc import Callable

from kafka_cy.bench.histogram import LatencyHistogram
from kafka_cy.bench.load_options import LoadOptions
from kafka_cy.bench.measure import Ending


class LoadFailure(Exception):
    """A job cannot go on; the text is one sentence."""


class ThreadedLoad:
    """A `measure.Load` whose jobs run in a thread each; add them before `start`. They end when `is_over`.

    Jobs call `answered` and `fail` from any thread.
    """

    def __init__(self, options: LoadOptions) -> None:
        self.options = options
        self._jobs: list[Callable[[], None]] = []
        self._threads: list[threading.Thread] = []
        self._stop = threading.Event()
        self._latency = LatencyHistogram()
        self._requests = self._records = self._bytes = self._errors = 0
        self._error: str | None = None
        self._closed = False
        self._lock = threading.Lock()
        self._measured_from_ns = self._end_ns = self._finished_ns = 0
        self._cpu_before_s = self._cpu_after_s = 0.0

    def add(self, job: Callable[[], None]) -> None:
        """Add a thread. LoadFailure ends the load, as does OSError: the broker has hung up."""
        self._jobs.append(job)

    # -- for jobs --

    def is_over(self) -> bool:
        """Whether the time is over, or the load was stopped."""
        return self._stop.is_set() or time.monotonic_ns() >= self._end_ns

    def answered(self, began_ns: int, records: int, size: int) -> None:
        """Count one answered request, which was due at `began_ns`, unless the warm-up still goes on."""
        now_ns = time.monotonic_ns()
        with self._lock:
            if now_ns >= self._measured_from_ns:
                self._latency.record(now_ns - began_ns)
                self._requests += 1
                self._records += records
                self._bytes += size
                self._finished_ns = now_ns

    def fail(self, error: str, *, closed: bool = False) -> None:
        """End the load with an error (a sentence)."""
        with self._lock:
            self._error = self._error or error
            self._errors += not closed
        self._closed = self._closed or closed
        self._stop.set()

    # -- measure.Load --

    def start(self) -> None:
        begin_ns = time.monotonic_ns()
        self._measured_from_ns = begin_ns + int(self.options.warm_up_s * 1e9)
        self._end_ns = self._measured_from_ns + int(self.options.duration_s * 1e9)
        self._threads = [threading.Thread(target=self._guard, args=(job,), daemon=True) for job in self._jobs]
        self._threads.append(threading.Thread(target=self._supervise, daemon=True))
        for thread in self._threads:
            thread.start()

    def measured_from_ns(self) -> int:
        return self._measured_from_ns

    def wait(self, timeout_s: float) -> bool:
        self._threads[-1].join(timeout_s)
        return not self._threads[-1].is_alive()

    def stop(self) -> None:
        self._stop.set()

    def counters(self) -> tuple[int, int, int, int]:
        return self._requests, self._records, self._bytes, self._errors

    def histogram(self) -> LatencyHistogram:
        return self._latency.copy()

    def ending(self) -> Ending:
        return Ending(self._finished_ns, max(0.0, self._cpu_after_s - self._cpu_before_s), self._error, self._closed)

    def _guard(self, job: Callable[[], None]) -> None:
        try:
            job()
        except OSError:
            self.fail("The broker closed a connection.", closed=True)
        except LoadFailure as error:
            self.fail(str(error))

    def _supervise(self) -> None:
        """Take the figures at the end of the warm-up, then wait for all other threads."""
        self._stop.wait(max(0.0, (self._measured_from_ns - time.monotonic_ns()) / 1e9))
        self._warmed_up()
        self._cpu_before_s = _cpu_s()
        for thread in self._threads[:-1]:
            thread.join()
        self._cpu_after_s = _cpu_s()
        self._finished_ns = self._finished_ns or time.monotonic_ns()

    def _warmed_up(self) -> None:
        """The warm-up is over."""


def _cpu_s() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime
