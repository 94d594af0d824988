"""AddOffsetsToTxn (API 25): the partition of `__consumer_offsets` of a group becomes part of a transaction.

For producers without KIP-890; with it, TxnOffsetCommit v5 does the same. v2 (KIP-588): PRODUCER_FENCED; older versions get
INVALID_PRODUCER_EPOCH.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from kafka_cy.api.authorization import GROUP_DENIED, TRANSACTIONAL_ID_DENIED, may_group, may_transactional_id
from kafka_cy.api.registry import handler
from kafka_cy.authorizer.acls import Operation
from kafka_cy.cluster.topic_names import OFFSETS_TOPIC
from kafka_cy.coordinator.transactions.init_producer_id import Producer
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kio.schema.add_offsets_to_txn.v4.request import AddOffsetsToTxnRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import ChangesTransactions


@handler(api_key=25)
def handle(request: Request[AddOffsetsToTxnRequest], context: ChangesTransactions) -> None:
    """Add the group's partition and respond when that is stored."""
    body = request.body

    def respond(error: ErrorCode) -> None:
        if error is ErrorCode.PRODUCER_FENCED and request.api_version < 2:
            error = ErrorCode.INVALID_PRODUCER_EPOCH
        request.respond({"throttle_time": 0, "error_code": int(error)})

    if not may_transactional_id(request, Operation.WRITE, body.transactional_id):
        respond(TRANSACTIONAL_ID_DENIED)
        return
    if not may_group(request, Operation.READ, body.group_id):
        respond(GROUP_DENIED)
        return
    index = context.groups.runtime.partition_index(body.group_id)
    if index is None:
        respond(ErrorCode.COORDINATOR_NOT_AVAILABLE)  # the topic is created when a client looks for the group's coordinator
        return
    producer = Producer(body.producer_id, body.producer_epoch)
    context.transactions.add_partitions(body.transactional_id, producer, [(OFFSETS_TOPIC, index)], 0, respond)
