"""A network server with hosted partitions and no control plane: the test itself answers requests that reach Python."""

from __future__ import annotations

import socket
import struct
import threading
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from kafka_cy.api import api_versions, hot
from kafka_cy.network.control_request import ControlRequest
from kafka_cy.network.metadata_image import ImagePublisher, TopicMetadata
from kafka_cy.network.server import Server
from kafka_cy.storage.hosted_partition import HostedPartition
from kafka_cy.storage.log import PartitionLog

from .kio_wire import decode_response, encode_request, is_flexible

API_TABLE = [
    (0, 0, 13), (1, 4, 18), (2, 1, 11), (3, 0, 13), (8, 2, 10), (12, 0, 4), (18, 0, 4), (23, 2, 4), (60, 0, 2), (68, 0, 1),
    (76, 1, 1), (78, 1, 2), (79, 1, 2), (88, 0, 0),
]
FLEXIBLE_FROM = {0: 9, 1: 12, 2: 6, 3: 9, 8: 8, 12: 4, 18: 3, 23: 4, 24: 3, 60: 0, 68: 0, 76: 1, 78: 1, 79: 1, 88: 0}
ADD_PARTITIONS_TO_TXN = (24, 0, 5)  # only when the test answers the questions about transactions
CLUSTER_ID = "hot-api-tests-cluster0"
BROKER_ID = 7


class Connection:
    """A blocking client socket."""

    def __init__(self, port: int, address: str = "127.0.0.1") -> None:
        """From the given loopback address."""
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60, source_address=(address, 0))
        self.correlation_id = 0

    def send(self, api_key: int, version: int, body: bytes, client_id: bytes | None = b"hot-tests") -> int:
        self.socket.sendall(self.frame(api_key, version, body, client_id))
        return self.correlation_id

    def send_together(self, api_key: int, version: int, bodies: list[bytes]) -> None:
        """Send several frames together, so that the server reads them at once."""
        self.socket.sendall(b"".join(self.frame(api_key, version, body) for body in bodies))

    def frame(self, api_key: int, version: int, body: bytes, client_id: bytes | None = b"hot-tests") -> bytes:
        self.correlation_id += 1
        header = struct.pack(">hhi", api_key, version, self.correlation_id)
        header += struct.pack(">h", -1) if client_id is None else struct.pack(">h", len(client_id)) + client_id
        if version >= FLEXIBLE_FROM[api_key]:
            header += b"\0"
        return struct.pack(">i", len(header) + len(body)) + header + body

    def receive(self) -> bytes | None:
        """One frame without its size; None when the server has closed the connection."""
        size = self._exactly(4)
        if size is None:
            return None
        return self._exactly(struct.unpack(">i", size)[0])

    def _exactly(self, size: int) -> bytes | None:
        data = bytearray()
        while len(data) < size:
            try:
                part = self.socket.recv(size - len(data))
            except ConnectionResetError:
                return None
            if not part:
                return None
            data += part
        return bytes(data)

    def answer(self, api_key: int, version: int) -> dict[str, Any]:
        """The next response, decoded by kio."""
        frame = self.receive()
        assert frame is not None, "the server closed the connection"
        head = 5 if api_key != 18 and is_flexible(api_key, version) else 4
        if head == 5:
            assert frame[4] == 0
        return decode_response(api_key, version, frame[head:])

    def call(self, api_key: int, version: int, values: dict[str, Any], **more: Any) -> dict[str, Any]:
        self.send(api_key, version, encode_request(api_key, version, values), **more)
        return self.answer(api_key, version)

    def close(self) -> None:
        self.socket.close()


class HotServer:
    """A harness with one reactor by default, so that parked requests and appends share it."""

    def __init__(
        self, folder: Path, reactors: int = 2, queued_request_bytes_max: int = 1 << 30, queued_requests_max: int = 500,
        idle_timeout_ms: int = 600000, on_question: Callable[[ControlRequest], None] | None = None,
    ) -> None:
        self.folder = folder
        self.on_question = on_question
        table = [*API_TABLE, ADD_PARTITIONS_TO_TXN] if on_question is not None else API_TABLE
        self.server = Server(
            reactors, request_max_bytes=100 << 20, queued_request_bytes_max=queued_request_bytes_max,
            queued_response_bytes_max=1 << 30, connections_max=1000, connections_per_ip_max=1000,
            idle_timeout_ms=idle_timeout_ms, in_flight_max=1000, queued_requests_max=queued_requests_max,
        )
        self.server.set_api_versions([(key, low, high, FLEXIBLE_FROM[key]) for key, low, high in table])
        api_versions.set_table(table)
        hot.register_all()
        self.port = self.server.listen(0, "PLAINTEXT", "127.0.0.1", 0)
        self.publisher = ImagePublisher(self.server)
        brokers = [(BROKER_ID, "rack-a", [("127.0.0.1", self.port)])]
        self.publisher.set_brokers(CLUSTER_ID, BROKER_ID, BROKER_ID, brokers)
        self.partitions: dict[tuple[str, int], HostedPartition] = {}
        self.topic_ids: dict[str, uuid.UUID] = {}
        self.forwarded: list[tuple[int, int, bytes]] = []
        self.rewind: Callable[[], object] = lambda: None  # before each request of a fuzz test
        self.kept: list[Any] = []  # what a test needs as long as the server runs
        self.running = True
        self.publisher.publish()
        self.server.start()
        self.thread = threading.Thread(target=self._control, daemon=True)
        self.thread.start()

    def _control(self) -> None:
        while self.running:
            requests = self.server.take_requests(0.2)
            while requests:
                self._take(requests.pop(0))  # keeps no reference

    def _take(self, request: ControlRequest) -> None:
        if request.is_question and self.on_question is not None:
            self.on_question(request)
        else:
            self.forwarded.append((request.api_key, request.api_version, request.body))
            request.close("no control plane")

    def create_topic(
        self, name: str, partitions: int = 1, config: dict[str, Any] | None = None, *, sole_replica: bool = True,
        internal: bool = False, leader: int = BROKER_ID, isr: tuple[int, ...] = (BROKER_ID,),
    ) -> uuid.UUID:
        topic_id = uuid.uuid4()
        rows: list[tuple[int, int, int, Sequence[int], Sequence[int], Sequence[int], HostedPartition | None]] = []
        for index in range(partitions):
            hosted = None
            if leader == BROKER_ID:
                hosted = make_partition(self.folder, name, topic_id, index, config or {}, sole_replica)
                self.partitions[name, index] = hosted
            rows.append((index, leader, 0, [leader, 9], list(isr), [9], hosted))
        self.publisher.set_topics([TopicMetadata(name, topic_id.bytes, internal, rows)], [])
        self.publisher.publish()
        self.topic_ids[name] = topic_id
        return topic_id

    def move_leadership(self, name: str, leader: int = 9) -> None:
        """Another broker leads the topic from now on; its partitions stay."""
        rows: list[tuple[int, int, int, Sequence[int], Sequence[int], Sequence[int], HostedPartition | None]] = [
            (index, leader, 1, [BROKER_ID, 9], [leader], [], None) for topic, index in self.partitions if topic == name
        ]
        self.publisher.set_topics([TopicMetadata(name, self.topic_ids[name].bytes, False, rows)], [])
        self.publisher.publish()

    def delete_topic(self, name: str) -> None:
        self.publisher.set_topics([], [name])
        self.publisher.publish()
        for key in [key for key in self.partitions if key[0] == name]:
            self.partitions.pop(key).retire("deleted")

    def connect(self, address: str = "127.0.0.1") -> Connection:
        return Connection(self.port, address)

    def stop(self) -> None:
        self.running = False
        self.server.wake()
        self.thread.join(5)
        self.server.stop(1.0)


def make_partition(
    folder: Path, topic: str, topic_id: uuid.UUID, index: int, config: dict[str, Any], sole_replica: bool
) -> HostedPartition:
    path = folder / f"{topic}-{index}"
    path.mkdir(parents=True, exist_ok=True)
    log = PartitionLog(str(path), config)
    return HostedPartition(log, topic, topic_id.bytes, index, 0, followers=() if sole_replica else (9,))
