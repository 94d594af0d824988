"""The tools say why they have no broker, in one sentence and without waiting for the connection timeout."""

from __future__ import annotations

import http.server
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import kafka_cy
from kafka_cy.base.connection_probe import Finding, connection_failure, probe, split_address
from kafka_cy.testing.broker import free_ports
from tests.certificates import Authority

TRIES_S = 0.2


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module")
def tls_address(authority: Authority) -> Iterator[str]:
    plaintext, tls = free_ports(2)
    listeners = f"PLAINTEXT://127.0.0.1:{plaintext},SSL://127.0.0.1:{tls}"
    broker = kafka_cy.Broker({"listeners": listeners, **authority.broker_config()})
    broker.port, (broker.metrics_port, broker.lag_port) = plaintext, free_ports(2)
    with broker:
        yield f"127.0.0.1:{tls}"


@pytest.fixture(scope="module")
def http_address() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def topics_list(address: str, *arguments: str | Path) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "kafka_cy", "topics", "list", "-b", address, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stderr


def test_refused_and_unknown_host() -> None:
    port = free_ports(1)[0]
    assert topics_list(f"127.0.0.1:{port}") == (
        1,
        f"kafka-cy: No broker answers at 127.0.0.1:{port}: connection refused.\n",
    )
    both = f"127.0.0.1:{port},no-such-host.invalid:9092"
    assert topics_list(both) == (
        1,
        f"kafka-cy: No broker answers at {both}: 127.0.0.1:{port} connection refused, "
        "no-such-host.invalid:9092 unknown host name.\n",
    )


def test_tls_and_plaintext_on_the_wrong_port(tls_address: str, bootstrap: str, tmp_path: Path) -> None:
    assert topics_list(tls_address) == (
        1,
        f"kafka-cy: No broker answers at {tls_address}: it expects TLS (security.protocol=SSL).\n",
    )
    tls = tmp_path / "client.properties"
    tls.write_text("security.protocol=SSL\n")
    assert topics_list(bootstrap, "--command-config", tls) == (
        1,
        f"kafka-cy: No broker answers at {bootstrap}: it expects no TLS (security.protocol=PLAINTEXT).\n",
    )
    code, text = topics_list(tls_address, "--command-config", tls)  # the authority is unknown
    assert code == 1 and text.startswith(f"kafka-cy: {tls_address} refuses the connection: ") and "certificate" in text
    assert text.count("\n") == 1


def test_an_advertised_address_that_cannot_be_reached() -> None:
    port, refused = free_ports(2)
    config = {"listeners": f"PLAINTEXT://127.0.0.1:{port}", "advertised.listeners": f"PLAINTEXT://127.0.0.1:{refused}"}
    broker = kafka_cy.Broker(config)
    broker.port, (broker.metrics_port, broker.lag_port) = port, free_ports(2)
    with broker:
        assert topics_list(f"127.0.0.1:{port}") == (
            1,
            f"kafka-cy: The broker at 127.0.0.1:{port} answers, but advertises an address that cannot be reached from here: "
            f"127.0.0.1:{refused} (connection refused). Its advertised.listeners must name an address that clients can reach.\n",
        )


def test_http_server(http_address: str) -> None:
    assert topics_list(http_address) == (
        1,
        f"kafka-cy: No broker answers at {http_address}: it is an HTTP server, not a Kafka broker.\n",
    )


def test_silent_server_and_what_is_not_kafka() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        address = f"127.0.0.1:{silent.getsockname()[1]}"
        assert probe(*split_address(address), tls=False, timeout_s=TRIES_S) is Finding.SILENT
        assert connection_failure(address, "PLAINTEXT", []) is None  # it may be a broker that is busy
        assert connection_failure(address, "PLAINTEXT", [], final=True) == (
            f"No broker answers at {address}: it accepts connections but sends no response."
        )
    with socket.create_server(("127.0.0.1", 0)) as ssh:

        def greet() -> None:
            connection, _ = ssh.accept()
            with connection:
                connection.sendall(b"SSH-2.0-OpenSSH_9.2\r\n")
                connection.recv(100)

        thread = threading.Thread(target=greet)
        thread.start()
        assert probe("127.0.0.1", ssh.getsockname()[1], tls=False) is Finding.NOT_KAFKA
        thread.join()


@pytest.mark.parametrize(
    ("address", "parts"),
    [
        ("host:9093", ("host", 9093)),
        ("SSL://host:9093", ("host", 9093)),
        ("[::1]:9094", ("::1", 9094)),
        ("[::1]", ("::1", 9092)),
        ("host", ("host", 9092)),
        ("host:port", ("host", 0)),
        ("host:99999", ("host", 0)),
    ],
)
def test_addresses(address: str, parts: tuple[str, int]) -> None:
    assert split_address(address) == parts
