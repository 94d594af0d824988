"""What happened in a test with transactions: who sent, committed and read what, in which order."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import NamedTuple


class Partition(NamedTuple):
    topic: str
    index: int


class Outcome(Enum):
    """What the client knows of a request."""

    OK = "ok"
    FAILED = "failed"  # the broker has said so: nothing has happened
    UNKNOWN = "unknown"  # no response


@dataclass(slots=True)
class Send:
    """One record. `value` is unique in the history."""

    partition: Partition
    value: str
    outcome: Outcome
    source: tuple[Partition, int] | None = None  # of a record that was made from another one: its partition and offset
    key: str | None = None  # None: the value. Keys repeat in compacted topics only
    offset: int = -1  # as acknowledged; -1: not known


@dataclass(slots=True)
class Transaction:
    """The sends of one transaction in their order. A send without a transaction is one that is committed at once.

    `commit_begin` is the moment before the commit was requested; None if it never was. `ended`: what the client knows of
    the request that ended it.
    """

    producer: str
    begin: int
    sends: list[Send] = field(default_factory=list)
    commit_begin: int | None = None
    ended: Outcome = Outcome.UNKNOWN

    @property
    def is_committed(self) -> bool:
        """Whether every acknowledged send has to be visible."""
        return self.commit_begin is not None and self.ended is Outcome.OK

    @property
    def is_aborted(self) -> bool:
        """Whether no send may ever be visible."""
        return self.commit_begin is None or self.ended is Outcome.FAILED


class ReadRecord(NamedTuple):
    offset: int
    value: str


@dataclass(slots=True)
class Read:
    """The records of one read, in the order in which the client got them."""

    end: int  # the moment after the response
    partition: Partition
    committed: bool  # read_committed
    records: list[ReadRecord]


@dataclass(slots=True)
class OffsetCommit:
    """A commit without a transaction; `end` is None while there is no response."""

    partition: Partition
    offset: int
    begin: int
    end: int | None = None
    outcome: Outcome = Outcome.UNKNOWN


class OffsetRead(NamedTuple):
    """The offset that the group had committed, -1 for none."""

    partition: Partition
    offset: int
    begin: int
    end: int


@dataclass(slots=True)
class History:
    """Everything that happened, many things at once. In the end all transactions were ended and every partition was read whole.

    Moments are numbers that grow. Of two requests, one was before the other only if it has ended before the other began.
    """

    transactions: list[Transaction] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    final: dict[Partition, list[ReadRecord]] = field(default_factory=dict)  # read_committed
    final_uncommitted: dict[Partition, list[ReadRecord]] = field(default_factory=dict)
    group_offsets: dict[Partition, int] = field(default_factory=dict)  # of the group that transforms
    commits: list[OffsetCommit] = field(default_factory=list)
    offset_reads: list[OffsetRead] = field(default_factory=list)
    surprises: list[str] = field(default_factory=list)  # errors that no client should have got

    def superseded(self) -> set[str]:
        """Values that compaction may have removed: a committed record with the same key follows in the partition."""
        keys = {send.value: send.key for transaction in self.transactions for send in transaction.sends}
        newest: dict[tuple[Partition, str], int] = {}
        for partition, records in self.final.items():
            for record in records:
                key = keys.get(record.value)
                if key is not None:
                    newest[partition, key] = max(record.offset, newest.get((partition, key), -1))
        return {
            send.value
            for transaction in self.transactions
            for send in transaction.sends
            if send.key is not None and newest.get((send.partition, send.key), -1) > send.offset
        }

    def removed(self) -> set[str]:
        """Committed values that compaction has removed."""
        visible = {record.value for records in self.final.values() for record in records}
        committed = {send.value for each in self.transactions if each.is_committed for send in each.sends if send.offset >= 0}
        return (committed & self.superseded()) - visible
