"""DescribeTransactions (API 65): the state of transactional ids that this broker coordinates (KIP-664).

An unknown transactional id gets TRANSACTIONAL_ID_NOT_FOUND, an empty one INVALID_REQUEST. Topics are sorted by name (Kafka's
order is that of a hash table). A transactional id that is named twice is described once (Kafka repeats it): a small request
must not make a response of any size.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from kafka_cy.api.authorization import TRANSACTIONAL_ID_DENIED, may_topic, may_transactional_id
from kafka_cy.api.registry import handler
from kafka_cy.api.topic_rights import with_denied
from kafka_cy.authorizer.acls import Operation
from kafka_cy.coordinator.transactions.records import StoredTransaction
from kafka_cy.coordinator.transactions.states import STATE_NAMES, State
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kio.schema.describe_transactions.v0.request import DescribeTransactionsRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import DescribesTransactions

Found = list[tuple[ErrorCode, StoredTransaction | None]]


@handler(api_key=65)
def handle(request: Request[DescribeTransactionsRequest], context: DescribesTransactions) -> None:
    """One entry for each transactional id; a transaction may have thousands of partitions, so a thread builds the response."""
    names = list(dict.fromkeys(request.body.transactional_ids))

    def allows(name: str) -> bool:
        return may_transactional_id(request, Operation.DESCRIBE, name)

    def response(allowed: Sequence[str], found: Found) -> dict[str, Any]:
        known = dict(zip(allowed, found, strict=True))
        states = [_described(request, name, *known.get(name, (TRANSACTIONAL_ID_DENIED, None))) for name in names]
        return {"throttle_time": 0, "transaction_states": states}

    def describe(ready: Any, denied: set[str]) -> None:
        allowed = [name for name in names if name not in denied]
        context.transactions.describe(allowed, lambda found: ready(lambda: response(allowed, found)))

    request.respond_long(lambda ready: with_denied(request, context, names, allows, lambda denied: describe(ready, denied)))


def _described(
    request: Request[Any], name: str, error: ErrorCode, stored: StoredTransaction | None
) -> dict[str, Any]:
    if not name and error is not TRANSACTIONAL_ID_DENIED:
        error = ErrorCode.INVALID_REQUEST
    elif not error and stored is None:
        error = ErrorCode.TRANSACTIONAL_ID_NOT_FOUND
    if error or stored is None:
        return _entry(name, error, "", 0, 0, 0, 0, [])
    shown = [each for each in stored.partitions or () if may_topic(request, Operation.DESCRIBE, each.topic)]
    topics = sorted(shown, key=lambda each: each.topic)
    return _entry(
        name, error, STATE_NAMES[State(stored.state)], stored.timeout_ms, stored.start_ms, stored.producer_id,
        stored.producer_epoch, [{"topic": each.topic, "partitions": list(each.partitions)} for each in topics],
    )  # fmt: skip


def _entry(
    name: str, error: ErrorCode, state: str, timeout_ms: int, start_ms: int, producer_id: int, epoch: int, topics: list[Any]
) -> dict[str, Any]:
    return {
        "error_code": int(error),
        "transactional_id": name,
        "transaction_state": state,
        "transaction_timeout": timeout_ms,
        "transaction_start_time": start_ms,
        "producer_id": producer_id,
        "producer_epoch": epoch,
        "topics": topics,
    }
