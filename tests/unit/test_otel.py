"""OpenTelemetry without a broker: settings, traceparents, spans, metrics."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.proto.metrics.v1.metrics_pb2 import Metric, MetricsData, NumberDataPoint, Sum
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind

from kafka_cy.config import BrokerConfig
from kafka_cy.network.trace_reader import TracedBatch, TracedRequest
from kafka_cy.telemetry.client_subscriptions import Client
from kafka_cy.telemetry.otel_export import PUSHES_BYTES_MAX, PUSHES_MAX, OtelExport
from kafka_cy.telemetry.otel_metrics import page_metrics, pushed_metrics
from kafka_cy.telemetry.otel_settings import OtelSettings, is_on
from kafka_cy.telemetry.otel_spans import SpanMaker, parse_traceparent

TRACEPARENT = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
ENDPOINT = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4318"}


def settings(environ: dict[str, str], **keys: object) -> OtelSettings:
    texts = {f"kafkacy.otel.{key.replace('_', '.')}": str(value) for key, value in keys.items()}
    return OtelSettings(BrokerConfig.load(None, texts), environ)


def test_on_when_somebody_names_a_collector() -> None:
    off = BrokerConfig.load()
    assert not is_on(off, {})
    assert not is_on(off, {"OTEL_EXPORTER_OTLP_ENDPOINT": "", "OTEL_SERVICE_NAME": "x"})
    assert is_on(off, ENDPOINT)
    assert is_on(off, {"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://collector:4318/v1/traces"})
    on = BrokerConfig.load(None, {"kafkacy.otel.endpoint": "http://collector:4318"})
    assert is_on(on, {})
    assert not is_on(on, {"OTEL_SDK_DISABLED": "true"})


def test_endpoints() -> None:
    ours = settings(ENDPOINT, endpoint="http://mine:4318/")
    assert ours.endpoints == {signal: f"http://mine:4318/v1/{signal}" for signal in ("traces", "metrics", "logs")}
    assert settings({}, endpoint="http://mine:4317", protocol="grpc").endpoints["traces"] == "http://mine:4317"
    assert settings(ENDPOINT).endpoints == dict.fromkeys(("traces", "metrics", "logs"))
    assert set(settings(ENDPOINT, signals="logs").endpoints) == {"logs"}
    assert set(settings({**ENDPOINT, "OTEL_LOGS_EXPORTER": "none"}).endpoints) == {"traces", "metrics"}
    one = settings({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://c/v1/metrics", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"})
    assert (set(one.endpoints), one.protocols["metrics"]) == ({"metrics"}, "grpc")


@pytest.mark.parametrize(
    ("environ", "keys", "ratio", "every"),
    [
        ({}, {}, 0.01, 100),
        ({"OTEL_TRACES_SAMPLER": "traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0.25"}, {}, 0.25, 4),
        ({"OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"}, {}, 0.0, 0),
        ({"OTEL_TRACES_SAMPLER": "always_on"}, {}, 1.0, 1),
        ({"OTEL_TRACES_SAMPLER": "always_off"}, {}, 0.0, 0),
        ({"OTEL_TRACES_SAMPLER": "always_on"}, {"traces_sampling_ratio": 0.5}, 0.5, 2),
    ],
)
def test_sampling(environ: dict[str, str], keys: dict[str, object], ratio: float, every: int) -> None:
    found = settings(environ, **keys)
    assert (found.sampling_ratio, found.sample_every) == (ratio, every)


@pytest.mark.parametrize(
    ("variable", "value"),
    [("OTEL_TRACES_SAMPLER_ARG", "2"), ("OTEL_METRIC_EXPORT_INTERVAL", "soon"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "smoke")],
)
def test_bad_variables_are_named(variable: str, value: str) -> None:
    with pytest.raises(ValueError, match=variable) as failure:
        settings({**ENDPOINT, "OTEL_TRACES_SAMPLER": "traceidratio", variable: value})
    assert failure.value.args[:2] == (variable, value)


def test_traceparents() -> None:
    context = parse_traceparent(TRACEPARENT)
    assert context is not None
    assert (context.trace_id.hex(), context.span_id.hex()) == (TRACEPARENT[3:35], TRACEPARENT[36:52])
    assert parse_traceparent("01" + TRACEPARENT[2:] + "-later") is not None
    for wrong in (
        "", TRACEPARENT[:-1], TRACEPARENT + "-x", "ff" + TRACEPARENT[2:], TRACEPARENT.upper(), TRACEPARENT.replace("4bf", "xyz"),
        "00-" + "0" * 32 + TRACEPARENT[35:], TRACEPARENT[:36] + "0" * 16 + "-01", TRACEPARENT.replace("-", "_"),
        TRACEPARENT.replace("4bf9", "  f9"),
    ):  # fmt: skip
        assert parse_traceparent(wrong) is None


def request(api_key: int, *batches: TracedBatch) -> TracedRequest:
    return TracedRequest(api_key, 9, 1, 0, "c", "127.0.0.1", 1, 100, 110, 130, 160, 200, 50, list(batches))


def test_a_batch_joins_its_trace() -> None:
    maker = SpanMaker(Resource({}), {0: "Produce", 1: "Fetch", 3: "Metadata"})
    theirs, ours = TracedBatch("t", 0, 5, 2, TRACEPARENT), TracedBatch("t", 1, 7, 0, "")
    # The consumer's response may be recorded before the producer's.
    spans = maker.spans([request(1, theirs, ours), request(0, theirs, ours), request(3)])
    by_name: dict[str, list[Any]] = {}
    for span in spans:
        by_name.setdefault(span.name, []).append(span)
    (first, second), (third, fourth) = by_name["Produce t"], by_name["Fetch t"]
    assert (first.trace_id.hex(), first.parent_span_id.hex()) == (TRACEPARENT[3:35], TRACEPARENT[36:52])
    assert second.parent_span_id == b""
    for produced, fetched in ((first, third), (second, fourth)):
        assert (fetched.trace_id, fetched.parent_span_id) == (produced.trace_id, produced.span_id)
    assert by_name["Metadata"][0].parent_span_id == b""
    assert maker.spans([request(1, theirs)])[0].parent_span_id == first.span_id


TIMES = {
    "messaging.client.id": "c", "client.address": "127.0.0.1", "kafka.api.version": 9, "kafkacy.request_queue_ms": 10 / 1e6,
    "kafkacy.local_ms": 20 / 1e6, "kafkacy.remote_ms": 30 / 1e6, "kafkacy.response_queue_ms": 40 / 1e6,
}  # fmt: skip
PLACE = {
    "messaging.system": "kafka", "messaging.destination.name": "t", "messaging.destination.partition.id": "3",
    "messaging.kafka.offset": 1 << 40,
}  # fmt: skip
COUNT = {"messaging.batch.message_count": 2}


@pytest.mark.parametrize(
    ("traced", "name", "told"),
    [
        (request(3), "Metadata", TIMES),
        (request(0, TracedBatch("t", 3, 1 << 40, 2, TRACEPARENT)), "Produce t", {**TIMES, **PLACE, **COUNT}),
        (request(1, TracedBatch("t", 3, 1 << 40, 0, "")), "Fetch t", {**TIMES, **PLACE}),
    ],
)
def test_spans_are_what_the_sdk_encodes(traced: TracedRequest, name: str, told: dict[str, Any]) -> None:
    """The spans without their ids, which are random."""
    resource = Resource({"service.name": "x", "some": ["a", "b"]}, "schema")
    maker = SpanMaker(resource, {0: "Produce", 1: "Fetch", 3: "Metadata"})
    (span,) = maker.spans([traced])
    parent = None
    if span.parent_span_id:
        parent = SpanContext(int(TRACEPARENT[3:35], 16), int(TRACEPARENT[36:52], 16), is_remote=True)
    same = ReadableSpan(
        name=name,
        context=SpanContext(int.from_bytes(span.trace_id), int.from_bytes(span.span_id), is_remote=False),
        parent=parent,
        resource=resource,
        attributes=told,
        kind=SpanKind.SERVER,
        start_time=100,
        end_time=200,
        instrumentation_scope=InstrumentationScope("kafka_cy"),
    )
    assert maker.message([span]) == encode_spans([same])


PAGE = b"""# HELP a_total What it is: "a"
# TYPE a_total counter
a_total 3.0
a_total{topic="x\\"y\\\\z\\n}"} 2.0
# TYPE b gauge
b{} 1e+06
b{q="0.5",r="} "} NaN
org_apache_kafka_pushed{client_id="c"} 1
"""


def test_the_page_as_metrics() -> None:
    data = page_metrics(PAGE, Resource({"service.name": "x"}), 5)
    counter, gauge = data.resource_metrics[0].scope_metrics[0].metrics
    assert (counter.name, counter.description, counter.data.is_monotonic) == ("a_total", 'What it is: "a"', True)
    assert [(dict(p.attributes), p.value) for p in counter.data.data_points] == [({}, 3.0), ({"topic": 'x"y\\z\n}'}, 2.0)]
    assert counter.data.data_points[0].start_time_unix_nano == 5
    assert [dict(point.attributes) for point in gauge.data.data_points] == [{}, {"q": "0.5", "r": "} "}]
    assert gauge.data.data_points[0].value == 1e6


def test_pushes_that_wait_for_a_collector_are_limited() -> None:
    """They are kept encoded: parsed, they may occupy many times as much."""
    complaints: list[str] = []
    export = OtelExport(settings(ENDPOINT), {}, None, lambda: b"", dict, complaints.append)
    client = Client("id", "shop", "java", "4", "10.0.0.1", "1")
    for number in range(40):
        export.push(client, bytes([number]) * (1 << 20))
    assert [data[0] for _, data in export._pushes] == list(range(24, 40))
    assert export._pushes_bytes == PUSHES_BYTES_MAX
    for _ in range(2 * PUSHES_MAX):
        export.push(client, b"x")
    assert (len(export._pushes), export._pushes_bytes) == (PUSHES_MAX, PUSHES_MAX)


def test_pushes_keep_names_values_and_times() -> None:
    data = MetricsData()
    point = NumberDataPoint(as_int=7, time_unix_nano=9, start_time_unix_nano=8)
    metric = Metric(name="org.apache.kafka.x", sum=Sum(data_points=[point], is_monotonic=True, aggregation_temporality=2))
    data.resource_metrics.add().scope_metrics.add().metrics.append(metric)
    client = Client("id", "shop", "java", "4", "10.0.0.1", "1")
    found = pushed_metrics(client, data, Resource({"service.instance.id": "c/1"})).resource_metrics[0]
    assert found.resource.attributes["client_id"] == "shop"
    assert found.resource.attributes["kafkacy.broker"] == "c/1"
    (sent,) = found.scope_metrics[0].metrics
    value = sent.data.data_points[0]
    assert (sent.name, value.value, value.time_unix_nano, value.start_time_unix_nano) == ("org.apache.kafka.x", 7, 9, 8)
