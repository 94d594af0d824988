"""The /metrics endpoint over counters that stand in for a broker's."""

from __future__ import annotations

import contextlib
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from kafka_cy.telemetry.metrics_http import MetricsServer, parse_address


@dataclass
class Numbers:
    messages_in: int
    bytes_in: int
    bytes_out: int
    log_start_offset: int
    log_end_offset: int


def counters() -> dict[str, object]:
    return {
        "requests": {0: 5, 18: 2, 9999: 1},
        "bytes_in": 100,
        "bytes_out": 200,
        "accepted": 4,
        "refused": 1,
        "closed_bad": 1,
        "connections": 3,
        "busy_ns": 2_500_000_000,
        "queued_request_bytes": 10,
        "queued_response_bytes": 20,
    }


@pytest.fixture
def server() -> Iterator[MetricsServer]:
    partitions = {("orders", 0): Numbers(3, 30, 300, 0, 3), ("orders", 1): Numbers(4, 40, 400, 1, 5)}
    endpoint = MetricsServer("127.0.0.1:0", counters, lambda: partitions)
    endpoint.start()
    yield endpoint
    endpoint.stop()


def fetch(server: MetricsServer, path: str = "/metrics") -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}{path}", timeout=5) as answer:
        return str(answer.read().decode())


def test_names_and_values(server: MetricsServer) -> None:
    lines = fetch(server).splitlines()
    for expected in (
        "kafka_server_brokertopicmetrics_messagesin_total 7.0",
        'kafka_server_brokertopicmetrics_messagesin_total{topic="orders"} 7.0',
        'kafka_server_brokertopicmetrics_bytesout_total{topic="orders"} 700.0',
        'kafka_network_requestmetrics_requests_total{request="Produce"} 5.0',
        'kafka_network_requestmetrics_requests_total{request="ApiVersions"} 2.0',
        'kafka_network_requestmetrics_requests_total{request="9999"} 1.0',
        'kafka_log_log_logendoffset{partition="1",topic="orders"} 5.0',
        "kafka_server_socketservermetrics_connection_count 3.0",
        "kafkacy_reactor_busy_seconds_total 2.5",
        "kafka_server_replicamanager_partitioncount 2.0",
    ):
        assert expected in lines
    assert any(line.startswith("process_resident_memory_bytes ") for line in lines)


def test_other_requests_do_not_end_it(server: MetricsServer) -> None:
    with pytest.raises(urllib.error.HTTPError) as failure:
        fetch(server, "/")
    assert failure.value.code == 404
    for rubbish in (b"", b"\0" * 100 + b"\r\n\r\n", b"PUT /metrics HTTP/1.1\r\n\r\n", b"x" * 100_000):
        # It may have hung up already.
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", server.port), timeout=5) as connection,
        ):
            connection.sendall(rubbish)
            connection.shutdown(socket.SHUT_WR)
            connection.recv(100)
    assert "brokerstate 3.0" in fetch(server)


def test_addresses() -> None:
    assert parse_address("127.0.0.1:9404") == ("127.0.0.1", 9404)
    assert parse_address(":9404") == ("", 9404)
    assert parse_address("[::1]:9404") == ("::1", 9404)
    for wrong in ("9404", "host:", "host:70000", "host:port"):
        with pytest.raises(ValueError, match="HOST:PORT"):
            parse_address(wrong)
