"""Our controller drives three brokers of Apache Kafka 3.9.2 over a real ZooKeeper."""

from __future__ import annotations

import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer
from confluent_kafka import TopicPartition as Watched

from kafka_cy.cluster.cluster_identity import create_common_nodes, find_cluster_id
from kafka_cy.cluster.store import Get
from kafka_cy.cluster.znode_formats import PartitionState
from kafka_cy.cluster.znodes import state_path
from kafka_cy.controller.partition_state import TopicPartition
from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.testing.broker import free_ports
from tests.cluster.controller_node import ControllerNode
from tests.cluster.kafka39 import LISTENER, Kafka
from tests.cluster.zookeeper_ensemble import Ensemble

TOPIC = "t"
RECORDS = 300
HEARD_MAX_S = 60.0
MORE = {
    "transaction.state.log.replication.factor": "1",
    "transaction.state.log.min.isr": "1",
    "replica.lag.time.max.ms": "10000",
}


def listeners(port: int, inner_port: int) -> dict[str, str]:
    """Clients have a listener that our node does not have, for it answers none of their requests."""
    addresses = f"CLIENT://127.0.0.1:{port},{LISTENER}://127.0.0.1:{inner_port}"
    return {**MORE, "listeners": addresses, "listener.security.protocol.map": f"CLIENT:PLAINTEXT,{LISTENER}:PLAINTEXT"}


def state(node: ControllerNode, partition: int = 0) -> PartitionState:
    return PartitionState.decode(node.read(Get(state_path(TOPIC, partition)))[0].data)


def produce(kafka: Kafka, others: list[Kafka], acks: str = "-1") -> None:
    """Records with acks=all; the command fails if one of them is not acknowledged."""
    servers = ",".join(f"127.0.0.1:{each.port}" for each in [kafka, *others])
    output = kafka.tool(
        "org.apache.kafka.tools.VerifiableProducer",
        *["--topic", TOPIC, "--max-messages", str(RECORDS), "--acks", acks, "--bootstrap-server", servers],
    )
    assert f'"acked":{RECORDS}' in output.replace(" ", ""), output[-2000:]


def produce_idempotently(kafka: Kafka) -> None:
    """One record of a producer with a producer id."""
    producer = Producer({"bootstrap.servers": f"127.0.0.1:{kafka.port}", "enable.idempotence": True})
    producer.produce(TOPIC, b"x")
    assert producer.flush(60) == 0, f"no producer id from broker {kafka.broker_id}"


def seen_by_clients(kafka: Kafka, leaders: list[int]) -> tuple[list[int], list[list[int]], int]:
    """Leaders and replicas of the partitions as a broker's metadata has them, and the number of all records.

    Brokers hear of the `leaders` that the controller elected a moment later: it is asked again until they all know them.
    """
    consumer = Consumer({"bootstrap.servers": f"127.0.0.1:{kafka.port}", "group.id": "g"})
    deadline = time.monotonic() + HEARD_MAX_S
    while True:
        partitions = consumer.list_topics(TOPIC, timeout=30).topics[TOPIC].partitions
        found = [partitions[index] for index in sorted(partitions)]
        try:
            ends = [consumer.get_watermark_offsets(Watched(TOPIC, each.id), timeout=30)[1] for each in found]
        except KafkaException as error:
            if error.args[0].code() != KafkaError.NOT_LEADER_FOR_PARTITION or time.monotonic() > deadline:
                raise
            continue
        if [each.leader for each in found] == leaders or time.monotonic() > deadline:
            break
    consumer.close()
    return [each.leader for each in found], [each.replicas for each in found], sum(ends)


def answer(node: ControllerNode, ask: Any) -> Any:
    answers: list[Any] = []
    ask(answers.append)
    node.run_until(lambda: answers)
    return answers[0]


@pytest.mark.interop
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_our_controller_drives_kafka(tmp_path: Path, one_zookeeper: Ensemble, zookeeper_connect: str) -> None:
    ours, *ports = free_ports(7)
    with ControllerNode(zookeeper_connect, 9, ours, LISTENER) as node:
        node.steps(create_common_nodes)
        node.steps(lambda calls: find_cluster_id(calls, None, lambda: "A" * 22))
        node.registration.start()
        node.run_until(lambda: node.controller.term is not None and node.controller.is_idle)
        kafkas = {
            id_: Kafka(tmp_path, zookeeper_connect, id_, ports[id_ - 1], listeners(ports[id_ - 1], ports[id_ + 2]))
            for id_ in (1, 2, 3)
        }
        try:
            for kafka in kafkas.values():
                kafka.start()
            drive(node, kafkas)
        except BaseException:
            print(node.asked, node.warnings, node.log.lines, node.controller.is_idle)
            raise
        finally:
            for kafka in kafkas.values():
                kafka.kill()
        errors = [line for kafka in kafkas.values() for line in kafka.log().splitlines() if line.startswith("ERROR")]
        assert errors == []
    assert node.controller.numbers.failed_events == 0, node.warnings


def drive(node: ControllerNode, kafkas: dict[int, Kafka]) -> None:
    assert node.controller.term is not None
    context = node.controller.term.parts.context
    node.run_until(lambda: context.live_ids() == [1, 2, 3, 9])
    created = answer(
        node,
        lambda done: node.controller.create_topic(TOPIC, [[1, 2, 3], [2, 3, 1]], {"min.insync.replicas": "2"}, done),
    )
    assert created.error is ErrorCode.NONE
    node.run_until(lambda: TopicPartition(TOPIC, 1) in context.states)
    in_background(node, lambda: produce(kafkas[1], [kafkas[2], kafkas[3]]))
    in_background(node, lambda: produce_idempotently(kafkas[3]))
    assert "allocate_producer_ids" in node.asked

    kafkas[1].kill()  # the leader of partition 0
    node.run_until(lambda: state(node).leader == 2 and set(state(node).isr) == {2, 3})
    in_background(node, lambda: produce(kafkas[2], [kafkas[3]]))
    kafkas[1].start()
    node.run_until(lambda: all(set(state(node, index).isr) == {1, 2, 3} for index in range(2)))
    assert "alter_partition" in node.asked

    process = kafkas[2].process
    assert process is not None
    process.send_signal(signal.SIGTERM)
    node.run_until(lambda: process.poll() is not None)
    assert (
        "controlled_shutdown" in node.asked and "Controlled shutdown request returned successfully" in kafkas[2].log()
    )
    assert all(state(node, index).leader != 2 and 2 not in state(node, index).isr for index in range(2))
    kafkas[2].start()
    node.run_until(lambda: all(set(state(node, index).isr) == {1, 2, 3} for index in range(2)))
    _, outcomes = answer(node, lambda done: node.controller.elect_leaders(None, False, done))
    assert {each.error for each in outcomes.values()} <= {ErrorCode.NONE, ErrorCode.ELECTION_NOT_NEEDED}
    assert (state(node, 0).leader, state(node, 1).leader) == (1, 2)

    moved = TopicPartition(TOPIC, 0)
    _, begun = answer(node, lambda done: node.controller.alter_reassignments({moved: (3, 2)}, done))
    assert begun[moved].error is ErrorCode.NONE
    node.run_until(lambda: moved not in context.being_reassigned)
    assert state(node).leader == 3 and set(state(node).isr) == {2, 3}
    expected = [3, state(node, 1).leader]
    leaders, replicas, records = in_background(node, lambda: seen_by_clients(kafkas[2], expected))
    assert leaders == expected and replicas == [[3, 2], [2, 3, 1]]
    assert records == 2 * RECORDS + 1

    assert answer(node, lambda done: node.controller.delete_topic(TOPIC, done)).error is ErrorCode.NONE
    node.run_until(lambda: TOPIC not in context.topics)
    folders = [path.name for kafka in kafkas.values() for path in kafka._folder.glob(f"logs/{TOPIC}-*")]
    assert all(name.endswith("-delete") for name in folders), folders


def in_background(node: ControllerNode, work: Any) -> Any:
    """Run a command while the node's loop goes on."""
    results: list[Any] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:  # noqa: BLE001 raised below
            results.append(error)

    threading.Thread(target=run, daemon=True).start()
    node.run_until(lambda: results)
    if isinstance(results[0], BaseException):
        raise results[0]
    return results[0]
