"""`bench compare --cluster` in a small form: its rows, what happens in them, and its tables."""

from __future__ import annotations

import json
import os
import struct
from pathlib import Path

import pytest

from kafka_cy.bench import report_text, results
from kafka_cy.bench.brokers import BrokerError, kafka_jars
from kafka_cy.bench.cluster import acknowledged
from kafka_cy.bench.cluster.compare import ClusterCompare, ClusterOptions, all_rows
from kafka_cy.bench.cluster.metadata import decoded
from kafka_cy.bench.cluster.servers import DEBIAN_JARS, KAFKA_VERSION
from kafka_cy.bench.measure import NoProgress

from .sample_results import MACHINE

SMALL = {
    "duration_s": 0.1, "rounds": 1, "created": 6, "failover": 3, "idle": 6, "session_timeout_ms": 1000, "touch_bytes": 0,
    "jvm_warm_up_s": 1.0, "warm_up_s": 0.0,
}  # fmt: skip


def string(text: str) -> bytes:
    return struct.pack(">h", len(text)) + text.encode()


def measured(monkeypatch: pytest.MonkeyPatch, rows: str, jars: Path | None = None) -> results.Results:
    monkeypatch.setattr(acknowledged, "SETTLE_S", 0.0)
    file = results.Results("compare", "2026-01-01T00:00:00Z", ["x"], MACHINE, {})
    options = ClusterOptions(**{**SMALL, "rows": rows, "jars": jars})  # type: ignore[arg-type]
    assert ClusterCompare(file, options, NoProgress()).run()
    assert [(run.label, run.target, run.error) for run in file.runs if run.outcome != "completed"] == []
    return file


def test_what_a_broker_says_about_the_cluster() -> None:
    brokers = b"".join(struct.pack(">i", number) + string("host") + struct.pack(">ih", 9092, -1) for number in (1, 2))
    partition = struct.pack(">hiii", 0, 0, 2, 2) + struct.pack(">ii", 1, 2) + struct.pack(">ii", 1, 2)
    offline = struct.pack(">hiii", 5, 1, -1, 1) + struct.pack(">i", 1) + struct.pack(">i", 0)
    topic = struct.pack(">h", 0) + string("idle-1") + struct.pack(">bi", 0, 2) + partition + offline
    view = decoded(struct.pack(">ii", 0, 2) + brokers + struct.pack(">ii", 1, 1) + topic)
    assert (view.broker_ids, view.controller_id) == ({1, 2}, 1)
    assert view.partitions("idle-") == [(2, 2, 1), (-1, 1, 0)] and view.partitions("other") == []


needs_zookeeper = pytest.mark.skipif(
    not DEBIAN_JARS[0].exists() and "CI" not in os.environ, reason="ZooKeeper is missing"
)
needs_time = pytest.mark.skipif("CLUSTER_TESTS" not in os.environ, reason="`make cluster` runs it")


@needs_zookeeper
def test_three_brokers_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    file = measured(monkeypatch, "idle")  # a load, and what happens once
    ours = [run for run in file.runs if run.target == results.KAFKA_CY]
    labels = [row.label for _, row in all_rows(ClusterOptions(**SMALL)) if "idle" in row.label]  # type: ignore[arg-type]
    assert sorted(run.label for run in ours) == sorted(labels) and len(labels) > 1
    assert all(run.totals.broker_cpu_s and run.options["zookeeper_cpu_s"] >= 0 for run in ours)
    assert all(run.totals.requests for run in file.runs)
    text = report_text.markdown(results.from_json(json.loads(results.to_json(file))))
    assert all(f"| {label} |" in text for label in labels)


@needs_zookeeper
@needs_time
@pytest.mark.slow
@pytest.mark.crash
def test_killed_brokers_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    file = measured(monkeypatch, "")
    ours = {run.workload: run for run in file.runs if run.target == results.KAFKA_CY}
    assert all(run.latency is not None and run.latency.p50_ms for run in ours.values())
    for workload in ("leader-killed", "controller-killed"):
        assert ours[workload].options["session_ms"] > 0
    assert ours["create-partitions"].options["deleted_ms"] > 0


@pytest.mark.interop
@pytest.mark.slow
@needs_time
def test_apache_kafka_is_measured_with_the_same_zookeeper(monkeypatch: pytest.MonkeyPatch) -> None:
    try:
        jars = kafka_jars(None, KAFKA_VERSION)
    except BrokerError as missing:
        (pytest.fail if os.environ.get("CI") else pytest.skip)(str(missing))
    file = measured(monkeypatch, "create", jars)  # a cold JVM may not reach the rates of the loads
    by_target = {name: [run.label for run in file.runs if run.target == name] for name, _ in report_text.TARGETS}
    assert by_target[results.APACHE_KAFKA] == by_target[results.KAFKA_CY] != []


def single(target: str, number: int, ms: float, unit: str, cpu_s: float | None) -> results.Run:
    options = {"unit": unit, "cluster": 3, "zookeeper_cpu_s": 0.25}
    latency = results.Latency(1, ms, ms, ms)
    totals = results.Totals(duration_s=1.0, requests=1, broker_cpu_s=cpu_s)
    return results.Run("x", unit, target, None, number, options, "completed", totals, latency=latency)


def test_the_table_has_times_ratios_and_zookeeper() -> None:
    file = results.Results("compare", "2026-01-01T00:00:00Z", ["x"], MACHINE, {})
    for number in (1, 2, 3):
        for target, ms in ((results.APACHE_KAFKA, 2000.0), (results.KAFKA_CY, 500.0)):
            file.runs += [single(target, number, ms, "time", 1.5), single(target, number, ms / 100, "idle", None)]
    text = report_text.markdown(file)
    assert "| three brokers, replication factor 3 |" in text
    assert "| time | 2,000 ±0 ms, 1.50 s of CPU | - | 500 ±0 ms, 1.50 s of CPU | - | 0.25x ±0.00 |" in text
    assert "| idle | 20.0 ±0.0 ms/s | - | 5.0 ±0.0 ms/s | - | 0.25x ±0.00 |" in text
    assert "| time | 250 ms | 250 ms |" in text
