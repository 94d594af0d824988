"""Ends fetchers without waiting for them."""

from __future__ import annotations

from typing import Protocol

from kafka_cy.base.named_thread import NamedThread


class Stoppable(Protocol):
    """What is asked of a ReplicaFetcher."""

    def stop(self) -> None: ...


class Stopper(Protocol):
    """What Fetchers asks of it."""

    def stop(self, fetcher: Stoppable) -> None: ...
    def join(self) -> None: ...


class FetcherStopper:
    """Owner: the replica manager's thread. Limit: a thread for each fetcher that has not ended yet."""

    def __init__(self) -> None:
        self._threads: list[NamedThread] = []

    def stop(self, fetcher: Stoppable) -> None:
        """Its thread may be in a name look-up or an append to a slow disk: nobody waits for it."""
        self._threads = [each for each in self._threads if each.is_alive()]
        thread = NamedThread(target=fetcher.stop, name="fetcher-stopper", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the process may have no more threads
            fetcher.stop()
        else:
            self._threads.append(thread)

    def join(self) -> None:
        """Wait until all have ended."""
        for thread in self._threads:
            thread.join()
