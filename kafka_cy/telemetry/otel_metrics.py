"""Metrics for OpenTelemetry, as the SDK's data classes: the broker's `/metrics` page and clients' pushes (KIP-714)."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from typing import Any

from opentelemetry.sdk.metrics.export import (
    AggregationTemporality,
    Gauge,
    Metric,
    MetricsData,
    NumberDataPoint,
    ResourceMetrics,
    ScopeMetrics,
    Sum,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from kafka_cy.telemetry.client_subscriptions import Client

# Names that belong to clients' pushes: those are exported unchanged.
PUSHED = ("org_apache_kafka_", "client_")
SCOPE = InstrumentationScope("kafka_cy")

_LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"')
_UNESCAPED = {"n": "\n", '"': '"', "\\": "\\"}


def page_metrics(page: bytes, resource: Resource, started_ns: int) -> MetricsData:
    """A page of Prometheus' text format; counters become cumulative sums since `started_ns`, the rest gauges."""
    now_ns = time.time_ns()
    kinds: dict[str, str] = {}
    helps: dict[str, str] = {}
    points: dict[str, list[NumberDataPoint]] = {}
    for line in page.decode().splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ", 3)
            kinds[name] = kind
        elif line.startswith("# HELP "):
            _, _, name, text = (*line.split(" ", 3), "")[:4]
            helps[name] = text
        elif line and not line.startswith(PUSHED):
            name, labels, value = _sample(line)
            point = NumberDataPoint(labels, started_ns, now_ns, value)
            points.setdefault(name, []).append(point)
    metrics = [_metric(name, helps.get(name, ""), kinds.get(name) == "counter", found) for name, found in points.items()]
    return MetricsData([ResourceMetrics(resource, [ScopeMetrics(SCOPE, metrics, "")], "")])


def _metric(name: str, help_text: str, is_counter: bool, points: list[NumberDataPoint]) -> Metric:
    data: Sum | Gauge = Sum(points, AggregationTemporality.CUMULATIVE, True) if is_counter else Gauge(points)
    return Metric(name, help_text, "", data)


def _sample(line: str) -> tuple[str, dict[str, str], float]:
    brace = line.find("{")
    if brace < 0:
        name, _, value = line.partition(" ")
        return name, {}, float(value.split(" ")[0])
    head, _, value = line.rpartition("} ")
    labels = {key: _unescape(text) for key, text in _LABEL.findall(head, brace + 1)}
    return line[:brace], labels, float(value)


def _unescape(text: str) -> str:
    if "\\" not in text:
        return text
    return re.sub(r"\\(.)", lambda match: _UNESCAPED.get(match[1], match[0]), text)


def pushed_metrics(client: Client, data: Any, resource: Resource) -> MetricsData:
    """A client's push (opentelemetry-proto MetricsData) with unchanged names, values and times, and its sender."""
    identity = {name: getattr(client, name) for name in client._fields if name != "client_source_port"}
    found = []
    for resource_metrics in data.resource_metrics:
        attributes = {**_attributes(resource_metrics.resource.attributes), **identity}
        broker = {"service.name": "kafka-client", "kafkacy.broker": str(resource.attributes.get("service.instance.id", ""))}
        scopes = [
            ScopeMetrics(InstrumentationScope(scope.scope.name or "kafka-client"), list(_pushed(scope.metrics)), "")
            for scope in resource_metrics.scope_metrics
        ]
        found.append(ResourceMetrics(Resource({**attributes, **broker}), scopes, ""))
    return MetricsData(found)


def _pushed(metrics: Iterable[Any]) -> Iterable[Metric]:
    for metric in metrics:
        kind = metric.WhichOneof("data")
        if kind == "gauge":
            yield Metric(metric.name, metric.description, metric.unit, Gauge(_points(metric.gauge.data_points)))
        elif kind == "sum":
            # Both enumerations use OTLP's numbers.
            temporality = AggregationTemporality(metric.sum.aggregation_temporality or 2)
            data = Sum(_points(metric.sum.data_points), temporality, metric.sum.is_monotonic)
            yield Metric(metric.name, metric.description, metric.unit, data)


def _points(points: Iterable[Any]) -> list[NumberDataPoint]:
    found = []
    for point in points:
        value = point.as_int if point.WhichOneof("value") == "as_int" else point.as_double
        attributes = _attributes(point.attributes)
        found.append(NumberDataPoint(attributes, point.start_time_unix_nano, point.time_unix_nano, value))
    return found


def _attributes(attributes: Iterable[Any]) -> dict[str, Any]:
    found = {}
    for attribute in attributes:
        kind = attribute.value.WhichOneof("value")
        if kind in ("string_value", "int_value", "double_value", "bool_value"):
            found[attribute.key] = getattr(attribute.value, kind)
    return found
