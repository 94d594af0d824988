"""A controller, a model of ZooKeeper and brokers that answer as told: all that happens is recorded as the golden timelines are."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from kafka_cy.cluster.store import Check, Create, Delete, Operation, Set
from kafka_cy.cluster.znode_formats import BrokerInfo, Endpoint, PartitionState, TopicAssignment
from kafka_cy.cluster.znodes import CONTAINERS, id_from_text
from kafka_cy.controller.context import Broker
from kafka_cy.controller.controller import Controller
from kafka_cy.controller.settings import ControllerSettings, Surroundings
from kafka_cy.protocol.controller_messages import leader_and_isr, stop_replica, update_metadata
from kafka_cy.protocol.controller_messages.leader_and_isr import (
    LeaderAndIsrRequest,
    LeaderAndIsrResponse,
    PartitionError,
    TopicErrors,
)
from kafka_cy.protocol.controller_messages.stop_replica import StoppedPartition, StopReplicaRequest, StopReplicaResponse
from kafka_cy.protocol.controller_messages.update_metadata import UpdateMetadataRequest, UpdateMetadataResponse
from tests.cluster.simulator.clock import Simulation
from tests.cluster.simulator.zookeeper_model import ModelSession, ZooKeeperModel

MS = 1.0  # how long a request takes
HEALED_EPOCH = 300


class State(NamedTuple):
    """A partition as a test prepares it."""

    replicas: tuple[int, ...]
    leader: int
    leader_epoch: int
    isr: tuple[int, ...]
    partition_epoch: int
    recovering: bool = False


class Sent(NamedTuple):
    """One request of the controller. `entries`: its partitions in the shorthand of the timelines."""

    broker: int
    api: str
    entries: frozenset[str]
    brokers: frozenset[int]  # live leaders of LeaderAndIsr, live brokers of UpdateMetadata


def _ids(ids: Sequence[int]) -> str:
    return "[" + ",".join(map(str, ids)) + "]"


def leader_and_isr_entries(request: LeaderAndIsrRequest) -> frozenset[str]:
    found = []
    for topic in request.topics:
        for each in topic.partitions:
            text = f"{topic.topic}-{each.partition} L{each.leader} le{each.leader_epoch} isr{_ids(each.isr)}"
            text += f" pe{each.partition_epoch} r{_ids(each.replicas)}"
            text += f" +{_ids(each.adding_replicas)}" if each.adding_replicas else ""
            text += f" -{_ids(each.removing_replicas)}" if each.removing_replicas else ""
            text += " NEW" if each.is_new else ""
            text += " RECOVERING" if each.leader_recovery_state else ""
            found.append(text)
    return frozenset(found)


def update_metadata_entries(request: UpdateMetadataRequest) -> frozenset[str]:
    found = []
    for topic in request.topics:
        for each in topic.partitions:
            text = f"{topic.topic}-{each.partition} L{each.leader} le{each.leader_epoch} isr{_ids(each.isr)}"
            text += f" pe{each.zk_version} r{_ids(each.replicas)}"
            text += f" off{_ids(each.offline_replicas)}" if each.offline_replicas else ""
            found.append(text)
    return frozenset(found)


def stop_replica_entries(request: StopReplicaRequest) -> frozenset[str]:
    return frozenset(
        f"{topic.topic}-{each.partition} le{each.leader_epoch}" + (" DELETE" if each.delete_partition else "")
        for topic in request.topics
        for each in topic.partitions
    )


class FakeBrokers:
    """The transport: every broker answers every request without an error, unless a test says otherwise."""

    def __init__(self, simulation: Simulation) -> None:
        self.sent: list[Sent] = []
        self.requests: list[tuple[int, Any]] = []
        self.silent: set[int] = set()
        self.heals: set[int] = set()  # brokers that answer without errors once they have registered again, with a larger epoch
        self.update_errors: dict[int, int] = {}  # broker -> error of UpdateMetadata
        self.partition_errors: dict[tuple[int, str, int], int] = {}  # broker, topic, partition -> error
        self.stop_errors: dict[tuple[int, str, int], int] = {}
        self._simulation = simulation

    def send(
        self, broker: Broker, api_key: int, version: int, body: bytes, done: Callable[[bytes | None], object]
    ) -> None:
        self._simulation.call_later(MS, lambda: done(self._answer(broker, api_key, version, body)))

    def disconnect(self, broker_id: int) -> None:
        pass

    def _answer(self, broker: Broker, api_key: int, version: int, body: bytes) -> bytes | None:
        if broker.id in self.silent:
            return None
        if broker.id in self.heals and broker.epoch >= HEALED_EPOCH:
            self._heal(broker.id)
        if api_key == leader_and_isr.API_KEY:
            request = LeaderAndIsrRequest.decode(version, body)
            leaders = frozenset(each.broker_id for each in request.live_leaders)
            self._record(broker, request, "LeaderAndIsr", leader_and_isr_entries(request), leaders)
            return self._leader_and_isr(broker.id, request).encode(version)
        if api_key == update_metadata.API_KEY:
            update = UpdateMetadataRequest.decode(version, body)
            brokers = frozenset(each.broker_id for each in update.live_brokers)
            self._record(broker, update, "UpdateMetadata", update_metadata_entries(update), brokers)
            return UpdateMetadataResponse(self.update_errors.get(broker.id, 0)).encode(version)
        assert api_key == stop_replica.API_KEY
        stop = StopReplicaRequest.decode(version, body)
        self._record(broker, stop, "StopReplica", stop_replica_entries(stop), frozenset())
        stopped = [
            StoppedPartition(
                topic.topic, each.partition, self.stop_errors.get((broker.id, topic.topic, each.partition), 0)
            )
            for topic in stop.topics
            for each in topic.partitions
        ]
        return StopReplicaResponse(0, tuple(stopped)).encode(version)

    def _heal(self, broker_id: int) -> None:
        for errors in (self.partition_errors, self.stop_errors):
            for key in [each for each in errors if each[0] == broker_id]:
                del errors[key]

    def _record(self, broker: Broker, request: Any, api: str, entries: frozenset[str], brokers: frozenset[int]) -> None:
        assert request.broker_epoch == broker.epoch
        self.requests.append((broker.id, request))
        self.sent.append(Sent(broker.id, api, entries, brokers))

    def _leader_and_isr(self, broker_id: int, request: LeaderAndIsrRequest) -> LeaderAndIsrResponse:
        topics = [
            TopicErrors(
                topic.topic,
                topic.topic_id,
                tuple(
                    PartitionError(
                        each.partition, self.partition_errors.get((broker_id, topic.topic, each.partition), 0)
                    )
                    for each in topic.partitions
                ),
            )
            for topic in request.topics
        ]
        return LeaderAndIsrResponse(0, tuple(topics))


class Cluster:
    """`brokers`: broker id -> broker epoch; `states`: topic -> its partitions."""

    def __init__(
        self,
        brokers: Mapping[int, int],
        states: Mapping[str, Sequence[State]] | None = None,
        *,
        controller: int = 1,
        epoch: int = 1,
        ids: Mapping[str, str] | None = None,
        version: str = "3.9",
        rebalance: bool = False,
        deletes: bool = True,
        deletions: Sequence[str] = (),
    ) -> None:
        """`deletes`: delete.topic.enable. `deletions`: topics whose deletion an earlier controller left recorded."""
        self.simulation = Simulation(0)
        self.zookeeper = ZooKeeperModel(self.simulation)
        self.brokers = FakeBrokers(self.simulation)
        self.infos: list[str] = []
        self.warnings: list[str] = []
        self.lost: list[bool] = []
        self.writes: list[Operation] = []
        for path in (*CONTAINERS, "/latest_producer_id_block", "/kafka-acl"):
            self.zookeeper.put(path)
        self.zookeeper.put("/controller_epoch", str(epoch).encode(), version=epoch)
        self.zookeeper.put("/feature", b'{"features":{},"version":2,"status":1}')
        for topic, partitions in (states or {}).items():
            self.prepare_topic(topic, partitions, (ids or {}).get(topic, "ogAxKBfwS9KCUQRPJDhGwg"), epoch)
        for topic in deletions:
            self.zookeeper.put(f"/admin/delete_topics/{topic}")
        for broker_id, broker_epoch in brokers.items():
            self.register(broker_id, broker_epoch)
        settings = ControllerSettings(
            controller, "REPL", version, delete_topic_enable=deletes, auto_leader_rebalance_enable=rebalance
        )
        self.session: ModelSession = self.zookeeper.session(delay_ms=(0.1, 0.1))
        self.session.connect()
        around = Surroundings(
            self.simulation.clock_ms,
            self.simulation.call_later,
            self.brokers,
            self.infos.append,
            self.warnings.append,
        )
        self.controller = Controller(settings, around, self.session, self.lost.append)
        self.zookeeper.on_write.append(self._written)
        self.controller.elected(epoch, epoch)
        self.settle()

    def prepare_topic(self, topic: str, partitions: Sequence[State], topic_id: str, epoch: int = 1) -> None:
        assignment = TopicAssignment(
            id_from_text(topic_id) if topic_id else None, {i: each.replicas for i, each in enumerate(partitions)}
        )
        self.zookeeper.put(f"/brokers/topics/{topic}", assignment.encode())
        for index, each in enumerate(partitions):
            data = PartitionState(each.leader, each.leader_epoch, each.isr, epoch, int(each.recovering)).encode()
            path = f"/brokers/topics/{topic}/partitions/{index}/state"
            self.zookeeper.put(path, data, version=each.partition_epoch)
        self.zookeeper.put(f"/config/topics/{topic}", b'{"version":1,"config":{}}')

    def _written(self, session: object, operations: Sequence[Operation], results: object) -> None:
        if session is self.session:
            assert isinstance(operations[0], Check) and operations[0].path == "/controller_epoch"
            self.writes += operations[1:]

    def settle(self) -> None:
        """Run until nothing is left to do."""
        while self.simulation.step() and self.simulation.now_ms < 10_000_000:
            pass

    def forget(self) -> None:
        """The record begins now."""
        self.settle()
        for record in (self.brokers.sent, self.brokers.requests, self.writes, self.warnings, self.infos):
            record.clear()

    def register(self, broker_id: int, epoch: int) -> None:
        info = BrokerInfo((Endpoint("REPL", "PLAINTEXT", f"host{broker_id}", 9000 + broker_id),))
        path = f"/brokers/ids/{broker_id}"
        self.zookeeper.apply(None, [Create(path, info.encode())])
        self.zookeeper.nodes[path] = self.zookeeper.nodes[path]._replace(created_id=epoch)

    def unregister(self, broker_id: int) -> None:
        self.zookeeper.apply(None, [Delete(f"/brokers/ids/{broker_id}")])

    def write(self, path: str, data: bytes | None = None) -> None:
        """Somebody else writes a node."""
        exists = path in self.zookeeper.nodes
        self.zookeeper.apply(None, [Set(path, data) if exists else Create(path, data)])

    def state(self, topic: str, partition: int) -> State:
        """A partition as ZooKeeper has it."""
        node = self.zookeeper.nodes[f"/brokers/topics/{topic}/partitions/{partition}/state"]
        topic_node = TopicAssignment.decode(self.zookeeper.nodes[f"/brokers/topics/{topic}"].data)
        leader, leader_epoch, isr, _, recovery = PartitionState.decode(node.data)
        replicas = tuple(topic_node.partitions[partition])
        return State(replicas, leader, leader_epoch, isr, node.version, bool(recovery))


RPC = re.compile(r"^ *[\d.]+ ->b(\d+) (LeaderAndIsr|UpdateMetadata|StopReplica) v\d+ \[.*?\] ctl\d+ ce\d+ be\d+ (.*)$")
ENTRY = re.compile(r"[\w-]+-\d+ (?:L-?\d+ )?le-?\d+(?: isr\[[\d,]*\] pe\d+ r\[[\d,]*\])?(?: [+-]\[[\d,]+\])*(?: off\[[\d,]+\])?"
                   r"(?: NEW| RECOVERING| DELETE)*")  # fmt: skip


class RecordedRpc(NamedTuple):
    """One request of Kafka's controller. Long ones are cut: `entries` are those that are whole, and `brokers` is unknown."""

    broker: int
    api: str
    entries: frozenset[str]
    brokers: frozenset[int] | None

    def is_like(self, sent: Sent) -> bool:
        if (self.broker, self.api) != (sent.broker, sent.api):
            return False
        if self.brokers is None and self.api != "StopReplica":
            return self.entries <= sent.entries
        return self.entries == sent.entries and (self.brokers or frozenset()) == sent.brokers


def recorded_rpcs(lines: Sequence[str]) -> list[RecordedRpc]:
    found = []
    for line in lines:
        match = RPC.match(line)
        if match is None:
            continue
        broker, api, rest = int(match[1]), match[2], match[3].partition(" | ")[0]
        rest = rest.removeprefix("type0 ").removeprefix("typeNone ")
        ids = re.search(r"(?:live|brokers) \[([\d, ]+)\]", rest)
        parts = rest[: ids.start()] if ids else rest
        pieces = [each.strip() for each in parts.split(";")]
        if ids is None and api != "StopReplica":
            pieces.pop()  # cut
        entries = frozenset(each for each in pieces if each)
        assert all(ENTRY.fullmatch(each) for each in entries), entries
        found.append(RecordedRpc(broker, api, entries, frozenset(map(int, ids[1].split(","))) if ids else None))
    return found


WRITE = re.compile(
    r"^ *[\d.]+ ZK b(\d+) multi check \S*/controller_epoch v\d+ \|\| (setData|create|delete) (\S+)(?: v(-?\d+))?(?: +(.*?))?  zx"
)


def recorded_writes(lines: Sequence[str]) -> list[tuple[str, str, int | None, Any]]:
    """Kind, path, expected version and content of what Kafka's controller wrote with its fence."""
    found = []
    for line in lines:
        match = WRITE.match(line)
        if match is not None and "[FAILED" not in line:
            found.append(_write(match[2], match[3], match[4], match[5]))
    return found


def _write(kind: str, path: str, version: str | None, data: str | None) -> tuple[str, str, int | None, Any]:
    content = json.loads(data) if data and data.startswith("{") else None
    return kind, re.sub("^/k26", "", path), int(version) if version else None, content


def made_writes(operations: Sequence[Operation]) -> list[tuple[str, str, int | None, Any]]:
    found: list[tuple[str, str, int | None, Any]] = []
    for each in operations:
        if isinstance(each, Delete):
            found.append(("delete", each.path, each.version, None))
        elif isinstance(each, Set):
            found.append(("setData", each.path, each.version, json.loads(each.data or b"null")))
        elif isinstance(each, Create):
            found.append(("create", each.path, None, json.loads(each.data) if each.data else None))
    return found
