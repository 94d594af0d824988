"""Registrations of brokers that change while they exist."""

from __future__ import annotations

from kafka_cy.cluster.znode_formats import BrokerInfo, Endpoint
from tests.controller.cluster import Cluster, State

NODE = "/brokers/ids/3"


def info(listener: str) -> bytes:
    return BrokerInfo((Endpoint(listener, "PLAINTEXT", "host3", 9003),)).encode()


def test_a_registration_that_is_repaired_counts() -> None:
    """The broker has registered without inter.broker.listener.name, and corrects its node."""
    cluster = Cluster({1: 25, 2: 70}, {"t": [State((3, 1), 1, 0, (1,), 0)]})
    cluster.write(NODE, info("CLIENT"))
    cluster.settle()
    assert "broker 3 is left out: it has no listener REPL (inter.broker.listener.name)" in cluster.warnings
    cluster.forget()
    cluster.write(NODE, info("ADMIN"))
    cluster.settle()
    assert not cluster.brokers.sent
    cluster.write(NODE, info("REPL"))
    cluster.settle()
    assert {sent.broker for sent in cluster.brokers.sent} == {1, 2, 3}
    assert cluster.brokers.sent[-1].brokers == {1, 2, 3}
    assert "brokers came: [3], came back: [], went: [], live now: [1, 2, 3]" in cluster.infos
