"""Seeded histories of transactions: no anomaly.

HISTORY_COUNT seeds from HISTORY_FIRST on. A seed that fails is run again with HISTORY_SEEDS=<seed>: its clients do the same,
but which of several requests at once the broker handles first, and at which of its steps it is killed, is up to the machine.
Name the seed a few times (HISTORY_SEEDS=7,7,7,7) if it does not fail at once.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from kafka_cy.testing import Broker

from .anomalies import anomalies_of
from .workload import BROKER, OneBroker, Workload

FIRST = int(os.environ.get("HISTORY_FIRST", "0"))
SEEDS = [int(seed) for seed in os.environ.get("HISTORY_SEEDS", "").split(",") if seed] or range(
    FIRST, FIRST + int(os.environ.get("HISTORY_COUNT", "24"))
)
STOPPED = 4  # the broker is killed or stopped in every fourth history


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    with Broker(BROKER) as running:
        yield running


@pytest.fixture(scope="module")
def removed() -> dict[int, int]:
    """Records that compaction has removed, by the seed of each history with keys that repeat."""
    return {}


@pytest.mark.crash
@pytest.mark.parametrize("seed", SEEDS)
def test_no_anomaly(broker: Broker, removed: dict[int, int], seed: int) -> None:
    workload = Workload(OneBroker(broker, stops=seed % STOPPED == 0), seed)
    history = workload.run()
    assert anomalies_of(history) == []
    assert any(transaction.is_committed for transaction in history.transactions)
    if workload.compacted:
        removed[seed] = len(history.removed())


def test_the_cleaner_was_at_work(removed: dict[int, int]) -> None:
    """Over all histories: a single one may be over before its logs are cleaned."""
    if len(removed) < 3:
        pytest.skip("too few histories have keys that repeat")
    assert sum(removed.values()) > 0, removed
