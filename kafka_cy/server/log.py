"""The broker's own log: one line per event on stderr, in the format of `kafkacy.log.format`."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable
from typing import Any, Final, TextIO

from kafka_cy.server.log_formats import FORMATS, stamp_of
from kafka_cy.server.log_stream import LogStream
from kafka_cy.server.repeated_lines import RepeatedLines

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}
FLUSH_WAIT_MS: Final = 500
EARLY_LINES_MAX: Final = 200  # kept for a listener that comes later

Listener = Callable[[int, str, str, dict[str, Any]], object]  # (time in ns, level, what happened, details)


class BrokerLog:
    """Writes whole lines; safe on any Python thread, none of which waits. Nothing on the way of a record calls it."""

    def __init__(self, level: str = "info", stream: TextIO | None = None) -> None:
        self._level = LEVELS[level]
        self._stream = LogStream(stream if stream is not None else sys.stderr)
        self._format = FORMATS["text"]
        self._listener: Listener | None = None
        self._early: list[tuple[int, str, str, dict[str, Any]]] | None = []  # None: no listener will come
        self._repeated = RepeatedLines(self.write)

    @property
    def level(self) -> str:
        """The lowest level written; may be changed at any time (BROKER_LOGGER)."""
        return next(name for name, number in LEVELS.items() if number == self._level)

    @level.setter
    def level(self, name: str) -> None:
        self._level = LEVELS[name]

    @property
    def writes_debug(self) -> bool:
        """Whether debug() writes; for callers whose details cost something."""
        return self._level <= LEVELS["debug"]

    def use_format(self, name: str) -> None:
        """Write the following lines in this format, a key of FORMATS."""
        self._format = FORMATS[name]

    def listen(self, listener: Listener | None) -> None:
        """Pass each line, the earlier ones first, to OpenTelemetry's export. None: there is no export."""
        early, self._early, self._listener = self._early, None, listener
        if listener is not None:
            for line in early or ():
                listener(*line)

    def debug(self, what: str, **details: Any) -> None:
        """Details for diagnosing a fault."""
        self.write("debug", what, details)

    def info(self, what: str, **details: Any) -> None:
        """Facts an operator should see once."""
        self.write("info", what, details)

    def warning(self, what: str, **details: Any) -> None:
        """Something outside the broker is wrong, or will be."""
        self.write("warning", what, details)

    def error(self, what: str, **details: Any) -> None:
        """An operation of the broker failed."""
        self.write("error", what, details)

    def repeated(self, level: str, what: str, details: dict[str, Any], address: str = "", count: int = 1) -> None:
        """Write a line that a client can cause again and again: the first at once, then one a minute with `repeated=COUNT`.

        Lines of the same text (whatever the numbers in it) and client `address` count as the same. At debug each one is
        written. `count`: how many events the line stands for.
        """
        if self.writes_debug:
            self.write(level, what, {**details, "repeated": count} if count > 1 else details)
        elif LEVELS[level] >= self._level:
            self._repeated.add(level, what, details, address, count)

    def write_repeated(self, *, everything: bool = False) -> None:
        """Write the counts that are due; `everything`: before the broker stops. Call it about every second."""
        self._repeated.write_due(everything=everything)
        self._stream.drain()
        lost, reason = self._stream.take_lost()
        if lost:
            self.warning(f"lines of the log were lost, because {reason}", lines=lost)

    def flush(self, wait_ms: int | None = FLUSH_WAIT_MS) -> None:
        """Before the process ends: wait for a slow reader of stderr, but not for one that does not read (None: for any)."""
        self._stream.drain(wait_ms)

    def write(self, level: str, what: str, details: dict[str, Any]) -> None:
        """Write one line, if its level is enabled."""
        if LEVELS[level] < self._level:
            return
        time_ns = time.time_ns()
        if self._listener is not None:
            self._listener(time_ns, level, what, details)
        elif self._early is not None and len(self._early) < EARLY_LINES_MAX:
            self._early.append((time_ns, level, what, details))
        with contextlib.suppress(OSError, ValueError):  # a closed stream must not stop the broker
            self._stream.write(self._format(stamp_of(time_ns), level, what, details))
