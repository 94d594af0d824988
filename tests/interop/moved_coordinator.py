"""A proxy in front of a broker that answers NOT_COORDINATOR to the first requests of some kinds, as after a move."""

from __future__ import annotations

import contextlib
import io
import socket
import struct
import threading
from collections.abc import Iterator
from typing import Any

from kio.index import load_request_schema, load_response_schema
from kio.schema.errors import ErrorCode
from kio.serial import entity_reader, entity_writer
from raw_client import build

import kafka_cy
from kafka_cy.testing.broker import free_ports

OFFSET_COMMIT, OFFSET_FETCH, DESCRIBE_GROUPS, DELETE_GROUPS, OFFSET_DELETE = 8, 9, 15, 42, 47
NOT_COORDINATOR = ErrorCode.not_coordinator


def error_response(api_key: int, request: Any) -> dict[str, Any]:
    """The fields of a response with NOT_COORDINATOR for everything that was asked."""
    if api_key == OFFSET_FETCH:
        groups = [{"group_id": each.group_id, "topics": [], "error_code": NOT_COORDINATOR} for each in request.groups]
        return {"groups": groups}
    if api_key == DESCRIBE_GROUPS:
        return {"groups": [{"group_id": each, "error_code": NOT_COORDINATOR} for each in request.groups]}
    if api_key == DELETE_GROUPS:
        results = [{"group_id": each, "error_code": NOT_COORDINATOR} for each in request.groups_names]
        return {"results": results}
    if api_key == OFFSET_DELETE:
        return {"error_code": NOT_COORDINATOR}
    topics = [
        {
            "name": topic.name,
            "partitions": [
                {"partition_index": each.partition_index, "error_code": NOT_COORDINATOR} for each in topic.partitions
            ],
        }
        for topic in request.topics
    ]
    return {"topics": topics}


class MovedCoordinator:
    """The proxy. Each connection has a thread per direction. `refused` counts the answers that it gave itself."""

    def __init__(self, port: int, broker_port: int, refusals: int) -> None:
        self.refused = 0
        self._refusals = refusals
        self._keys: frozenset[int] = frozenset()
        self._broker_port = broker_port
        self._listener = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._accept, daemon=True).start()

    def refuse(self, *api_keys: int) -> None:
        """Answer the next requests of these kinds with NOT_COORDINATOR, `refusals` of them."""
        self.refused, self._keys = 0, frozenset(api_keys)

    def close(self) -> None:
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._broker_port))
                threading.Thread(target=self._requests, args=(client, server), daemon=True).start()
                threading.Thread(target=self._responses, args=(client, server), daemon=True).start()

    def _responses(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError), client:
            while data := server.recv(65536):
                client.sendall(data)
            client.shutdown(socket.SHUT_RDWR)

    def _requests(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError, EOFError), server:
            while True:
                size = _exactly(client, 4)
                body = _exactly(client, struct.unpack(">i", size)[0])
                api_key, version, correlation_id, client_id_size = struct.unpack_from(">hhih", body)
                if api_key not in self._keys or self.refused >= self._refusals:
                    server.sendall(size + body)
                    continue
                self.refused += 1
                schema = load_request_schema(api_key, version)
                header_end = 10 + max(client_id_size, 0) + (1 if schema.__flexible__ else 0)
                request = entity_reader(schema)(body, header_end)[0]
                answer = load_response_schema(api_key, version)
                encoded = io.BytesIO()
                entity_writer(answer)(encoded, build(answer, error_response(api_key, request)))
                header = struct.pack(">i", correlation_id) + (b"\0" if answer.__flexible__ else b"")
                client.sendall(struct.pack(">i", len(header) + encoded.tell()) + header + encoded.getvalue())


def _exactly(connection: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        part = connection.recv(size - len(received))
        if not part:
            raise EOFError
        received += part
    return received


@contextlib.contextmanager
def moved_coordinator(refusals: int) -> Iterator[tuple[str, MovedCoordinator]]:
    """The address of a broker behind a MovedCoordinator, and the proxy."""
    port = free_ports(1)[0]
    with kafka_cy.Broker({"advertised.listeners": f"PLAINTEXT://127.0.0.1:{port}"}) as broker:
        proxy = MovedCoordinator(port, broker.port, refusals)
        try:
            yield f"127.0.0.1:{port}", proxy
        finally:
            proxy.close()
