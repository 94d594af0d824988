"""Moves between log directories that the log manager's thread makes."""

from __future__ import annotations

from kafka_cy.storage.log_manager import LogManager
from tests.waiting import wait_until


def wait_for_moves(logs: LogManager) -> None:
    """Until no move runs or waits. Right after its swap, a partition does not take records yet."""

    def are_over() -> bool:
        moves = logs._upkeep.moves
        with logs._hosted.mutex:
            return not moves._waiting and moves._running is None

    wait_until(are_over, "no move runs or waits")
