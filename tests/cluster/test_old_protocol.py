"""What a member does differently with inter.broker.protocol.version 2.6 to 2.8; its ISRs are in test_isr_writer."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest

from kafka_cy.api.member_registry import MEMBER_APIS
from kafka_cy.cluster.member_cache import NO_ID
from kafka_cy.cluster.producer_ids import BLOCK_SIZE, take_block
from kafka_cy.cluster.store import StoreError
from kafka_cy.cluster.store_calls import StoreCalls, run
from kafka_cy.cluster.znode_formats import ProducerIdBlock, TopicAssignment
from kafka_cy.cluster.znodes import PRODUCER_ID_BLOCK, topic_path
from kafka_cy.config import ConfigError
from kafka_cy.protocol.bridge import decode_request, encode_response
from kafka_cy.protocol.controller_messages import alter_partition
from kafka_cy.protocol.controller_messages.alter_partition import AlterPartitionRequest, TopicChange
from kafka_cy.protocol.inter_broker_version import InterBrokerVersion
from kafka_cy.server.broker_caller import BrokerCaller, Call
from kafka_cy.server.cluster_member import ClusterMember, _protocol
from kafka_cy.server.member_producer_ids import RETRY_MS, MemberProducerIds, from_store
from kafka_cy.server.member_topic_maker import MemberTopicMaker, _Planned
from tests.cluster.simulator.clock import Simulation
from tests.cluster.simulator.zookeeper_model import ZooKeeperModel

ID = UUID(int=5)


class Store:
    """A ZooKeeper, and the store of a broker."""

    def __init__(self, *paths: str) -> None:
        self.simulation = Simulation(0)
        self.zookeeper = ZooKeeperModel(self.simulation)
        for path in paths:
            self.zookeeper.put(path)
        self.session = self.zookeeper.session(delay_ms=(0.1, 0.1))
        self.session.connect()
        self.simulation.run_for(1)

    def calls(self) -> StoreCalls:
        return StoreCalls(self.session, self.simulation.call_later)

    def result(self, steps: Any) -> Any:
        """Of a coroutine; or raises what it raises."""
        ended: list[tuple[Any, Exception | None]] = []
        run(steps, lambda value, fault: ended.append((value, fault)))
        assert self.simulation.run_until(lambda: bool(ended))
        ((value, fault),) = ended
        if fault is not None:
            raise fault
        return value


# -- the version --


@pytest.mark.parametrize("text", ["2.6", "2.6-IV0", "2.7", "2.8-IV1", "3.0", "3.9"])
def test_versions_that_a_member_has(text: str) -> None:
    assert _protocol({"inter.broker.protocol.version": text}) == InterBrokerVersion.parse(text)


@pytest.mark.parametrize("text", ["2.5", "2.5-IV0", "0.11", "4.0", "x", "", "3", "2.6-IV"])
def test_versions_that_stop_the_start(text: str) -> None:
    with pytest.raises(ConfigError, match=r"from 2\.6 to 3\.9"):
        _protocol({"inter.broker.protocol.version": text})


# -- producer ids, before 3.0 --


def test_brokers_take_blocks_of_producer_ids_themselves() -> None:
    store = Store()
    assert store.result(take_block(store.calls(), 9)) == range(BLOCK_SIZE)
    assert store.result(take_block(store.calls(), 9)) == range(BLOCK_SIZE, 2 * BLOCK_SIZE)
    node = store.zookeeper.nodes[PRODUCER_ID_BLOCK]
    assert ProducerIdBlock.decode(node.data) == ProducerIdBlock(9, BLOCK_SIZE, 2 * BLOCK_SIZE - 1)


def test_no_block_is_taken_twice() -> None:
    """Two brokers at the same time, one of which loses its connection again and again."""
    store = Store(PRODUCER_ID_BLOCK)
    other = store.zookeeper.session(delay_ms=(0.1, 0.1))
    other.connect()
    taken: list[range] = []

    def take(calls: Callable[[], StoreCalls], broker_id: int, left: int) -> None:
        def ended(block: range | None, fault: Exception | None) -> None:
            if block is not None:
                taken.append(block)
            if left:
                take(calls, broker_id, left - 1)

        run(take_block(calls(), broker_id), ended)

    take(store.calls, 1, 20)
    take(lambda: StoreCalls(other, store.simulation.call_later), 2, 20)
    for _ in range(50):
        store.simulation.run_for(store.simulation.random.uniform(0.1, 2))
        store.session.disconnect()
        store.session.connect()
    store.simulation.run_for(60_000)
    starts = [block.start for block in taken]
    assert len(starts) == 42 and len(set(starts)) == 42


def test_a_malformed_block_is_an_error() -> None:
    store = Store()
    store.zookeeper.put(PRODUCER_ID_BLOCK, b"{}x")
    with pytest.raises(StoreError, match="malformed"):
        store.result(take_block(store.calls(), 1))


def test_producer_ids_are_asked_for_again_until_the_time_is_over() -> None:
    store = Store()
    ids = MemberProducerIds(from_store(store.calls, 1), store.simulation.clock_ms, store.simulation.call_later, 1_000)
    answers: list[tuple[range | None, StoreError | None]] = []
    store.zookeeper.put(PRODUCER_ID_BLOCK, b"x")
    ids.reserve(lambda *answer: answers.append(answer))
    store.simulation.run_for(500)
    assert answers == []
    store.zookeeper.put(PRODUCER_ID_BLOCK)
    store.simulation.run_for(RETRY_MS + 10)
    assert answers == [(range(BLOCK_SIZE), None)]
    store.zookeeper.put(PRODUCER_ID_BLOCK, b"x")
    ids.reserve(lambda *answer: answers.append(answer))
    store.simulation.run_for(2_000)
    block, error = answers[1]
    assert block is None and "malformed" in str(error)


# -- topics without ids, before 2.8 --


@pytest.mark.parametrize("gives_ids", [False, True])
def test_a_topic_on_demand_has_an_id_if_topics_have_ids(gives_ids: bool) -> None:
    store = Store("/brokers/topics", "/config/topics")
    unused: Any = None
    maker = MemberTopicMaker(unused, unused, unused, store.calls, gives_ids=gives_ids)
    (created,) = store.result(maker._write(store.calls(), [_Planned("t", [[1, 2]], {})]))
    stored = TopicAssignment.decode(store.zookeeper.nodes[topic_path("t")].data)
    assert stored.partitions == {0: (1, 2)} and (stored.topic_id or NO_ID) == created.id
    assert (stored.topic_id is not None) is gives_ids


def test_a_topic_without_an_id_is_known_at_the_start() -> None:
    store = Store()
    store.zookeeper.put(topic_path("named"), TopicAssignment(None, {0: (1,)}).encode())
    store.zookeeper.put(topic_path("with"), TopicAssignment(ID, {0: (1,)}).encode())
    member: Any = None
    found = store.result(ClusterMember._topic_ids(member, store.calls(), ["named", "with", "gone"]))
    assert found == {"named": None, "with": ID.bytes}


def test_alter_partition_names_topics_if_one_has_no_id() -> None:
    def request(*ids: UUID | None) -> AlterPartitionRequest:
        return AlterPartitionRequest(1, 5, tuple(TopicChange(f"t{place}", each, ()) for place, each in enumerate(ids)))

    assert request(ID, ID).newest_version == 3
    assert request(ID, NO_ID).newest_version == request(None).newest_version == 1
    assert AlterPartitionRequest.decode(1, request(ID, NO_ID).encode(1)).topics[1].topic == "t1"


def test_a_request_is_not_newer_than_it_may_be() -> None:
    caller = BrokerCaller("to-controller", "1", 1000, lambda why: None, None)
    caller._versions = {alter_partition.API_KEY: (0, 3)}
    connection: Any = None

    def version(newest: int | None) -> int | None:
        call = Call("h", 1, alter_partition, None, lambda _: b"", lambda _: None, newest=newest)
        return caller._newest(connection, call)

    assert (version(None), version(1)) == (3, 1)
    caller._versions = {alter_partition.API_KEY: (0, 0)}  # Apache Kafka 2.7
    assert (version(None), version(1)) == (0, 0)


# -- markers, before 2.8 --


def test_markers_of_an_older_coordinator_are_read() -> None:
    """As Kafka 3.9.2 sent them with version 2.6, and was answered."""
    assert MEMBER_APIS[27].version_min == 0 and MEMBER_APIS[27].flexible_from == 1
    body = bytes.fromhex("0000000100000000000007d0000001000000010002743100000002000000010000000000000001")
    (marker,) = decode_request(27, 0, body).markers
    assert (marker.producer_id, marker.producer_epoch, marker.transaction_result, marker.coordinator_epoch) == (2000, 0, True, 1)
    assert [(each.name, each.partition_indexes) for each in marker.topics] == [("t1", (1, 0))]
    partitions = [{"partition_index": index, "error_code": 0} for index in (1, 0)]
    answer = {"markers": [{"producer_id": 2000, "topics": [{"name": "t1", "partitions": partitions}]}]}
    assert encode_response(27, 0, answer).hex() == "0000000100000000000007d0000000010002743100000002000000010000000000000000"
    assert decode_request(27, 1, bytes.fromhex("02000000000000000000000102037431020000000200000000000000")).markers
