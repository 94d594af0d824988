"""A broker id whose controller is ours: it holds no partitions, and answers what brokers of Apache Kafka ask a controller for."""

from __future__ import annotations

import queue
import socket
import struct
import threading
from collections.abc import Callable
from contextlib import suppress
from types import ModuleType
from typing import Any

from kafka_cy.cluster.election import Election
from kafka_cy.cluster.registration import Registration
from kafka_cy.cluster.znode_formats import BrokerInfo, Endpoint
from kafka_cy.controller.context import Broker
from kafka_cy.controller.controller import Controller
from kafka_cy.controller.settings import ControllerSettings, Surroundings
from kafka_cy.protocol.bridge import encode_response
from kafka_cy.protocol.controller_messages import (
    allocate_producer_ids,
    alter_partition,
    controlled_shutdown,
    leader_and_isr,
    stop_replica,
    update_metadata,
)
from kafka_cy.protocol.controller_messages.headers import (
    request_header,
    response_header,
    split_request,
    split_response,
)
from kafka_cy.protocol.controller_messages.leader_and_isr import LeaderAndIsrResponse
from kafka_cy.protocol.controller_messages.stop_replica import StopReplicaResponse
from kafka_cy.protocol.controller_messages.update_metadata import UpdateMetadataResponse
from tests.cluster.store_owner import Owner
from tests.cluster.test_membership_zookeeper import now_ms

API_VERSIONS = 18
TO_BROKERS: dict[int, ModuleType] = {each.API_KEY: each for each in (leader_and_isr, stop_replica, update_metadata)}
TO_CONTROLLER: dict[int, ModuleType] = {
    each.API_KEY: each for each in (alter_partition, allocate_producer_ids, controlled_shutdown)
}
SOCKET_TIMEOUT_S = 30.0


def read_frame(connection: socket.socket) -> bytes:
    """One frame without its length. Raises OSError."""
    head = _read(connection, 4)
    return _read(connection, struct.unpack(">i", head)[0])


def _read(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        part = connection.recv(size - len(data))
        if not part:
            raise ConnectionError("closed")
        data += part
    return data


def write_frame(connection: socket.socket, data: bytes) -> None:
    connection.sendall(struct.pack(">i", len(data)) + data)


class Later:
    """A function that will be called, unless it is cancelled before."""

    def __init__(self, function: Callable[[], object]) -> None:
        self._function: Callable[[], object] | None = function

    def run(self) -> None:
        if self._function is not None:
            self._function()

    def cancel(self) -> None:
        self._function = None


class SocketTransport:
    """See Transport. One thread and one connection for each broker; this node itself is answered in memory."""

    def __init__(self, node: ControllerNode) -> None:
        self._node = node
        self._queues: dict[int, queue.Queue[Any]] = {}

    def send(
        self, broker: Broker, api_key: int, version: int, body: bytes, done: Callable[[bytes | None], object]
    ) -> None:
        if broker.id == self._node.broker_id:
            response = {
                leader_and_isr.API_KEY: LeaderAndIsrResponse(0),
                stop_replica.API_KEY: StopReplicaResponse(0),
                update_metadata.API_KEY: UpdateMetadataResponse(0),
            }[api_key]
            self._node.post(done, response.encode(version))
            return
        waiting = self._queues.get(broker.id)
        if waiting is None:
            waiting = self._queues[broker.id] = queue.Queue()
            threading.Thread(target=self._serve, args=(waiting,), daemon=True).start()
        waiting.put((broker, api_key, version, body, done))

    def disconnect(self, broker_id: int) -> None:
        waiting = self._queues.pop(broker_id, None)
        if waiting is not None:
            waiting.put(None)

    def _serve(self, waiting: queue.Queue[Any]) -> None:
        connection: socket.socket | None = None
        correlation_id = 0
        while (request := waiting.get()) is not None:
            broker, api_key, version, body, done = request
            api, correlation_id = TO_BROKERS[api_key], correlation_id + 1
            try:
                if connection is None:
                    endpoint = broker.endpoint(self._node.listener)
                    assert endpoint is not None
                    connection = socket.create_connection((endpoint.host, endpoint.port), SOCKET_TIMEOUT_S)
                write_frame(connection, request_header(api, version, correlation_id, str(self._node.broker_id)) + body)
                answered, response = split_response(api, version, read_frame(connection))
                assert answered == correlation_id
            except OSError:
                if connection is not None:
                    connection.close()
                    connection = None
                self._node.post(done, None)
            else:
                self._node.post(done, response)
        if connection is not None:
            connection.close()


class ControllerNode(Owner):
    """Registration, election and controller over a real ZooKeeper, with a listener for the brokers."""

    def __init__(self, connect: str, broker_id: int, port: int, listener: str, version: str = "3.9") -> None:
        super().__init__(connect)
        self.broker_id, self.listener = broker_id, listener
        self.asked: list[str] = []
        self.warnings: list[str] = []
        around = Surroundings(
            lambda: float(now_ms()), self.later, SocketTransport(self), self.log.info, self.warnings.append
        )
        settings = ControllerSettings(broker_id, listener, version, auto_leader_rebalance_enable=False)
        self.controller = Controller(settings, around, self.store, lambda release: self.election.lost(release))
        self.election = Election(
            self.store,
            broker_id,
            wall_clock_ms=now_ms,
            call_later=self.call_later,
            log=self.log,
            elected=self.controller.elected,
            resigned=self.controller.resign,
        )
        self.registration = Registration(
            self.store,
            broker_id,
            BrokerInfo((Endpoint(listener, "PLAINTEXT", "127.0.0.1", port),)),
            listener,
            call_later=self.call_later,
            log=self.log,
            registered=lambda epoch: self.election.contend(),
            lost=lambda: None,
            refused=lambda why: None,
        )
        self._server = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._accept, daemon=True).start()

    def later(self, delay_ms: float, function: Callable[[], object]) -> Later:
        """Call a function on the owner's thread; it can be cancelled."""
        later = Later(function)
        self.call_later(delay_ms, later.run)
        return later

    def __exit__(self, *failure: object) -> None:
        self._server.close()
        super().__exit__(*failure)

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                connection, _ = self._server.accept()
                threading.Thread(target=self._converse, args=(connection,), daemon=True).start()

    def _converse(self, connection: socket.socket) -> None:
        with suppress(OSError), connection:
            while True:
                frame = read_frame(connection)
                api_key, version, correlation_id = struct.unpack_from(">hhi", frame)
                if api_key == API_VERSIONS:
                    keys = [(API_VERSIONS, 0, 4)] + [
                        (key, api.VERSIONS[0], api.VERSIONS[-1]) for key, api in sorted(TO_CONTROLLER.items())
                    ]
                    ranges = [{"api_key": key, "min_version": low, "max_version": high} for key, low, high in keys]
                    body = encode_response(API_VERSIONS, version, {"error_code": 0, "api_keys": ranges})
                    write_frame(connection, struct.pack(">i", correlation_id) + body)
                else:
                    answer = self._ask(api_key, version, frame)
                    head = response_header(TO_CONTROLLER[api_key], version, correlation_id)
                    write_frame(connection, head + answer)

    def _ask(self, api_key: int, version: int, frame: bytes) -> bytes:
        """Have the controller answer, and wait for it on the connection's thread."""
        _, _, body = split_request(TO_CONTROLLER[api_key], version, frame)
        answers: queue.Queue[Any] = queue.Queue()
        controller = self.controller
        if api_key == alter_partition.API_KEY:
            change = alter_partition.AlterPartitionRequest.decode(version, body)
            self.post(controller.alter_partition, change, version, answers.put)
        elif api_key == allocate_producer_ids.API_KEY:
            block = allocate_producer_ids.AllocateProducerIdsRequest.decode(version, body)
            self.post(controller.allocate_producer_ids, block, answers.put)
        else:
            shutdown = controlled_shutdown.ControlledShutdownRequest.decode(version, body)
            self.post(controller.controlled_shutdown, shutdown, answers.put)
        self.asked.append(TO_CONTROLLER[api_key].__name__.rpartition(".")[2])
        answer: bytes = answers.get(timeout=SOCKET_TIMEOUT_S).encode(version)
        return answer
