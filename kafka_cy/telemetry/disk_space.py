"""Size and free space of the log directories' file systems, the numbers of KIP-827 (DescribeLogDirs from version 4 on)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable

from kafka_cy.base.named_thread import NamedThread

WAIT_S = 0.2  # for all directories of a scrape together


class DiskSpace:
    """Asks each file system on a thread of its own, because statvfs on a disk or server that hangs does not return.

    Owner: the thread that scrapes. At most one thread per directory; it exists only while its call runs.
    """

    def __init__(self) -> None:
        self._threads: dict[str, NamedThread] = {}
        self._bytes: dict[str, tuple[int, int]] = {}

    def sizes(self, paths: Iterable[str]) -> dict[str, tuple[int, int]]:
        """(total bytes, bytes usable by the broker) by path: Java's getTotalSpace and getUsableSpace.

        A file system that does not answer within WAIT_S keeps its last numbers. One that answers with an error has none.
        """
        paths = list(paths)
        for path in paths:
            running = self._threads.get(path)
            if running is None or not running.is_alive():
                thread = NamedThread(target=self._ask, args=(path,), name="disk-space", daemon=True)
                try:
                    thread.start()
                except RuntimeError:
                    continue  # the process may have no more threads: the last numbers stay
                self._threads[path] = thread
        deadline = time.monotonic() + WAIT_S
        for path in paths:
            if path in self._threads:
                self._threads[path].join(max(0.0, deadline - time.monotonic()))
        known = self._bytes.copy()
        return {path: known[path] for path in paths if path in known}

    def _ask(self, path: str) -> None:
        try:
            disk = os.statvfs(path)
        except OSError:
            self._bytes.pop(path, None)
            return
        self._bytes[path] = disk.f_blocks * disk.f_frsize, disk.f_bavail * disk.f_frsize
