"""Kafka's socket-server-metrics: reactors, connections and their listeners."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from prometheus_client.core import Metric

from kafka_cy.telemetry import reactor_numbers
from kafka_cy.telemetry.broker_view import BrokerView
from kafka_cy.telemetry.families import family, gauge
from kafka_cy.telemetry.windows import Rates

NS = 1e9


class SocketMetrics:
    """The families with the label `listener`. Owner: the thread that scrapes."""

    def __init__(self, view: BrokerView, rates: Rates) -> None:
        self._view = view
        self._rates = rates

    def collect(self, now: float) -> Iterable[Metric]:
        """Yield each family once; `now` is the monotonic time in seconds."""
        reactors = reactor_numbers.reactors(self._view.server)
        yield from self._loops(reactors, now)
        yield from self._connections(reactors, now)
        yield from self._accepting(reactors, now)
        yield from self._software(reactors)

    def _loops(self, reactors: list[Any], now: float) -> Iterable[Metric]:
        """Averages per iteration of a reactor's loop. Reactors serve all listeners: with several, the label is `*`."""
        begun = now - reactor_numbers.shared(self._view.server).uptime_ns / NS
        names = self._view.listeners
        listener = names[0] if len(names) == 1 else "*"
        work, wait, size, busy_share, idle_share = [], [], [], [], []
        for i, r in enumerate(reactors):
            turns = self._rates.rate(("loops", i), r.loops, now, begun)
            busy = self._rates.rate(("busy", i), r.busy_ns / NS, now, begun)
            responses = self._rates.rate(("responses", i), r.responses, now, begun)
            sent = self._rates.rate(("bytes out", i), r.bytes_out, now, begun)
            processor = str(i)
            busy_share.append((listener, processor, min(1.0, busy)))
            idle_share.append((listener, processor, max(0.0, 1 - busy)))
            work.append((listener, processor, busy * NS / turns if turns else 0.0))
            wait.append((listener, processor, max(0.0, 1 - busy) * NS / turns if turns else 0.0))
            size.append((listener, processor, sent / responses if responses else 0.0))
        yield from self._socket_family("io_time_ns_avg", "Work of one turn of the loop", work)
        yield from self._socket_family("io_wait_time_ns_avg", "Waiting of one turn of the loop", wait)
        yield from self._socket_family("request_size_avg", "Bytes sent for each response (see docs/metrics.md)", size)
        yield from self._socket_family("io_ratio", "Share of time that a reactor works", busy_share)
        yield from self._socket_family("io_wait_ratio", "Share of time that a reactor waits", idle_share)
        for name, text, counts in (
            ("select", "Turns of the loop", [r.loops for r in reactors]),
            ("request", "Responses sent (see docs/metrics.md)", [r.responses for r in reactors]),
            ("response", "Requests received (see docs/metrics.md)", [r.requests for r in reactors]),
            ("incoming_byte", "Bytes received", [r.bytes_in for r in reactors]),
            ("outgoing_byte", "Bytes sent", [r.bytes_out for r in reactors]),
        ):
            totals = [(listener, str(i), float(count)) for i, count in enumerate(counts)]
            rates = [
                (listener, str(i), self._rates.rate((f"{name} total", i), count, now, begun)) for i, count in enumerate(counts)
            ]
            yield from self._socket_family(name, text, totals, "counter")
            yield from self._socket_family(name + "_rate", f"{text} a second", rates)

    def _socket_family(
        self, name: str, text: str, values: list[tuple[str, str, float]], kind: str = "gauge"
    ) -> Iterable[Metric]:
        """socket-server-metrics, with both spellings of the prefix and of the second label."""
        for prefix, label in (
            ("socketservermetrics", "network_processor"),
            ("socket_server_metrics", "networkProcessor"),
        ):
            samples = [({"listener": listener, label: processor}, value) for listener, processor, value in values]
            yield family(kind, f"kafka_server_{prefix}_{name}", text, samples)

    def _connections(self, reactors: list[Any], now: float) -> Iterable[Metric]:
        names = self._view.listeners
        open_now = [
            (listener, str(i), float(r.opened[j] - r.closed[j]))
            for i, r in enumerate(reactors)
            for j, listener in enumerate(names)
        ]
        yield from self._socket_family("connection_count", "Open connections", open_now)
        for name, text, by_reactor in (
            ("network_io", "Reads and writes of sockets", [r.network_io for r in reactors]),
            ("connection_creation", "Connections opened", [r.opened for r in reactors]),
            ("connection_close", "Connections closed", [r.closed for r in reactors]),
            ("successful_authentication", "Connections authenticated", [r.authenticated for r in reactors]),
            ("failed_authentication", "Connections not authenticated", [r.authentication_failed for r in reactors]),
            ("successful_reauthentication", "Sessions prolonged", [r.reauthenticated for r in reactors]),
            ("failed_reauthentication", "Sessions not prolonged", [r.reauthentication_failed for r in reactors]),
            ("expired_connections_killed", "Connections whose session had expired", [r.expired_killed for r in reactors]),
        ):
            total, rate = [], []
            for i, by_listener in enumerate(by_reactor):
                for j, listener in enumerate(names):
                    total.append((listener, str(i), float(by_listener[j])))
                    rate.append((listener, str(i), self._rates.rate((name, i, j), by_listener[j], now)))
            yield from self._socket_family(name + "_rate", f"{text} a second", rate)
            yield from self._socket_family(name, text, total, "counter")

    def _accepting(self, reactors: list[Any], now: float) -> Iterable[Metric]:
        """Kafka's ConnectionQuotas: what max.connection.creation.rate limits, and how it delays connections."""
        names = self._view.listeners
        accepted = [sum(r.opened[i] for r in reactors) for i in range(len(names))]
        rates = [self._rates.rate(("accepted", i), count, now) for i, count in enumerate(accepted)]
        delays, address_delays = [], []
        for i in range(len(names)):
            waits = (sum(r.accepts_throttled[i] for r in reactors), sum(r.accept_throttle_ns[i] for r in reactors))
            kept = (sum(r.address_throttled[i] for r in reactors), sum(r.address_throttle_ns[i] for r in reactors))
            delays.append(self._average_ms("throttled", i, *waits, now))
            address_delays.append(self._average_ms("address throttled", i, *kept, now))
        for prefix in ("kafka_server_socketservermetrics_", "kafka_server_socket_server_metrics_"):
            yield family(
                "gauge",
                prefix + "connection_accept_rate",
                "Connections accepted a second",
                [({"listener": name}, rate) for name, rate in zip(names, rates, strict=True)],
            )
            yield gauge(prefix + "broker_connection_accept_rate", "Connections accepted a second", sum(rates))
            yield family(
                "gauge",
                prefix + "connection_accept_throttle_time",
                "Milliseconds for which new connections waited for max.connection.creation.rate, of those that waited",
                [({"listener": name}, delay) for name, delay in zip(names, delays, strict=True)],
            )
            yield family(
                "gauge",
                prefix + "ip_connection_accept_throttle_time",
                "Milliseconds for which connections beyond the quota of their address were kept before they were closed",
                [({"listener": name}, delay) for name, delay in zip(names, address_delays, strict=True)],
            )

    def _average_ms(self, what: str, listener: int, times: int, spent_ns: int, now: float) -> float:
        """Average duration of what happened lately; 0 if nothing did."""
        rate = self._rates.rate((what, listener), times, now)
        spent = self._rates.rate((f"{what} time", listener), spent_ns, now)
        return spent / rate / 1e6 if rate else 0.0

    def _software(self, reactors: list[Any]) -> Iterable[Metric]:
        names = self._view.listeners
        for full, labels in (
            (
                "socketservermetrics_connections",
                ("client_software_name", "client_software_version", "network_processor"),
            ),
            (
                "socket_server_metrics_connections_software",
                ("clientSoftwareName", "clientSoftwareVersion", "networkProcessor"),
            ),
        ):
            samples = []
            for i, r in enumerate(reactors):
                for listener, name, version, count in r.software:
                    values = (name.decode("utf-8", "replace"), version.decode("utf-8", "replace"), str(i))
                    where = names[listener] if 0 <= listener < len(names) else "*"
                    samples.append(({"listener": where, **dict(zip(labels, values, strict=True))}, float(count)))
            yield family("gauge", f"kafka_server_{full}", "Connections by what ApiVersions said of the client", samples)
