"""A minimal Kafka client: a blocking socket and the few requests that these tests need, packed with `struct`."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from kafka_cy.records import Record, build_batch
from tests.waiting import wait_until

PRODUCE, FETCH, LIST_OFFSETS, METADATA, OFFSET_COMMIT, OFFSET_FETCH = 0, 1, 2, 3, 8, 9
API_VERSIONS, CREATE_TOPICS, INIT_PRODUCER_ID = 18, 19, 22
UNKNOWN_TOPIC_OR_PARTITION, COORDINATOR_LOADING, NOT_COORDINATOR = 3, 14, 16
KAFKA_STORAGE_ERROR, TOPIC_ALREADY_EXISTS = 56, 36
RECORD_BATCH_OVERHEAD = 61
CRC_AT, ATTRIBUTES_AT = 17, 21


class Produced(NamedTuple):
    """The response of Produce v7 for its only partition."""

    error: int
    base_offset: int


class Connection:
    """A blocking client connection."""

    def __init__(self, port: int, timeout_s: float = 60.0, *, receive_buffer: int | None = None) -> None:
        self.socket = socket.socket()
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(timeout_s)
        self.socket.connect(("127.0.0.1", port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.correlation_id = 0

    @property
    def name(self) -> str:
        """The name of this client in the broker's log."""
        host, port = self.socket.getsockname()
        return f"{host}:{port}"

    def send(
        self, api_key: int, version: int, body: bytes, *, client_id: bytes | None = b"adversity", flexible: bool = False
    ) -> None:
        """Send one request; `flexible` adds the tag section to the header."""
        self.correlation_id += 1
        header = struct.pack(">hhi", api_key, version, self.correlation_id) + string(client_id)
        header += b"\0" if flexible else b""
        self.send_bytes(struct.pack(">i", len(header) + len(body)) + header + body)

    def send_bytes(self, data: bytes) -> None:
        """Send raw bytes; a connection that is already closed is detected when receiving."""
        try:
            self.socket.sendall(data)
        except ConnectionError:
            pass

    def receive(self) -> bytes | None:
        """The next response after its correlation id; None if the broker closed the connection. Raises TimeoutError."""
        head = self._read(4)
        if head is None:
            return None
        data = self._read(struct.unpack(">i", head)[0])
        return None if data is None else data[4:]

    def ask(self, api_key: int, version: int, body: bytes, **more: bool) -> bytes:
        """Send a request and return the response. Raises ConnectionError if the connection is closed instead."""
        self.send(api_key, version, body, **more)  # type: ignore[arg-type]
        answer = self.receive()
        if answer is None:
            raise ConnectionError("closed by the broker")
        return answer

    def close(self) -> None:
        """Close the connection, even with unread bytes."""
        self.socket.close()

    def _read(self, size: int) -> bytes | None:
        data = bytearray()
        while len(data) < size:
            try:
                part = self.socket.recv(min(size - len(data), 1 << 20))
            except ConnectionError:
                return None
            if not part:
                return None
            data += part
        return bytes(data)


def string(value: str | bytes | None) -> bytes:
    """A string with a 16-bit length."""
    if value is None:
        return struct.pack(">h", -1)
    data = value.encode() if isinstance(value, str) else value
    return struct.pack(">h", len(data)) + data


def produce_body(topic: str, batches: Mapping[int, bytes | None], acks: int = -1, timeout_ms: int = 50_000) -> bytes:
    """A Produce request, v3 to v8."""
    body = struct.pack(">hhi", -1, acks, timeout_ms) + struct.pack(">i", 1) + string(topic)
    body += struct.pack(">i", len(batches))
    for index, batch in batches.items():
        size = -1 if batch is None else len(batch)
        body += struct.pack(">ii", index, size) + (batch or b"")
    return body


def produced(answer: bytes) -> dict[int, Produced]:
    """Parse the response to Produce v7 for one topic."""
    at = 4 + 2 + struct.unpack_from(">h", answer, 4)[0]
    (count,) = struct.unpack_from(">i", answer, at)
    rows = [struct.unpack_from(">ihqqq", answer, at + 4 + 30 * i) for i in range(count)]
    return {row[0]: Produced(row[1], row[2]) for row in rows}


def produce(connection: Connection, topic: str, index: int, batch: bytes | None, acks: int = -1) -> Produced:
    """Send Produce v7 to one partition."""
    return produced(connection.ask(PRODUCE, 7, produce_body(topic, {index: batch}, acks)))[index]


def fetch_body(topic: str, offsets: Mapping[int, int], *, max_bytes: int = 8 << 20, max_wait_ms: int = 0) -> bytes:
    """A Fetch v4 request for partitions of one topic."""
    body = struct.pack(">iiiib", -1, max_wait_ms, 1, 50 << 20, 0) + struct.pack(">i", 1) + string(topic)
    body += struct.pack(">i", len(offsets))
    return body + b"".join(struct.pack(">iqi", index, offset, max_bytes) for index, offset in offsets.items())


def fetch(connection: Connection, topic: str, index: int, offset: int) -> tuple[int, int, bytes]:
    """(error, high watermark, records) of one partition. Raises ConnectionError."""
    answer = connection.ask(FETCH, 4, fetch_body(topic, {index: offset}))
    at = 8 + 2 + len(topic.encode()) + 4
    _, error, high_watermark, _, aborted = struct.unpack_from(">ihqqi", answer, at)
    at += 26 + 16 * max(aborted, 0)
    return error, high_watermark, answer[at + 4 :]


def list_offset(connection: Connection, topic: str, index: int, timestamp: int = -1) -> tuple[int, int]:
    """(error, offset) by ListOffsets v1; -1 latest, -2 earliest."""
    body = struct.pack(">ii", -1, 1) + string(topic) + struct.pack(">iiq", 1, index, timestamp)
    answer = connection.ask(LIST_OFFSETS, 1, body)
    _, error, _, offset = struct.unpack_from(">ihqq", answer, 4 + 2 + len(topic.encode()) + 4)
    return error, offset


def create_topic(
    connection: Connection, topic: str | bytes, partitions: int = 1, config: Mapping[str, object] | None = None
) -> int:
    """Send CreateTopics v2; return the error code. An existing topic counts as success."""
    body = struct.pack(">i", 1) + string(topic) + struct.pack(">ihi", partitions, 1, 0)
    body += struct.pack(">i", len(config or {}))
    for key, value in (config or {}).items():
        body += string(key) + string(str(value))
    answer = connection.ask(CREATE_TOPICS, 2, body + struct.pack(">i?", 10000, False))
    name_size = struct.unpack_from(">h", answer, 8)[0]
    (error,) = struct.unpack_from(">h", answer, 10 + name_size)
    return 0 if error == TOPIC_ALREADY_EXISTS else int(error)


def init_producer_id(connection: Connection) -> tuple[int, int]:
    """(producer id, epoch) by InitProducerId v1."""
    _, error, producer_id, epoch = struct.unpack(
        ">ihqh", connection.ask(INIT_PRODUCER_ID, 1, string(None) + struct.pack(">i", 60000))
    )
    assert error == 0
    return producer_id, epoch


def commit_offset(connection: Connection, group: str, topic: str, index: int, offset: int, metadata: str = "") -> int:
    """Send OffsetCommit v2 without a generation; return the error code of the partition."""
    body = string(group) + struct.pack(">i", -1) + string("") + struct.pack(">q", -1) + struct.pack(">i", 1)
    body += string(topic) + struct.pack(">iiq", 1, index, offset) + string(metadata)
    answer = connection.ask(OFFSET_COMMIT, 2, body)
    return int(struct.unpack_from(">ih", answer, 4 + 2 + len(topic.encode()) + 4)[1])


def committed_offset(connection: Connection, group: str, topic: str, index: int) -> tuple[int, int]:
    """(error, offset) by OffsetFetch v2."""
    body = string(group) + struct.pack(">i", 1) + string(topic) + struct.pack(">ii", 1, index)
    answer = connection.ask(OFFSET_FETCH, 2, body)
    (top_error,) = struct.unpack_from(">h", answer, len(answer) - 2)
    if struct.unpack_from(">i", answer)[0] == 0:
        return int(top_error), -1
    _, offset = struct.unpack_from(">iq", answer, 4 + 2 + len(topic.encode()) + 4)
    return int(top_error), int(offset)


def batch(values: Iterable[bytes] = (b"value",), *, timestamp_ms: int = 1_700_000_000_000, **more: object) -> bytes:
    """A batch of records with these values and one key."""
    return build_batch([Record(b"key", value, timestamp_ms) for value in values], **more)  # type: ignore[arg-type]


def ready_topic(port: int, topic: str, partitions: int = 1, config: Mapping[str, object] | None = None) -> None:
    """Create a topic and wait until its partitions are served."""
    connection = Connection(port)
    assert create_topic(connection, topic, partitions, config) == 0
    wait_until(lambda: all(list_offset(connection, topic, i)[0] == 0 for i in range(partitions)), f"topic {topic}")
    connection.close()


def find_coordinator(connection: Connection, group: str | bytes) -> int:
    """Send FindCoordinator v0, which creates the offsets topic if it is missing; return the error code."""
    return int(struct.unpack_from(">h", connection.ask(10, 0, string(group)))[0])


def await_coordinator(connection: Connection, group: str, topic: str) -> None:
    """Wait until the offsets of the group can be fetched."""
    wait_until(lambda: find_coordinator(connection, group) == 0, "coordinator")
    wait_until(lambda: committed_offset(connection, group, topic, 0)[0] == 0, "loaded offsets")
