"""Client telemetry (KIP-714) is offered once somebody wants it."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest
from confluent_kafka import Producer

import kafka_cy
from kafka_cy.tools.raw_client import RawClient

TELEMETRY = {71, 72}


def listed(broker: kafka_cy.Broker) -> set[int]:
    with RawClient(broker.bootstrap_servers) as client:
        return TELEMETRY & client.api_versions().keys()


def configure(broker: kafka_cy.Broker, *words: str) -> None:
    command = [sys.executable, "-m", "kafka_cy", "configs", "alter", "--client-metrics", "all", *words]
    subprocess.run([*command, "-b", broker.bootstrap_servers], check=True, timeout=60, capture_output=True)


def test_offered_from_the_first_subscription_on() -> None:
    with kafka_cy.Broker() as broker:
        assert listed(broker) == set()
        configure(broker, "--set", "metrics=*")
        assert listed(broker) == TELEMETRY
        broker.restart()
        assert listed(broker) == TELEMETRY
        configure(broker, "--delete", "metrics")
        assert listed(broker) == TELEMETRY  # clients have been told already
        broker.restart()
        assert listed(broker) == set()


def test_always_offered() -> None:
    with kafka_cy.Broker({"kafkacy.client.telemetry.offer": "always"}) as broker:
        assert listed(broker) == TELEMETRY


def test_librdkafka_has_nothing_to_say(caplog: pytest.LogCaptureFixture) -> None:
    with kafka_cy.Broker() as broker:
        settings = {"bootstrap.servers": broker.bootstrap_servers}
        with caplog.at_level(logging.DEBUG):
            producer = Producer(settings, logger=logging.getLogger("librdkafka"))
            producer.produce("t", b"x")
            assert producer.flush(60) == 0
            del producer
        assert caplog.messages == []
