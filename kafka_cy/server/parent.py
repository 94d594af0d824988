"""A broker that belongs to a parent process and ends with it: `kafka-cy server --with-parent`."""

from __future__ import annotations

import os
import shutil
import signal
import threading

from kafka_cy.base.named_thread import NamedThread


class Parent:
    """Watches standard input, a pipe whose other end only the parent holds. Owner: its own daemon thread.

    When the parent ends for any reason, the kernel closes the pipe. The broker then shuts down as on SIGTERM and
    removes the parent's temporary folder.
    """

    def __init__(self, folder: str | None) -> None:
        """`clean_up` removes `folder` after the parent has ended; None: it removes nothing."""
        self._folder = folder
        self._gone = threading.Event()

    def watch(self) -> None:
        """Start to watch. Block SIGTERM before, so that the thread that waits for signals receives it."""
        NamedThread(target=self._watch, name="parent", daemon=True).start()

    def _watch(self) -> None:
        try:
            while os.read(0, 4096):
                pass
        except OSError:
            pass
        self._gone.set()
        os.kill(os.getpid(), signal.SIGTERM)

    def clean_up(self) -> None:
        """Remove the folder if the parent has ended, because the parent can no longer do it."""
        if self._folder is not None and self._gone.is_set():
            shutil.rmtree(self._folder, ignore_errors=True)
