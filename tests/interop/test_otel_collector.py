"""OTLP export to the OpenTelemetry collector itself, over HTTP and gRPC."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from confluent_kafka import Producer
from foreign_tools import HERE, require

import kafka_cy
from kafka_cy.testing.broker import free_ports

pytestmark = [pytest.mark.interop, pytest.mark.timeout(120)]

COLLECTOR = HERE.parent.parent / ".cache" / "otelcol" / "otelcol-test"
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
CONFIG = """
receivers:
  otlp:
    protocols:
      http: {{endpoint: "127.0.0.1:{http}"}}
      grpc: {{endpoint: "127.0.0.1:{grpc}"}}
exporters:
  debug: {{verbosity: detailed}}
service:
  telemetry: {{metrics: {{level: none}}}}
  pipelines:
    traces: {{receivers: [otlp], exporters: [debug]}}
    metrics: {{receivers: [otlp], exporters: [debug]}}
    logs: {{receivers: [otlp], exporters: [debug]}}
"""


@dataclass
class Collector:
    """A running collector: its port by protocol, and the file to which it prints what it receives."""

    ports: dict[str, int]
    printed: Path

    def wait_for(self, text: str, timeout_s: float = 40.0) -> None:
        """Wait until it has printed `text`."""
        deadline = time.monotonic() + timeout_s
        while text not in self.printed.read_text(errors="replace"):
            assert time.monotonic() < deadline, f"{text!r} never came to the collector"
            time.sleep(0.05)


@pytest.fixture
def collector(tmp_path: Path) -> Iterator[Collector]:
    require(COLLECTOR.exists(), f"The OpenTelemetry collector in {COLLECTOR}")
    ports = dict(zip(("http/protobuf", "grpc"), free_ports(2), strict=True))
    config, printed = tmp_path / "collector.yaml", tmp_path / "printed"
    config.write_text(CONFIG.format(http=ports["http/protobuf"], grpc=ports["grpc"]))
    with open(printed, "wb") as output:
        process = subprocess.Popen([COLLECTOR, "--config", f"file:{config}"], stdout=output, stderr=output)
    running = Collector(ports, printed)
    try:
        running.wait_for("Everything is ready")
        yield running
    finally:
        process.terminate()
        process.wait()


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_collector(collector: Collector, protocol: str) -> None:
    settings = {
        "kafkacy.otel.endpoint": f"http://127.0.0.1:{collector.ports[protocol]}",
        "kafkacy.otel.protocol": protocol,
        "kafkacy.otel.metrics.interval.ms": 1000,
    }
    with kafka_cy.Broker(settings) as broker:
        producer = Producer({"bootstrap.servers": broker.bootstrap_servers, "log_level": 0})
        producer.produce("orders", b"v", headers={"traceparent": f"00-{TRACE_ID}-00f067aa0ba902b7-01".encode()})
        assert producer.flush(60) == 0
        for text in (
            "Name           : Produce orders",
            TRACE_ID,
            "Name: kafka_server_brokertopicmetrics_messagesin_total",
        ):
            collector.wait_for(text)
    collector.wait_for("shutting down")
