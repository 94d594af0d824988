"""Several listeners of any names: each answers with its own advertised address."""

from __future__ import annotations

import select
import socket
import time
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient

from kafka_cy.testing import Broker


def free_ports(count: int) -> list[int]:
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


def two_listeners(folder: Path, **more: object) -> Broker:
    inside, outside = free_ports(2)
    config: dict[str, object] = {
        "listeners": f"INTERNAL://127.0.0.1:{inside}, external://0.0.0.0:{outside}",
        "advertised.listeners": f"INTERNAL://localhost:{inside},EXTERNAL://127.0.0.2:{outside}",
        "listener.security.protocol.map": "INTERNAL:PLAINTEXT,EXTERNAL:PLAINTEXT",
        "inter.broker.listener.name": "INTERNAL",
        **more,
    }
    broker = Broker(config, folder=folder)
    broker.port = inside
    broker.external_port = outside  # type: ignore[attr-defined]
    return broker


def test_metadata_names_the_listener_asked(tmp_path: Path) -> None:
    with two_listeners(tmp_path, **{"broker.id": 7}) as broker:
        outside = broker.external_port  # type: ignore[attr-defined]
        inner = AdminClient({"bootstrap.servers": f"127.0.0.1:{broker.port}"})
        outer = AdminClient({"bootstrap.servers": f"127.0.0.1:{outside}"})
        for admin, host, port in ((inner, "localhost", broker.port), (outer, "127.0.0.2", outside)):
            for metadata in (admin.list_topics(timeout=10), admin.list_topics(f"new-{port}", timeout=10)):
                found: list[tuple[Any, ...]] = [(b.id, b.host, b.port) for b in metadata.brokers.values()]
                assert found == [(7, host, port)]
            node = admin.describe_cluster().result(10).nodes[0]
            assert (node.id, node.host, node.port) == (7, host, port)
        assert f"localhost:{broker.port},127.0.0.2:{outside}" in broker.log_text()


def test_groups_work_through_the_second_listener(tmp_path: Path) -> None:
    with two_listeners(tmp_path) as broker:
        bootstrap = {"bootstrap.servers": f"127.0.0.2:{broker.external_port}"}  # type: ignore[attr-defined]
        producer = Producer(bootstrap)
        producer.produce("t", b"value")
        assert producer.flush(10) == 0
        consumer = Consumer({**bootstrap, "group.id": "g", "auto.offset.reset": "earliest"})
        consumer.subscribe(["t"])
        message = consumer.poll(15)
        assert message is not None and message.error() is None and message.value() == b"value"
        consumer.close()


def ended(client: socket.socket) -> bool:
    """Whether the broker closes the connection within some milliseconds (poll: select knows no descriptor over 1023)."""
    waiting = select.poll()
    waiting.register(client, select.POLLIN)
    return bool(waiting.poll(20))


def test_connection_limits(tmp_path: Path) -> None:
    with Broker({"max.connections.per.ip": 3, "connections.max.idle.ms": 4000}, folder=tmp_path) as broker:
        time.sleep(0.3)  # the connection that found the broker ready is gone
        clients = [socket.create_connection((broker.host, broker.port)) for _ in range(6)]
        deadline = time.monotonic() + 2
        closed: set[socket.socket] = set()
        while time.monotonic() < deadline and len(closed) < 3:
            closed |= {client for client in clients if client not in closed and ended(client)}
        assert len(closed) == 3
        begun = time.monotonic()
        for client in set(clients) - closed:  # idle ones are closed
            client.settimeout(10)
            assert client.recv(1) == b""
        assert time.monotonic() - begun < 30
        for client in clients:
            client.close()
