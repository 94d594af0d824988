"""Traces, metrics and logs of a running broker, as a collector receives them."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka import Consumer, Producer
from live_client import Client, string
from otlp_receiver import OtlpReceiver, attributes

import kafka_cy
from kafka_cy.testing.broker import BrokerStartError

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE_ID}-00f067aa0ba902b7-01"


@pytest.fixture
def receiver() -> Iterator[OtlpReceiver]:
    with OtlpReceiver() as started:
        yield started


def config(receiver: OtlpReceiver, **settings: object) -> dict[str, object]:
    """With this many traces per second, the ring is emptied every second instead of every five."""
    settings = {"traces.per.second.max": 1000, **settings}
    return {"kafkacy.otel.endpoint": receiver.endpoint} | {f"kafkacy.otel.{key}": value for key, value in settings.items()}


def send(broker: kafka_cy.Broker, topic: str, value: bytes, traceparent: str | None = None, **settings: object) -> None:
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers, "client.id": "maker", **settings})
    headers = {"other": b"x", "traceparent": traceparent.encode()} if traceparent else None
    producer.produce(topic, value, headers=headers)
    assert producer.flush(60) == 0


def read(broker: kafka_cy.Broker, topic: str, count: int) -> None:
    settings = {"bootstrap.servers": broker.bootstrap_servers, "group.id": "g", "auto.offset.reset": "earliest"}
    consumer = Consumer(settings)
    consumer.subscribe([topic])
    deadline = time.monotonic() + 30
    while count and time.monotonic() < deadline:
        message = consumer.poll(0.2)
        count -= message is not None and message.error() is None
    consumer.close()
    assert count == 0


def named(receiver: OtlpReceiver, name: str) -> list[Any]:
    return [span for span in receiver.spans() if span.name == name]


def test_one_trace_from_producer_to_consumer(receiver: OtlpReceiver) -> None:
    """With a sampling ratio of 0, only requests that belong to a sampled client trace are traced."""
    with kafka_cy.Broker(config(receiver, **{"traces.sampling.ratio": 0})) as broker:
        send(broker, "orders", b"before")
        send(broker, "orders", b"not sampled", TRACEPARENT[:-1] + "0")
        send(broker, "orders", b"sampled", TRACEPARENT)
        produced = receiver.wait_for(lambda: named(receiver, "Produce orders"))[0]
        read(broker, "orders", 3)
        fetched = receiver.wait_for(lambda: named(receiver, "Fetch orders"))[0]
        assert {span.name for span in receiver.spans()} == {"Produce orders", "Fetch orders"}
        assert produced.trace_id.hex() == fetched.trace_id.hex() == TRACE_ID
        assert produced.parent_span_id.hex() == "00f067aa0ba902b7"
        assert fetched.parent_span_id == produced.span_id
        assert produced.start_time_unix_nano <= produced.end_time_unix_nano <= time.time_ns()
        assert abs(produced.start_time_unix_nano - time.time_ns()) < 60e9
        told = attributes(produced.attributes)
        assert told["messaging.destination.name"] == "orders"
        assert told["messaging.kafka.offset"] == 2
        assert told["messaging.client.id"] == "maker"


def test_sampled_requests(receiver: OtlpReceiver) -> None:
    """With a sampling ratio of 1, every request is traced, compressed or not, with a new context or the client's."""
    with kafka_cy.Broker(config(receiver, **{"traces.sampling.ratio": 1})) as broker:
        send(broker, "plain", b"v")
        send(broker, "packed", b"v" * 1000, TRACEPARENT, **{"compression.type": "zstd"})
        send(broker, "unanswered", b"v", TRACEPARENT, acks=0)
        read(broker, "plain", 1)
        for name in ("Produce plain", "Produce packed", "Produce unanswered", "Fetch plain", "ApiVersions", "JoinGroup"):
            receiver.wait_for(lambda name=name: named(receiver, name))
        produced, fetched = named(receiver, "Produce plain")[0], named(receiver, "Fetch plain")[0]
        assert produced.parent_span_id == b""
        assert (fetched.trace_id, fetched.parent_span_id) == (produced.trace_id, produced.span_id)
        for name in ("Produce packed", "Produce unanswered"):
            assert named(receiver, name)[0].trace_id.hex() == TRACE_ID
        assert len({span.span_id for span in receiver.spans()}) == len(receiver.spans())


def test_one_request_in_so_many(receiver: OtlpReceiver) -> None:
    """Gaps are random from 1 to 19: of 3,000 requests, 300 are sampled, with a standard deviation of 10."""
    with kafka_cy.Broker(config(receiver, **{"traces.sampling.ratio": 0.1, "traces.per.second.max": 10_000})) as broker:
        with Client(broker.host, broker.port) as client:
            for _ in range(3000):
                client.call(18, 0, b"")
        receiver.wait_for(lambda: len(named(receiver, "ApiVersions")) > 240)
        assert broker.terminate() == 0
    spans = named(receiver, "ApiVersions")
    assert len(spans) < 360
    assert {attributes(span.attributes)["client.address"] for span in spans} == {"127.0.0.1"}


def test_metrics_and_logs(receiver: OtlpReceiver) -> None:
    with kafka_cy.Broker(config(receiver, **{"metrics.interval.ms": 1000}), log_level="debug") as broker:
        send(broker, "orders", b"v")
        name = "kafka_server_brokertopicmetrics_messagesin_total"

        def counted() -> list[Any]:
            found = [metric for _, metric in receiver.metrics() if metric.name == name]
            return [metric for metric in found for point in metric.sum.data_points if point.as_double >= 1]

        metric = receiver.wait_for(counted)[0]
        assert metric.sum.is_monotonic
        by_topic = {attributes(point.attributes).get("topic", ""): point.as_double for point in metric.sum.data_points}
        assert by_topic["orders"] == 1
        resource = receiver.metrics()[0][0]
        assert resource["service.name"] == "kafka-cy"
        assert resource["service.instance.id"].endswith("/1")
    assert broker.process is None
    record = receiver.wait_for(lambda: [each for each in receiver.log_records() if each.body.string_value == "stopped"])
    assert record[0].severity_text == "INFO"  # the very last line, too
    (start,) = [each for each in receiver.log_records() if each.body.string_value == "starting kafka-cy"]
    assert attributes(start.attributes)["config"] == "none"  # a line from before the export started


def test_what_clients_push_goes_out(receiver: OtlpReceiver) -> None:
    with kafka_cy.Broker(config(receiver, signals="metrics")) as broker:
        subscribe(broker, {"metrics": "*", "interval.ms": "200"})
        producer = Producer({"bootstrap.servers": broker.bootstrap_servers, "client.id": "pusher"})
        name = "org.apache.kafka.producer.connection.creation.total"

        def pushed() -> list[dict[str, str]]:
            producer.produce("orders", b"v")
            producer.poll(0.05)
            return [resource for resource, metric in receiver.metrics() if metric.name == name]

        resource = receiver.wait_for(pushed)[0]
        assert resource["client_id"] == "pusher"
        assert resource["client_software_name"] == "confluent-kafka-python"
        assert resource["client_instance_id"]
        assert producer.flush(60) == 0
    assert not receiver.spans()
    assert not receiver.log_records()


def subscribe(broker: kafka_cy.Broker, settings: dict[str, str]) -> None:
    """IncrementalAlterConfigs v0 of the client metrics subscription `all`, which no client library here can send."""
    configs = b"".join(string(key) + b"\0" + string(value) for key, value in settings.items())
    body = struct.pack(">ib", 1, 16) + string("all") + struct.pack(">i", len(settings)) + configs + b"\0"
    with Client(broker.host, broker.port) as client:
        answer = client.call(44, 0, body)
    assert struct.unpack_from(">iih", answer)[2] == 0, answer


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"kafkacy.otel.protocol": "smoke"}, "kafkacy.otel.protocol"),
        ({"kafkacy.otel.traces.sampling.ratio": 2}, "kafkacy.otel.traces.sampling.ratio"),
    ],
)
def test_bad_settings_are_named(settings: dict[str, object], told: str) -> None:
    broker = kafka_cy.Broker({"kafkacy.otel.endpoint": "http://127.0.0.1:1", **settings})
    with pytest.raises(BrokerStartError, match=told):
        broker.start()
    broker.stop()


def test_a_collector_that_is_not_there_disturbs_nobody() -> None:
    """Port 1 refuses connections: one log line per minute, and the broker stops as fast as usual."""
    with kafka_cy.Broker({"kafkacy.otel.endpoint": "http://127.0.0.1:1", "kafkacy.otel.traces.sampling.ratio": 1}) as broker:
        for _ in range(20):
            send(broker, "orders", b"v")
        assert broker.terminate() == 0
        assert broker.log_text().count("OpenTelemetry") <= 1
