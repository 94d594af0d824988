"""ACLs through the tools and clients that users have: Kafka's own, confluent-kafka, and what they are told when they may not."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicCollection, TopicPartition
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    NewTopic,
    OffsetSpec,
    ResourcePatternType,
    ResourceType,
)
from java_tools import JavaTools

from kafka_cy.testing import Broker

pytestmark = [pytest.mark.interop, pytest.mark.timeout(300)]

PLAIN = "org.apache.kafka.common.security.plain.PlainLoginModule"
USERS = ("admin", "ann", "bob")
LITERAL, PREFIXED = ResourcePatternType.LITERAL, ResourcePatternType.PREFIXED
ALLOW, DENY = AclPermissionType.ALLOW, AclPermissionType.DENY


def login(broker: Broker, user: str) -> dict[str, Any]:
    return {
        "bootstrap.servers": broker.bootstrap_servers, "security.protocol": "SASL_PLAINTEXT", "log_level": 0,
        "sasl.mechanism": "PLAIN", "sasl.username": user, "sasl.password": f"{user}-secret",
    }  # fmt: skip


@dataclass(frozen=True)
class Guarded:
    """A broker with an authorizer, and how its users log in."""

    broker: Broker
    folder: Path
    admin: AdminClient

    def librdkafka(self, user: str) -> dict[str, Any]:
        return login(self.broker, user)

    def java(self, user: str) -> Path:
        path = self.folder / f"{user}.properties"
        path.write_text(
            "security.protocol=SASL_PLAINTEXT\nsasl.mechanism=PLAIN\n"
            f'sasl.jaas.config={PLAIN} required username="{user}" password="{user}-secret";\n'
        )
        return path


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    users = " ".join(f'user_{user}="{user}-secret"' for user in USERS)
    config: dict[str, object] = {
        "listener.security.protocol.map": "PLAINTEXT:SASL_PLAINTEXT",
        "sasl.enabled.mechanisms": "PLAIN",
        "listener.name.plaintext.plain.sasl.jaas.config": f"{PLAIN} required {users};",
        "authorizer.class.name": "kafka.security.authorizer.AclAuthorizer",
        "super.users": "User:admin",
        "offsets.topic.num.partitions": 5,
        "transaction.state.log.num.partitions": 5,
    }
    with Broker(config) as broker:
        yield Guarded(broker, tmp_path_factory.mktemp("clients"), AdminClient(login(broker, "admin")))


def new_topic(guarded: Guarded, prefix: str = "t") -> str:
    name = f"{prefix}-{uuid.uuid4().hex}"
    guarded.admin.create_topics([NewTopic(name, 1)])[name].result(60)
    return name


def allow(
    guarded: Guarded,
    user: str,
    kind: ResourceType,
    name: str,
    operation: AclOperation,
    *,
    pattern: ResourcePatternType = LITERAL,
    permission: AclPermissionType = ALLOW,
) -> AclBinding:
    acl = AclBinding(kind, name, pattern, f"User:{user}", "*", operation, permission)
    guarded.admin.create_acls([acl])[acl].result(60)
    return acl


def produced(guarded: Guarded, user: str, topic: str, **settings: Any) -> KafkaError | None:
    """The error of one record."""
    errors: list[KafkaError | None] = []
    producer = Producer({**guarded.librdkafka(user), "message.timeout.ms": 20000, **settings})
    producer.produce(topic, b"value", on_delivery=lambda error, message: errors.append(error))
    producer.flush(60)
    (error,) = errors
    return error


def consumed(guarded: Guarded, user: str, topic: str, group: str) -> bytes | int:
    """The first record, or the code of the first error."""
    consumer = Consumer({
        **guarded.librdkafka(user), "group.id": group, "auto.offset.reset": "earliest", "enable.auto.commit": False,
    })  # fmt: skip
    try:
        consumer.subscribe([topic])
        while True:
            message = consumer.poll(60)
            assert message is not None, "neither a record nor an error"
            error = message.error()
            if error is not None and error.code() != KafkaError._PARTITION_EOF:
                return int(error.code())
            if error is None:
                value = message.value()
                assert isinstance(value, bytes)
                return value
    finally:
        consumer.close()


def test_confluent_kafka_producer_and_consumer(guarded: Guarded) -> None:
    topic, group = new_topic(guarded), uuid.uuid4().hex
    denied = produced(guarded, "ann", topic)
    assert denied is not None and denied.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED
    write = allow(guarded, "ann", ResourceType.TOPIC, topic, AclOperation.WRITE)
    assert produced(guarded, "ann", topic) is None
    assert produced(guarded, "ann", topic, **{"enable.idempotence": True}) is None, "KIP-679: WRITE suffices"
    assert consumed(guarded, "ann", topic, group) == KafkaError.GROUP_AUTHORIZATION_FAILED
    allow(guarded, "ann", ResourceType.GROUP, group, AclOperation.READ)
    assert consumed(guarded, "ann", topic, group) == KafkaError.TOPIC_AUTHORIZATION_FAILED
    allow(guarded, "ann", ResourceType.TOPIC, topic[:10], AclOperation.READ, pattern=PREFIXED)
    assert consumed(guarded, "ann", topic, group) == b"value"
    allow(guarded, "ann", ResourceType.TOPIC, "*", AclOperation.READ, permission=DENY)
    assert consumed(guarded, "ann", topic, group) == KafkaError.TOPIC_AUTHORIZATION_FAILED, "DENY decides"
    guarded.admin.delete_acls([AclBindingFilter(ResourceType.TOPIC, "*", LITERAL, None, None, AclOperation.ANY, DENY)])
    removed = AclBindingFilter(ResourceType.TOPIC, topic, LITERAL, "User:ann", None, AclOperation.WRITE, ALLOW)
    (future,) = guarded.admin.delete_acls([removed]).values()
    assert list(future.result(60)) == [write]
    denied = produced(guarded, "ann", topic)
    assert denied is not None and denied.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED


def test_confluent_kafka_transactions(guarded: Guarded) -> None:
    topic, transactional_id = new_topic(guarded), uuid.uuid4().hex
    allow(guarded, "bob", ResourceType.TOPIC, topic, AclOperation.WRITE)
    settings = {**guarded.librdkafka("bob"), "transactional.id": transactional_id, "transaction.timeout.ms": 10000}
    with pytest.raises(KafkaException) as raised:
        Producer(settings).init_transactions(30)
    assert raised.value.args[0].code() == KafkaError.TRANSACTIONAL_ID_AUTHORIZATION_FAILED
    allow(guarded, "bob", ResourceType.TRANSACTIONAL_ID, transactional_id, AclOperation.WRITE)
    producer = Producer(settings)
    producer.init_transactions(60)
    producer.begin_transaction()
    producer.produce(topic, b"value")
    producer.commit_transaction(60)
    allow(guarded, "bob", ResourceType.TOPIC, topic, AclOperation.READ)
    allow(guarded, "bob", ResourceType.GROUP, "readers", AclOperation.READ)
    assert consumed(guarded, "bob", topic, "readers") == b"value"


def test_confluent_kafka_admin(guarded: Guarded) -> None:
    acl = allow(guarded, "é, x=y", ResourceType.TOPIC, "listed", AclOperation.DESCRIBE)
    shown = guarded.admin.describe_acls(
        AclBindingFilter(ResourceType.TOPIC, "listed", ResourcePatternType.MATCH, None, None, AclOperation.ANY,
                         AclPermissionType.ANY)
    ).result(60)  # fmt: skip
    assert acl in shown
    bob = AdminClient(guarded.librdkafka("bob"))
    everything = AclBindingFilter(
        ResourceType.ANY, None, ResourcePatternType.ANY, None, None, AclOperation.ANY, AclPermissionType.ANY
    )
    assert bob.describe_acls(everything).result(60) == [], "librdkafka drops the error"
    with pytest.raises(KafkaException) as raised:
        bob.create_acls([acl])[acl].result(60)
    assert raised.value.args[0].code() == KafkaError.CLUSTER_AUTHORIZATION_FAILED
    topic = new_topic(guarded, "hidden")
    assert topic not in bob.list_topics(timeout=60).topics
    with pytest.raises(KafkaException) as raised:
        bob.create_topics([NewTopic("bobs", 1)])["bobs"].result(60)
    assert raised.value.args[0].code() == KafkaError.TOPIC_AUTHORIZATION_FAILED
    allow(guarded, "bob", ResourceType.TOPIC, "bobs", AclOperation.CREATE, pattern=PREFIXED)
    bob.create_topics([NewTopic("bobs", 1)])["bobs"].result(60)
    allow(guarded, "bob", ResourceType.TOPIC, "bobs", AclOperation.READ, pattern=PREFIXED)
    (described,) = bob.describe_topics(TopicCollection(["bobs"]), include_authorized_operations=True).values()
    assert {each.name for each in described.result(60).authorized_operations} == {"CREATE", "READ", "DESCRIBE"}


def test_kafka_acls_and_the_console_tools(guarded: Guarded, java: JavaTools) -> None:
    topic, group = new_topic(guarded), uuid.uuid4().hex
    bootstrap = ("--bootstrap-server", guarded.broker.bootstrap_servers)

    def acls(*arguments: str) -> str:
        return java.check("AclCommand", *bootstrap, "--command-config", guarded.java("admin"), *arguments).out

    def produce(user: str, text: str) -> str:
        result = java.run(
            "ConsoleProducer", *bootstrap, "--topic", topic, "--command-config", guarded.java(user), stdin=f"{text}\n"
        )
        return result.out + result.err

    def consume(user: str) -> str:
        result = java.run(
            "consumer.ConsoleConsumer", *bootstrap, "--topic", topic, "--group", group, "--from-beginning", "--max-messages",
            "1", "--timeout-ms", "30000", "--command-config", guarded.java(user),
        )  # fmt: skip
        return result.out + result.err

    def denials(resource: str) -> int:
        """What a tool prints of an error depends on which one the JVM ran first."""
        of_bob = [line for line in guarded.broker.log_text().splitlines() if "Principal = User:bob is Denied" in line]
        return sum(f"{resource}:LITERAL:{group if resource == 'Group' else topic}" in line for line in of_bob)

    produce("bob", "denied")
    assert denials("Topic") == 1
    acls("--add", "--allow-principal", "User:bob", "--producer", "--topic", topic)
    assert "Exception" not in produce("bob", "hello")
    assert "hello" not in consume("bob") and denials("Group") == 1
    acls("--add", "--allow-principal", "User:bob", "--consumer", "--topic", topic, "--group", group)
    assert "hello" in consume("bob").splitlines()
    listed = acls("--list", "--topic", topic)
    for operation in ("WRITE", "DESCRIBE", "CREATE", "READ"):
        assert f"(principal=User:bob, host=*, operation={operation}, permissionType=ALLOW)" in listed
    acls("--remove", "--allow-principal", "User:bob", "--producer", "--topic", topic, "--force")
    assert "operation=WRITE" not in acls("--list", "--topic", topic)
    produce("bob", "denied")
    asked = {TopicPartition(topic, 0): OffsetSpec.latest()}
    (end,) = guarded.admin.list_offsets(asked).values()
    assert end.result(60).offset == 1, "only hello is there"
    refused = java.run("AclCommand", *bootstrap, "--command-config", guarded.java("bob"), "--list")
    assert "ClusterAuthorizationException" in refused.out + refused.err
