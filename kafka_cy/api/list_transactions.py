"""ListTransactions (API 66): the transactional ids that this broker coordinates (KIP-664).

Filters: states (those that do not exist come back in the response) and producer ids. v1 (KIP-994): only transactions that
began longer ago than a duration. v2 (KIP-1152): only transactional ids that match a regular expression (RE2).
COORDINATOR_LOAD_IN_PROGRESS while a partition is being loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from kafka_cy.api.authorization import may_transactional_id
from kafka_cy.api.registry import handler
from kafka_cy.authorizer.acls import Operation
from kafka_cy.coordinator.transactions.listing import ListFilter, unknown_states
from kafka_cy.protocol.errors import ErrorCode

if TYPE_CHECKING:
    from kio.schema.list_transactions.v2.request import ListTransactionsRequest

    from kafka_cy.api.context import Request
    from kafka_cy.api.roles import UsesTransactions


@handler(api_key=66)
def handle(request: Request[ListTransactionsRequest], context: UsesTransactions) -> None:
    """All transactions that pass the filters."""
    body, version = request.body, request.api_version
    pattern = body.transactional_id_pattern if version >= 2 else None
    matches = None
    if pattern:
        from kafka_cy.base.regular_expression import InvalidRegularExpression, compile_regular_expression

        try:
            matches = compile_regular_expression(pattern).matches
        except InvalidRegularExpression:
            request.respond(_response(ErrorCode.INVALID_REGULAR_EXPRESSION, [], []))
            return
    duration_ms = int(body.duration_filter) if version >= 1 else -1
    wanted = ListFilter(list(body.state_filters), list(body.producer_id_filters), duration_ms, matches)

    def listing() -> dict[str, Any]:
        error, states = context.transactions.list_transactions(wanted)
        states = [each for each in states if may_transactional_id(request, Operation.DESCRIBE, each["transactional_id"])]
        return _response(error, unknown_states(wanted.states) if not error else [], states)

    request.respond_long(lambda ready: ready(listing))


def _response(error: ErrorCode, unknown: list[str], states: list[dict[str, Any]]) -> dict[str, Any]:
    return {
        "throttle_time": 0,
        "error_code": int(error),
        "unknown_state_filters": unknown,
        "transaction_states": states,
    }
