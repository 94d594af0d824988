"""The times of requests that are sent behind a Fetch that waits, on the same connection.

Kafka handles one request of a connection at a time: what follows a Fetch is read after its response was sent, so the wait is in
no time of the later request.
"""

from __future__ import annotations

import socket
import struct
import urllib.request

from confluent_kafka.admin import AdminClient, NewTopic
from prometheus_client.parser import text_string_to_metric_families

from kafka_cy import Broker

FETCH, METADATA, LIST_GROUPS = 1, 3, 16
MAX_WAIT_MS = 2000


def frame(api_key: int, version: int, body: bytes) -> bytes:
    request = struct.pack(">hhih", api_key, version, api_key, 1) + b"p" + body
    return struct.pack(">i", len(request)) + request


def fetch(topic: bytes, max_wait_ms: int) -> bytes:
    """Fetch version 4 of an empty partition."""
    partition = struct.pack(">iiqi", 1, 0, 0, 1 << 20)
    head = struct.pack(">iiiib", -1, max_wait_ms, 1, 1 << 20, 0)
    return frame(FETCH, 4, head + struct.pack(">ih", 1, len(topic)) + topic + partition)


def response_keys(client: socket.socket, count: int) -> list[int]:
    """The correlation ids of the next responses: the API keys of their requests."""
    found = []
    with client.makefile("rb") as stream:
        for _ in range(count):
            (size,) = struct.unpack(">i", stream.read(4))
            found.append(struct.unpack(">i", stream.read(size)[:4])[0])
    return found


def longest_ms(broker: Broker, part: str, request: str) -> float:
    assert broker.metrics_url is not None
    with urllib.request.urlopen(broker.metrics_url, timeout=60) as answer:
        families = text_string_to_metric_families(answer.read().decode())
    labels = {"request": request, "quantile": "0.999"}
    name = f"kafka_network_requestmetrics_{part}timems"
    (value,) = [s.value for family in families for s in family.samples if s.name == name and s.labels == labels]
    return value


def test_a_request_behind_a_parked_fetch_has_its_own_times_only() -> None:
    with Broker() as broker:
        admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
        admin.create_topics([NewTopic("empty", 1, 1)])["empty"].result(60)
        with socket.create_connection(("127.0.0.1", broker.port), timeout=60) as client:
            metadata = frame(METADATA, 1, struct.pack(">i", 0))
            client.sendall(fetch(b"empty", MAX_WAIT_MS) + metadata + frame(LIST_GROUPS, 0, b""))
            assert response_keys(client, 3) == [FETCH, METADATA, LIST_GROUPS]
        waited_ms = longest_ms(broker, "remote", "FetchConsumer")
        assert waited_ms > MAX_WAIT_MS / 2
        for request in ("Metadata", "ListGroups"):
            assert longest_ms(broker, "responsequeue", request) < waited_ms / 2, request
            assert longest_ms(broker, "total", request) < waited_ms / 2, request
