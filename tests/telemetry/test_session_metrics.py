"""Metrics of the metadata store: its own, and those of a session in ZooKeeper."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from kafka_cy.cluster.session_counts import CONNECTED, SessionCounts
from kafka_cy.telemetry.controller_metrics import ControllerMetrics
from kafka_cy.telemetry.windows import Rates


def samples(counts: SessionCounts) -> dict[str, float]:
    view = SimpleNamespace(session_state=lambda: counts.state, session_events=counts.by_name)
    metrics = ControllerMetrics(view, Rates(), persec=True)  # type: ignore[arg-type]
    return {
        sample.name + "".join(sample.labels.values()): sample.value
        for found in metrics._metadata_store(3, [1.0, 2.0, 9.0])
        for sample in found.samples
    }


def test_a_session_in_zookeeper() -> None:
    counts = SessionCounts(CONNECTED)
    counts.disconnects, counts.expires, counts.sync_connects, counts.auth_failures = 5, 2, 6, 1
    found = samples(counts)
    prefix = "kafka_server_sessionexpirelistener_"
    assert found[f"{prefix}zookeeperdisconnects_total"] == found[f"{prefix}zookeeperdisconnectspersec"] == 5
    assert found[f"{prefix}zookeeperexpires_total"] == 2 and found[f"{prefix}zookeepersyncconnects_total"] == 6
    assert found[f"{prefix}zookeeperauthfailures_total"] == 1
    assert found[f"{prefix}sessionstateCONNECTED"] == 1
    assert found["kafka_server_zookeeperclientmetrics_zookeeperrequestlatencyms_count"] == 3


@pytest.mark.parametrize("name", ["disconnects", "expires", "syncconnects", "readonlyconnects"])
def test_without_zookeeper_all_are_0(name: str) -> None:
    found = samples(SessionCounts())
    assert found[f"kafka_server_sessionexpirelistener_zookeeper{name}_total"] == 0
    assert not any("sessionstate" in each for each in found)
