"""Blocks of producer ids for a member of a cluster.

They come from the controller; before inter.broker.protocol.version 3.0, the broker takes them in ZooKeeper.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from kafka_cy.cluster.producer_ids import take_block
from kafka_cy.cluster.store import StoreError
from kafka_cy.cluster.store_calls import CallLater, StoreCalls, run
from kafka_cy.protocol.controller_messages import allocate_producer_ids
from kafka_cy.protocol.controller_messages.allocate_producer_ids import (
    AllocateProducerIdsRequest,
    AllocateProducerIdsResponse,
)

if TYPE_CHECKING:
    from kafka_cy.cluster.producer_ids import Reserved
    from kafka_cy.server.controller_transport import ControllerChannel

RETRY_MS = 100.0
Answered = Callable[[range | None, str], object]  # a block, or why there is none
Ask = Callable[[Answered], object]


class MemberProducerIds:
    """Owner: the controller's thread. Limit: one reservation at a time (ProducerIds)."""

    def __init__(self, ask: Ask, clock_ms: Callable[[], float], call_later: CallLater, timeout_ms: float) -> None:
        """`ask(answered)`: try once. It is repeated until `timeout_ms`."""
        self._ask, self._clock_ms, self._call_later, self._timeout_ms = ask, clock_ms, call_later, timeout_ms

    def reserve(self, done: Reserved) -> None:
        """See ProducerIdBlocks.reserve."""
        deadline_ms = self._clock_ms() + self._timeout_ms

        def answered(block: range | None, why: str) -> None:
            if block is not None:
                done(block, None)
            elif self._clock_ms() < deadline_ms:
                self._call_later(RETRY_MS, lambda: self._ask(answered))
            else:
                done(None, StoreError(f"there are no producer ids: {why}"))

        self._ask(answered)


def from_controller(channel: ControllerChannel, broker_id: int, broker_epoch: Callable[[], int]) -> Ask:
    """The controller is asked, wherever it is."""

    def ask(answered: Answered) -> None:
        def done(response: AllocateProducerIdsResponse | None) -> None:
            if response is not None and response.error_code == 0:
                start = response.producer_id_start
                answered(range(start, start + response.producer_id_len), "")
            else:
                why = "no answer" if response is None else f"error {response.error_code}"
                answered(None, f"the controller gave none: {why}")

        request = AllocateProducerIdsRequest(broker_id, broker_epoch())
        channel.send(allocate_producer_ids, request, AllocateProducerIdsResponse, done)

    return ask


def from_store(calls: Callable[[], StoreCalls], broker_id: int) -> Ask:
    """The broker takes the next block in ZooKeeper."""

    def ask(answered: Answered) -> None:
        run(take_block(calls(), broker_id), lambda block, fault: answered(block, repr(fault)))

    return ask
