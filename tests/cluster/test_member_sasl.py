"""SASL between the brokers of a cluster with a real ZooKeeper: each login, again and again, and passwords that are wrong."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient, NewTopic
from kazoo.client import KazooClient

from kafka_cy.testing.broker import free_ports
from tests.certificates import Authority
from tests.cluster.kafka39 import Kafka
from tests.cluster.member_broker import LISTENER, MemberBroker, seen
from tests.cluster.test_member_cluster import isrs
from tests.cluster.test_member_tls import (
    MORE,
    TOPIC,
    committed,
    encrypted,
    kill_each,
    leader,
    log_of,
    produce,
    stores,
    transaction,
)
from tests.cluster.zookeeper_ensemble import wait_until

USER, PASSWORD = "the broker, itself", 'p"w=1'
PACKAGE = "org.apache.kafka.common.security."
SCRAM, PLAIN = f"{PACKAGE}scram.ScramLoginModule", f"{PACKAGE}plain.PlainLoginModule"
QUOTED = PASSWORD.replace('"', r"\"")
OWN = f"listener.name.{LISTENER.lower()}."


def login(module: str, *more: str) -> str:
    """A JAAS text in a properties file, which takes one level of backslashes."""
    options = " ".join((f'username="{USER}" password="{QUOTED}"', *more))
    return f"{module} required {options};".replace("\\", "\\\\")


def guarded(mechanism: str, protocol: str = "SASL_PLAINTEXT") -> dict[str, str]:
    return {
        **MORE,
        "listener.security.protocol.map": f"{LISTENER}:{protocol}",
        "sasl.enabled.mechanisms": mechanism,
        "sasl.mechanism.inter.broker.protocol": mechanism,
        f"{OWN}{mechanism.lower()}.sasl.jaas.config": login(SCRAM),
    }


def client(mechanism: str, *ports: int) -> dict[str, object]:
    return {
        "bootstrap.servers": ",".join(f"127.0.0.1:{port}" for port in ports), "security.protocol": "sasl_plaintext",
        "sasl.mechanism": mechanism, "sasl.username": USER, "sasl.password": PASSWORD, "socket.timeout.ms": 5000,
    }  # fmt: skip


def store_credential(connect: str, mechanism: str) -> None:
    """As kafka-configs --zookeeper does before the first start."""
    name = {"SCRAM-SHA-256": "sha256", "SCRAM-SHA-512": "sha512"}[mechanism]
    salted = hashlib.pbkdf2_hmac(name, PASSWORD.encode(), b"some salt", 4096)
    stored = hashlib.new(name, hmac.digest(salted, b"Client Key", name)).digest()
    salt, stored_key, server_key = (
        base64.b64encode(each).decode() for each in (b"some salt", stored, hmac.digest(salted, b"Server Key", name))
    )
    value = f"salt={salt},stored_key={stored_key},server_key={server_key},iterations=4096"
    hosts, slash, chroot = connect.partition("/")
    zookeeper = KazooClient(hosts)
    zookeeper.start()
    try:
        path = f"{slash}{chroot}/config/users/" + USER.replace(" ", "%20").replace(",", "%2C")
        zookeeper.create(path, json.dumps({"version": 1, "config": {mechanism: value}}).encode(), makepath=True)
    finally:
        zookeeper.stop()
        zookeeper.close()


@pytest.fixture
def members() -> Iterator[list[MemberBroker]]:
    """They are killed after the test; if it fails, their logs are shown."""
    made: list[MemberBroker] = []
    yield made
    for member in made:
        member.kill()
        print(member.log(), "======", sep="\n")


def test_three_brokers_log_in(tmp_path: Path, zookeeper_connect: str, members: list[MemberBroker]) -> None:
    """With SCRAM, also for what the controller sends to a listener of its own, and again before their sessions end."""
    store_credential(zookeeper_connect, "SCRAM-SHA-256")
    ports, control = (found := free_ports(6))[:3], found[3:]
    for number, port in enumerate(ports, 1):
        settings = {
            **guarded("SCRAM-SHA-256"),
            "listeners": f"{LISTENER}://127.0.0.1:{port},CONTROL://127.0.0.1:{control[number - 1]}",
            "listener.security.protocol.map": f"{LISTENER}:SASL_PLAINTEXT,CONTROL:SASL_PLAINTEXT",
            "control.plane.listener.name": "CONTROL",
            "listener.name.control.scram-sha-256.sasl.jaas.config": login(SCRAM),
            f"{OWN}scram-sha-256.connections.max.reauth.ms": "6000",
        }
        members.append(MemberBroker(tmp_path, zookeeper_connect, number, port, settings))
        members[-1].start()
    for member in members:
        member.wait()
    settings = client("SCRAM-SHA-256", *ports)
    admin = AdminClient(settings)
    wait_until(lambda: len(seen(admin).brokers) == 3, "three brokers")
    first = seen(admin).controller_id
    others = [each for each in (1, 2, 3) if each != first]
    admin.create_topics([NewTopic(TOPIC, 1, replica_assignment=[[first, *others]])])[TOPIC].result()
    produce(settings, 300)
    one_each = NewTopic("one-each", 3, replica_assignment=[[1], [2], [3]], config={"min.insync.replicas": "1"})
    admin.create_topics([one_each])[one_each.topic].result()
    transaction(settings, one_each.topic, "x")
    assert committed(settings, one_each.topic, 3) == [b"0", b"1", b"2"], "the markers came to all brokers"
    members[first - 1].kill()
    wait_until(lambda: isrs(admin, TOPIC) == [set(others)] and leader(admin) in others, "a new leader")
    produce(settings, 300)
    members[first - 1].start()
    wait_until(lambda: isrs(admin, TOPIC) == [{1, 2, 3}], "full ISRs")
    produce(settings, 300)
    for member in members:
        assert "authentication failed" not in member.log() and "session has expired" not in member.log()
        assert "the login with" not in member.log() and PASSWORD not in member.log()
        assert member.terminate() == 0
    assert log_of(members[0]) == log_of(members[1]) == log_of(members[2]) != b""
    assert [line for member in members for line in member.errors()] == []


def test_a_broker_with_a_wrong_password(tmp_path: Path, zookeeper_connect: str, members: list[MemberBroker]) -> None:
    """PLAIN: the broker's own password is not the one that the others know. A line says so, and the cluster goes on."""
    ports = free_ports(2)
    jaas = f"{OWN}plain.sasl.jaas.config"
    for number, own in ((1, "good"), (2, "bad")):
        settings = {**guarded("PLAIN"), "min.insync.replicas": "1"}
        settings[jaas] = f'{PLAIN} required username="b" password="{own}" user_b="good";'
        members.append(MemberBroker(tmp_path, zookeeper_connect, number, ports[number - 1], settings))
        members[-1].start()
        members[-1].wait()
    settings = {**client("PLAIN", *ports), "sasl.username": "b", "sasl.password": "good"}
    admin = AdminClient(settings)
    wait_until(lambda: len(seen(admin).brokers) == 2, "both brokers")
    admin.create_topics([NewTopic(TOPIC, 1, replica_assignment=[[1, 2]])])[TOPIC].result()
    why = "this is tried again: the login with PLAIN was refused: error 58 Authentication failed: Invalid username or password"
    wait_until(lambda: f"the leader cannot be fetched from; {why}" in members[1].log(), "the reason")
    produce({**settings, "acks": "1", "enable.idempotence": False}, 10)
    members[1].settings[jaas] = members[0].settings[jaas]
    members[1].kill()
    members[1].start()
    wait_until(lambda: isrs(admin, TOPIC) == [{1, 2}], "the full ISR")


@pytest.mark.interop
@pytest.mark.slow
@pytest.mark.crash
@pytest.mark.timeout(600)
@pytest.mark.skipif("CLUSTER_TESTS" not in os.environ, reason="`make cluster` runs it")
@pytest.mark.parametrize(("mechanism", "protocol"), [("SCRAM-SHA-512", "SASL_SSL"), ("SCRAM-SHA-256", "SASL_PLAINTEXT")])
def test_beside_apache_kafka(
    tmp_path: Path, zookeeper_connect: str, members: list[MemberBroker], mechanism: str, protocol: str
) -> None:
    """Kafka is the controller, then one of ours; each broker leads and follows, is killed, and comes back."""
    store_credential(zookeeper_connect, mechanism)
    authority = Authority(tmp_path / "authority")
    ports = free_ports(3)
    more = {"offsets.topic.replication.factor": "3", f"{OWN}{mechanism.lower()}.connections.max.reauth.ms": "3000"}
    tls = {**encrypted(authority), OWN + "ssl.client.auth": "none"} if protocol == "SASL_SSL" else {}
    kafka_tls = stores(authority) if protocol == "SASL_SSL" else {}
    settings = {**tls, **guarded(mechanism, protocol), **more}
    kafka = Kafka(tmp_path, zookeeper_connect, 1, ports[0], {**settings, **kafka_tls})
    for number in (2, 3):
        members.append(MemberBroker(tmp_path, zookeeper_connect, number, ports[number - 1], settings))
    brokers: dict[int, MemberBroker | Kafka] = {1: kafka, 2: members[0], 3: members[1]}
    of_client = client(mechanism, *ports) | {"security.protocol": protocol.lower(), "ssl.ca.location": str(authority.trusted)}
    try:
        kafka.start()
        wait_until(lambda: "[KafkaServer id=1] started" in kafka.log(), "Kafka")
        for member in members:
            member.start()
        for member in members:
            member.wait()
        admin = AdminClient(of_client)
        wait_until(lambda: set(seen(admin).brokers) == {1, 2, 3} and seen(admin).controller_id == 1, "three brokers")
        admin.create_topics([NewTopic(TOPIC, 3, replica_assignment=[[1, 2, 3], [2, 3, 1], [3, 1, 2]])])[TOPIC].result()
        kill_each(admin, brokers, of_client)
        for member in members:
            assert member.terminate() == 0
        kafka.terminate()
        assert [line for member in members for line in member.errors()] == []
    except BaseException:
        print(kafka.log()[-20000:])
        raise
    finally:
        kafka.kill()
