"""Hostile requests between brokers, at members that run: Kafka's error or one closed connection, and nothing changes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any
from uuid import UUID, uuid4

import pytest
from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic
from kazoo.client import KazooClient
from raw_client import Closed, RawClient

from kafka_cy.api.controller_limits import ELEMENTS_MAX
from kafka_cy.cluster.znode_formats import TopicAssignment
from kafka_cy.protocol.controller_messages import (
    allocate_producer_ids,
    alter_partition,
    controlled_shutdown,
    leader_and_isr,
    stop_replica,
    update_metadata,
)
from kafka_cy.protocol.controller_messages.allocate_producer_ids import AllocateProducerIdsRequest
from kafka_cy.protocol.controller_messages.alter_partition import (
    AlterPartitionRequest,
    IsrMember,
    PartitionChange,
    TopicChange,
)
from kafka_cy.protocol.controller_messages.controlled_shutdown import ControlledShutdownRequest
from kafka_cy.protocol.controller_messages.leader_and_isr import LeaderAndIsrRequest, PartitionState, TopicState
from kafka_cy.protocol.controller_messages.stop_replica import (
    StopReplicaPartition,
    StopReplicaRequest,
    StopReplicaTopic,
)
from kafka_cy.protocol.controller_messages.update_metadata import (
    UpdateMetadataBroker,
    UpdateMetadataEndpoint,
    UpdateMetadataPartition,
    UpdateMetadataRequest,
    UpdateMetadataTopic,
)
from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.testing.broker import free_ports
from tests.cluster.member_broker import LISTENER, MemberBroker, seen
from tests.cluster.zookeeper_ensemble import Ensemble, wait_until

RESPONSES: dict[ModuleType, Any] = {
    leader_and_isr: leader_and_isr.LeaderAndIsrResponse,
    stop_replica: stop_replica.StopReplicaResponse,
    update_metadata: update_metadata.UpdateMetadataResponse,
    controlled_shutdown: controlled_shutdown.ControlledShutdownResponse,
    alter_partition: alter_partition.AlterPartitionResponse,
    allocate_producer_ids: allocate_producer_ids.AllocateProducerIdsResponse,
}
STALE_CONTROLLER, STALE_BROKER = ErrorCode.STALE_CONTROLLER_EPOCH, ErrorCode.STALE_BROKER_EPOCH
EPOCH = 1  # of the controller
FUTURE = 1 << 40  # beyond every broker epoch
STRANGER = 9  # a broker that does not exist
SETTINGS = {"kafkacy.control.request.max.elements": "1000"}


def names_in(folder: Path) -> list[str]:
    return sorted(each.name for each in folder.iterdir())


def records(port: int) -> list[bytes]:
    """All 10, without a group, whose coordinator would need a controller that all believe."""
    consumer = Consumer({"bootstrap.servers": f"127.0.0.1:{port}", "group.id": "none", "enable.auto.commit": False})
    consumer.assign([TopicPartition("t", index, 0) for index in range(2)])
    found: list[bytes] = []

    def poll() -> bool:
        found.extend(each.value() for each in consumer.consume(10, 0.1) if each.error() is None)
        return len(found) >= 10

    wait_until(poll, "10 records")
    consumer.close()
    return found


class Pair:
    """Broker 1, which is the controller and leads t-0, and broker 2, which leads t-1. Both have both partitions."""

    def __init__(self, members: list[MemberBroker], zookeeper: KazooClient) -> None:
        self.members, self.zookeeper = members, zookeeper
        self.topic_id: UUID = TopicAssignment.decode(zookeeper.get("/brokers/topics/t")[0]).topic_id  # type: ignore[assignment]
        self.epochs = {each.broker_id: zookeeper.get(f"/brokers/ids/{each.broker_id}")[1].czxid for each in members}

    def send(self, broker_id: int, api: ModuleType, version: int, body: bytes) -> Any:
        """One request on a connection of its own; the response, decoded. Raises Closed."""
        client = RawClient(f"127.0.0.1:{self.members[broker_id - 1].port}", str(STRANGER))
        try:
            flexible = version >= api.FLEXIBLE_FROM
            answer = client.request_bytes(api.API_KEY, version, body, flexible=flexible)
            return RESPONSES[api].decode(version, answer[1:] if flexible else answer)
        finally:
            client.close()

    def ask(self, broker_id: int, api: ModuleType, request: Any, version: int | None = None) -> Any:
        version = api.VERSIONS[-1] if version is None else version
        return self.send(broker_id, api, version, request.encode(version))

    def state(self) -> dict[str, Any]:
        """All nodes in ZooKeeper with their last change, what both brokers tell clients, and their folders."""
        found: dict[str, Any] = {"nodes": {}}
        left = ["/"]
        while left:
            path = left.pop()
            found["nodes"][path] = self.zookeeper.get(path)[1].mzxid
            left += [f"{path.rstrip('/')}/{child}" for child in self.zookeeper.get_children(path)]
        for member in self.members:
            client = RawClient(f"127.0.0.1:{member.port}")
            found[f"metadata {member.broker_id}"] = client.request(3, 12, {"topics": None})
            client.close()
            found[f"folders {member.broker_id}"] = sorted(each.name for each in member.logs.iterdir() if each.is_dir())
            found[f"parent {member.broker_id}"] = names_in(member.folder)
        return found

    @contextmanager
    def unchanged(self) -> Iterator[None]:
        before = self.state()
        yield
        after = self.state()
        assert {key for key in before if before[key] != after[key]} == set()
        assert after["nodes"] == before["nodes"]


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory, one_zookeeper: Ensemble) -> Iterator[Pair]:
    """For all tests here, which change nothing but the last one."""
    ports, folder, chroot = free_ports(2), tmp_path_factory.mktemp("hostile"), "/test/hostile"
    members = [MemberBroker(folder, one_zookeeper.hosts + chroot, 1 + i, ports[i], SETTINGS) for i in range(2)]
    with members[0], one_zookeeper.client(chroot) as zookeeper:
        members[0].wait()
        admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{ports[0]}"})
        wait_until(lambda: seen(admin).controller_id == 1, "the controller")
        with members[1]:
            members[1].wait()
            wait_until(lambda: len(seen(admin).brokers) == 2, "both brokers")
            admin.create_topics([NewTopic("t", 2, replica_assignment=[[1, 2], [2, 1]])])["t"].result()
            producer = Producer({"bootstrap.servers": f"127.0.0.1:{ports[0]}", "acks": "all"})
            for number in range(10):
                producer.produce("t", str(number).encode(), partition=number % 2)
            assert producer.flush(60) == 0
            made = Pair(members, zookeeper)
            last: list[Any] = [None]

            def is_quiet() -> bool:
                before, last[0] = last[0], made.state()
                return bool(before == last[0]) and all("t-1" in names_in(each.logs) for each in members)

            wait_until(is_quiet, "nothing happens")
            yield made
            assert sorted(records(ports[0])) == [str(number).encode() for number in range(10)]
            assert [line for each in members for line in each.errors()] == []
            assert [each.terminate() for each in reversed(members)] == [0, 0]


def leader_and_isr_of(
    pair: Pair,
    broker_id: int,
    state: PartitionState,
    *,
    epoch: int = EPOCH,
    broker_epoch: int | None = None,
    topic: str = "t",
    topic_id: UUID | None = None,
) -> LeaderAndIsrRequest:
    topics = (TopicState(topic, topic_id or pair.topic_id, (state,)),)
    own = pair.epochs[broker_id] if broker_epoch is None else broker_epoch
    return LeaderAndIsrRequest(1, epoch, own, topics, ())


def role(leader_epoch: int, *, leader: int = STRANGER, replicas: tuple[int, ...] = (1, 2), index: int = 0) -> PartitionState:
    """By default, a partition that another broker leads now."""
    return PartitionState(index, EPOCH, leader, leader_epoch, (leader,), 7, replicas)


def stop_of(
    pair: Pair, broker_id: int, leader_epoch: int, *, epoch: int = EPOCH, broker_epoch: int | None = None, topic: str = "t"
) -> StopReplicaRequest:
    topics = (StopReplicaTopic(topic, (StopReplicaPartition(0, leader_epoch, True),)),)
    return StopReplicaRequest(1, epoch, pair.epochs[broker_id] if broker_epoch is None else broker_epoch, topics)


def update_of(
    pair: Pair, broker_id: int, *, epoch: int = EPOCH, broker_epoch: int | None = None, index: int = 0
) -> UpdateMetadataRequest:
    """A controller of which nobody has heard, and that the topic is led by it."""
    topic = UpdateMetadataTopic("t", pair.topic_id, (UpdateMetadataPartition(index, epoch, STRANGER, 9, (9,), 9, (9,)),))
    endpoint = UpdateMetadataEndpoint(1, "nowhere", LISTENER, 0)
    broker = UpdateMetadataBroker(STRANGER, (endpoint,))
    own = pair.epochs[broker_id] if broker_epoch is None else broker_epoch
    return UpdateMetadataRequest(STRANGER, epoch, own, (topic,), (broker,))


def change_of(
    pair: Pair,
    sender: int,
    isr: tuple[int, ...],
    *,
    broker_epoch: int | None = None,
    leader_epoch: int = 0,
    partition_epoch: int = 0,
    index: int = 0,
    topic_id: UUID | None = None,
) -> AlterPartitionRequest:
    own = pair.epochs.get(sender, 0) if broker_epoch is None else broker_epoch
    change = PartitionChange(index, leader_epoch, tuple(map(IsrMember, isr)), 0, partition_epoch)
    return AlterPartitionRequest(sender, own, (TopicChange("t", topic_id or pair.topic_id, (change,)),))


def test_what_a_stale_controller_tells(pair: Pair) -> None:
    """LeaderAndIsr, StopReplica and UpdateMetadata in every version."""
    told: list[tuple[ModuleType, Callable[..., Any], int]] = [
        (leader_and_isr, lambda *which, **epochs: leader_and_isr_of(pair, *which, role(99), **epochs), 2),
        (stop_replica, lambda *which, **epochs: stop_of(pair, *which, 99, **epochs), 1),
        (update_metadata, lambda *which, **epochs: update_of(pair, *which, **epochs), 5),
    ]
    with pair.unchanged():
        for api, make, broker_epoch_from in told:
            for broker_id in (1, 2):
                for version in api.VERSIONS:
                    answer = pair.ask(broker_id, api, make(broker_id, epoch=EPOCH - 1), version)
                    assert answer.error_code == STALE_CONTROLLER, (api, version)
                    if version >= broker_epoch_from:
                        stale = make(broker_id, broker_epoch=pair.epochs[broker_id] - 1)
                        assert pair.ask(broker_id, api, stale, version).error_code == STALE_BROKER, (api, version)


def test_what_does_not_fit_in_what_the_controller_tells(pair: Pair) -> None:
    with pair.unchanged():
        for broker_id in (1, 2):
            for known, expected in [
                (role(0), STALE_CONTROLLER),  # the epoch is known: another leader of it changes nothing
                (role(-5), STALE_CONTROLLER),
                (role(99, replicas=(STRANGER,)), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
                (role(99, replicas=tuple(range(1001))), ErrorCode.INVALID_REQUEST),
                (role(99, index=-1), ErrorCode.INVALID_TOPIC_EXCEPTION),
            ]:
                answer = pair.ask(broker_id, leader_and_isr, leader_and_isr_of(pair, broker_id, known))
                assert (answer.error_code, answer.topics[0].partitions[0].error_code) == (0, expected), known
            for other, expected in [
                ({"topic_id": uuid4()}, ErrorCode.INCONSISTENT_TOPIC_ID),
                ({"topic": "../stray", "topic_id": uuid4()}, ErrorCode.INVALID_TOPIC_EXCEPTION),
                ({"topic": "", "topic_id": uuid4()}, ErrorCode.INVALID_TOPIC_EXCEPTION),
            ]:
                answer = pair.ask(broker_id, leader_and_isr, leader_and_isr_of(pair, broker_id, role(99), **other))
                assert (answer.error_code, answer.topics[0].partitions[0].error_code) == (0, expected), other
            for topic, leader_epoch, code in [
                ("t", -3, ErrorCode.FENCED_LEADER_EPOCH),
                ("unknown", 99, ErrorCode.NONE),
                ("../logs/t", -2, ErrorCode.NONE),
            ]:
                stopped = pair.ask(broker_id, stop_replica, stop_of(pair, broker_id, leader_epoch, topic=topic))
                assert (stopped.error_code, stopped.partitions[0].error_code) == (0, code), topic
            for index in (-1, 100_001, 2**31 - 1):
                answer = pair.ask(broker_id, update_metadata, update_of(pair, broker_id, index=index))
                assert answer.error_code == ErrorCode.INVALID_REQUEST, index


def test_what_strangers_and_earlier_registrations_ask_the_controller(pair: Pair) -> None:
    ask, epochs = pair.ask, pair.epochs
    not_controller = ErrorCode.NOT_CONTROLLER
    with pair.unchanged():
        assert ask(2, controlled_shutdown, ControlledShutdownRequest(2, epochs[2])).error_code == not_controller
        assert ask(2, alter_partition, change_of(pair, 2, (2,))).error_code == not_controller
        assert ask(2, allocate_producer_ids, AllocateProducerIdsRequest(2, epochs[2])).error_code == not_controller
        for version in controlled_shutdown.VERSIONS[1:]:
            gone = ask(1, controlled_shutdown, ControlledShutdownRequest(STRANGER, FUTURE), version)
            assert gone.error_code == ErrorCode.BROKER_NOT_AVAILABLE
            if version >= 2:
                stale = ask(1, controlled_shutdown, ControlledShutdownRequest(2, epochs[2] - 1), version)
                assert (stale.error_code, stale.remaining_partitions) == (STALE_BROKER, ())
        for epoch in (epochs[2] - 1, epochs[1], epochs[2] + 1, FUTURE, -1):
            assert ask(1, allocate_producer_ids, AllocateProducerIdsRequest(2, epoch)).error_code == STALE_BROKER
            for version in alter_partition.VERSIONS:
                fenced = change_of(pair, 2, (2,), broker_epoch=epoch, index=1)
                assert ask(1, alter_partition, fenced, version).error_code == STALE_BROKER
        for stranger in (STRANGER, -1, 2**31 - 1):
            answer = ask(1, allocate_producer_ids, AllocateProducerIdsRequest(stranger, epochs[2]))
            assert answer.error_code == ErrorCode.BROKER_ID_NOT_REGISTERED
            assert ask(1, alter_partition, change_of(pair, stranger, (2,))).error_code == STALE_BROKER


def test_isrs_that_no_leader_may_ask_for(pair: Pair) -> None:
    with pair.unchanged():
        for isr, how, expected in [
            ((2,), {"leader_epoch": 1}, ErrorCode.NOT_CONTROLLER),
            ((2,), {"partition_epoch": 1}, ErrorCode.NOT_CONTROLLER),
            ((2,), {"leader_epoch": -1}, ErrorCode.FENCED_LEADER_EPOCH),
            ((2,), {"partition_epoch": -1}, ErrorCode.INVALID_UPDATE_VERSION),
            ((2,), {"topic_id": uuid4()}, ErrorCode.UNKNOWN_TOPIC_ID),
            ((2,), {"index": 9}, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
            ((2,), {"index": -1}, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
            ((2,), {"index": 0}, ErrorCode.INVALID_REQUEST),  # which broker 1 leads
            ((1,), {}, ErrorCode.INVALID_REQUEST),  # without the leader
            ((), {}, ErrorCode.INVALID_REQUEST),
            ((2, 2), {}, ErrorCode.INVALID_REQUEST),
            ((2, STRANGER), {}, ErrorCode.INELIGIBLE_REPLICA),
        ]:
            wanted: dict[str, Any] = {"index": 1, **how}
            answer = pair.ask(1, alter_partition, change_of(pair, 2, isr, **wanted))
            assert (answer.error_code, answer.topics[0].partitions[0].error_code) == (0, expected), (isr, how)


def test_malformed_requests_cost_their_connection_only(pair: Pair) -> None:
    """Bodies that end too early, arrays that say more than there is, and more elements than are allowed."""
    whole: dict[ModuleType, Any] = {
        leader_and_isr: leader_and_isr_of(pair, 1, role(99), broker_epoch=-1),
        stop_replica: stop_of(pair, 1, 99, broker_epoch=-1),
        update_metadata: update_of(pair, 1, broker_epoch=-1),
        controlled_shutdown: ControlledShutdownRequest(2, pair.epochs[2]),
        alter_partition: change_of(pair, 2, (2,), index=1),
        allocate_producer_ids: AllocateProducerIdsRequest(2, pair.epochs[2]),
    }
    many = (1,) * (ELEMENTS_MAX + 1)
    too_long: list[tuple[ModuleType, Any]] = [
        (leader_and_isr, leader_and_isr_of(pair, 1, role(99)._replace(isr=many))),
        (alter_partition, change_of(pair, 2, (2,) * 1001, index=1)),
    ]
    other = RawClient(f"127.0.0.1:{pair.members[0].port}")
    other.request(3, 12, {"topics": None})
    connection = other._socket
    with pair.unchanged():
        for api, request in whole.items():
            for version in api.VERSIONS[1:] if api is controlled_shutdown else api.VERSIONS:
                body = request.encode(version)
                for cut in {0, 1, len(body) // 2, len(body) - 1}:
                    with pytest.raises(Closed):
                        pair.send(1, api, version, body[:cut])
        for api in (leader_and_isr, stop_replica, update_metadata, alter_partition):
            for version in api.VERSIONS:
                for lie in lying_lengths(api, version, whole[api].encode(version)):
                    with pytest.raises(Closed):
                        pair.send(1, api, version, lie)
        for api, request in too_long:
            with pytest.raises(Closed):
                pair.ask(1, api, request)
        other.request(3, 12, {"topics": None})
    assert connection is not None and other._socket is connection
    other.close()


def lying_lengths(api: ModuleType, version: int, body: bytes) -> Iterator[bytes]:
    """The first array of a request, or the name of the topic in it, says that it is longer than the rest, or negative."""
    flexible = version >= api.FLEXIBLE_FROM
    width, name = (1, b"\x02t") if flexible else (4, b"\0\1t")
    array = 12 if api is alter_partition else body.index(name) - width
    lies = (b"\xff\xff\xff\xff\x0f", b"\xff\xff\xff\xff\x07", b"\x7f") if flexible else (b"\x7f\xff\xff\xff", b"\xff\xff\xff\xfe")
    for lie in lies:
        yield body[:array] + lie + body[array + width :]
    if name in body:
        at = body.index(name)
        for lie in (b"\xff\xff\xff\xff\x07", b"\x7f") if flexible else (b"\x7f\xff", b"\xff\xfe"):
            yield body[:at] + lie + body[at + len(name) - 1 :]


def test_a_controller_of_a_later_epoch_is_believed(pair: Pair) -> None:
    """As in Kafka: nothing else proves that it was elected. What it repeats changes nothing, and the earlier one is refused.

    This test is the last one: broker 2 does not believe its controller any more.
    """
    later, known = EPOCH + 5, pair.state()["metadata 2"]
    with pair.unchanged():
        for broker_epoch in (pair.epochs[2], FUTURE, -1):
            told = leader_and_isr_of(pair, 2, role(0), epoch=later, broker_epoch=broker_epoch)
            answer = pair.ask(2, leader_and_isr, told)
            assert (answer.error_code, answer.topics[0].partitions[0].error_code) == (0, STALE_CONTROLLER)
            stopped = pair.ask(2, stop_replica, stop_of(pair, 2, -3, epoch=later, broker_epoch=broker_epoch))
            assert (stopped.error_code, stopped.partitions[0].error_code) == (0, ErrorCode.FENCED_LEADER_EPOCH)
        brokers = tuple(
            UpdateMetadataBroker(each["node_id"], (UpdateMetadataEndpoint(each["port"], each["host"], LISTENER, 0),))
            for each in known["brokers"]
        )
        told_brokers = UpdateMetadataRequest(known["controller_id"], later, pair.epochs[2], (), brokers)
        assert pair.ask(2, update_metadata, told_brokers).error_code == 0
        for api, request in [
            (leader_and_isr, leader_and_isr_of(pair, 2, role(99))),
            (stop_replica, stop_of(pair, 2, 99)),
            (update_metadata, update_of(pair, 2)),
        ]:
            assert pair.ask(2, api, request).error_code == STALE_CONTROLLER
