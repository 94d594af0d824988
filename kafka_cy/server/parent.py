"""A broker that belongs to another process and ends with it: `kafka-cy server --with-parent`."""

from __future__ import annotations

import os
import shutil
import signal
import threading

from kafka_cy.base.named_thread import NamedThread


class Parent:
    """Watches standard input, a pipe whose other end only the parent holds. Owner: a daemon thread of its own.

    When the parent ends, however it ends, the kernel closes the pipe: the broker shuts down as by SIGTERM, and then
    removes the parent's temporary folder.
    """

    def __init__(self, folder: str | None) -> None:
        """`folder`: removed by `clean_up` after the parent has ended; None: nothing is."""
        self._folder = folder
        self._gone = threading.Event()

    def watch(self) -> None:
        """Start to watch. SIGTERM has to be blocked by now, so that the thread that waits for signals gets it."""
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
        """Remove the folder if the parent has ended; it can do so no more."""
        if self._folder is not None and self._gone.is_set():
            shutil.rmtree(self._folder, ignore_errors=True)
