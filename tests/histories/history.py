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


@dataclass(slots=True)
class Transaction:
    """The sends of one transaction in their order. A send without a transaction is one that is committed at once.

    `commit_step` is the step in which the commit was requested; None if it never was. `ended`: what the client knows of
    the request that ended it.
    """

    producer: str
    begin_step: int
    sends: list[Send] = field(default_factory=list)
    commit_step: int | None = None
    ended: Outcome = Outcome.UNKNOWN

    @property
    def is_committed(self) -> bool:
        """Whether every acknowledged send has to be visible."""
        return self.commit_step is not None and self.ended is Outcome.OK

    @property
    def is_aborted(self) -> bool:
        """Whether no send may ever be visible."""
        return self.commit_step is None or self.ended is Outcome.FAILED


class ReadRecord(NamedTuple):
    offset: int
    value: str


@dataclass(slots=True)
class Read:
    """The records of one read, in the order in which the client got them."""

    step: int
    partition: Partition
    committed: bool  # read_committed
    records: list[ReadRecord]


@dataclass(slots=True)
class History:
    """Everything that happened, in steps. At the end all transactions were ended and every partition was read whole."""

    transactions: list[Transaction] = field(default_factory=list)
    reads: list[Read] = field(default_factory=list)
    final: dict[Partition, list[ReadRecord]] = field(default_factory=dict)  # read_committed
    final_uncommitted: dict[Partition, list[ReadRecord]] = field(default_factory=dict)
    group_offsets: dict[Partition, int] = field(default_factory=dict)  # of the group that transforms
    surprises: list[str] = field(default_factory=list)  # errors that no client should have got
