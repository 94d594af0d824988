"""EndTxn (API 26): commit or abort of a transaction.

The response leaves when the outcome is stored. v2 (KIP-588): PRODUCER_FENCED; older versions get INVALID_PRODUCER_EPOCH. v5
(KIP-890): the response has the producer id and epoch with which the producer continues.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kafka_cy.api.authorization import TRANSACTIONAL_ID_DENIED, may_transactional_id
from kafka_cy.api.registry import handler
from kafka_cy.authorizer.acls import Operation
from kafka_cy.coordinator.transactions.init_producer_id import NO_PRODUCER, Producer
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kio.schema.end_txn.v5.request import EndTxnRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import ChangesTransactions


@handler(api_key=26)
def handle(request: Request[EndTxnRequest], context: ChangesTransactions) -> None:
    """End the transaction."""
    body, version = request.body, request.api_version

    def respond(error: ErrorCode, producer: Producer) -> None:
        if error and version < 2 and error is ErrorCode.PRODUCER_FENCED:
            error = ErrorCode.INVALID_PRODUCER_EPOCH
        response = {"throttle_time": 0, "error_code": int(error)}
        if version >= 5:
            response |= {"producer_id": producer.producer_id, "producer_epoch": producer.epoch}
        request.respond(response)

    if not may_transactional_id(request, Operation.WRITE, body.transactional_id):
        respond(TRANSACTIONAL_ID_DENIED, NO_PRODUCER)
        return
    client_version = 2 if version >= 5 else 0
    producer = Producer(body.producer_id, body.producer_epoch)
    context.transactions.end(body.transactional_id, producer, body.committed, client_version, respond)
