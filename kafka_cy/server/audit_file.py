"""The file kafkacy.audit.log: a line of JSON for each decision of the authorizer, written by a thread of its own."""

from __future__ import annotations

import errno
import json
import os
import stat
import threading
import time
from collections import deque
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from kafka_cy.authorizer.acls import Operation, ResourceType, host_text
from kafka_cy.base.cut_text import cut_text
from kafka_cy.base.named_thread import NamedThread

if TYPE_CHECKING:
    from kafka_cy.authorizer.audit import Decision
    from kafka_cy.server.log import BrokerLog

QUEUED_MAX: Final = 10_000  # decisions that wait for the thread; further ones are dropped and counted
ALLOWED_QUEUED_MAX: Final = 8_000  # with as many waiting, what was allowed is dropped: the rest of the room is for denials
TEXT_CHARS_MAX: Final = 500  # of a name, a user and a client id
LINES_AT_ONCE: Final = 500
STOP_WAIT_S: Final = 5.0  # for a disk that does not write
NOT_A_FILE: Final = "a link, a pipe or a device cannot be the audit log"
AGAIN_AFTER_S: Final = 1.0  # a file that cannot be written


class AuditFile:
    """Any Python thread adds; the thread `audit` writes.

    Limits: QUEUED_MAX decisions of at most about 4 KB; `max_bytes` for a file (more while it cannot be renamed), and `files` that
    were full before, as `<path>.1` (the newest) and so on. Nothing is synced: a power loss may cost the last lines.
    """

    def __init__(self, path: str, log: BrokerLog, *, max_bytes: int, files: int) -> None:
        """Open the file. Raises OSError: it cannot be written, or is a link, a device, a pipe or another thing than a file."""
        self.path, self._log, self._max_bytes, self._files = path, log, max_bytes, files
        self.dropped = 0
        self._queue: deque[tuple[int, Decision]] = deque()
        self._woken = threading.Event()
        self._is_stopping = False
        self._fd = -1
        self._size = 0
        self._full_at = max_bytes
        self._open()
        self._thread = NamedThread(target=self._run, name="audit", daemon=True)
        self._thread.start()

    def add(self, decision: Decision) -> None:
        """Have the decision written, or drop it."""
        if len(self._queue) >= (ALLOWED_QUEUED_MAX if decision.allowed else QUEUED_MAX):
            self.dropped += 1
            return
        client_id = cut_text(decision.client_id, TEXT_CHARS_MAX) if decision.client_id is not None else None
        user = cut_text(decision.user, TEXT_CHARS_MAX) if decision.user is not None else None
        short = decision._replace(name=cut_text(decision.name, TEXT_CHARS_MAX), user=user, client_id=client_id)
        self._queue.append((time.time_ns(), short))
        self._woken.set()

    def stop(self) -> None:
        """Write what waits, and close the file; give up after STOP_WAIT_S."""
        self._is_stopping = True
        self._woken.set()
        self._thread.join(STOP_WAIT_S)

    # -- the thread --

    def _run(self) -> None:
        while True:
            self._woken.wait()
            self._woken.clear()
            is_last = self._is_stopping
            while self._queue:
                self._write_some()
            if is_last:
                with suppress(OSError):
                    os.close(self._fd)
                return

    def _write_some(self) -> None:
        taken = [self._queue.popleft() for _ in range(min(LINES_AT_ONCE, len(self._queue)))]
        data = "".join(json.dumps(_line(*each)) + "\n" for each in taken).encode()
        try:
            if self._fd < 0:
                self._open()
            if self._size and self._size + len(data) > self._full_at:
                self._rotate()
            self._write(data)
        except OSError as error:
            self.dropped += len(taken)
            self._log.repeated("error", "the audit log cannot be written", {"path": self.path, "error": str(error)})
            self._close()
            if not self._is_stopping:
                time.sleep(AGAIN_AFTER_S)

    def _open(self) -> None:
        # A link could lead to any file, whose mode would change; opening a pipe without O_NONBLOCK waits for its reader.
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY
        try:
            self._fd = os.open(self.path, flags, 0o600)
        except OSError as error:
            if error.errno == errno.ENXIO or Path(self.path).is_symlink():
                raise OSError(errno.EINVAL, NOT_A_FILE, self.path) from error
            raise
        try:
            found = os.fstat(self._fd)
            if not stat.S_ISREG(found.st_mode):
                raise OSError(errno.EINVAL, NOT_A_FILE, self.path)
            os.fchmod(self._fd, 0o600)
            self._size = found.st_size
        except OSError:
            self._close()
            raise

    def _close(self) -> None:
        if self._fd >= 0:
            with suppress(OSError):
                os.close(self._fd)
        self._fd = -1

    def _write(self, data: bytes) -> None:
        while data:
            written = os.write(self._fd, data)
            self._size += written
            data = data[written:]

    def _rotate(self) -> None:
        """The file is full: it becomes `<path>.1`, and the oldest goes. A crash in between leaves a gap in the numbers.

        If that fails, the file grows by `max_bytes` before it is tried again: a long file is better than none.
        """
        self._close()
        self._full_at = self._max_bytes
        try:
            for number in range(self._files - 1, 0, -1):
                with suppress(FileNotFoundError):
                    Path(f"{self.path}.{number}").replace(f"{self.path}.{number + 1}")
            Path(self.path).replace(f"{self.path}.1")
        except OSError as error:
            self._full_at = self._size + self._max_bytes
            self._log.repeated("error", "the full audit log cannot be renamed", {"path": self.path, "error": str(error)})
        self._open()


def _line(time_ns: int, decision: Decision) -> dict[str, Any]:
    seconds, rest = divmod(time_ns // 1_000_000, 1000)
    return {
        "time": f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest:03}Z",
        "principal": decision.principal,
        "host": host_text(decision.host),
        "client_id": decision.client_id,
        "api": decision.request,
        "operation": Operation(decision.operation).name,
        "resource_type": ResourceType(decision.resource_type).name,
        "resource": decision.name,
        "decision": "allowed" if decision.allowed else "denied",
    }
