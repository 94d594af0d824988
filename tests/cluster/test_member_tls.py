"""TLS between the brokers of a cluster with a real ZooKeeper: client certificates are required, of brokers and of clients."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka import Consumer, ElectionType, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic

from kafka_cy.testing.broker import free_ports
from tests.certificates import PASSWORD, Authority
from tests.cluster.kafka39 import Kafka
from tests.cluster.member_broker import LISTENER, MemberBroker, seen
from tests.cluster.test_cluster_lag import page_of
from tests.cluster.test_member_cluster import Load, isrs
from tests.cluster.zookeeper_ensemble import Ensemble, wait_until

TOPIC = "t"
SEGMENT = "00000000000000000000.log"
MORE = {
    "zookeeper.session.timeout.ms": "2000",
    "min.insync.replicas": "2",
    "offsets.topic.replication.factor": "1",
    "controlled.shutdown.max.retries": "0",  # the last broker can hand over nothing
}
OWN = f"listener.name.{LISTENER.lower()}."


def encrypted(authority: Authority, certificate: Path | None = None, trusted: Path | None = None) -> dict[str, str]:
    """Keys of the listener between brokers."""
    return {
        **MORE,
        "listener.security.protocol.map": f"{LISTENER}:SSL",
        OWN + "ssl.keystore.type": "PEM",
        OWN + "ssl.keystore.location": str(certificate or authority.broker),
        OWN + "ssl.truststore.type": "PEM",
        OWN + "ssl.truststore.location": str(trusted or authority.trusted),
        OWN + "ssl.client.auth": "required",
    }


def client(authority: Authority, *ports: int) -> dict[str, object]:
    """Settings of a client with a certificate."""
    return {
        "bootstrap.servers": ",".join(f"127.0.0.1:{port}" for port in ports),
        "security.protocol": "ssl",
        "ssl.ca.location": str(authority.trusted),
        "ssl.certificate.location": str(authority.broker),
        "ssl.key.location": str(authority.broker),
        "socket.timeout.ms": 5000,
    }


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "authority")


@pytest.fixture
def members() -> Iterator[list[MemberBroker]]:
    """They are killed after the test; if it fails, their logs are shown."""
    made: list[MemberBroker] = []
    yield made
    for member in made:
        member.kill()
        print(member.log(), "======", sep="\n")


def produce(settings: dict[str, object], count: int) -> None:
    producer = Producer({**settings, "acks": "all", "enable.idempotence": True})
    failed: list[str] = []
    for number in range(count):
        producer.produce(
            TOPIC, str(number).encode() * 20, on_delivery=lambda error, _: failed.append(str(error)) if error else None
        )
    assert producer.flush(60) == 0 and failed == []


def log_of(member: MemberBroker) -> bytes:
    return (member.logs / f"{TOPIC}-0" / SEGMENT).read_bytes().rstrip(b"\0")


def committed(settings: dict[str, object], topic: str, count: int) -> list[bytes]:
    """The committed records of three partitions, sorted."""
    consumer = Consumer({**settings, "group.id": "g", "enable.auto.commit": False, "isolation.level": "read_committed"})
    consumer.assign([TopicPartition(topic, index, 0) for index in range(3)])
    found: list[bytes] = []

    def poll() -> bool:
        found.extend(record.value() for record in consumer.consume(1000, 0.1) if record.error() is None)
        return len(found) >= count

    wait_until(poll, f"{count} records")
    consumer.close()
    return sorted(found)


def transaction(settings: dict[str, object], topic: str, name: str) -> None:
    """One record to each of three partitions."""
    producer = Producer({**settings, "transactional.id": name})
    producer.init_transactions(60)
    producer.begin_transaction()
    for index in range(3):
        producer.produce(topic, str(index).encode(), partition=index)
    producer.commit_transaction(60)


def leader(admin: AdminClient) -> int:
    return int(seen(admin, TOPIC).topics[TOPIC].partitions[0].leader)


def test_three_brokers_with_certificates(
    tmp_path: Path, authority: Authority, one_zookeeper: Ensemble, zookeeper_connect: str, members: list[MemberBroker]
) -> None:
    """What the controller sends has a listener of its own, with certificates of another authority."""
    lag_port, *ports = free_ports(7)
    control, ports = ports[3:], ports[:3]
    of_control = Authority(tmp_path / "control")
    for number, port in enumerate(ports, 1):
        member = MemberBroker(tmp_path, zookeeper_connect, number, port, encrypted(authority))
        member.settings |= {OWN.replace(LISTENER.lower(), "control") + key: value for key, value in {
            "ssl.keystore.type": "PEM", "ssl.keystore.location": str(of_control.broker),
            "ssl.truststore.type": "PEM", "ssl.truststore.location": str(of_control.trusted),
            "ssl.client.auth": "required",
        }.items()}  # fmt: skip
        member.settings |= {
            "listeners": f"{LISTENER}://127.0.0.1:{port},CONTROL://127.0.0.1:{control[number - 1]}",
            "listener.security.protocol.map": f"{LISTENER}:SSL,CONTROL:SSL",
            "control.plane.listener.name": "CONTROL",
        }
        members.append(member)
    members[0].settings["kafkacy.lag.listen"] = f"127.0.0.1:{lag_port}"
    for member in members:
        member.start()
    for member in members:
        member.wait()
    settings = client(authority, *ports)
    admin = AdminClient(settings)
    wait_until(lambda: len(seen(admin).brokers) == 3, "three brokers")
    first = seen(admin).controller_id
    others = [each for each in (1, 2, 3) if each != first]
    admin.create_topics([NewTopic(TOPIC, 1, replica_assignment=[[first, *others]])])[TOPIC].result()
    produce(settings, 300)
    assert isrs(admin, TOPIC) == [{1, 2, 3}]
    one_each = NewTopic("one-each", 3, replica_assignment=[[1], [2], [3]], config={"min.insync.replicas": "1"})
    admin.create_topics([one_each])[one_each.topic].result()
    transaction(settings, one_each.topic, "x")
    assert committed(settings, one_each.topic, 3) == [b"0", b"1", b"2"], "the markers came to all brokers"
    wait_until(lambda: "kafkacy_lag_silent_brokers 0\n" in page_of(lag_port), "the consumer lag of all brokers")
    assert "kafka_brokers 3\n" in page_of(lag_port)
    members[first - 1].kill()
    wait_until(lambda: isrs(admin, TOPIC) == [set(others)] and leader(admin) in others, "a new leader")
    produce(settings, 300)
    members[first - 1].start()
    wait_until(lambda: isrs(admin, TOPIC) == [{1, 2, 3}], "full ISRs")
    for member in members:
        assert member.terminate() == 0
    assert log_of(members[0]) == log_of(members[1]) == log_of(members[2]) != b""
    assert [line for member in members for line in member.errors()] == []


def test_a_broker_does_not_accept_the_leaders_certificate(
    tmp_path: Path, authority: Authority, zookeeper_connect: str, members: list[MemberBroker]
) -> None:
    """Until its trust store is replaced, the partition is not replicated, and a line says why."""
    other, both = Authority(tmp_path / "other"), tmp_path / "both.pem"
    both.write_bytes(authority.trusted.read_bytes() + other.trusted.read_bytes())
    ports = free_ports(2)
    more = {OWN + "ssl.client.auth": "none", "min.insync.replicas": "1"}
    members.append(MemberBroker(tmp_path, zookeeper_connect, 1, ports[0], {**encrypted(other, trusted=both), **more}))
    members.append(MemberBroker(tmp_path, zookeeper_connect, 2, ports[1], {**encrypted(authority), **more}))
    leads, follows = members
    leads.start()
    leads.wait()
    follows.start()
    follows.wait()
    settings = {**client(authority, *ports), "ssl.ca.location": str(both)}
    admin = AdminClient(settings)
    wait_until(lambda: len(seen(admin).brokers) == 2, "both brokers")
    admin.create_topics([NewTopic(TOPIC, 1, replica_assignment=[[1, 2]])])[TOPIC].result()
    why = "the leader cannot be fetched from; this is tried again: its certificate is not accepted: "

    def lines() -> list[str]:
        return [line for line in follows.log().splitlines() if why in line]

    wait_until(lines, "the reason")
    assert f"leader=1 address=127.0.0.1:{ports[0]}" in lines()[0]
    producer = Producer({**settings, "acks": 1})
    producer.produce(TOPIC, b"x")
    assert producer.flush(60) == 0
    assert not (follows.logs / f"{TOPIC}-0" / SEGMENT).exists() or log_of(follows) == b""
    for path in (tmp_path / "nowhere.pem", other.trusted):  # with the other authority alone, it would not trust itself
        refused = alter(admin, 2, OWN + "ssl.truststore.location", str(path))
        assert refused is not None and "ssl.truststore.location" in refused, refused
    assert alter(admin, 2, OWN + "ssl.truststore.location", str(both)) is None
    produce({**settings, "acks": "all"}, 100)
    assert [line for line in lines() if "repeated=" not in line] == lines()[:1]
    wait_until(lambda: "the leader is fetched from again" in follows.log(), "the line")
    wait_until(lambda: isrs(admin, TOPIC) == [{1, 2}], "the full ISR")
    for member in reversed(members):
        assert member.terminate() == 0
    assert log_of(leads) == log_of(follows) != b""


@pytest.mark.slow
@pytest.mark.skipif("CLUSTER_TESTS" not in os.environ, reason="`make cluster` runs it")
def test_a_running_cluster_gets_tls(
    tmp_path: Path, authority: Authority, zookeeper_connect: str, members: list[MemberBroker]
) -> None:
    """One broker after the other: first a second listener, then that one is the inter-broker listener."""
    *ports, plain, other_plain = free_ports(4)
    for number, port in enumerate((plain, other_plain), 1):
        more = {"listener.security.protocol.map": "PLAIN:PLAINTEXT", "inter.broker.listener.name": "PLAIN"}
        more["min.insync.replicas"] = "1"
        members.append(MemberBroker(tmp_path, zookeeper_connect, number, port, {**MORE, **more}))
        members[-1].settings["listeners"] = f"PLAIN://127.0.0.1:{port}"
        members[-1].start()
    for member in members:
        member.wait()
    servers = f"127.0.0.1:{plain},127.0.0.1:{other_plain}"
    admin = AdminClient({"bootstrap.servers": servers})
    wait_until(lambda: len(seen(admin).brokers) == 2, "both brokers")
    admin.create_topics([NewTopic(TOPIC, 2, replica_assignment=[[1, 2], [2, 1]])])[TOPIC].result()
    load = Load(servers, TOPIC, {"acks": "all"})
    with_listener = {**encrypted(authority), "listener.security.protocol.map": f"PLAIN:PLAINTEXT,{LISTENER}:SSL"}
    with_listener["min.insync.replicas"] = "1"
    changes = [(with_listener, number) for number in (0, 1)]
    changes += [({"inter.broker.listener.name": LISTENER}, number) for number in (0, 1)]
    try:
        for settings, number in changes:
            load.goes_on()
            member = members[number]
            member.settings |= settings
            member.settings["listeners"] = f"PLAIN://127.0.0.1:{member.port},{LISTENER}://127.0.0.1:{ports[number]}"
            assert member.terminate() == 0
            starts = member.log().count("kafka-cy ready")
            member.start()
            wait_until(lambda: member.log().count("kafka-cy ready") > starts, "the start")  # noqa: B023
            wait_until(lambda: isrs(admin, TOPIC) == [{1, 2}] * 2, "full ISRs")
        admin.elect_leaders(ElectionType.PREFERRED).result()
        for number, other in ((0, 1), (1, 0)):
            line = f"leader={other + 1} address=127.0.0.1:{ports[other]}"
            wait_until(lambda: line in members[number].log(), line)  # noqa: B023
        load.goes_on()
    finally:
        load.stop()
    assert load.failed == []
    assert [line for member in members for line in member.errors()] == []


@pytest.mark.interop
@pytest.mark.slow
@pytest.mark.crash
@pytest.mark.timeout(600)
@pytest.mark.skipif("CLUSTER_TESTS" not in os.environ, reason="`make cluster` runs it")
def test_beside_apache_kafka(
    tmp_path: Path, authority: Authority, zookeeper_connect: str, members: list[MemberBroker]
) -> None:
    """Kafka is the controller, then one of ours; each broker leads and follows, is killed, and comes back."""
    ports = free_ports(3)
    more = {"offsets.topic.replication.factor": "3", "transaction.state.log.num.partitions": "2"}
    kafka = Kafka(tmp_path, zookeeper_connect, 1, ports[0], {**encrypted(authority), **stores(authority), **more})
    for number in (2, 3):
        settings = {**encrypted(authority), **more}
        members.append(MemberBroker(tmp_path, zookeeper_connect, number, ports[number - 1], settings))
    brokers: dict[int, MemberBroker | Kafka] = {1: kafka, 2: members[0], 3: members[1]}
    settings = client(authority, *ports)
    try:
        kafka.start()
        wait_until(lambda: "[KafkaServer id=1] started" in kafka.log(), "Kafka")
        for member in members:
            member.start()
        for member in members:
            member.wait()
        admin = AdminClient(settings)
        wait_until(lambda: set(seen(admin).brokers) == {1, 2, 3} and seen(admin).controller_id == 1, "three brokers")
        transactions_across(admin, settings)
        admin.create_topics([NewTopic(TOPIC, 3, replica_assignment=[[1, 2, 3], [2, 3, 1], [3, 1, 2]])])[TOPIC].result()
        kill_each(admin, brokers, settings)
        for member in members:
            assert member.terminate() == 0
        kafka.terminate()
        for partition in range(3):
            logs = {path.read_bytes().rstrip(b"\0") for path in tmp_path.glob(f"*/logs/{TOPIC}-{partition}/{SEGMENT}")}
            assert len(logs) == 1 and b"" not in logs
        assert "SSL handshake failed" not in kafka.log()
        assert [line for member in members for line in member.errors()] == []
    except BaseException:
        print(kafka.log()[-20000:])
        raise
    finally:
        kafka.kill()


def stores(authority: Authority) -> dict[str, str]:
    """Kafka does not read the form of our key in PEM."""
    return {
        OWN + "ssl.keystore.type": "PKCS12",
        OWN + "ssl.keystore.location": str(authority.key_store(authority.broker)),
        OWN + "ssl.keystore.password": PASSWORD,
        OWN + "ssl.key.password": PASSWORD,
    }


def transactions_across(admin: AdminClient, settings: dict[str, object]) -> None:
    """Kafka coordinates one, ours the other; each has records, and then markers, on all brokers."""
    internal = NewTopic("__transaction_state", 2, replica_assignment=[[1], [2]], config={"min.insync.replicas": "1"})
    data = NewTopic("one-each", 3, replica_assignment=[[1], [2], [3]], config={"min.insync.replicas": "1"})
    for topic, created in admin.create_topics([internal, data]).items():
        assert created.result() is None, topic
    for name in ("a", "b"):  # of different hashes modulo 2
        transaction(settings, data.topic, name)
    assert committed(settings, data.topic, 6) == [b"0", b"0", b"1", b"1", b"2", b"2"]


def kill_each(admin: AdminClient, brokers: dict[int, MemberBroker | Kafka], settings: dict[str, object]) -> None:
    """Kill the controller, which is Kafka at first, and then the next one, while records are written."""
    load = Load(str(settings["bootstrap.servers"]), TOPIC, settings)
    controllers = []
    try:
        load.goes_on()
        wait_until(lambda: isrs(admin, TOPIC) == [{1, 2, 3}] * 3, "full ISRs")
        while len(set(controllers)) < 2:
            controllers.append(seen(admin).controller_id)
            rest = {1, 2, 3} - {controllers[-1]}
            brokers[controllers[-1]].kill()
            wait_until(lambda rest=rest: seen(admin).controller_id in rest, "another controller")  # type: ignore[misc]
            wait_until(lambda rest=rest: isrs(admin, TOPIC) == [rest] * 3, f"the ISRs are {rest}")  # type: ignore[misc]
            load.goes_on()
            brokers[controllers[-1]].start()
            wait_until(lambda: isrs(admin, TOPIC) == [{1, 2, 3}] * 3, "full ISRs")
            load.goes_on()
    finally:
        load.stop()
    assert load.failed == [] and controllers[0] == 1
    assert committed(settings, TOPIC, len(load.acked)) == sorted(load.acked), "no record is lost, none is there twice"


def alter(admin: AdminClient, broker_id: int, key: str, value: str) -> str | None:
    """Why the broker refuses the setting."""
    entry = ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ConfigResource.Type.BROKER, str(broker_id), incremental_configs=[entry])
    try:
        admin.incremental_alter_configs([resource])[resource].result()
    except KafkaException as error:
        return str(error)
    return None
