"""What clients can make the transaction coordinator hold. Kafka has no such limits; a request over one gets POLICY_VIOLATION."""

from __future__ import annotations

from collections.abc import Callable

from kafka_cy.coordinator.runtime.limit_line import LimitLine
from kafka_cy.coordinator.transactions.transaction import Transaction

TRANSACTIONAL_IDS_MAX = 1_000_000
TRANSACTION_BYTES_MAX = 512 << 20  # of all transactional ids and the partitions of their transactions
PARTITIONS_MAX = 10_000  # of one transaction: each added partition stores all of them again
TRANSACTION_OBJECT_BYTES = 700  # of a transactional id besides its characters: the objects and their places in tables
TOPIC_OBJECT_BYTES = 800  # of a topic in a transaction besides its name
PARTITION_BYTES = 120  # of a partition in a transaction, also in the data plane's table


def transaction_bytes(transaction: Transaction) -> int:
    """How much of TRANSACTION_BYTES_MAX the transactional id takes."""
    topics = len(transaction.partitions) * TOPIC_OBJECT_BYTES + transaction.name_chars
    return id_bytes(transaction.transactional_id) + topics + PARTITION_BYTES * transaction.partition_count


def id_bytes(transactional_id: str) -> int:
    """How much of TRANSACTION_BYTES_MAX a transactional id takes without a transaction."""
    return TRANSACTION_OBJECT_BYTES + 2 * len(transactional_id) * (1 if transactional_id.isascii() else 4)


class FullLine:
    """The line of the log about requests that a limit refused. Owner: the coordinator's thread."""

    def __init__(self, log: Callable[..., object], now_s: Callable[[], float]) -> None:
        self._line = LimitLine(log, now_s)

    def write(self, transactional_id: str, held: TransactionsHeld) -> None:
        """A request for the transactional id was refused."""
        self._line.write(
            "a limit of the transaction coordinator is reached; requests get POLICY_VIOLATION",
            transactional_id=transactional_id[:200], transactional_ids=held.transactional_ids, bytes=held.bytes,
        )  # fmt: skip


class TransactionsHeld:
    """The amounts that the limits are compared with. Owner: the coordinator's thread."""

    def __init__(self) -> None:
        self.transactional_ids = 0
        self.bytes = 0

    def has_room_for_id(self, transactional_id: str) -> bool:
        """Whether the transactional id may be created."""
        return (
            self.transactional_ids < TRANSACTIONAL_IDS_MAX
            and self.bytes + id_bytes(transactional_id) <= TRANSACTION_BYTES_MAX
        )

    def has_room_for_partitions(self, transaction: Transaction, added: int) -> bool:
        """Whether this many partitions may be added to the transaction."""
        count = transaction.partition_count + added
        return count <= PARTITIONS_MAX and self.bytes + added * (TOPIC_OBJECT_BYTES + PARTITION_BYTES) <= TRANSACTION_BYTES_MAX
