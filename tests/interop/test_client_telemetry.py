"""KIP-714 with the clients that support it: Kafka's Java client, librdkafka, and kafka-client-metrics."""

from __future__ import annotations

import contextlib
import time
import urllib.request
import uuid
from collections.abc import Callable, Iterator

import pytest
from confluent_kafka import Consumer, Producer
from java_tools import JavaTools, tool_process
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample
from raw_client import RawClient

import kafka_cy

pytestmark = [pytest.mark.interop, pytest.mark.timeout(240)]

COMMAND = "ClientMetricsCommand"
GET, PUSH = 71, 72


@pytest.fixture(scope="module")
def broker() -> Iterator[kafka_cy.Broker]:
    """A separate broker, because a subscription makes every client push."""
    with kafka_cy.Broker({"kafkacy.client.telemetry.offer": "always"}) as started:
        yield started


def scrape(broker: kafka_cy.Broker, metric: str, client_id: str) -> list[Sample]:
    with urllib.request.urlopen(broker.metrics_url, timeout=60) as answer:
        families = list(text_string_to_metric_families(answer.read().decode()))
    samples = [sample for family in families for sample in family.samples]
    return [each for each in samples if each.name == metric and each.labels["client_id"] == client_id]


def wait_for(
    broker: kafka_cy.Broker,
    metric: str,
    client_id: str,
    poll: Callable[[], object],
    at_least: float = 0,
) -> Sample:
    """The client's first sample of a metric, as soon as one has at least that value."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        poll()
        found = scrape(broker, metric, client_id)
        if found and found[0].value >= at_least:
            return found[0]
    raise AssertionError(f"{metric} of {client_id} is not there")


def client_metrics(java: JavaTools, broker: kafka_cy.Broker, *arguments: object) -> str:
    return java.check(COMMAND, "--bootstrap-server", broker.bootstrap_servers, *arguments).out


def test_kafka_client_metrics(java: JavaTools, broker: kafka_cy.Broker) -> None:
    settings = ("--metrics", "org.apache.kafka.producer.", "--interval", 2000, "--match", "client_id=nobody")
    client_metrics(java, broker, "--alter", "--name", "first", *settings)
    described = client_metrics(java, broker, "--describe", "--name", "first")
    for line in ("interval.ms=2000", "match=client_id=nobody", "metrics=org.apache.kafka.producer."):
        assert line in described
    client_metrics(java, broker, "--alter", "--name", "second", "--metrics", "*")
    assert client_metrics(java, broker, "--list").split() == ["first", "second"]
    refused = java.run(
        COMMAND,
        "--bootstrap-server",
        broker.bootstrap_servers,
        "--alter",
        "--name",
        "bad",
        "--metrics",
        "*",
        "--interval",
        1,
    )
    assert refused.code != 0
    assert "interval must be between 100 and 3600000" in refused.out + refused.err
    for name in ("first", "second"):
        client_metrics(java, broker, "--delete", "--name", name)
    assert client_metrics(java, broker, "--list").split() == []


@pytest.fixture
def everything(java: JavaTools, broker: kafka_cy.Broker) -> Iterator[None]:
    """All metrics of all clients, every 100 ms."""
    client_metrics(java, broker, "--alter", "--name", "all", "--metrics", "*", "--interval", 100)
    yield
    client_metrics(java, broker, "--delete", "--name", "all")


def test_librdkafka(broker: kafka_cy.Broker, everything: None) -> None:
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers, "client.id": "rdkafka producer"})

    def produce() -> None:
        producer.produce("rdkafka", b"v")
        producer.poll(0.05)

    latency = "org_apache_kafka_producer_node_request_latency_avg"
    assert wait_for(broker, latency, "rdkafka producer", produce).labels["node_id"] == "1"
    info = wait_for(broker, "kafkacy_client_info", "rdkafka producer", produce).labels
    assert info["client_software_name"] == "confluent-kafka-python"
    assert info["client_source_address"] == "127.0.0.1"
    consumer = Consumer(
        {"bootstrap.servers": broker.bootstrap_servers, "client.id": "rdkafka consumer", "group.id": "g"}
    )
    consumer.subscribe(["rdkafka"])
    assigned = "org_apache_kafka_consumer_coordinator_assigned_partitions"
    wait_for(broker, assigned, "rdkafka consumer", lambda: consumer.poll(0.05))
    assert wait_for(broker, "kafkacy_client_info", "rdkafka consumer", list).labels["group_id"] == "g"
    consumer.close()
    producer.flush(60)


def test_java(java: JavaTools, broker: kafka_cy.Broker, everything: None) -> None:
    """A producer that stays open until its metrics have arrived: the content of its last push, on close, is random."""
    where = ("--bootstrap-server", broker.bootstrap_servers, "--topic", "java")
    settings = ("--command-property", "client.id=java producer", "--command-property", "enable.metrics.push=true")
    with tool_process("ConsoleProducer", *where, *settings) as producer:
        assert producer.stdin is not None
        for more, sent in ((500, 500), (1500, 2000)):
            producer.stdin.write("x\n" * more)
            producer.stdin.flush()
            records = "org_apache_kafka_producer_topic_record_send_total"
            sample = wait_for(broker, records, "java producer", list, sent)
            assert (sample.labels["topic"], sample.value) == ("java", sent)
        info = wait_for(broker, "kafkacy_client_info", "java producer", list)
        assert info.labels["client_software_name"] == "apache-kafka-java"


def test_errors_on_the_wire(broker: kafka_cy.Broker) -> None:
    with contextlib.closing(RawClient(broker.bootstrap_servers)) as client:
        assert {GET, PUSH} <= {row["api_key"] for row in client.request(18, 0, {})["api_keys"]}
        first = client.request(GET, 0, {"client_instance_id": None})
        assert first["error_code"] == 0
        assert first["requested_metrics"] == []
        assert first["accepted_compression_types"] == [4, 3, 1, 2]
        assert first["telemetry_max_bytes"] == 1_048_576
        mine = {"client_instance_id": first["client_instance_id"], "subscription_id": first["subscription_id"]}
        assert client.request(GET, 0, mine)["error_code"] == 89  # too early
        push = {**mine, "terminating": False, "compression_type": 0, "metrics": b""}
        assert client.request(PUSH, 0, {**push, "client_instance_id": None})["error_code"] == 42
        assert client.request(PUSH, 0, {**push, "subscription_id": mine["subscription_id"] ^ 1})["error_code"] == 117
        assert client.request(PUSH, 0, push)["error_code"] == 89
        assert client.request(PUSH, 0, {**push, "terminating": True, "compression_type": 9})["error_code"] == 76
        assert client.request(PUSH, 0, {**push, "terminating": True, "metrics": bytes(1_048_577)})["error_code"] == 118
        assert client.request(PUSH, 0, {**push, "terminating": True, "metrics": b"\xff"})["error_code"] == 87
        assert client.request(PUSH, 0, {**push, "terminating": True})["error_code"] == 42  # it has ended before
        assert client.request(PUSH, 0, {**push, "client_instance_id": uuid.uuid4()})["error_code"] == 117
