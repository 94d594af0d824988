"""InitProducerId: the idempotent half.

Without a transactional id every call gets a new producer id with epoch 0. Transactions are not supported yet: a
transactional id gets UNSUPPORTED_VERSION, which every client reports as fatal at once. (Clients ask for the coordinator
first, and fail there.) With a retriable error the client would hang until its timeout.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kafka_cy.api.find_coordinator import log_refused_transactions
from kafka_cy.api.registry import handler
from kafka_cy.cluster.store import StoreError
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kio.schema.init_producer_id.v5.request import InitProducerIdRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import TakesProducerIds


@handler(api_key=22)
def handle(request: Request[InitProducerIdRequest], context: TakesProducerIds) -> dict[str, Any] | None:
    """A producer id and epoch, at once or when the next block of ids is reserved."""
    transactional_id = request.body.transactional_id
    if transactional_id is not None:
        if transactional_id:
            log_refused_transactions(request, context)
        code = ErrorCode.UNSUPPORTED_VERSION if transactional_id else ErrorCode.INVALID_REQUEST
        return {"error_code": code, "producer_id": -1, "producer_epoch": -1}
    given = [getattr(request.body, "producer_id", -1), getattr(request.body, "producer_epoch", -1)]
    if given.count(-1) == 1:  # both or none (KIP-360); without transactions neither is looked at
        return {"error_code": ErrorCode.INVALID_REQUEST, "producer_id": -1, "producer_epoch": -1}

    def taken(producer_id: int | None, error: StoreError | None) -> None:
        if producer_id is None:
            request.respond({"error_code": ErrorCode.COORDINATOR_NOT_AVAILABLE, "producer_id": -1, "producer_epoch": -1})
        else:
            request.respond({"error_code": ErrorCode.NONE, "producer_id": producer_id, "producer_epoch": 0})

    context.producer_ids.take(taken)
    return None
