"""AllocateProducerIds: blocks of producer ids for the brokers (KIP-730)."""

from __future__ import annotations

from kafka_cy.cluster.producer_ids import BLOCK_SIZE, ProducerIdsExhausted, block_after
from kafka_cy.cluster.store import BadVersionError, NodeExistsError, StoreError
from kafka_cy.cluster.znode_formats import MALFORMED
from kafka_cy.cluster.znodes import PRODUCER_ID_BLOCK
from kafka_cy.controller.context import ControllerContext
from kafka_cy.controller.term_store import TermStore
from kafka_cy.protocol.controller_messages.allocate_producer_ids import (
    AllocateProducerIdsRequest,
    AllocateProducerIdsResponse,
)
from kafka_cy.protocol.errors import ErrorCode


async def allocate_producer_ids(
    context: ControllerContext, store: TermStore, request: AllocateProducerIdsRequest
) -> AllocateProducerIdsResponse:
    """The next block, stored before it is answered. Raises TermEnded."""
    broker = context.brokers.get(request.broker_id)
    if broker is None:
        return AllocateProducerIdsResponse(ErrorCode.BROKER_ID_NOT_REGISTERED)
    if broker.epoch != request.broker_epoch:
        return AllocateProducerIdsResponse(ErrorCode.STALE_BROKER_EPOCH)
    while True:
        node = await store.get(PRODUCER_ID_BLOCK)
        try:
            change, block = block_after(node, request.broker_id)
        except (*MALFORMED, ProducerIdsExhausted):
            return AllocateProducerIdsResponse(ErrorCode.UNKNOWN_SERVER_ERROR)
        outcome = (await store.write([[change]]))[0]
        if not isinstance(outcome, StoreError):
            return AllocateProducerIdsResponse(ErrorCode.NONE, block.start, BLOCK_SIZE)
        if not isinstance(outcome, BadVersionError | NodeExistsError):
            return AllocateProducerIdsResponse(ErrorCode.UNKNOWN_SERVER_ERROR)
