"""Listeners without a host accept clients of both IP versions, like Java's sockets."""

from __future__ import annotations

import os
import socket
import struct

import pytest

from kafka_cy.network.listening import listening_socket
from kafka_cy.network.server import Server
from kafka_cy.telemetry.http_server import HttpAnswer, HttpServer


def needs_ipv6() -> None:
    """Skip if the machine has no IPv6; fail in CI."""
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            return
    except OSError:
        assert "CI" not in os.environ, "CI needs IPv6 on the loopback interface"
        pytest.skip("no IPv6 here")


@pytest.mark.parametrize("host", ["", "0.0.0.0", "::"])
def test_every_address(host: str) -> None:
    needs_ipv6()
    with listening_socket(host, 0, 8) as opened:
        port = opened.getsockname()[1]
        for address in ("127.0.0.1", "::1"):
            socket.create_connection((address, port), timeout=10).close()


@pytest.mark.parametrize(("host", "other"), [("127.0.0.1", "::1"), ("::1", "127.0.0.1"), ("localhost", None)])
def test_one_address(host: str, other: str | None) -> None:
    needs_ipv6()
    with listening_socket(host, 0, 8) as opened:
        address, port = opened.getsockname()[:2]
        socket.create_connection((address, port), timeout=10).close()
        if other is not None:
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((other, port), timeout=10)


def test_a_taken_port_is_an_error() -> None:
    with listening_socket("", 0, 8) as opened, pytest.raises(OSError, match="in use"):
        listening_socket("0.0.0.0", opened.getsockname()[1], 8)


def test_without_ipv6(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "has_dualstack_ipv6", lambda: False)
    with listening_socket("", 0, 8) as opened:
        assert opened.family == socket.AF_INET
        socket.create_connection(("127.0.0.1", opened.getsockname()[1]), timeout=10).close()


def test_a_client_of_both_is_known_by_its_ipv4_address() -> None:
    needs_ipv6()
    server = Server(1)
    port = server.listen(0, "PLAINTEXT", "", 0)
    server.set_api_versions([(18, 0, 4, 3)])
    server.start()
    try:
        peers = []
        for address in ("127.0.0.1", "::1"):
            with socket.create_connection((address, port), timeout=10) as client:
                client.sendall(struct.pack(">i", -1))
                assert client.recv(1) == b""
                peers.append(f"{address}:{client.getsockname()[1]}")
        assert [event.peer for event in server.take_log_events()] == peers
    finally:
        server.stop()


def test_metrics_and_lag_pages() -> None:
    needs_ipv6()
    server = HttpServer(":0", lambda request: HttpAnswer(b"page"))
    server.start()
    try:
        for address in ("127.0.0.1", "::1"):
            with socket.create_connection((address, server.port), timeout=10) as client:
                client.sendall(b"GET / HTTP/1.1\r\n\r\n")
                assert client.recv(4096).startswith(b"HTTP/1.")
    finally:
        server.stop()
