"""A test's cluster: brokers in processes, and a controller in a few lines that sends LeaderAndIsr and answers AlterPartition."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from kafka_cy.protocol.controller_messages.alter_partition import (
    AlterPartitionRequest,
    AlterPartitionResponse,
    ChangedPartition,
    ChangedTopic,
)
from kafka_cy.protocol.controller_messages.leader_and_isr import (
    LeaderAndIsrRequest,
    LeaderAndIsrResponse,
    PartitionState,
    TopicState,
)
from kafka_cy.protocol.controller_messages.stop_replica import (
    StopReplicaPartition,
    StopReplicaRequest,
    StopReplicaResponse,
    StopReplicaTopic,
)
from tests.api_hot.harness import Connection
from tests.api_hot.kio_wire import decode_response, encode_request
from tests.replication.replica_broker import Broker, Options
from tests.waiting import wait_until

TOPIC = "t"
PRODUCE_VERSION = 9


class Cluster:
    """Brokers 1, 2, ... and the state of their partitions."""

    def __init__(self, folder: Path, brokers: int = 2, options: Options | None = None, version: int = 7) -> None:
        self.folder = folder
        self.options = options or Options()
        self.version = version
        self.controller_epoch = 1
        self.topic_ids: dict[str, uuid.UUID] = {}
        self.states: dict[tuple[str, int], PartitionState] = {}
        self.refuse: int | None = None  # the error of every AlterPartition
        self.asked: list[AlterPartitionRequest] = []
        self._lock = threading.Lock()
        self._starting = threading.Lock()
        self.brokers: dict[int, Broker] = {}
        for broker_id in range(1, brokers + 1):
            self.brokers[broker_id] = self._start(broker_id)
        self.tell_brokers()

    def _start(self, broker_id: int) -> Broker:
        return Broker(broker_id, self.folder / f"b{broker_id}", self.options, self._decide)

    def start(self, broker_id: int) -> Broker:
        """Start a broker, again with the data that it had; all are told of all."""
        broker = self.brokers[broker_id] = self._start(broker_id)
        self.tell_brokers()
        return broker

    def tell_brokers(self) -> None:
        ports = {broker_id: broker.port for broker_id, broker in self.brokers.items()}
        for broker in self.brokers.values():
            broker.call("brokers", ports)

    def kill(self, broker_id: int) -> None:
        self.brokers.pop(broker_id).kill()
        self.tell_brokers()

    def stop(self) -> None:
        for broker in self.brokers.values():
            broker.stop()

    # -- the controller --

    def _decide(self, broker: Broker, request: AlterPartitionRequest) -> AlterPartitionResponse | None:
        with self._lock:
            self.asked.append(request)
            topics = []
            for topic in request.topics:
                name = next(name for name, topic_id in self.topic_ids.items() if topic_id == topic.topic_id)
                changed = []
                for change in topic.partitions:
                    key, isr = (name, change.partition), tuple(member.broker_id for member in change.new_isr)
                    known = self.states[key]
                    if self.refuse is not None or change.leader_epoch != known.leader_epoch:
                        changed.append(ChangedPartition(change.partition, self.refuse or 74))
                        continue
                    known = self.states[key] = known._replace(isr=isr, partition_epoch=known.partition_epoch + 1)
                    changed.append(
                        ChangedPartition(
                            change.partition, 0, known.leader, known.leader_epoch, known.isr, 0, known.partition_epoch
                        )
                    )  # fmt: skip
                topics.append(ChangedTopic("", topic.topic_id, tuple(changed)))
            return AlterPartitionResponse(0, tuple(topics))

    def lead(
        self, leader: int, isr: Iterable[int] | None = None, *, topic: str = TOPIC, index: int = 0,
        replicas: Iterable[int] | None = None, to: Iterable[int] | None = None, is_new: bool = False,
    ) -> dict[int, int]:
        """A new leader epoch; the error codes of the brokers that were told."""
        key = (topic, index)
        self.topic_ids.setdefault(topic, uuid.uuid4())
        with self._lock:
            known = self.states.get(key)
            everybody = tuple(replicas or (known.replicas if known else sorted(self.brokers)))
            self.states[key] = PartitionState(
                index, self.controller_epoch, leader, known.leader_epoch + 1 if known else 0,
                tuple(isr if isr is not None else known.isr if known else everybody),
                known.partition_epoch + 1 if known else 0, everybody, is_new=is_new or known is None,
            )  # fmt: skip
        return {broker: self.send(broker, [key])[key] for broker in to or self.brokers if broker in everybody}

    def request(self, keys: Iterable[tuple[str, int]], **changes: Any) -> LeaderAndIsrRequest:
        topics: dict[str, list[PartitionState]] = {}
        for key in keys:
            topics.setdefault(key[0], []).append(self.states[key])
        rows = tuple(TopicState(name, self.topic_ids[name], tuple(states)) for name, states in topics.items())
        return LeaderAndIsrRequest(99, self.controller_epoch, -1, rows, ())._replace(**changes)

    def send(self, broker: int, keys: Iterable[tuple[str, int]], **changes: Any) -> dict[tuple[str, int], int]:
        response = self.send_request(broker, self.request(keys, **changes))
        names = {topic_id: name for name, topic_id in self.topic_ids.items()}
        return {
            (names[topic.topic_id] if topic.topic_id else topic.topic, each.partition): each.error_code
            for topic in response.topics
            for each in topic.partitions
        }

    def send_request(self, broker: int, request: LeaderAndIsrRequest, *, is_long: bool = False) -> LeaderAndIsrResponse:
        body = self.brokers[broker].call("leader_and_isr", self.version, request.encode(self.version), is_long)
        return LeaderAndIsrResponse.decode(self.version, body)

    def stop_replica(
        self, broker: int, epoch: int, *, delete: bool = False, topic: str = TOPIC, index: int = 0, **changes: Any
    ) -> tuple[int, list[int]]:
        """The error of the whole request, and of its partitions."""
        topics = (StopReplicaTopic(topic, (StopReplicaPartition(index, epoch, delete),)),)
        request = StopReplicaRequest(99, self.controller_epoch, -1, topics)._replace(**changes)
        response = StopReplicaResponse.decode(4, self.brokers[broker].call("stop_replica", 4, request.encode(4)))
        return response.error_code, [each.error_code for each in response.partitions]

    # -- clients --

    def produce(
        self, broker: int, records: bytes, *, acks: int = -1, topic: str = TOPIC, index: int = 0, timeout_ms: int = 60_000
    ) -> tuple[int, int]:
        """(error code, base offset)."""
        connection = Connection(self.brokers[broker].port)
        try:
            data = [{"index": index, "records": records}]
            connection.send(0, PRODUCE_VERSION, encode_request(0, PRODUCE_VERSION, {
                "transactional_id": None, "acks": acks, "timeout": timeout_ms,
                "topic_data": [{"name": topic, "partition_data": data}],
            }))  # fmt: skip
            frame = connection.receive()
            assert frame is not None
            answer = decode_response(0, PRODUCE_VERSION, frame[5:])
        finally:
            connection.close()
        row = answer["responses"][0]["partition_responses"][0]
        return row["error_code"], row["base_offset"]

    def await_offsets(self, broker: int, end: int, high_watermark: int | None = None, topic: str = TOPIC, index: int = 0) -> None:
        wanted = end if high_watermark is None else high_watermark

        def there() -> bool:
            found = self.brokers[broker].describe(topic, index)
            return (found.log_end_offset, found.high_watermark) == (end, wanted)

        wait_until(there, f"broker {broker} has {end} records, {wanted} committed: {self.brokers[broker].describe(topic, index)}")

    def equal_logs(self, topic: str = TOPIC, index: int = 0) -> bytes:
        """What all brokers have; they must have the same bytes."""
        first, *others = [broker.call("records", topic, index) for broker in self.brokers.values()]
        assert all(each == first for each in others)
        assert isinstance(first, bytes)
        return first
