"""What the transaction coordinator tells telemetry. The start path imports this module, so it imports nothing heavy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple


class TransactionNumbers(NamedTuple):
    """What the transaction coordinator tells."""

    transactional_ids: int = 0
    ongoing: int = 0
    prepared: int = 0  # decided, with markers that are not written yet
    oldest_open_ms: int = 0  # for how long the oldest open transaction has been open
    waiting_for_partitions: int = 0  # with markers that could not be written, and are tried again
    waiting_for_log: int = 0  # complete, but that could not be stored yet
    refused_partitions: int = 0  # of writes, which are not part of their transaction
    verification_ns: Sequence[int] = ()  # how long it took to ask; by bucket of base/histogram, since the start
