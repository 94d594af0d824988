"""What is passed to and from the records in flight of a share partition (in_flight.pyx).

Kafka: RecordState, AcknowledgeType, ShareFetchResponse's AcquiredRecords, ShareAcknowledgementBatch.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

AVAILABLE: Final = 0
ACQUIRED: Final = 1
ACKNOWLEDGED: Final = 2
ARCHIVED: Final = 4
FINAL: Final = (ACKNOWLEDGED, ARCHIVED)
GAP: Final = 0
ACCEPT: Final = 1
RELEASE: Final = 2
REJECT: Final = 3
RENEW: Final = 4


class Limits(NamedTuple):
    """What a share group is configured to allow."""

    delivery_count: int
    records_in_flight: int
    lock_s: float


class Acquired(NamedTuple):
    """Records that a member was given, for the time of the lock."""

    first_offset: int
    last_offset: int
    delivery_count: int


class Acknowledgement(NamedTuple):
    """What a member has done with records: one type for all of them, or one for each."""

    first_offset: int
    last_offset: int
    types: Sequence[int]


class InFlightRange(NamedTuple):
    """Neighbouring records in the same state, as they were. `next_state` is being stored; None: nothing is."""

    first: int
    last: int
    state: int
    delivery_count: int
    member_id: str
    next_state: int | None
