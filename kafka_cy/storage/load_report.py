"""What the broker's log says about opening the logs at the start: how many there are, and what recovery found in them.

Recovery itself is in C (log_recovery.pyx). Here the sizes of a log's last segments before and after it are compared.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any, Final

CUT_LOGS_MAX: Final = 20  # that are named, and as many repaired ones; all of them count in the result
PROGRESS_EVERY_S: Final = 10.0
SUFFIX: Final = ".log"
BASE_DIGITS: Final = 20  # of the base offset in the name


class LoadReport:
    """Owner: LogLoader; the threads that open logs call it. Limit: CUT_LOGS_MAX lines, and one every PROGRESS_EVERY_S."""

    def __init__(self, info: Callable[..., object], warn: Callable[..., object], logs: int) -> None:
        """`logs` are to be opened. `info` and `warn(text, **details)` write a line of the broker's log."""
        self._info = info
        self._warn = warn
        self._logs = logs
        self._begun_s = self._told_s = time.monotonic()
        self._mutex = threading.Lock()
        self._opened = 0
        self._recovered = 0
        self._read_bytes = 0
        self._cut_logs = 0
        self._cut_bytes = 0
        self._repaired_logs = 0

    def opened(self) -> None:
        """A log was opened."""
        with self._mutex:
            self._opened += 1
            now_s = time.monotonic()
            tell = now_s - self._told_s >= PROGRESS_EVERY_S
            if tell:
                self._told_s = now_s
        if tell:
            self._info("opening logs", opened=self._opened, of=self._logs)

    def recovered(self, folder: str, before: dict[int, int], log: Any) -> None:
        """A log was opened after an unclean stop; `before` is what segments_read() found."""
        after = {base: size for base, size in log.segments() if base in before}
        read, cut = sum(before.values()), sum(before.values()) - sum(after.values())
        with self._mutex:
            self._recovered += 1
            self._read_bytes += read
            self._cut_logs += cut > 0
            self._cut_bytes += max(cut, 0)
            tell = cut > 0 and self._cut_logs <= CUT_LOGS_MAX
        if tell:
            self._warn(
                "the end of a log was torn or broken and was cut off", folder=folder, bytes=cut, end_offset=log.log_end_offset
            )

    def repaired(self, folder: str, repairs: dict[str, int]) -> None:
        """Files of a log were broken, and were made anew or left out; `repairs` are their numbers."""
        with self._mutex:
            self._repaired_logs += 1
            tell = self._repaired_logs <= CUT_LOGS_MAX
        if tell:
            self._warn("broken files of a log were made anew, or left out", folder=folder, **repairs)

    def finish(self) -> None:
        """All logs are open."""
        if not self._logs:
            return
        details: dict[str, Any] = {"logs": self._opened, "took_ms": round((time.monotonic() - self._begun_s) * 1000)}
        if self._recovered:
            details |= {"recovered": self._recovered, "read_bytes": self._read_bytes}
            details |= {"cut_logs": self._cut_logs, "cut_bytes": self._cut_bytes}
        if self._repaired_logs:
            details["repaired_logs"] = self._repaired_logs
        self._info("logs are open", **details)


def is_segment(name: str) -> bool:
    """Whether a file has the name of a segment; others in a partition's folder are somebody else's."""
    base = name.removesuffix(SUFFIX)
    return name.endswith(SUFFIX) and len(base) == BASE_DIGITS and base.isascii() and base.isdigit()


def segments_read(folder: str, recovery_point: int) -> dict[int, int]:
    """Return the sizes of the segments that a recovery from `recovery_point` reads, by base offset.

    Empty if a cleaner's swap is unfinished: opening the log replaces segments by shorter ones, and that is no cut.
    """
    names = os.listdir(folder)  # noqa: PTH208 (start time)
    if any(name.endswith(".swap") for name in names):
        return {}
    bases = sorted(int(name[:BASE_DIGITS]) for name in names if is_segment(name))
    first = max((base for base in bases if base <= recovery_point), default=0)
    return {base: os.stat(f"{folder}/{base:0{BASE_DIGITS}d}{SUFFIX}").st_size for base in bases if base >= first}  # noqa: PTH116
