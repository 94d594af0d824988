"""Metrics of the coordinators' thread and their runtimes: Kafka's names, and values from the counts since the start."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from kafka_cy.api import registry
from kafka_cy.telemetry import reactor_numbers, runtime_metrics
from kafka_cy.telemetry.reactor_numbers import ControlNumbers, bucket
from kafka_cy.telemetry.runtime_metrics import RuntimeMetrics
from kafka_cy.telemetry.runtime_numbers import EventNumbers, RuntimeNumbers
from kafka_cy.telemetry.transaction_numbers import TransactionNumbers
from kafka_cy.telemetry.windows import Rates

GROUP, SHARE = "kafka_server_group_coordinator_metrics_", "kafka_server_share_coordinator_metrics_"
VERIFICATION = "kafka_server_addpartitionstotxnmanager_verification"


def histogram(*values_ms: int) -> list[int]:
    made = [0] * 488
    for value in values_ms:
        made[bucket(value * 1_000_000)] += 1
    return made


class View:
    server = None

    def __init__(self) -> None:
        self.runtime = RuntimeNumbers()
        self.events = EventNumbers()
        self.numbers = TransactionNumbers()

    def coordinator_events(self) -> EventNumbers:
        return self.events

    def runtimes(self) -> dict[str, RuntimeNumbers]:
        return {"group": self.runtime, "share": RuntimeNumbers()}

    def transactions(self) -> TransactionNumbers:
        return self.numbers


def collected(metrics: RuntimeMetrics, now: float) -> dict[tuple[str, ...], float]:
    """Value by name and labels."""
    return {
        (sample.name, *sample.labels.values()): sample.value for family in metrics.collect(now) for sample in family.samples
    }


@pytest.fixture(autouse=True)
def control(monkeypatch: pytest.MonkeyPatch) -> list[ControlNumbers]:
    """Of the loops admin, coordinator and controller."""
    numbers = [ControlNumbers(9, 9, 9), ControlNumbers(0, 0, 0), ControlNumbers(9, 9, 9)]
    monkeypatch.setattr(reactor_numbers, "control", lambda server: numbers)
    monkeypatch.setattr(reactor_numbers, "shared", lambda server: SimpleNamespace(uptime_ns=0))
    return numbers


def test_the_thread_of_the_coordinators(control: list[ControlNumbers]) -> None:
    view = View()
    metrics = RuntimeMetrics(cast(Any, view), Rates(), persec=True)
    assert collected(metrics, 100.0)[(GROUP + "event_queue_size",)] == 0, "also before there is a coordinator"
    assert runtime_metrics.COORDINATOR == registry.COORDINATOR == 1
    control[1] = ControlNumbers(3 * 10**9, 0, 7)
    view.events = EventNumbers(2, histogram(*[4] * 99, 900), histogram(1))
    found = collected(metrics, 104.0)
    for prefix in (GROUP, SHARE):
        assert found[(prefix + "event_queue_size",)] == 9
        assert found[(prefix + "thread_idle_ratio_avg",)] == pytest.approx(0.75)
        for part, expected in (("p50", 4), ("p95", 4), ("p999", 900), ("max", 900)):
            assert found[(f"{prefix}event_queue_time_ms_{part}",)] == pytest.approx(expected, rel=0.13), part
        assert found[(prefix + "event_processing_time_ms_p99",)] == pytest.approx(1, rel=0.13)


def test_the_runtime_of_a_coordinator() -> None:
    view = View()
    metrics = RuntimeMetrics(cast(Any, view), Rates(), persec=True)
    collected(metrics, 100.0)
    view.runtime = RuntimeNumbers(1, 48, 2, histogram(3, 3), histogram(20))
    found = collected(metrics, 110.0)
    states = {state: found[GROUP + "num_partitions", state] for state in ("loading", "active", "failed")}
    assert states == {"loading": 1, "active": 48, "failed": 2}
    assert found[(GROUP + "batch_flush_rate",)] == pytest.approx(0.2)
    assert found[(GROUP + "batch_flush_time_ms_max",)] == pytest.approx(3, rel=0.13)
    assert found[(GROUP + "event_purgatory_time_ms_p50",)] == pytest.approx(20, rel=0.13)
    assert found[SHARE + "num_partitions", "active"] == found[(SHARE + "batch_flush_time_ms_max",)] == 0


@pytest.mark.parametrize("persec", [True, False])
def test_verified_transactions(persec: bool) -> None:
    view = View()
    metrics = RuntimeMetrics(cast(Any, view), Rates(), persec)
    collected(metrics, 100.0)
    view.numbers = TransactionNumbers(refused_partitions=3, verification_ns=histogram(5, 5, 5, 5))
    found = collected(metrics, 130.0)
    assert found[(VERIFICATION + "failurerate_count",)] == found[(VERIFICATION + "failurerate_count_total",)] == 3
    assert found[(VERIFICATION + "failurerate_oneminuterate",)] == pytest.approx(0.1)
    assert found[VERIFICATION + "timems", "0.99"] == pytest.approx(5, rel=0.13)
    assert found[(VERIFICATION + "timems_count",)] == 4
    assert ((VERIFICATION + "timems",) in found) == ((VERIFICATION + "failurerate",) in found) == persec
