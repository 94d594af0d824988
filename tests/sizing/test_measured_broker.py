"""Inputs measured from a running broker match the work of its clients."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition

import kafka_cy
from kafka_cy.tools import cli
from kafka_cy.tools.measure_broker import RECORD_OVERHEAD_BYTES, measure_broker

WATCH_SECONDS = 3.0


def record(number: int) -> bytes:
    """A repetitive value, like typical events, which compresses well."""
    return json.dumps(
        {"event": "order-created", "customer": number % 100, "currency": "EUR", "number": number}
    ).encode()


@pytest.fixture
def broker() -> Iterator[kafka_cy.Broker]:
    with kafka_cy.Broker({"num.partitions": 3}) as running:
        yield running


def load(broker: kafka_cy.Broker, stop: threading.Event, sizes: list[int]) -> None:
    """Produce until told to stop; each record is read once."""
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers, "compression.type": "zstd", "linger.ms": 50})
    consumer = Consumer(
        {"bootstrap.servers": broker.bootstrap_servers, "group.id": "reader", "enable.auto.commit": False}
    )
    number = 0
    while not stop.is_set():
        for _ in range(500):
            producer.produce("orders", record(number), partition=number % 3)
            number += 1
        producer.flush()
        sizes += [len(record(each)) for each in range(number - 500, number)]
        if number == 500:
            consumer.assign([TopicPartition("orders", index, 0) for index in range(3)])
        consumer.consume(1000, timeout=0.2)
    consumer.close()


def test_a_load_is_measured(broker: kafka_cy.Broker) -> None:
    stop = threading.Event()
    sizes: list[int] = []
    thread = threading.Thread(target=load, args=(broker, stop, sizes))
    thread.start()
    try:
        while not sizes:
            stop.wait(0.01)
        before = len(sizes)
        found = measure_broker(broker.bootstrap_servers, (broker.metrics_url,), WATCH_SECONDS).values
        during = len(sizes) - before
    finally:
        stop.set()
        thread.join()
    assert 0 < found["messages_per_day"] <= (during + 500) / WATCH_SECONDS * 86_400
    mean = sum(sizes) / len(sizes) + RECORD_OVERHEAD_BYTES
    assert found["message_bytes"] == pytest.approx(mean, rel=0.15)
    assert found["compression_ratio"] > 2
    assert found["peak_to_mean"] >= 1
    assert 0 < found["consumer_fan_out"] < 3
    assert (found["topics"], found["partitions"], found["brokers"], found["replication_factor"]) == (1, 3, 1, 1)
    assert found["retention_days"] == 7
    assert broker.folder is not None
    disk = os.statvfs(broker.folder)
    assert found["disk_bytes"] == disk.f_blocks * disk.f_frsize


def test_an_idle_broker_needs_the_load_from_elsewhere(
    broker: kafka_cy.Broker, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["sizing", "-b", broker.bootstrap_servers, "--metrics", broker.metrics_url, "--watch", "1"]
    assert cli.run(arguments) == 1
    expected = "messages_per_day and message_bytes must be given, or measured in a cluster that receives messages."
    assert capsys.readouterr().err == f"kafka-cy: {expected}\n"
    assert cli.run([*arguments, "--messages-per-day", "1M", "--message-bytes", "100"]) == 0
    captured = capsys.readouterr()
    assert "measured file_descriptors: the processes' limit" in captured.err
    assert "brokers needed\t3" in captured.out


def test_a_broker_address_that_is_no_metrics_address(
    broker: kafka_cy.Broker, capsys: pytest.CaptureFixture[str]
) -> None:
    url = f"http://{broker.bootstrap_servers}/metrics"
    assert cli.run(["sizing", "-b", broker.bootstrap_servers, "--metrics", url, "--watch", "1"]) == 1
    assert capsys.readouterr().err == f"kafka-cy: No broker answers at {url}.\n"
