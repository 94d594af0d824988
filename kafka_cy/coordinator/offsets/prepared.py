"""A commit of many offsets that is made ready in slices, before its group is looked at."""

from __future__ import annotations

from kafka_cy.coordinator.records import Record
from kafka_cy.protocol.errors import ErrorCode


class PreparedCommit:
    """The records of a long commit, their batch, and the errors of its partitions. Owner: the coordinator's thread."""

    __slots__ = ("batch", "errors", "is_complete", "records")

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.batch: bytes | None = None  # None: no record
        self.errors: dict[tuple[str, int], ErrorCode] = {}
        self.is_complete = False
