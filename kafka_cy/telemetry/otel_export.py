"""The thread that sends traces, metrics and logs to an OpenTelemetry collector.

OpenTelemetry's packages are imported on this thread, once the broker serves. Data that a slow or missing collector does
not accept waits in bounded queues that drop their oldest entries; the broker never waits for the collector.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NamedTuple

from kafka_cy.base.named_thread import NamedThread
from kafka_cy.telemetry.otel_settings import GRPC, OtelSettings

if TYPE_CHECKING:
    from kafka_cy.network.trace_reader import TraceReader
    from kafka_cy.telemetry.client_subscriptions import Client

TURN_S = 5.0  # as OpenTelemetry's batch processor; sooner if the ring of traces would fill up
LOGS_MAX = 2048
PUSHES_MAX = 256
PUSHES_BYTES_MAX = 16 << 20  # of the pushes that wait; the oldest ones are dropped
STOP_TIMEOUT_S = 2.0
COMPLAINTS_EVERY_S = 60.0
SEVERITIES = {"debug": 5, "info": 9, "warning": 13, "error": 17}


class LogLine(NamedTuple):
    """One line of the broker's log."""

    time_ns: int
    level: str
    what: str
    details: dict[str, str]


class OtelExport:
    """Owner: the control thread starts and stops it; `log` and `push` may be called from any thread."""

    def __init__(
        self, settings: OtelSettings, identity: dict[str, str], traces: TraceReader | None,
        render_metrics: Callable[[], bytes], request_names: Callable[[], dict[int, str]], complain: Callable[[str], object],
    ) -> None:  # fmt: skip
        """`identity`: resource attributes of this broker. `complain` is called with errors, at most once a minute."""
        self._settings = settings
        self._identity = identity
        self._traces = traces
        self._render_metrics = render_metrics
        self._request_names = request_names
        self._complain = complain
        self._logs: deque[LogLine] = deque(maxlen=LOGS_MAX)
        self._pushes: deque[tuple[Client, bytes]] = deque()
        self._pushes_bytes = 0
        self._pushes_lock = threading.Lock()  # for the two above
        self._stopping = threading.Event()
        self._stopped = threading.Event()  # set by the thread: nothing but log lines is exported any more
        self._finishing = threading.Event()
        self._turn_s = TURN_S if traces is None else min(TURN_S, traces.waiting_max / settings.traces_per_second_max)
        self._started_ns = time.time_ns()
        self._metrics_due_s = 0.0
        self._complained_s = -COMPLAINTS_EVERY_S
        self._thread = NamedThread(target=self._work, name="otel-export", daemon=True)

    def start(self) -> None:
        """Start exporting."""
        self._thread.start()

    def stop(self) -> None:
        """Send the queued data, for a short time at most. Lines of the log are still taken, until `finish`."""
        self._stopping.set()
        if self._thread.is_alive():
            self._stopped.wait(STOP_TIMEOUT_S)

    def finish(self) -> None:
        """Send the lines of the log since `stop`, for a short time at most, and end the thread."""
        self._finishing.set()
        if self._thread.is_alive() and self._stopped.is_set():  # not set: the collector does not answer
            self._thread.join(STOP_TIMEOUT_S)

    def log(self, time_ns: int, level: str, what: str, details: dict[str, Any]) -> None:
        """Queue a line of the broker's log."""
        if "logs" in self._settings.endpoints:
            self._logs.append(LogLine(time_ns, level, what, {key: str(value) for key, value in details.items()}))

    def push(self, client: Client, data: bytes) -> None:
        """Queue metrics that a client pushed (KIP-714): an encoded MetricsData, which can be parsed."""
        if "metrics" not in self._settings.endpoints:
            return
        with self._pushes_lock:
            self._pushes.append((client, data))
            self._pushes_bytes += len(data)
            while len(self._pushes) > PUSHES_MAX or self._pushes_bytes > PUSHES_BYTES_MAX:
                self._pushes_bytes -= len(self._pushes.popleft()[1])

    # -- the thread --

    def _work(self) -> None:
        try:
            self._prepare()
        except Exception as error:  # noqa: BLE001 any failure of a package's import must be reported
            self._complain(f"OpenTelemetry export does not work: {error!r}")
            self._stopped.set()
            return
        self._metrics_due_s = time.monotonic() + self._settings.metrics_interval_s
        while not self._stopping.wait(self._turn_s):
            self._turn()
        self._metrics_due_s = 0.0
        self._turn()
        self._stopped.set()
        self._finishing.wait()
        self._attempt(self._export_logs)

    def _prepare(self) -> None:
        from opentelemetry.sdk.resources import Resource

        from kafka_cy.telemetry.otel_spans import SpanMaker

        logger = logging.getLogger("opentelemetry")
        logger.addHandler(_Complaints(self._complain_seldom))
        logger.propagate = False
        self._resource = Resource.create(dict(self._identity))
        self._spans = SpanMaker(self._resource, self._request_names())
        self._exporters = {
            signal: make_exporter(signal, self._settings.protocols[signal], endpoint)
            for signal, endpoint in self._settings.endpoints.items()
        }
        if "traces" in self._exporters:
            # Both span exporters encode the SDK's spans with this function; ours are already encoded.
            exporter_module("traces", self._settings.protocols["traces"]).encode_spans = self._spans.message

    def _turn(self) -> None:
        for export in (self._export_traces, self._export_pushes, self._export_metrics, self._export_logs):
            self._attempt(export)

    def _attempt(self, export: Callable[[], None]) -> None:
        try:
            export()
        except Exception as error:  # noqa: BLE001 one failed iteration must not end the thread
            self._complain_seldom(f"OpenTelemetry export failed: {error!r}")

    def _export_traces(self) -> None:
        if self._traces is not None:
            spans = self._spans.spans(self._traces.take())
            if spans:
                self._exporters["traces"].export(spans)

    def _export_metrics(self) -> None:
        if "metrics" in self._exporters and time.monotonic() >= self._metrics_due_s:
            from kafka_cy.telemetry.otel_metrics import page_metrics

            self._metrics_due_s = time.monotonic() + self._settings.metrics_interval_s
            self._exporters["metrics"].export(page_metrics(self._render_metrics(), self._resource, self._started_ns))

    def _export_pushes(self) -> None:
        while self._pushes:
            from opentelemetry.proto.metrics.v1.metrics_pb2 import MetricsData

            from kafka_cy.telemetry.otel_metrics import pushed_metrics

            with self._pushes_lock:
                client, data = self._pushes.popleft()
                self._pushes_bytes -= len(data)
            self._exporters["metrics"].export(pushed_metrics(client, MetricsData.FromString(data), self._resource))

    def _export_logs(self) -> None:
        lines = [self._logs.popleft() for _ in range(len(self._logs))]
        if lines:
            self._exporters["logs"].export([self._log_record(line) for line in lines])

    def _log_record(self, line: LogLine) -> Any:
        from opentelemetry._logs import LogRecord, SeverityNumber
        from opentelemetry.sdk._logs import ReadableLogRecord
        from opentelemetry.sdk.util.instrumentation import InstrumentationScope

        record = LogRecord(
            timestamp=line.time_ns,
            observed_timestamp=line.time_ns,
            severity_text=line.level.upper(),
            severity_number=SeverityNumber(SEVERITIES[line.level]),
            body=line.what,
            attributes=line.details,
        )
        return ReadableLogRecord(record, self._resource, InstrumentationScope("kafka_cy"))

    def _complain_seldom(self, text: str) -> None:
        now_s = time.monotonic()
        if now_s - self._complained_s >= COMPLAINTS_EVERY_S:
            self._complained_s = now_s
            self._complain(text)


class _Complaints(logging.Handler):
    """Receives the log messages of OpenTelemetry's packages."""

    def __init__(self, complain: Callable[[str], object]) -> None:
        super().__init__(logging.WARNING)
        self._complain_with = complain

    def emit(self, record: logging.LogRecord) -> None:
        self._complain_with(f"OpenTelemetry: {record.getMessage()}")


def make_exporter(signal: str, protocol: str, endpoint: str | None) -> Any:
    """OpenTelemetry's own exporter for a signal; without an endpoint it reads the OTEL_* variables."""
    names = {"traces": "OTLPSpanExporter", "metrics": "OTLPMetricExporter", "logs": "OTLPLogExporter"}
    arguments: dict[str, Any] = {} if endpoint is None else {"endpoint": endpoint}
    if endpoint is not None and protocol == GRPC:
        arguments["insecure"] = not endpoint.startswith("https://")
    return getattr(exporter_module(signal, protocol), names[signal])(**arguments)


def exporter_module(signal: str, protocol: str) -> Any:
    """OpenTelemetry's module with the exporter for a signal."""
    from importlib import import_module

    modules = {"traces": "trace_exporter", "metrics": "metric_exporter", "logs": "_log_exporter"}
    kind = "grpc" if protocol == GRPC else "http"
    return import_module(f"opentelemetry.exporter.otlp.proto.{kind}.{modules[signal]}")
