"""Feature levels through kafka-features and kafka-metadata-quorum."""

from __future__ import annotations

from pathlib import Path

import pytest
from java_tools import JavaTools

from kafka_cy.testing import Broker

pytestmark = [pytest.mark.interop, pytest.mark.timeout(240)]


def levels(java: JavaTools, bootstrap: str) -> dict[str, str]:
    lines = java.check("FeatureCommand", "--bootstrap-server", bootstrap, "describe").lines
    rows = [line.split() for line in lines if line.startswith("Feature:")]
    return {row[1]: row[row.index("FinalizedVersionLevel:") + 1] for row in rows}


def test_features(java: JavaTools, tmp_path: Path) -> None:
    with Broker(folder=tmp_path) as broker:
        bootstrap = broker.bootstrap_servers
        command = ("FeatureCommand", "--bootstrap-server", bootstrap)
        assert levels(java, bootstrap)["transaction.version"] == "2"
        assert levels(java, bootstrap)["metadata.version"] == "4.3-IV0"
        java.check(*command, "downgrade", "--feature", "transaction.version=1", "--dry-run")
        assert levels(java, bootstrap)["transaction.version"] == "2"
        java.check(*command, "downgrade", "--feature", "transaction.version=1")
        assert levels(java, bootstrap)["transaction.version"] == "1"
        java.check(*command, "upgrade", "--feature", "transaction.version=2")
        assert levels(java, bootstrap)["transaction.version"] == "2"
        refused = java.run(*command, "upgrade", "--feature", "transaction.version=3")
        assert refused.code == 1 and "only supports versions 0-2" in refused.out + refused.err
        java.check(*command, "downgrade", "--feature", "transaction.version=1")
    with Broker(folder=tmp_path) as broker:
        assert levels(java, broker.bootstrap_servers)["transaction.version"] == "1"


def test_the_quorum(java: JavaTools, bootstrap: str) -> None:
    status = java.check("MetadataQuorumCommand", "--bootstrap-server", bootstrap, "describe", "--status").out
    assert "MaxFollowerLag:         0" in status and "CurrentObservers:       []" in status
    rows = java.check("MetadataQuorumCommand", "--bootstrap-server", bootstrap, "describe", "--replication").lines
    assert len(rows) == 2 and "Leader" in rows[1]
