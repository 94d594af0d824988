"""A thread that waits for what native threads have to tell, and passes it to the replica manager's thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from kafka_cy.base.named_thread import NamedThread

WAIT_S = 5.0
STOP_CHECK_S = 0.2


class EventPump:
    """`take(timeout_s)` waits and returns a list; `wake` ends its wait; `give(list, taken)` passes on one that is not empty.

    The next list is taken when the receiver has called `taken`: a busy one gets fewer and longer lists.
    """

    def __init__(
        self,
        name: str,
        take: Callable[[float], list[Any]],
        wake: Callable[[], object],
        give: Callable[[list[Any], Callable[[], object]], object],
    ) -> None:
        self._take = take
        self._wake = wake
        self._give = give
        self._stopping = False
        self._thread = NamedThread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def _run(self) -> None:
        while not self._stopping:
            found = self._take(WAIT_S)
            if found and not self._stopping:
                taken = threading.Event()
                self._give(found, taken.set)
                while not taken.wait(STOP_CHECK_S) and not self._stopping:
                    pass

    def stop(self) -> None:
        """End the thread."""
        self._stopping = True
        self._wake()
        if self._thread.ident is not None:
            self._thread.join()
