"""KIP-714 without a broker: the subscription of each client, every error, and the resulting metrics."""

from __future__ import annotations

import queue
import threading
import uuid
from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import Gauge, Metric, MetricsData, NumberDataPoint, Sum

from kafka_cy.api import push_telemetry
from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.records import compress
from kafka_cy.telemetry import client_metrics, client_subscriptions
from kafka_cy.telemetry.client_metrics import SERIES_PER_CLIENT_MAX, ClientMetrics
from kafka_cy.telemetry.client_subscriptions import Client, ClientSubscriptions, Instance, subscription_number
from kafka_cy.telemetry.client_telemetry import FIELDS_MAX, ClientTelemetry
from kafka_cy.telemetry.exposition import page
from kafka_cy.telemetry.protobuf_fields import count_fields
from tests.coordinator.fakes import FakeLoop
from tests.no_threads import forbid_threads
from tests.waiting import wait_until

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

    def __init__(self, telemetry_bytes_max: int = 1000) -> None:
        self.answered = threading.Event()
        self.error = ErrorCode.UNKNOWN_SERVER_ERROR
        loop = FakeLoop()
        loop.call_soon_threadsafe = lambda function, *arguments: function(*arguments)  # type: ignore[attr-defined]
        self.errors: list[Exception] = []
        self.telemetry = ClientTelemetry(Cluster(), loop, telemetry_bytes_max, self.errors.append)

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


def test_a_push_with_too_many_messages_is_refused_before_it_is_parsed() -> None:
    """A few kilobytes can hold millions of empty messages, which the parser creates while it holds the GIL."""
    pushes = Pushes(1 << 20)
    bomb = b"\x0a\x00" * (FIELDS_MAX + 1)  # resource_metrics, empty
    assert pushes.push(1, compress(bomb, "gzip")) is ErrorCode.TELEMETRY_TOO_LARGE
    assert pushes.push(1, compress(bomb[2:], "gzip")) is ErrorCode.NONE
    assert pushes.push(1, compress(b"\x0a\x00" * (2 << 20), "gzip")) is ErrorCode.TELEMETRY_TOO_LARGE
    assert not pushes.errors


def fields_of(message: Any) -> int:
    """The fields of a message and of all messages in it."""
    count = 0
    for field, value in message.ListFields():
        values = value if field.is_repeated else [value]
        packed = field.is_repeated and field.message_type is None
        count += 1 if packed else len(values)
        count += sum(fields_of(each) for each in values) if field.message_type is not None else 0
    return count


def test_fields_of_the_largest_useful_push() -> None:
    """A client with as many series as are kept, with long names and four labels each, is within the limit."""
    data = MetricsData()
    for number in range(SERIES_PER_CLIENT_MAX):
        metric = gauge("org.apache.kafka.consumer.fetch.manager.records.lag.max", float(number))
        metric.description, metric.unit = "The maximum lag in terms of number of records", "1"
        (point,) = metric.gauge.data_points
        point.time_unix_nano = point.start_time_unix_nano = 1_700_000_000_000_000_000
        for name in ("topic", "partition", "client_id", "rack"):
            point.attributes.add(key=name).value.string_value = f"some-value-{number}"
        data.resource_metrics.add().scope_metrics.add().metrics.append(metric)
    raw = data.SerializeToString()
    assert fields_of(data) <= count_fields(raw, FIELDS_MAX) < 0.8 * FIELDS_MAX


def test_no_field_is_missed_whatever_stands_before_it() -> None:
    """A parser accepts groups, unknown fields and long varints; the count goes on behind them."""
    inner = b"\x12\x00" * 50
    for prefix in (
        b"", b"\x7b\x7c",  # a group
        b"\x78\x81\x80\x80\x80\x80\x80\x80\x80\x80\x01",  # an unknown varint of ten bytes
        b"\x79" + bytes(8), b"\x7d" + bytes(4), b"\x7a\x03xyz", b"\x8a\x80\x80\x80\x00\x00",  # a tag of five bytes
    ):  # fmt: skip
        raw = b"\x0a" + bytes([len(prefix + inner)]) + prefix + inner
        assert len(MetricsData.FromString(raw).resource_metrics[0].scope_metrics) == 50, prefix
        assert count_fields(raw, 1000) >= 51, prefix
    assert count_fields(b"\x0a\x00" * 100, 10) == 11
    assert count_fields(b"\x0f\xff\xff", 10) == 0


@settings(deadline=None)
@given(st.binary(max_size=300))
def test_whatever_can_be_parsed_has_no_more_fields_than_were_counted(raw: bytes) -> None:
    try:
        data = MetricsData.FromString(raw)
    except DecodeError:
        count_fields(raw, 1000)
        return
    assert fields_of(data) <= count_fields(raw, 1000)


def test_a_fault_of_ours_costs_one_push(monkeypatch: pytest.MonkeyPatch) -> None:
    pushes = Pushes()
    monkeypatch.setattr(pushes.telemetry.metrics, "put", lambda client, data: 1 // 0)
    assert pushes.push(0, b"") is ErrorCode.INVALID_RECORD
    assert isinstance(pushes.errors[0], ZeroDivisionError)
    monkeypatch.undo()
    assert pushes.push(0, b"") is ErrorCode.NONE


# -- pushes that are not accepted --


class Context:
    """The handler's context: a ClientTelemetry whose loop the test runs."""

    def __init__(self) -> None:
        self.soon: list[Callable[[], object]] = []
        self.loop = FakeLoop()
        self.loop.call_soon_threadsafe = lambda function, *more: self.soon.append(partial(function, *more))  # type: ignore[method-assign]
        self.errors: list[Exception] = []
        self.telemetry = ClientTelemetry(Cluster(), self.loop, 1000, self.errors.append)
        self.instance_id, self.instance = self.get()
        self.responses: list[int] = []

    def client_telemetry(self) -> ClientTelemetry:
        return self.telemetry

    def get(self) -> tuple[uuid.UUID, Instance]:
        error, instance_id, instance = self.telemetry.subscriptions.get(None, JAVA)
        assert error is ErrorCode.NONE and instance is not None
        return instance_id, instance

    def push(self, metrics: bytes = b"", *, terminating: bool = False) -> int | None:
        """PushTelemetry through its handler; returns its immediate response."""
        body = SimpleNamespace(
            client_instance_id=self.instance_id, subscription_id=self.instance.subscription_id, terminating=terminating,
            compression_type=0, metrics=metrics or metrics_data(gauge("org.apache.kafka.x", 3.0)).SerializeToString(),
        )  # fmt: skip
        request: Any = SimpleNamespace(
            body=body, client_software=("java", "4"), client_id="shop", client_host="10.0.0.1",
            control=SimpleNamespace(client_port=1), respond=lambda response: self.responses.append(response["error_code"]),
        )  # fmt: skip
        response = push_telemetry.handle(request, self)  # type: ignore[arg-type]
        return None if response is None else int(response["error_code"])

    def run(self, responses: int) -> None:
        def check() -> bool:
            while self.soon:
                self.soon.pop(0)()
            return len(self.responses) == responses

        wait_until(check, "the response")


def test_a_push_that_finds_the_queue_full_may_be_sent_again(monkeypatch: pytest.MonkeyPatch) -> None:
    context = Context()
    with monkeypatch.context() as patch:
        patch.setattr(context.telemetry, "_waiting", queue.Queue(1))
        patch.setattr(context.telemetry, "_thread", object())
        context.telemetry._waiting.put_nowait(None)  # type: ignore[arg-type]
        assert context.push(terminating=True) == ErrorCode.THROTTLING_QUOTA_EXCEEDED
    assert context.push(terminating=True) is None, "the instance is neither terminated nor throttled"
    context.run(1)
    assert context.responses == [ErrorCode.NONE]
    assert context.push() == ErrorCode.INVALID_REQUEST


def test_a_receiver_that_cannot_start(monkeypatch: pytest.MonkeyPatch) -> None:
    context = Context()
    with monkeypatch.context() as patch:
        forbid_threads(patch)
        assert context.push() == ErrorCode.THROTTLING_QUOTA_EXCEEDED
        assert isinstance(context.errors.pop(), RuntimeError)
    assert context.push() is None
    context.run(1)
    assert context.responses == [ErrorCode.NONE]


def test_an_instance_that_expires_while_its_push_is_read_leaves_no_series(monkeypatch: pytest.MonkeyPatch) -> None:
    context = Context()
    expired = threading.Event()
    put = context.telemetry.metrics.put

    def put_late(client: Client, data: Any) -> None:
        assert expired.wait(60)
        put(client, data)

    monkeypatch.setattr(context.telemetry.metrics, "put", put_late)
    assert context.push() is None
    context.loop.advance(1000)
    assert not context.telemetry.subscriptions.instances
    expired.set()
    context.run(1)
    assert "kafkacy_client_series 0" in shown(context.telemetry.metrics)


def test_a_fault_in_an_export_costs_one_push() -> None:
    pushes = Pushes()
    pushes.telemetry.exports.append(lambda client, data: 1 // 0)
    assert pushes.push(0, b"") is ErrorCode.INVALID_RECORD
    assert isinstance(pushes.errors.pop(), ZeroDivisionError)
    pushes.telemetry.exports.clear()
    assert pushes.push(0, b"") is ErrorCode.NONE


def test_a_stop_drops_the_pushes_that_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    telemetry = Pushes().telemetry
    monkeypatch.setattr(telemetry, "_thread", object())  # one that reads nothing
    for _ in range(3):
        assert telemetry.receive(JAVA, 0, b"", lambda error: None)
    telemetry.stop()
    assert telemetry._waiting.empty()
