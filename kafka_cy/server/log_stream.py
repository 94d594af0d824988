"""Writes lines to stderr without waiting for its reader: a full pipe that nobody reads must not stop the control plane."""

from __future__ import annotations

import os
import select
import threading
from collections import deque
from typing import Final, TextIO

PENDING_BYTES_MAX: Final = 1 << 20  # of lines that wait for the reader; further ones are lost and counted
WRITE_BYTES_MAX: Final = select.PIPE_BUF  # a pipe that is writable takes this much at once


class LogStream:
    """Any thread may write. Limit: PENDING_BYTES_MAX. The mutex is held for writes that do not block."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._mutex = threading.Lock()
        self._pending: deque[bytes] = deque()
        self._pending_bytes = 0
        self._lost = 0
        self._lost_reason = ""
        self._fails = False  # the last write failed
        self._poll = select.poll()
        try:
            self._fd = stream.fileno()
            self._poll.register(self._fd, select.POLLOUT)
        except (AttributeError, OSError, ValueError):
            self._fd = -1  # a text buffer of a test

    def write(self, line: str) -> None:
        """Write a line now, or as soon as the reader has made room (at the next write() or drain())."""
        if self._fd < 0:
            self._stream.write(line + "\n")
            return
        data = (line + "\n").encode(errors="backslashreplace")
        with self._mutex:
            if self._pending_bytes + len(data) > PENDING_BYTES_MAX:
                self._lost += 1
                self._lost_reason = "stderr was not read"
            else:
                self._pending.append(data)
                self._pending_bytes += len(data)
            self._drain(0)

    def drain(self, wait_ms: int | None = 0) -> None:
        """Write what waits; wait for the reader that long at a time (None: without limit)."""
        with self._mutex:
            self._drain(wait_ms)

    def take_lost(self) -> tuple[int, str]:
        """Return how many lines were lost since the last call, as soon as lines can be written again, and why."""
        with self._mutex:
            lost = self._lost if not self._pending and not self._fails else 0
            self._lost -= lost
            return lost, self._lost_reason

    def _drain(self, wait_ms: int | None) -> None:
        try:
            while self._pending and self._poll.poll(wait_ms):
                data = self._pending[0]
                written = os.write(self._fd, data[:WRITE_BYTES_MAX])
                self._fails = False
                self._pending_bytes -= written
                if written < len(data):
                    self._pending[0] = data[written:]
                else:
                    self._pending.popleft()
        except BlockingIOError:  # another process that writes to it made it non-blocking: later
            pass
        except OSError as error:  # nobody reads it any more, or the disk is full
            self._lost += len(self._pending)
            self._lost_reason = f"stderr cannot be written ({error.strerror})"
            self._fails = True
            self._pending.clear()
            self._pending_bytes = 0
