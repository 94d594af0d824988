"""`GET /metrics` for Prometheus, on the address of `kafkacy.metrics.listen`.

A daemon thread waits; prometheus-client is imported at the first scrape, so a broker that nobody scrapes pays neither
start time nor memory for it. Names are those that jmx_exporter gives Kafka's own MBeans.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from kafka_cy.telemetry.exposition import Family, page

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import Metric

REQUEST_BYTES_MAX = 16384
# One scraper at a time is served; one that does not speak may not hold up the next for longer.
IO_TIMEOUT_S = 2.0
BROKER_STATE_RUNNING = 3


class PartitionNumbers(Protocol):
    """What is read of a hosted partition (`kafka_cy.storage.partition.HostedPartition`)."""

    @property
    def messages_in(self) -> int: ...
    @property
    def bytes_in(self) -> int: ...
    @property
    def bytes_out(self) -> int: ...
    @property
    def log_start_offset(self) -> int: ...
    @property
    def log_end_offset(self) -> int: ...


Counters = Callable[[], Mapping[str, Any]]
Partitions = Callable[[], Mapping[tuple[str, int], PartitionNumbers]]


def parse_address(text: str) -> tuple[str, int]:
    """`host:port`, `[v6]:port` or `:port` (all addresses); raises ValueError."""
    host, separator, port = text.strip().rpartition(":")
    if not separator or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"kafkacy.metrics.listen={text}: must be HOST:PORT, or empty for no metrics")
    return host.strip("[]"), int(port)


class MetricsServer:
    """The endpoint. Threads: its own daemon thread reads counters; it takes no locks of the broker."""

    def __init__(self, listen: str, counters: Counters, partitions: Partitions) -> None:
        """Bind; OSError when the address is taken, ValueError when it is none."""
        host, port = parse_address(listen)
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listener = socket.create_server((host, port), family=family, backlog=16)
        self.port: int = self._listener.getsockname()[1]
        self._counters = counters
        self._partitions = partitions
        self._registry: CollectorRegistry | None = None
        self.client_families: Callable[[], list[Family]] = list  # what clients pushed
        self._thread = threading.Thread(target=self._serve, name="metrics", daemon=True)

    def start(self) -> None:
        """Answer scrapes from now on."""
        self._thread.start()

    def stop(self) -> None:
        """Close the listener; a scrape under way is cut with the process."""
        try:
            self._listener.shutdown(socket.SHUT_RDWR)  # wakes the accept
        except OSError:
            pass
        self._listener.close()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            with connection:
                connection.settimeout(IO_TIMEOUT_S)
                try:
                    connection.sendall(self._answer(_read_head(connection)))
                    connection.shutdown(socket.SHUT_WR)
                except OSError:
                    continue

    def _answer(self, head: bytes) -> bytes:
        words = head.split(b"\r\n", 1)[0].split(b" ")
        if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
            return _response("400 Bad Request", "text/plain", b"not HTTP\n")
        if words[0] not in (b"GET", b"HEAD"):
            return _response("405 Method Not Allowed", "text/plain", b"only GET\n")
        path = words[1].split(b"?", 1)[0]
        if path != b"/metrics":
            return _response("404 Not Found", "text/plain", b"metrics are at /metrics\n")
        try:
            body = self.render()
        except Exception as error:  # noqa: BLE001 - a scrape must not end the thread
            return _response("500 Internal Server Error", "text/plain", f"{error!r}\n".encode())
        answer = _response("200 OK", "text/plain; version=0.0.4; charset=utf-8", body)
        return answer[: -len(body)] if words[0] == b"HEAD" else answer

    def render(self) -> bytes:
        """All metrics in Prometheus' text format."""
        from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest

        if self._registry is None:
            self._registry = CollectorRegistry(auto_describe=False)
            ProcessCollector(registry=self._registry)
            self._registry.register(BrokerCollector(self._counters, self._partitions))
        return generate_latest(self._registry) + page(self.client_families())


def _read_head(connection: socket.socket) -> bytes:
    head = b""
    while b"\r\n\r\n" not in head and len(head) < REQUEST_BYTES_MAX:
        received = connection.recv(4096)
        if not received:
            break
        head += received
    return head


def _response(status: str, content_type: str, body: bytes) -> bytes:
    head = (
        f"HTTP/1.1 {status}\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body


class BrokerCollector:
    """Turns the broker's counters into samples; called by prometheus-client at each scrape."""

    def __init__(self, counters: Counters, partitions: Partitions) -> None:
        self._counters = counters
        self._partitions = partitions

    def collect(self) -> Iterable[Metric]:
        """One metric family after the other."""
        counters = self._counters()
        # A copy in one bytecode: the control plane may host a partition meanwhile.
        partitions = list(self._partitions().items())
        yield from self._topic_metrics(partitions)
        yield from self._network_metrics(counters)
        yield from self._partition_metrics(partitions)

    def _topic_metrics(self, partitions: list[tuple[tuple[str, int], PartitionNumbers]]) -> Iterable[Metric]:
        from prometheus_client.core import CounterMetricFamily

        totals: dict[str, tuple[int, int, int]] = {}
        for (topic, _), partition in partitions:
            messages, bytes_in, bytes_out = totals.get(topic, (0, 0, 0))
            totals[topic] = (
                messages + partition.messages_in,
                bytes_in + partition.bytes_in,
                bytes_out + partition.bytes_out,
            )
        for index, (name, help_text) in enumerate(
            (
                ("messagesin", "Records appended by producers"),
                ("bytesin", "Bytes of record batches appended by producers"),
                ("bytesout", "Bytes of record batches sent to consumers"),
            )
        ):
            family = CounterMetricFamily(f"kafka_server_brokertopicmetrics_{name}", help_text)
            family.add_sample(f"{family.name}_total", {}, sum(values[index] for values in totals.values()))
            for topic, values in totals.items():
                family.add_sample(f"{family.name}_total", {"topic": topic}, values[index])
            yield family

    def _network_metrics(self, counters: Mapping[str, Any]) -> Iterable[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

        requests = CounterMetricFamily("kafka_network_requestmetrics_requests", "Requests", labels=["request"])
        for api_key, count in sorted(counters["requests"].items()):
            requests.add_metric([request_name(api_key)], count)
        yield requests
        for name, key, help_text in (
            ("connection_count", "connections", "Open client connections"),
            ("queued_request_bytes", "queued_request_bytes", "Memory of requests being received or worked on"),
            ("queued_response_bytes", "queued_response_bytes", "Memory of answers that clients have not taken yet"),
        ):
            yield GaugeMetricFamily(f"kafka_server_socketservermetrics_{name}", help_text, counters[key])
        for name, key, help_text in (
            ("connections_accepted", "accepted", "Client connections accepted"),
            ("connections_refused", "refused", "Client connections refused by a limit"),
            ("connections_closed_bad_input", "closed_bad", "Client connections closed because of malformed input"),
            ("network_bytes_in", "bytes_in", "Bytes received from clients"),
            ("network_bytes_out", "bytes_out", "Bytes sent to clients"),
        ):
            yield CounterMetricFamily(f"kafka_server_socketservermetrics_{name}", help_text, counters[key])
        yield CounterMetricFamily(
            "kafkacy_reactor_busy_seconds", "Time in which reactors worked, all together", counters["busy_ns"] / 1e9
        )

    def _partition_metrics(self, partitions: list[tuple[tuple[str, int], PartitionNumbers]]) -> Iterable[Metric]:
        from prometheus_client.core import GaugeMetricFamily

        labels = ["topic", "partition"]
        starts = GaugeMetricFamily("kafka_log_log_logstartoffset", "First offset of the log", labels=labels)
        ends = GaugeMetricFamily("kafka_log_log_logendoffset", "Offset of the next record", labels=labels)
        for (topic, index), partition in partitions:
            place = [topic, str(index)]
            starts.add_metric(place, partition.log_start_offset)
            ends.add_metric(place, partition.log_end_offset)
        yield starts
        yield ends
        yield GaugeMetricFamily("kafka_server_replicamanager_partitioncount", "Hosted partitions", len(partitions))
        yield GaugeMetricFamily("kafka_server_kafkaserver_brokerstate", "3: running", BROKER_STATE_RUNNING)


def request_name(api_key: int) -> str:
    """Kafka's name of an API key: `Produce`, `ApiVersions` ...; the number where there is none."""
    from kio.schema.index import api_key_map

    name = api_key_map.get(api_key)
    return str(api_key) if name is None else "".join(word.title() for word in name.split("_"))
