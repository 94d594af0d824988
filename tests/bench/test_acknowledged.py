"""The time without an acknowledgement is measured, whatever the client that measures has to wait for."""

from __future__ import annotations

import threading
from typing import Any

import confluent_kafka
import pytest

from kafka_cy.bench.cluster.acknowledged import AcknowledgedLoad

RECORDS = 5


class Producer:
    """Nothing is acknowledged before a broker is asked for the leader, which then hangs until the test ends."""

    def __init__(self, config: dict[str, Any]) -> None:
        self.asked, self.end = threading.Event(), threading.Event()
        self.sent: list[Any] = []
        self.hangs = False

    def produce(self, topic: str, value: bytes, partition: int, on_delivery: Any) -> None:
        self.sent.append(on_delivery)

    def poll(self, timeout_s: float) -> None:
        self.asked.wait(timeout_s)
        if self.asked.is_set():
            for delivered in self.sent:
                delivered(None, None)
            self.sent.clear()

    def list_topics(self, topic: str, timeout: float) -> None:
        assert timeout <= 1
        self.hangs = True
        self.asked.set()
        self.end.wait(60)
        self.hangs = False
        raise confluent_kafka.KafkaException

    def purge(self) -> None:
        pass

    def flush(self, timeout_s: float) -> None:
        pass


def test_a_broker_that_hangs_holds_up_no_acknowledgement(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(confluent_kafka, "Producer", Producer)
    monkeypatch.setattr("kafka_cy.bench.cluster.acknowledged.client_config", lambda target, settings: settings)
    load = AcknowledgedLoad(None, "t")  # type: ignore[arg-type]
    with load:
        producer: Any = load._producer
        load.go_on(lambda: len(load._acks) >= RECORDS)
        assert producer.hangs
        producer.end.set()
    assert not any(thread.name == "leader" for thread in threading.enumerate())
