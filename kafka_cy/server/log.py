"""The broker's own log: one line per event on stderr, `time LEVEL what key=value...`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

LEVELS = {"debug": 10, "info": 20, "warning": 30, "error": 40}


class BrokerLog:
    """Writes whole lines; safe on any Python thread."""

    def __init__(self, level: str = "info", stream: TextIO | None = None) -> None:
        self._level = LEVELS[level]
        self._stream = stream if stream is not None else sys.stderr
        # Other receivers of each line: OpenTelemetry's export.
        self.listener: Callable[[str, str, dict[str, Any]], object] | None = None

    @property
    def level(self) -> str:
        """The lowest level written; may be changed at any time (BROKER_LOGGER)."""
        return next(name for name, number in LEVELS.items() if number == self._level)

    @level.setter
    def level(self, name: str) -> None:
        self._level = LEVELS[name]

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

    def write(self, level: str, what: str, details: dict[str, Any]) -> None:
        """Write one line, if its level is enabled."""
        if LEVELS[level] < self._level:
            return
        if self.listener is not None:
            self.listener(level, what, details)
        now = time.time()
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(now)) + f".{int(now * 1000) % 1000:03d}Z"
        words = [stamp, level.upper(), _one_line(what)]
        words += [f"{key}={_quote(value)}" for key, value in details.items()]
        try:
            self._stream.write(" ".join(words) + "\n")
            self._stream.flush()
        except (OSError, ValueError):
            pass  # nobody reads our log; this must not stop the broker


def _one_line(text: str) -> str:
    return text if text.isprintable() else text.encode("unicode_escape").decode()


def _quote(value: Any) -> str:
    text = _one_line(str(value))
    return f'"{text}"' if " " in text or not text else text
