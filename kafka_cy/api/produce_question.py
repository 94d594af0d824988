"""What reactors ask about a Produce of a transaction: add its partitions, or verify that they were added (KIP-890).

The question (api/produce_transaction.pyx): int64 producer id, int16 epoch, int8 1 to add and 0 to verify, string transactional id;
then a string topic and an int32 index for each partition until the end. The answer: an int16 error code for each, in order.
Strings have an int16 length.

CONCURRENT_TRANSACTIONS is common while the previous transaction ends. As Kafka does, it is tried again for a while when
partitions are added: the client would wait longer and send its batches once more.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from typing import TYPE_CHECKING

from kafka_cy.cluster.topic_names import TRANSACTIONS_TOPIC
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kafka_cy.api.roles import AnswersProduce
    from kafka_cy.network.control_request import ControlRequest

BACKOFF = "add.partitions.to.txn.retry.backoff.ms"
BACKOFF_MAX = "add.partitions.to.txn.retry.backoff.max.ms"


class ProduceQuestion:
    """One question. Owner: the coordinator's thread."""

    def __init__(self, control: ControlRequest, context: AnswersProduce) -> None:
        self._control = control
        self._context = context
        self._began = context.loop.now()
        self._read(control.body)
        control.release_body()

    def _read(self, body: bytes) -> None:
        self.producer_id, self.epoch, adds = struct.unpack_from(">qhb", body)
        self.implicit = bool(adds)
        self.transactional_id, at = _string(body, 11)
        self.partitions: list[tuple[str, int]] = []
        while at < len(body):
            topic, at = _string(body, at)
            self.partitions.append((topic, int.from_bytes(body[at : at + 4], "big")))
            at += 4

    def ask(self) -> None:
        """Ask the transaction coordinator."""
        if TRANSACTIONS_TOPIC not in self._context.cluster.topics:
            self._answer(dict.fromkeys(self.partitions, ErrorCode.COORDINATOR_NOT_AVAILABLE))
            return
        self._context.transactions.add_for_produce(
            self.transactional_id, self.producer_id, self.epoch, self.partitions, self.implicit, self._take
        )

    def _take(self, errors: Mapping[tuple[str, int], int]) -> None:
        """The coordinator's answer: the partitions with an error."""
        config = self._context.config
        waited_ms = (self._context.loop.now() - self._began) * 1000
        if self.implicit and ErrorCode.CONCURRENT_TRANSACTIONS in errors.values() and waited_ms < config[BACKOFF_MAX]:
            self._context.loop.call_later(config[BACKOFF] / 1000, self.ask)
        else:
            self._answer(errors)

    def _answer(self, errors: Mapping[tuple[str, int], int]) -> None:
        codes = [int(errors.get(partition, ErrorCode.NONE)) for partition in self.partitions]
        self._control.respond(struct.pack(f">{len(codes)}h", *codes))


def _string(body: bytes, at: int) -> tuple[str, int]:
    size = int.from_bytes(body[at : at + 2], "big")
    return body[at + 2 : at + 2 + size].decode("utf-8", "replace"), at + 2 + size


def answer(control: ControlRequest, context: AnswersProduce) -> None:
    """Answer the question now or later. A question that is dropped counts as COORDINATOR_NOT_AVAILABLE."""
    ProduceQuestion(control, context).ask()
