"""ACLs of a cluster with ZooKeeper: kafka-cy and Apache Kafka 3.9 with its AclAuthorizer read and change the same ones."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping
from pathlib import Path

import pytest
from confluent_kafka import KafkaError, Producer
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    NewTopic,
    ResourcePatternType,
    ResourceType,
)

from kafka_cy.authorizer.acls import AclEntry, Operation, Permission
from kafka_cy.cluster.acl_formats import acl_data
from kafka_cy.testing.broker import free_ports
from tests.cluster.kafka39 import Kafka
from tests.cluster.member_broker import MemberBroker, seen
from tests.cluster.zookeeper_ensemble import Ensemble, wait_until

# Nobody logs in here: a resource without ACLs is everybody's.
SETTINGS = {
    "authorizer.class.name": "kafka.security.authorizer.AclAuthorizer",
    "allow.everyone.if.no.acl.found": "true",
    "super.users": "User:nobody",
}
ALL = AclBindingFilter(
    ResourceType.ANY, None, ResourcePatternType.ANY, None, None, AclOperation.ANY, AclPermissionType.ANY
)


def admin_of(port: int) -> AdminClient:
    return AdminClient({"bootstrap.servers": f"127.0.0.1:{port}", "log_level": 0})


def acl(topic: str, pattern: ResourcePatternType = ResourcePatternType.LITERAL) -> AclBinding:
    """Somebody else may write: so nobody else may."""
    return AclBinding(
        ResourceType.TOPIC, topic, pattern, "User:another", "*", AclOperation.WRITE, AclPermissionType.ALLOW
    )


def is_denied(port: int, topic: str) -> bool:
    errors: list[KafkaError | None] = []
    producer = Producer({"bootstrap.servers": f"127.0.0.1:{port}", "message.timeout.ms": 10000, "log_level": 0})
    producer.produce(topic, b"value", on_delivery=lambda error, message: errors.append(error))
    producer.flush(60)
    (error,) = errors
    return error is not None and error.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED


def check_topic(
    admins: Mapping[int, AdminClient], changed: int, other: int, topic: str, pattern: ResourcePatternType
) -> None:
    """An ACL that is created at one broker counts at the other, and one that is deleted there counts here no more."""
    assert not is_denied(other, topic) and not is_denied(changed, topic)
    name = topic if pattern is ResourcePatternType.LITERAL else topic[:20]
    binding = acl(name, pattern)
    admins[changed].create_acls([binding])[binding].result(60)
    shown = AclBindingFilter(ResourceType.TOPIC, name, pattern, None, None, AclOperation.ANY, AclPermissionType.ANY)
    wait_until(
        lambda: all(each.describe_acls(shown).result(60) == [binding] for each in admins.values()), "the ACL everywhere"
    )
    wait_until(lambda: is_denied(other, topic), "the other broker to deny")
    admins[other].delete_acls([shown])[shown].result(60)
    wait_until(lambda: not is_denied(changed, topic), "the right to be back")


@pytest.mark.timeout(300)
def test_both_brokers_share_them(tmp_path: Path, one_zookeeper: Ensemble, zookeeper_connect: str, chroot: str) -> None:
    ports = free_ports(2)
    ours = MemberBroker(tmp_path, zookeeper_connect, 1, ports[0], SETTINGS)
    kafka = Kafka(tmp_path, zookeeper_connect, 2, ports[1], SETTINGS)
    try:
        ours.start()
        ours.wait()
        kafka.start()
        admin = admin_of(ours.port)
        wait_until(lambda: len(seen(admin).brokers) == 2, "both brokers")
        admins = {ours.port: admin, kafka.port: admin_of(kafka.port)}
        for changed, other in ((ours.port, kafka.port), (kafka.port, ours.port)):
            for pattern in (ResourcePatternType.LITERAL, ResourcePatternType.PREFIXED):
                topics = [f"t-{uuid.uuid4().hex}" for _ in ports]
                # A leader on each broker, so that each of them decides.
                wanted = [
                    NewTopic(name, 1, replica_assignment=[[broker]]) for name, broker in zip(topics, (1, 2), strict=True)
                ]
                for future in admin.create_topics(wanted).values():
                    future.result(60)
                for topic in topics:
                    check_topic(admins, changed, other, topic, pattern)
        kept = acl("kept")
        admins[kafka.port].create_acls([kept])[kept].result(60)
        kafka.terminate()
        ours.kill()
        ours.start()
        ours.wait()
        admin = admin_of(ours.port)
        wait_until(lambda: seen(admin).controller_id == 1, "the controller")  # librdkafka waits for ever if it begins earlier
        assert admin.describe_acls(ALL).result(60) == [kept], "from the start on"
        with one_zookeeper.client(chroot) as client:
            value, _ = client.get("/kafka-acl/Topic/kept")
            assert json.loads(value)["acls"] == [
                {"principal": "User:another", "permissionType": "Allow", "operation": "Write", "host": "*"}
            ]
        assert not ours.errors()
    finally:
        ours.kill()
        kafka.kill()


SLOW = """
import sys
from pathlib import Path
from kafka_cy.__main__ import main
from kafka_cy.server.cluster_member import ClusterMember
from tests.waiting import wait_until

def open_logs(self, logs, folder=Path({folder!r}), open_logs=ClusterMember.open_logs):
    (folder / "recovers").touch()
    wait_until((folder / "go on").exists, "the end of the recovery")
    open_logs(self, logs)

ClusterMember.open_logs = open_logs
sys.exit(main())
"""


def test_what_changes_during_a_slow_start(
    tmp_path: Path, one_zookeeper: Ensemble, zookeeper_connect: str, chroot: str
) -> None:
    """Its notifications are gone before the logs are recovered: the first client is served by what is stored then."""
    (port,) = free_ports(1)
    ours = MemberBroker(tmp_path, zookeeper_connect, 1, port, SETTINGS)
    ours.program = ["-c", SLOW.format(folder=str(tmp_path))]
    path = f"{chroot}/kafka-acl/Topic"
    node = acl_data([AclEntry("User:x", "*", Operation.WRITE, Permission.ALLOW)])
    with one_zookeeper.client() as client:
        client.ensure_path(path)
        client.create(f"{path}/revoked", node)
        with ours:
            wait_until((tmp_path / "recovers").exists, "the ACLs to be read")
            client.delete(f"{path}/revoked")
            client.create(f"{path}/new", node)
            (tmp_path / "go on").touch()
            ours.wait()
            admin = admin_of(ours.port)
            wait_until(lambda: seen(admin).controller_id == 1, "the controller")
            assert [each.name for each in admin.describe_acls(ALL).result(60)] == ["new"]
            assert not ours.errors()
