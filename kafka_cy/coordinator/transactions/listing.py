"""What DescribeTransactions and ListTransactions show."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from math import inf
from time import monotonic
from typing import Any, NamedTuple

from kafka_cy.coordinator.transactions.states import STATE_NAMES, State
from kafka_cy.coordinator.transactions.transaction import Transaction

MATCHING_S_MAX = 10.0  # of one request: its thread has the long requests of all clients to do
STATES_BY_NAME = {name: state for state, name in STATE_NAMES.items()}


class ListFilter(NamedTuple):
    """Which transactions ListTransactions shows. Empty collections, None, and a negative duration let everything through.

    `matches` tells whether a transactional id is wanted. `longer_than_ms` compares the time since the transaction began.
    """

    states: Collection[str]
    producer_ids: Collection[int]
    longer_than_ms: int
    matches: Callable[[str], bool] | None


class TooSlow(Exception):
    """The pattern takes too long for the transactional ids that there are."""


def unknown_states(states: Iterable[str]) -> list[str]:
    """Those of the names that no state has."""
    return [name for name in states if name not in STATES_BY_NAME]


def listed(transactions: Iterable[Transaction], wanted: ListFilter, now_ms: int) -> list[dict[str, Any]]:
    """The entries of a ListTransactions response; any thread may call it. Raises TooSlow."""
    end_s = monotonic() + MATCHING_S_MAX if wanted.matches is not None else inf
    states = {STATES_BY_NAME.get(name) for name in wanted.states}
    producer_ids = frozenset(wanted.producer_ids)
    found: dict[str, dict[str, Any]] = {}  # a walk may visit a transaction twice
    for transaction in transactions:
        name, stored = transaction.transactional_id, transaction.stored
        if monotonic() > end_s:
            raise TooSlow
        if (
            (producer_ids and stored.producer_id not in producer_ids)
            or (states and stored.state not in states)
            or (wanted.longer_than_ms >= 0 and now_ms - stored.start_ms <= wanted.longer_than_ms)
            or (wanted.matches is not None and not wanted.matches(name))
        ):
            continue
        state = STATE_NAMES[State(stored.state)]
        found[name] = {"transactional_id": name, "producer_id": stored.producer_id, "transaction_state": state}
    return list(found.values())
