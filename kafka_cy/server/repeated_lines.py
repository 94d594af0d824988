"""Log lines that repeat: the first one is written at once, then one a minute with a count."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Any, Final

INTERVAL_S: Final = 60.0
LINES_MAX: Final = 1000  # lines that are told apart at a time
_NO_DIGITS: Final = dict.fromkeys(map(ord, "0123456789"))
_OTHERS: Final = ("", "")


class _Line:
    """What was held back of one line since it was last written."""

    __slots__ = ("count", "details", "due_s", "level", "what")

    def __init__(self, due_s: float) -> None:
        self.due_s = due_s
        self.count = 0
        self.level, self.what = "warning", "more lines of other kinds or clients were suppressed"
        self.details: dict[str, Any] = {}


class RepeatedLines:
    """Counts lines by what happened (whatever the numbers in it) and the address of the client. Any thread may call it.

    Limit: LINES_MAX different lines a minute. What exceeds it is counted in one line.
    """

    def __init__(
        self, write: Callable[[str, str, dict[str, Any]], object], now: Callable[[], float] = time.monotonic
    ) -> None:
        """`write(level, what, details)` writes a line; `now()` returns seconds."""
        self._write = write
        self._now = now
        self._mutex = threading.Lock()
        self._lines: dict[tuple[str, str], _Line] = {}  # the one that is due first comes first

    def add(self, level: str, what: str, details: dict[str, Any], address: str = "", count: int = 1) -> None:
        """Write the line, or count it for the line of the minute."""
        key = (what.translate(_NO_DIGITS), address)
        with self._mutex:
            line = self._lines.get(key)
            is_new = line is None and len(self._lines) < LINES_MAX
            if is_new:
                self._lines[key] = _Line(self._now() + INTERVAL_S)
            elif line is not None:
                line.count += count
                line.level, line.what, line.details = level, what, details
            else:
                others = self._lines.setdefault(_OTHERS, _Line(self._now() + INTERVAL_S))
                others.count += count
        if is_new:
            self._write(level, what, {**details, "repeated": count} if count > 1 else details)

    def write_due(self, *, everything: bool = False) -> None:
        """Write what was held back and is due; `everything`: before the broker stops. Call it about every second."""
        now_s = self._now()
        due: list[_Line] = []
        with self._mutex:
            for key, line in list(self._lines.items()):
                if line.due_s > now_s and not everything:
                    break
                del self._lines[key]
                if line.count:
                    due.append(line)
                    self._lines[key] = again = _Line(now_s + INTERVAL_S)
                    again.level, again.what, again.details = line.level, line.what, line.details
        for line in due:
            self._write(line.level, line.what, {**line.details, "repeated": line.count})
