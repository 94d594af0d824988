"""What one broker tells its clients about the cluster: brokers, controller, leaders (Metadata v1)."""

from __future__ import annotations

import struct
from dataclasses import dataclass

from kafka_cy.bench.requests import request_header, with_length
from kafka_cy.bench.wire import Reader, Wire

METADATA_KEY, METADATA_VERSION = 3, 1
ALL_TOPICS = request_header(METADATA_KEY, METADATA_VERSION) + struct.pack(">i", -1)
INT, FLAG = struct.Struct(">i"), struct.Struct(">b")
TOPIC_ERROR = struct.Struct(">h")
PARTITION = struct.Struct(">hiii")  # error code, index, leader, count of replicas


@dataclass(frozen=True)
class View:
    """Brokers, the controller, and (leader, replicas, in-sync replicas) of each partition by topic."""

    broker_ids: frozenset[int]
    controller_id: int
    topics: dict[str, list[tuple[int, int, int]]]

    def partitions(self, prefix: str) -> list[tuple[int, int, int]]:
        """Of the topics whose names start with it."""
        return [each for name, found in self.topics.items() if name.startswith(prefix) for each in found]


def view_of(address: tuple[str, int]) -> View:
    """Ask a broker. Raises OSError when it does not answer."""
    connection = Wire(address)
    try:
        return decoded(connection.ask(with_length(ALL_TOPICS)))
    finally:
        connection.close()


def decoded(response: bytes) -> View:
    """The response, which starts with its correlation id."""
    reader = Reader(response, 4)
    broker_ids: list[int] = []
    for _ in range(reader.unpack(INT)[0]):
        broker_ids += reader.unpack(INT)
        reader.string()
        reader.unpack(INT)
        reader.string()
    (controller_id,) = reader.unpack(INT)
    topics = {}
    for _ in range(reader.unpack(INT)[0]):
        reader.unpack(TOPIC_ERROR)
        name = reader.string().decode()
        reader.unpack(FLAG)
        topics[name] = [_partition(reader) for _ in range(reader.unpack(INT)[0])]
    return View(frozenset(broker_ids), controller_id, topics)


def _partition(reader: Reader) -> tuple[int, int, int]:
    _, _, leader, replicas = reader.unpack(PARTITION)
    reader.at += 4 * replicas
    (in_sync,) = reader.unpack(INT)
    reader.at += 4 * in_sync
    return leader, replicas, in_sync
