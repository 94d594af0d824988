"""How long an event works before the controller's thread does what else is due."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from kafka_cy.controller.term_store import DONE_AT_ONCE

LOOKED_AT_ONCE = 500  # partitions that are only looked at: it takes about a millisecond
_WEIGHT = LOOKED_AT_ONCE // DONE_AT_ONCE


class Pace:
    """Pauses after every few partitions. Other events wait meanwhile, so that nothing that the controller knows changes.

    Owner: the controller's thread. Lifetime: one term.
    """

    def __init__(self, pause: Callable[[], Awaitable[None]]) -> None:
        self._pause = pause
        self._count = 0

    async def looked(self, partitions: int = 1) -> None:
        """So many partitions were looked at."""
        self._count += partitions
        if self._count >= LOOKED_AT_ONCE:
            self._count = 0
            await self._pause()

    async def done(self, partitions: int = 1) -> None:
        """So many partitions were encoded, or as much was done for them."""
        await self.looked(partitions * _WEIGHT)
