"""network_io of the socket-server-metrics: reads and writes of sockets, by listener."""

from __future__ import annotations

import socket
import struct

from kafka_cy import Broker
from kafka_cy.testing.broker import free_ports
from tests.telemetry.test_metrics_live import total, values


def test_reads_and_writes_of_sockets_are_counted_by_listener() -> None:
    first, second, metrics, lag = free_ports(4)
    config = {
        "listeners": f"FIRST://127.0.0.1:{first},SECOND://127.0.0.1:{second}",
        "listener.security.protocol.map": "FIRST:PLAINTEXT,SECOND:PLAINTEXT",
        "inter.broker.listener.name": "FIRST",
    }
    api_versions = struct.pack(">ihhih", 10, 18, 0, 7, -1)
    two = Broker(config)
    two.port, two.metrics_port, two.lag_port = first, metrics, lag
    with two:
        before = values(two)
        with socket.create_connection(("127.0.0.1", second), timeout=60) as client, client.makefile("rb") as responses:
            for _ in range(10):  # one read and one write each
                client.sendall(api_versions)
                (size,) = struct.unpack(">i", responses.read(4))
                assert len(responses.read(size)) == size
            after = values(two)
    for prefix in ("kafka_server_socketservermetrics_", "kafka_server_socket_server_metrics_"):
        for listener, grown in (("FIRST", 0), ("SECOND", 20)):
            name = prefix + "network_io_total"
            assert total(after, name, listener=listener) - total(before, name, listener=listener) == grown
        assert total(after, prefix + "network_io_rate", listener="SECOND") > 0
