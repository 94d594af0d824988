"""Metrics that clients pushed (KIP-714), kept for /metrics: each OTLP data point becomes one gauge or counter.

A name is the client's, with '_' for what Prometheus rejects (`org.apache.kafka.producer.record.queue.time.avg`
becomes `org_apache_kafka_producer_record_queue_time_avg`). Other names get the prefix `client_`, so that no client can
write into the broker's own metrics. All client input is truncated and counted: see the limits.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from kafka_cy.telemetry.client_subscriptions import Client
from kafka_cy.telemetry.exposition import Family, escape, labels

SERIES_MAX = 50_000  # of all clients
SERIES_PER_CLIENT_MAX = 2_000
ATTRIBUTES_MAX = 8  # per data point, and per resource
NAME_CHARS_MAX = 200
VALUE_CHARS_MAX = 200
CLIENT_PREFIX = "org_apache_kafka_"

_NOT_A_NAME = re.compile(r"[^a-zA-Z0-9_]")
_OURS = frozenset({"client_instance_id", "client_id", "client_software_name", "client_software_version"})


class Series(NamedTuple):
    """Name, labels of the data point in the text format (without braces), and whether the value only grows."""

    name: str
    labels: str
    is_counter: bool


class Pushed(NamedTuple):
    """The last push of one client."""

    client: Client
    resource: dict[str, str]
    values: dict[Series, float]


class ClientMetrics:
    """Written by the receiver and control threads, read by scrapes. Lock: `_lock`, for dictionary operations only."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pushed: dict[str, Pushed] = {}
        self._count = 0
        self.dropped_series = 0

    def put(self, client: Client, data: Any) -> None:
        """Replace the client's previous push by this MetricsData; data points above a limit are only counted."""
        resource, values, dropped = read_metrics(data)
        with self._lock:
            old = self._pushed.pop(client.client_instance_id, None)
            self._count -= len(old.values) if old is not None else 0
            room = SERIES_MAX - self._count
            if len(values) > room:
                dropped += len(values) - room
                values = dict(list(values.items())[:room])
            self._pushed[client.client_instance_id] = Pushed(client, resource, values)
            self._count += len(values)
            self.dropped_series += dropped

    def forget(self, instance_ids: Iterable[str]) -> None:
        """Drop the series of clients that have expired."""
        with self._lock:
            for instance_id in instance_ids:
                old = self._pushed.pop(instance_id, None)
                self._count -= len(old.values) if old is not None else 0

    def families(self) -> list[Family]:
        """All series by name, and one information series per client."""
        with self._lock:
            pushed = list(self._pushed.values())
            count, dropped = self._count, self.dropped_series
        samples: dict[str, list[str]] = {}
        counters: dict[str, bool] = {}
        infos = []
        for each in pushed:
            head = (
                f'{{client_instance_id="{each.client.client_instance_id}",client_id="{escape(each.client.client_id)}"'
            )
            infos.append(f"{labels(**_info_labels(each))} 1")
            for series, value in each.values.items():
                samples.setdefault(series.name, []).append(f"{head}{series.labels}}} {_number(value)}")
                counters[series.name] = counters.get(series.name, True) and series.is_counter
        families: list[Family] = [
            (name, "counter" if counters[name] else "gauge", "Pushed by clients (KIP-714)", lines)
            for name, lines in sorted(samples.items())
        ]
        families.append(("kafkacy_client_info", "gauge", "Clients that push metrics", infos))
        families.append(("kafkacy_client_series", "gauge", "Series that clients have pushed", [f" {count}"]))
        lost = "Series of clients that were left out because of a limit"
        families.append(("kafkacy_client_series_dropped_total", "counter", lost, [f" {dropped}"]))
        return families


def _info_labels(pushed: Pushed) -> dict[str, str]:
    client = pushed.client
    found = {name: value for name, value in pushed.resource.items() if name not in _OURS}
    return {
        "client_instance_id": client.client_instance_id,
        "client_id": client.client_id,
        "client_software_name": client.client_software_name,
        "client_software_version": client.client_software_version,
        "client_source_address": client.client_source_address,
        **found,
    }


def _number(value: float) -> str:
    if value != value:
        return "NaN"
    if value in (float("inf"), float("-inf")):
        return "+Inf" if value > 0 else "-Inf"
    return repr(value)


def read_metrics(data: Any) -> tuple[dict[str, str], dict[Series, float], int]:
    """(resource attributes, values, number of dropped data points) of an opentelemetry-proto MetricsData."""
    resource: dict[str, str] = {}
    values: dict[Series, float] = {}
    dropped = 0
    for resource_metrics in data.resource_metrics:
        resource.update(_attributes(resource_metrics.resource.attributes))
        for scope in resource_metrics.scope_metrics:
            for metric in scope.metrics:
                points = list(_points(metric))
                if not points:
                    dropped += 1  # a histogram, or no value
                name = metric_name(metric.name)
                for is_counter, point in points:
                    if len(values) >= SERIES_PER_CLIENT_MAX:
                        dropped += 1
                        continue
                    found = _attributes(point.attributes)
                    text = "".join(
                        f',{key}="{escape(value)}"' for key, value in sorted(found.items()) if key not in _OURS
                    )
                    number = point.as_int if point.WhichOneof("value") == "as_int" else point.as_double
                    values[Series(name, text, is_counter)] = float(number)
    return dict(list(resource.items())[:ATTRIBUTES_MAX]), values, dropped


def _points(metric: Any) -> Iterator[tuple[bool, Any]]:
    kind = metric.WhichOneof("data")
    if kind == "gauge":
        for point in metric.gauge.data_points:
            yield False, point
    elif kind == "sum":
        for point in metric.sum.data_points:
            yield metric.sum.is_monotonic, point


@lru_cache(4096)  # clients of one kind push the same names repeatedly
def metric_name(name: str) -> str:
    """The Prometheus name of a client's metric."""
    text = _NOT_A_NAME.sub("_", name[:NAME_CHARS_MAX])
    return text if text.startswith(CLIENT_PREFIX) else f"client_{text}"


def _attributes(attributes: Any) -> dict[str, str]:
    found = {}
    for attribute in list(attributes)[:ATTRIBUTES_MAX]:
        key = _NOT_A_NAME.sub("_", attribute.key[:NAME_CHARS_MAX])
        if not key or key[0].isdigit() or key.startswith("__"):
            key = f"attribute_{key.lstrip('_')}"
        found[key] = _text(attribute.value)[:VALUE_CHARS_MAX]
    return found


def _text(value: Any) -> str:
    kind = value.WhichOneof("value")
    return "" if kind is None else str(getattr(value, kind))
