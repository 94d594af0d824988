"""The states of a transactional id, as they are stored (Kafka: TransactionState)."""

from __future__ import annotations

from enum import IntEnum
from typing import Final


class State(IntEnum):
    """Dead (6) and PrepareEpochFence (7) are Kafka's, and are never stored.

    Empty -> Ongoing -> PrepareCommit or PrepareAbort -> CompleteCommit or CompleteAbort -> Ongoing or Empty. With transaction
    version 2, Empty and Complete may change to PrepareAbort.
    """

    EMPTY = 0
    ONGOING = 1
    PREPARE_COMMIT = 2
    PREPARE_ABORT = 3
    COMPLETE_COMMIT = 4
    COMPLETE_ABORT = 5
    DEAD = 6
    PREPARE_EPOCH_FENCE = 7


# For code that each request passes: to find a member of an enumeration costs 900 instructions in Python 3.11.
ONGOING: Final = State.ONGOING
PREPARE_COMMIT: Final = State.PREPARE_COMMIT

# As DescribeTransactions and ListTransactions show them.
STATE_NAMES = {
    State.EMPTY: "Empty",
    State.ONGOING: "Ongoing",
    State.PREPARE_COMMIT: "PrepareCommit",
    State.PREPARE_ABORT: "PrepareAbort",
    State.COMPLETE_COMMIT: "CompleteCommit",
    State.COMPLETE_ABORT: "CompleteAbort",
    State.DEAD: "Dead",
    State.PREPARE_EPOCH_FENCE: "PrepareEpochFence",
}
PREPARED = frozenset((State.PREPARE_COMMIT, State.PREPARE_ABORT))  # decided; the markers are being written
IDLE = frozenset((State.EMPTY, State.COMPLETE_COMMIT, State.COMPLETE_ABORT))  # no transaction
