"""Several listeners with arbitrary names: each returns its own advertised address."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient
from live_client import Client

from kafka_cy.testing import Broker
from kafka_cy.testing.broker import free_ports


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
            for metadata in (admin.list_topics(timeout=60), admin.list_topics(f"new-{port}", timeout=60)):
                found: list[tuple[Any, ...]] = [(b.id, b.host, b.port) for b in metadata.brokers.values()]
                assert found == [(7, host, port)]
            node = admin.describe_cluster().result(60).nodes[0]
            assert (node.id, node.host, node.port) == (7, host, port)
        assert f"localhost:{broker.port},127.0.0.2:{outside}" in broker.log_text()


def test_groups_work_through_the_second_listener(tmp_path: Path) -> None:
    with two_listeners(tmp_path) as broker:
        bootstrap = {"bootstrap.servers": f"127.0.0.2:{broker.external_port}"}  # type: ignore[attr-defined]
        producer = Producer(bootstrap)
        producer.produce("t", b"value")
        assert producer.flush(60) == 0
        consumer = Consumer({**bootstrap, "group.id": "g", "auto.offset.reset": "earliest"})
        consumer.subscribe(["t"])
        message = consumer.poll(60)
        assert message is not None and message.error() is None and message.value() == b"value"
        consumer.close()


def is_served(client: Client) -> bool:
    """Whether the broker answers ApiVersions v0 and keeps the connection open."""
    try:
        client.call(18, 0, b"")
    except (AssertionError, ConnectionError):
        return False
    return True


def test_connections_per_address_are_limited(tmp_path: Path) -> None:
    with Broker({"max.connections.per.ip": 3}, folder=tmp_path) as broker, contextlib.ExitStack() as opened:

        def served(count: int) -> int:
            return sum(is_served(opened.enter_context(Client(broker.host, broker.port))) for _ in range(count))

        held = served(3)
        while held < 3:  # until the connection of the readiness check is closed
            held += served(1)
        assert served(3) == 0


def test_idle_connections_are_closed(tmp_path: Path) -> None:
    config = {"connections.max.idle.ms": 500}
    with Broker(config, folder=tmp_path) as broker, Client(broker.host, broker.port) as client:
        assert client.socket.recv(1) == b""
