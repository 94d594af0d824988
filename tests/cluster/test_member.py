"""One broker as the only member of a cluster with a real ZooKeeper; and brokers that a cluster does not take."""

from __future__ import annotations

import contextlib
import signal
import socket
import urllib.request
from pathlib import Path

import pytest
from confluent_kafka import Consumer, Producer
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions, NewTopic
from raw_client import RawClient

from kafka_cy.cluster.znode_formats import BrokerInfo, TopicAssignment
from kafka_cy.testing.broker import free_ports
from tests.cluster.member_broker import LISTENER, MemberBroker, seen
from tests.cluster.zookeeper_ensemble import Ensemble, wait_until

GENERATED_ID = 1001


def consumed(port: int, topic: str, count: int, group: str = "g") -> list[bytes]:
    consumer = Consumer({"bootstrap.servers": f"127.0.0.1:{port}", "group.id": group, "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    found: list[bytes] = []

    def poll() -> bool:
        found.extend(each.value() for each in consumer.consume(1000, 0.1) if each.error() is None)
        return len(found) >= count

    wait_until(poll, f"{count} records")
    consumer.close()
    return found


def topics_of(client: RawClient) -> set[str]:
    """The topics that one broker knows."""
    return {each["name"] for each in client.request(3, 4, {"topics": None, "allow_auto_topic_creation": False})["topics"]}


def config_of(admin: AdminClient, topic: str, key: str) -> str:
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
    return str(admin.describe_configs([resource])[resource].result()[key].value)


def test_a_member_by_itself(
    tmp_path: Path, one_zookeeper: Ensemble, zookeeper_connect: str, chroot: str
) -> None:
    (port,) = free_ports(1)
    member = MemberBroker(tmp_path, zookeeper_connect, -1, port, {"broker.rack": "r1"})
    with member, one_zookeeper.client(chroot) as other:
        member.wait()
        data, stat = other.get(f"/brokers/ids/{GENERATED_ID}")
        registered = BrokerInfo.decode(data)
        assert registered.endpoints == ((LISTENER, "PLAINTEXT", "127.0.0.1", port),) and registered.rack == "r1"
        assert f"registered as broker {GENERATED_ID} epoch={stat.czxid}" in member.log()

        admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{port}"})
        wait_until(lambda: seen(admin).controller_id == GENERATED_ID, "a controller")
        admin.create_topics([NewTopic("t", 2, 1, config={"retention.ms": "7000000"})])["t"].result()
        found = seen(admin, "t").topics["t"].partitions
        assert {each.leader for each in found.values()} == {GENERATED_ID}, "the response waits for the leaders"
        assignment = TopicAssignment.decode(other.get("/brokers/topics/t")[0])
        assert assignment.partitions == {0: (GENERATED_ID,), 1: (GENERATED_ID,)} and assignment.topic_id is not None

        producer = Producer({"bootstrap.servers": f"127.0.0.1:{port}", "enable.idempotence": True})
        for number in range(10):
            producer.produce("t", str(number).encode())
        assert producer.flush(30) == 0
        assert len(consumed(port, "t", 10)) == 10

        change = ConfigEntry("retention.ms", "8000000", incremental_operation=AlterConfigOpType.SET)
        resource = ConfigResource(ConfigResource.Type.TOPIC, "t", incremental_configs=[change])
        admin.incremental_alter_configs([resource])[resource].result()
        assert config_of(admin, "t", "retention.ms") == "8000000"
        assert b"8000000" in other.get("/config/topics/t")[0]
        assert b'"topics/t"' in other.get(f"/config/changes/{other.get_children('/config/changes')[-1]}")[0]
        admin.create_partitions([NewPartitions("t", 3)])["t"].result()
        assert len(seen(admin, "t").topics["t"].partitions) == 3

        assert member.terminate() == 0
        assert not other.exists(f"/brokers/ids/{GENERATED_ID}")
        member.start()
        wait_until(lambda: member.log().count("kafka-cy ready") == 2, f"the second start: {member.log()}")
        assert f"broker id taken from the log directories broker_id={GENERATED_ID}" in member.log()
        wait_until(lambda: len(seen(admin).topics) == 2, "the topics")
        assert config_of(admin, "t", "retention.ms") == "8000000"
        admin.delete_topics(["t"])["t"].result()
        assert "t" not in seen(admin).topics
        wait_until(lambda: not other.exists("/brokers/topics/t"), "the end of the deletion")
        assert member.errors() == []


def test_brokers_that_a_cluster_does_not_take(tmp_path: Path, one_zookeeper: Ensemble, zookeeper_connect: str) -> None:
    port, other_port, nowhere = free_ports(3)
    with MemberBroker(tmp_path, zookeeper_connect, 1, port) as member:
        member.wait()
        for number, (connect, settings, why) in enumerate(
            [
                (
                    zookeeper_connect,
                    {"listener.security.protocol.map": "OTHER:PLAINTEXT", "listeners": f"OTHER://127.0.0.1:{other_port}",
                     "inter.broker.listener.name": "OTHER"},
                    "inter.broker.listener.name is OTHER, but broker 1 has only REPL",
                ),
                (
                    zookeeper_connect,
                    {"advertised.listeners": f"{LISTENER}://127.0.0.1:{port}"},
                    f"broker 1 has registered the advertised address 127.0.0.1:{port} already",
                ),
                (
                    f"127.0.0.1:{nowhere}",
                    {"zookeeper.connection.timeout.ms": "300"},
                    f"no connection to ZooKeeper at 127.0.0.1:{nowhere} within 300 ms",
                ),
            ]
        ):  # fmt: skip
            refused = MemberBroker(tmp_path, connect, 2 + number, other_port, settings)
            with refused:
                wait_until(refused.ended, "the refusal")
                assert refused.process is not None and refused.process.returncode == 5, refused.log()
            assert [line.partition(" ERROR ")[2] for line in refused.errors()][-1:] and why in refused.errors()[-1]
            assert not (refused.folder / "logs" / "meta.properties").exists() or number < 2
    stranger = tmp_path / "kafkacy9" / "logs"
    stranger.mkdir(parents=True)
    (stranger / "meta.properties").write_text(f"version=0\nbroker.id=9\ncluster.id={'A' * 22}\n")
    (tmp_path / "kafkacy9").rename(tmp_path / "stranger")
    wrong = MemberBroker(tmp_path, zookeeper_connect, 9, other_port, {"log.dirs": str(tmp_path / "stranger" / "logs")})
    with wrong:
        wait_until(wrong.ended, "the refusal")
        assert f"the log directories belong to {'A' * 22}" in wrong.errors()[-1]
        wrong.settings["zookeeper.connect"] = zookeeper_connect + "/empty"
        wrong.start()
        wait_until(wrong.ended, "the refusal")
        assert "there is no cluster in ZooKeeper" in wrong.errors()[-1]


@pytest.mark.crash
def test_a_member_whose_session_ends_registers_again(
    tmp_path: Path, one_zookeeper: Ensemble, zookeeper_connect: str, chroot: str
) -> None:
    (port,) = free_ports(1)
    settings = {"zookeeper.session.timeout.ms": "1000"}
    member = MemberBroker(tmp_path, zookeeper_connect, 1, port, settings)
    with member, one_zookeeper.client(chroot) as other:
        member.wait()
        admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{port}"})
        wait_until(lambda: seen(admin).controller_id == 1, "a controller")
        admin.create_topics([NewTopic("t", 1, 1)])["t"].result()
        epoch = other.get("/brokers/ids/1")[1].czxid
        assert member.process is not None
        member.process.send_signal(signal.SIGSTOP)
        wait_until(lambda: not other.exists("/brokers/ids/1"), "the end of the session")
        member.process.send_signal(signal.SIGCONT)
        wait_until(lambda: other.exists("/brokers/ids/1"), "the next registration")
        assert other.get("/brokers/ids/1")[1].czxid > epoch
        wait_until(lambda: "is the controller epoch=2" in member.log(), "the next term")
        producer = Producer({"bootstrap.servers": f"127.0.0.1:{port}"})
        producer.produce("t", b"x")
        assert producer.flush(30) == 0
        admin.create_topics([NewTopic("second", 1, 1)])["second"].result()
        assert member.errors() == [] and member.terminate() == 0


@pytest.mark.crash
def test_a_topic_that_is_deleted_while_a_member_is_away(
    tmp_path: Path, one_zookeeper: Ensemble, zookeeper_connect: str, chroot: str
) -> None:
    """Its process goes on with what it knew. The controller does not tell it."""
    ports = free_ports(2)
    settings = {"zookeeper.session.timeout.ms": "1000"}
    first, second = (MemberBroker(tmp_path, zookeeper_connect, 1 + i, ports[i], settings) for i in range(2))
    with first, one_zookeeper.client(chroot) as other:
        first.wait()
        admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{ports[0]}"})
        wait_until(lambda: seen(admin).controller_id == 1, "a controller")
        with second:
            second.wait()
            wait_until(lambda: len(seen(admin).brokers) == 2, "both brokers")
            for topic in ("t", "kept"):
                admin.create_topics([NewTopic(topic, 1, replica_assignment=[[1]])])[topic].result()
            client = RawClient(f"127.0.0.1:{ports[1]}")
            wait_until(lambda: {"t", "kept"} <= topics_of(client), "the second broker knows the topics")
            assert second.process is not None
            second.process.send_signal(signal.SIGSTOP)
            wait_until(lambda: not other.exists("/brokers/ids/2"), "the end of the session")
            admin.delete_topics(["t"])["t"].result()
            wait_until(lambda: not other.exists("/brokers/topics/t"), "the end of the deletion")
            second.process.send_signal(signal.SIGCONT)
            wait_until(lambda: topics_of(client) == {"kept"}, "the second broker forgets the topic")
            assert "topics were deleted while this broker was not a member of the cluster topics=1 first=t" in second.log()
            assert second.errors() == [] and second.terminate() == 0


def test_clients_do_not_keep_brokers_out(tmp_path: Path, zookeeper_connect: str) -> None:
    """max.connections is reached: who connects to the listener between brokers takes the place of a client (KIP-402)."""
    port, client_port = free_ports(2)
    more = {
        "listener.security.protocol.map": f"{LISTENER}:PLAINTEXT,CLIENT:PLAINTEXT",
        "listeners": f"CLIENT://127.0.0.1:{client_port},{LISTENER}://127.0.0.1:{port}",
        "max.connections": "20",
    }
    member = MemberBroker(tmp_path, zookeeper_connect, 1, port, more)
    with member, contextlib.ExitStack() as opened:
        member.wait()
        for _ in range(21):
            opened.enter_context(socket.create_connection(("127.0.0.1", client_port)))
        wait_until(lambda: "refused: max.connections is reached" in member.log(), "a client that is refused")
        assert RawClient(f"127.0.0.1:{port}").request(18, 0, {})["error_code"] == 0
        wait_until(lambda: "closed: there are more connections than max.connections" in member.log(), "a client that is closed")


def test_a_follower_shows_its_lag(tmp_path: Path, zookeeper_connect: str) -> None:
    ports = free_ports(3)
    leader = MemberBroker(tmp_path, zookeeper_connect, 1, ports[0])
    follower = MemberBroker(tmp_path, zookeeper_connect, 2, ports[1], {"kafkacy.metrics.listen": f"127.0.0.1:{ports[2]}"})
    with leader, follower:
        leader.wait()
        follower.wait()
        admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{ports[0]}"})
        wait_until(lambda: len(seen(admin).brokers) == 2, "both brokers")
        admin.create_topics([NewTopic("t", 1, replica_assignment=[[1, 2]])])["t"].result()
        name = "ReplicaFetcherThread-0-1"
        line = f'kafka_server_fetcherlagmetrics_consumerlag{{clientId="{name}",clientid="{name}",topic="t",partition="0"}} 0\n'

        def is_shown() -> bool:
            with urllib.request.urlopen(f"http://127.0.0.1:{ports[2]}/metrics") as page:
                return line in page.read().decode()

        wait_until(is_shown, "the follower has everything")


@pytest.mark.crash
def test_a_killed_member_waits_for_the_end_of_its_session(
    tmp_path: Path, one_zookeeper: Ensemble, zookeeper_connect: str
) -> None:
    (port,) = free_ports(1)
    with MemberBroker(tmp_path, zookeeper_connect, 1, port, {"zookeeper.session.timeout.ms": "5000"}) as member:
        member.wait()
        member.kill()
        member.start()
        wait_until(lambda: member.log().count("kafka-cy ready") == 2, f"the second start: {member.log()}")
        assert "is registered by another session: waiting until it ends" in member.log()
        assert member.errors() == []
