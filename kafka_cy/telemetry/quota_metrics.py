"""Kafka's metrics of client quotas: ClientQuotaManager, ClientRequestQuotaManager, ControllerMutationQuotaManager."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from prometheus_client.core import Metric

from kafka_cy.quota import replication_quota
from kafka_cy.telemetry import reactor_numbers
from kafka_cy.telemetry.broker_view import BrokerView
from kafka_cy.telemetry.families import counter, family, gauge

if TYPE_CHECKING:
    from kafka_cy.network.client_quotas import SensorReading

#: Kind of quota, Kafka's name of it, name and explanation of what is measured.
_KINDS = (
    ("produce", "produce", "byte_rate", "Bytes of Produce requests a second"),
    ("fetch", "fetch", "byte_rate", "Bytes of records fetched a second"),
    ("request", "request", "request_time", "Time that requests take, in percent of one thread"),
    ("mutation", "controllermutation", "mutation_rate", "Partitions created and deleted a second"),
)


#: Kafka's ReplicationQuotaManager: its name, the kind of quota, an explanation.
_REPLICATION = (
    ("leaderreplication", "leader", "Bytes a second that leaders with throttled replicas send to followers"),
    ("followerreplication", "follower", "Bytes a second that throttled followers fetch"),
    ("alterlogdirsreplication", "log dirs", "Bytes a second that moves between log directories copy"),
)


class QuotaMetrics:
    """The families with the labels `user` and `client_id`. Only clients to which a quota applies are in them."""

    def __init__(self, view: BrokerView) -> None:
        self._view = view

    def collect(self) -> Iterable[Metric]:
        """Yield each family once."""
        numbers = self._view.quotas()
        reactors = reactor_numbers.reactors(self._view.server)
        for kind, name, measured, text in _KINDS:
            readings = [each for each in numbers.readings if each.kind == kind]
            prefix = f"kafka_server_{name}_"
            yield _family(prefix + measured, text, readings, lambda each: each.rate)
            yield _family(
                prefix + "throttle_time", "Average throttle time of the last minute in ms", readings, lambda each: each.throttle_ms
            )
            if kind == "mutation":
                yield _family(prefix + "tokens", "Partitions that may be changed at once", readings, lambda each: each.tokens)
        yield family(
            "gauge",
            "kafkacy_address_connection_accept_rate",
            "New connections a second of addresses with a quota",
            [({"ip": each.user}, each.rate) for each in numbers.readings if each.kind == "connection"],
        )
        for name, kind, text in _REPLICATION:
            yield gauge(f"kafka_server_{name}_byte_rate", text, replication_quota.byte_rate(kind))
        yield gauge("kafkacy_throttled_connections", "Connections that are not read because of a quota", _throttled(reactors))
        yield gauge("kafkacy_quota_entities", "Users, client ids and addresses with quotas", numbers.entities)
        yield gauge("kafkacy_quota_sensors", "What clients used is counted in so many sensors", numbers.sensors)
        yield counter("kafkacy_quota_sensors_dropped", "Sensors that made room for those of other clients", numbers.dropped)


def _throttled(reactors: list[Any]) -> int:
    return sum(each.throttled for each in reactors)


def _family(
    name: str, text: str, readings: list[SensorReading], value: Callable[[SensorReading], float]
) -> Metric:
    """A value that there is not is 0."""
    samples = [
        ({"user": each.user, "client_id": each.client_id}, 0.0 if math.isnan(value(each)) else value(each)) for each in readings
    ]
    return family("gauge", name, text, samples)
