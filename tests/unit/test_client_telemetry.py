"""KIP-714 without a broker: the subscription of each client, every error, and the resulting metrics."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import Gauge, Metric, MetricsData, NumberDataPoint, Sum

from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.records import compress
from kafka_cy.telemetry import client_metrics, client_subscriptions
from kafka_cy.telemetry.client_metrics import ClientMetrics
from kafka_cy.telemetry.client_subscriptions import Client, ClientSubscriptions, Instance, subscription_number
from kafka_cy.telemetry.client_telemetry import ClientTelemetry
from kafka_cy.telemetry.exposition import page
from tests.coordinator.fakes import FakeLoop

JAVA = Client("", "shop", "apache-kafka-java", "4.3.1", "10.0.0.1", "40123")
RDKAFKA = Client("", "rdkafka", "librdkafka", "2.6.0", "10.0.0.2", "40124")


class Cluster:
    """A cluster that has only configurations."""

    def __init__(self) -> None:
        self.configs: dict[str, dict[str, str]] = {}
        self.listeners: list[Callable[[Any], None]] = []

    def add_listener(self, listener: Callable[[Any], None]) -> None:
        self.listeners.append(listener)

    def config(self, entity_type: str, name: str) -> dict[str, str]:
        return self.configs[name]

    def config_entities(self, entity_type: str) -> list[str]:
        return sorted(self.configs)

    def set(self, name: str, **settings: str) -> None:
        self.configs[name] = {key.replace("_", "."): value for key, value in settings.items()}
        for listener in self.listeners:
            listener(type("ConfigChanged", (), {"entity_type": "client-metrics"})())


class Subject:
    """Subscriptions with a clock, and a list of expired clients."""

    def __init__(self) -> None:
        self.cluster = Cluster()
        self.loop = FakeLoop()
        self.expired: list[str] = []
        self.all = ClientSubscriptions(self.cluster, self.loop, 1000, self.expired.extend)

    def get(self, client: Client = JAVA, instance_id: uuid.UUID | None = None) -> tuple[uuid.UUID, Instance]:
        error, instance_id, instance = self.all.get(instance_id, client)
        assert error is ErrorCode.NONE
        assert instance is not None
        return instance_id, instance

    def get_error(self, instance_id: uuid.UUID) -> ErrorCode:
        error, _, instance = self.all.get(instance_id, JAVA)
        assert instance is None
        return error

    def push(self, instance_id: uuid.UUID | None, number: int, *, last: bool = False, codec: int = 0, size: int = 9) -> ErrorCode:
        return self.all.check_push(instance_id, JAVA, number, last, codec, size)[0]


@pytest.fixture
def subject() -> Subject:
    return Subject()


# -- subscriptions --


def test_without_subscriptions_nothing_is_asked_for(subject: Subject) -> None:
    instance_id, instance = subject.get()
    assert instance.metrics == []
    assert instance.interval_ms == 300_000
    assert instance_id.int > 1
    assert subject.get(RDKAFKA)[0] != instance_id


def test_matching_subscriptions_are_added_up(subject: Subject) -> None:
    subject.cluster.set("a", metrics="org.apache.kafka.producer.,org.apache.kafka.consumer.", interval_ms="5000")
    subject.cluster.set("b", metrics="org.apache.kafka.consumer.", match="client_software_name=lib.*,client_id=rd.*")
    subject.cluster.set("c", metrics="x.", interval_ms="100", match="client_software_name=lib")  # all of it must fit
    subject.cluster.set("d")  # deleted
    assert subject.get()[1].metrics == ["org.apache.kafka.producer.", "org.apache.kafka.consumer."]
    assert subject.get()[1].interval_ms == 5000
    subject.cluster.set("all", metrics="*,y.", interval_ms="7000", match="client_source_address=10\\.0\\.0\\.2")
    assert subject.get(RDKAFKA)[1].metrics == ["*"]
    assert subject.get(RDKAFKA)[1].interval_ms == 5000
    assert "*" not in subject.get()[1].metrics


def test_number_changes_with_the_subscription_and_is_kept_otherwise(subject: Subject) -> None:
    subject.cluster.set("a", metrics="x.")
    instance_id, before = subject.get()
    subject.loop.advance(300)
    assert subject.get(JAVA, instance_id)[1].subscription_id == before.subscription_id
    subject.cluster.set("a", metrics="y.")
    assert subject.get(JAVA, instance_id)[1].subscription_id != before.subscription_id
    assert -(2**31) <= subscription_number(["*"], 1, uuid.UUID(int=2**128 - 1)) < 2**31


# -- errors of the reference --


def test_push_without_an_id(subject: Subject) -> None:
    assert subject.push(None, 0) is ErrorCode.INVALID_REQUEST
    assert subject.push(uuid.UUID(int=1), 0) is ErrorCode.INVALID_REQUEST


def test_get_too_early(subject: Subject) -> None:
    instance_id, instance = subject.get()
    assert subject.get_error(instance_id) is ErrorCode.THROTTLING_QUOTA_EXCEEDED
    subject.loop.advance(299)
    assert subject.push(instance_id, instance.subscription_id) is ErrorCode.NONE
    subject.loop.advance(2)
    assert subject.get_error(instance_id) is ErrorCode.THROTTLING_QUOTA_EXCEEDED  # the push counts, too
    subject.cluster.set("a", metrics="x.")
    subject.get(JAVA, instance_id)  # the subscriptions changed
    assert subject.all.throttled_requests == 2


def test_push_too_early(subject: Subject) -> None:
    subject.cluster.set("a", metrics="x.", interval_ms="1000")
    instance_id, instance = subject.get()
    number = instance.subscription_id
    assert subject.push(instance_id, number) is ErrorCode.NONE  # right after asking, at any time
    subject.loop.advance(0.5)
    assert subject.push(instance_id, number) is ErrorCode.THROTTLING_QUOTA_EXCEEDED
    subject.loop.advance(0.6)
    assert subject.push(instance_id, number) is ErrorCode.NONE
    assert subject.push(instance_id, number, last=True) is ErrorCode.NONE
    assert subject.push(instance_id, number) is ErrorCode.INVALID_REQUEST
    assert subject.push(instance_id, number, last=True) is ErrorCode.INVALID_REQUEST
    subject.loop.advance(10)
    assert subject.get_error(instance_id) is ErrorCode.INVALID_REQUEST


def test_what_is_wrong_with_a_push(subject: Subject) -> None:
    instance_id, instance = subject.get()
    number = instance.subscription_id
    assert subject.push(instance_id, number + 1) is ErrorCode.UNKNOWN_SUBSCRIPTION_ID
    subject.loop.advance(1)
    subject.get(JAVA, instance_id)  # it may ask at once
    assert subject.push(instance_id, number, codec=5) is ErrorCode.UNSUPPORTED_COMPRESSION_TYPE
    subject.loop.advance(1)
    subject.get(JAVA, instance_id)
    assert subject.push(instance_id, number, codec=-1) is ErrorCode.UNSUPPORTED_COMPRESSION_TYPE
    subject.loop.advance(1)
    subject.get(JAVA, instance_id)
    assert subject.push(instance_id, number, size=1001) is ErrorCode.TELEMETRY_TOO_LARGE
    assert subject.get_error(instance_id) is ErrorCode.THROTTLING_QUOTA_EXCEEDED
    assert subject.all.unknown_subscription_requests == 1


def test_a_broker_that_forgot_the_client_takes_its_push(subject: Subject) -> None:
    instance_id, instance = subject.get()
    other = Subject()
    assert other.push(instance_id, instance.subscription_id) is ErrorCode.NONE


# -- limits --


def test_instances_expire(subject: Subject) -> None:
    subject.cluster.set("a", metrics="x.", interval_ms="1000")
    subject.get()
    subject.loop.advance(50)
    second, instance = subject.get(RDKAFKA)
    subject.loop.advance(25)
    assert list(subject.all.instances) == [second]
    assert len(subject.expired) == 1
    subject.loop.advance(100)
    assert not subject.all.instances
    assert subject.expired[1] == instance.client.client_instance_id
    assert subject.loop.pending == 0


def test_instances_are_bounded(subject: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_subscriptions, "INSTANCES_MAX", 3)
    ids = [subject.get()[0] for _ in range(3)]
    subject.push(ids[0], 0)  # the client reports again
    last = subject.get()[0]
    assert set(subject.all.instances) == {ids[0], ids[2], last}
    assert len(subject.expired) == 1


# -- metrics --


def attributes(**values: str) -> list[KeyValue]:
    return [KeyValue(key=key, value=AnyValue(string_value=value)) for key, value in values.items()]


def metrics_data(*metrics: Metric, **resource: str) -> MetricsData:
    data = MetricsData()
    entry = data.resource_metrics.add()
    entry.resource.attributes.extend(attributes(**resource))
    entry.scope_metrics.add().metrics.extend(metrics)
    return data


def gauge(name: str, value: float, **labels: str) -> Metric:
    point = NumberDataPoint(as_double=value, attributes=attributes(**labels))
    return Metric(name=name, gauge=Gauge(data_points=[point]))


def counter(name: str, value: int) -> Metric:
    return Metric(name=name, sum=Sum(data_points=[NumberDataPoint(as_int=value)], is_monotonic=True))


def shown(metrics: ClientMetrics) -> list[str]:
    return page(metrics.families()).decode().splitlines()


def test_names_and_labels() -> None:
    metrics = ClientMetrics()
    client = JAVA._replace(client_instance_id="id", client_id='a "shop"')
    data = metrics_data(
        gauge("org.apache.kafka.producer.node.request.latency.avg", 1.5, **{"node.id": "1"}),
        counter("org.apache.kafka.producer.record.send.total", 7),
        gauge("process_cpu_seconds_total", 1.0),
        gauge("org.apache.kafka.nan", float("nan"), client_id="somebody else"),
        group_id="billing",
    )
    metrics.put(client, data)
    head = 'client_instance_id="id",client_id="a \\"shop\\""'
    lines = shown(metrics)
    for expected in (
        f'org_apache_kafka_producer_node_request_latency_avg{{{head},node_id="1"}} 1.5',
        "# TYPE org_apache_kafka_producer_record_send_total counter",
        f"org_apache_kafka_producer_record_send_total{{{head}}} 7.0",
        f"client_process_cpu_seconds_total{{{head}}} 1.0",
        f"org_apache_kafka_nan{{{head}}} NaN",
        "kafkacy_client_series 4",
    ):
        assert expected in lines
    assert any(line.startswith("kafkacy_client_info{") and 'group_id="billing"' in line for line in lines)
    metrics.put(client, metrics_data(counter("org.apache.kafka.producer.record.send.total", 9)))
    assert "kafkacy_client_series 1" in shown(metrics)
    metrics.forget(["id", "unknown"])
    assert "kafkacy_client_series 0" in shown(metrics)
    assert not any(line.startswith("org_apache") for line in shown(metrics))


def test_series_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_metrics, "SERIES_MAX", 5)
    monkeypatch.setattr(client_metrics, "SERIES_PER_CLIENT_MAX", 3)
    metrics = ClientMetrics()
    many = metrics_data(*(gauge(f"org.apache.kafka.m{i}", i) for i in range(10)))
    for i in range(3):
        metrics.put(JAVA._replace(client_instance_id=f"id{i}"), many)
    lines = shown(metrics)
    assert "kafkacy_client_series 5" in lines
    assert "kafkacy_client_series_dropped_total 25" in lines
    metrics.put(JAVA._replace(client_instance_id="id0"), metrics_data())
    assert "kafkacy_client_series 2" in shown(metrics)


def test_odd_names_are_valid_exposition() -> None:
    from prometheus_client.parser import text_string_to_metric_families

    metrics = ClientMetrics()
    odd = gauge("org.apache.kafka.\u00e4 {}\n" + "x" * 1000, 1.0, **{"1\n": "\n", "__name__": '"', "": "\\", "e" * 999: "v" * 999})
    metrics.put(JAVA._replace(client_instance_id="id"), metrics_data(odd, gauge("", 2.0)))
    families = list(text_string_to_metric_families("\n".join(shown(metrics)) + "\n"))
    samples = [sample for family in families for sample in family.samples]
    assert [sample.value for sample in samples[:2]] == [2.0, 1.0]
    assert all(len(value) <= 200 for sample in samples for value in sample.labels.values())


# -- pushes --


class Pushes:
    """A ClientTelemetry and the responses to its pushes."""

    def __init__(self) -> None:
        self.answered = threading.Event()
        self.error = ErrorCode.UNKNOWN_SERVER_ERROR
        loop = FakeLoop()
        loop.call_soon_threadsafe = lambda function, *arguments: function(*arguments)  # type: ignore[attr-defined]
        self.errors: list[Exception] = []
        self.telemetry = ClientTelemetry(Cluster(), loop, 1000, self.errors.append)

    def push(self, codec: int, data: bytes) -> ErrorCode:
        self.answered.clear()
        self.telemetry.receive(JAVA._replace(client_instance_id="id"), codec, data, self._done)
        assert self.answered.wait(30)
        return self.error

    def _done(self, error: ErrorCode) -> None:
        self.error = error
        self.answered.set()


def test_pushes_in_every_codec() -> None:
    pushes = Pushes()
    data = metrics_data(gauge("org.apache.kafka.x", 3.0)).SerializeToString()
    for codec, name in enumerate(("none", "gzip", "snappy", "lz4", "zstd")):
        assert pushes.push(codec, compress(data, name)) is ErrorCode.NONE
        assert 'org_apache_kafka_x{client_instance_id="id",client_id="shop"} 3.0' in shown(pushes.telemetry.metrics)


def test_bad_pushes() -> None:
    pushes = Pushes()
    seen: list[object] = []
    pushes.telemetry.exports.append(lambda client, data: seen.append(client))
    assert pushes.push(4, b"not zstd") is ErrorCode.INVALID_RECORD
    assert pushes.push(0, b"\xff\xff\xff\xff") is ErrorCode.INVALID_RECORD
    assert pushes.push(4, compress(bytes(1 << 20), "zstd")) is ErrorCode.TELEMETRY_TOO_LARGE
    assert not seen
    assert pushes.push(0, metrics_data().SerializeToString()) is ErrorCode.NONE
    assert len(seen) == 1
    assert not pushes.errors


def test_a_fault_of_ours_costs_one_push(monkeypatch: pytest.MonkeyPatch) -> None:
    pushes = Pushes()
    monkeypatch.setattr(pushes.telemetry.metrics, "put", lambda client, data: 1 // 0)
    assert pushes.push(0, b"") is ErrorCode.INVALID_RECORD
    assert isinstance(pushes.errors[0], ZeroDivisionError)
    monkeypatch.undo()
    assert pushes.push(0, b"") is ErrorCode.NONE
