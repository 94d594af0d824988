"""Seeded histories of transactions: no anomaly. A seed that fails is run again with HISTORY_SEEDS=<seed>."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from kafka_cy.testing import Broker

from .anomalies import anomalies_of
from .workload import BROKER, OneBroker, Workload

SEEDS = [int(seed) for seed in os.environ.get("HISTORY_SEEDS", "").split(",") if seed] or range(
    int(os.environ.get("HISTORY_COUNT", "24"))
)
KILLED = 4  # every fourth history has kills


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    with Broker(BROKER) as running:
        yield running


@pytest.mark.crash
@pytest.mark.parametrize("seed", SEEDS)
def test_no_anomaly(broker: Broker, seed: int) -> None:
    history = Workload(OneBroker(broker, kills=seed % KILLED == 0), seed).run()
    assert anomalies_of(history) == []
    assert any(transaction.is_committed for transaction in history.transactions)
