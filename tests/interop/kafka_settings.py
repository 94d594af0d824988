"""Makes every kind of setting that kafka-cy takes over from Apache Kafka's metadata, on a running Apache Kafka."""

from __future__ import annotations

import time
from collections.abc import Callable

from confluent_kafka import Consumer, KafkaException
from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewPartitions,
    NewTopic,
    ResourcePatternType,
    ResourceType,
    ScramCredentialInfo,
    ScramMechanism,
    UserScramCredentialDeletion,
    UserScramCredentialUpsertion,
)
from java_tools import JavaTools

# Needed for ACLs: without one, only super users have access, so every plaintext client is a super user.
AUTHORIZER = {
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": "User:ANONYMOUS",
}
TOPIC_CONFIGS: dict[str, dict[str, str]] = {
    "unlimited": {"retention.ms": "-1", "segment.bytes": "1048576"},
    "compacted": {"cleanup.policy": "compact", "segment.bytes": "1048576", "min.compaction.lag.ms": "1000"},
    "both": {"cleanup.policy": "compact,delete", "retention.ms": "-1"},
    "grown": {},
    "recreated": {"retention.bytes": "123456789"},
    "changed": {"max.message.bytes": "2000000"},
}
SALT = b"0123456789abcdef"


def retry(change: Callable[[], object]) -> None:
    """Repeat a change until the broker knows what it needs: its metadata follows the controller some milliseconds later."""
    deadline = time.monotonic() + 30
    while True:
        try:
            change()
        except KafkaException:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)
        else:
            return


def make_topics(admin: AdminClient) -> None:
    first = [NewTopic(name, 2, 1, config=dict(config)) for name, config in TOPIC_CONFIGS.items() if name != "recreated"]
    first += [NewTopic("deleted", 3, 1, config={"retention.ms": "1000"})]
    first += [NewTopic("recreated", 1, 1, config={"cleanup.policy": "compact"})]
    for future in admin.create_topics(first).values():
        future.result(60)
    for future in admin.create_partitions([NewPartitions("grown", 4)]).values():
        future.result(60)
    retry(lambda: [future.result(60) for future in admin.delete_topics(["deleted", "recreated"]).values()])
    again = NewTopic("recreated", 2, 1, config=dict(TOPIC_CONFIGS["recreated"]))
    retry(lambda: admin.create_topics([again])["recreated"].result(60))


def set_configs(admin: AdminClient) -> None:
    def alter(kind: ConfigResource.Type, name: str, **values: str | None) -> None:
        entries = [
            ConfigEntry(
                key.replace("_", "."),
                value if value is not None else "",
                incremental_operation=AlterConfigOpType.SET if value is not None else AlterConfigOpType.DELETE,
            )
            for key, value in values.items()
        ]
        resource = ConfigResource(kind, name, incremental_configs=entries)
        admin.incremental_alter_configs([resource])[resource].result(60)

    kind = ConfigResource.Type
    alter(kind.TOPIC, "changed", retention_ms="5000", flush_ms="7")
    alter(kind.TOPIC, "changed", retention_ms=None, flush_ms=None)
    alter(kind.BROKER, "1", log_cleaner_threads="2")


def set_users(admin: AdminClient) -> None:
    def credential(user: str, mechanism: ScramMechanism, password: bytes) -> UserScramCredentialUpsertion:
        return UserScramCredentialUpsertion(user, ScramCredentialInfo(mechanism, 4096), password, SALT)

    changes: list[UserScramCredentialUpsertion] = [
        credential("alice", ScramMechanism.SCRAM_SHA_256, b"alice-secret"),
        credential("bob", ScramMechanism.SCRAM_SHA_256, b"bob-secret"),
        credential("Jörg & Söhne", ScramMechanism.SCRAM_SHA_512, b"x"),
    ]
    for future in admin.alter_user_scram_credentials(changes).values():
        future.result(60)
    more = [credential("alice", ScramMechanism.SCRAM_SHA_512, b"alice-secret")]
    admin.alter_user_scram_credentials(more)["alice"].result(60)
    gone = [UserScramCredentialDeletion("bob", ScramMechanism.SCRAM_SHA_256)]
    retry(lambda: admin.alter_user_scram_credentials(gone)["bob"].result(60))


def set_acls(admin: AdminClient) -> None:
    def binding(
        kind: ResourceType, name: str, pattern: ResourcePatternType, user: str, operation: AclOperation,
        permission: AclPermissionType = AclPermissionType.ALLOW, host: str = "*",
    ) -> AclBinding:  # fmt: skip
        return AclBinding(kind, name, pattern, f"User:{user}", host, operation, permission)

    literal, prefixed = ResourcePatternType.LITERAL, ResourcePatternType.PREFIXED
    bindings = [
        binding(ResourceType.TOPIC, "compacted", literal, "alice", AclOperation.READ),
        binding(ResourceType.TOPIC, "compacted", literal, "bob", AclOperation.ALL, AclPermissionType.DENY, "10.0.0.9"),
        binding(ResourceType.TOPIC, "com", prefixed, "alice", AclOperation.DESCRIBE_CONFIGS),
        binding(ResourceType.GROUP, "*", literal, "alice", AclOperation.READ),
        binding(ResourceType.BROKER, "kafka-cluster", literal, "alice", AclOperation.IDEMPOTENT_WRITE),
        binding(ResourceType.TOPIC, "gone", literal, "alice", AclOperation.WRITE),
    ]
    for future in admin.create_acls(bindings).values():
        future.result(60)
    gone = AclBindingFilter(
        ResourceType.TOPIC, "gone", literal, None, None, AclOperation.ANY, AclPermissionType.ANY
    )  # fmt: skip
    assert len(admin.delete_acls([gone])[gone].result(60)) == 1


def set_with_kafkas_tool(address: str, java: JavaTools) -> None:
    """Set what librdkafka's admin client cannot set: quotas, groups, client metrics, broker defaults."""
    common = ("--bootstrap-server", address, "--alter")
    for entity, values in (
        (("--entity-type", "users", "--entity-name", "alice"), "producer_byte_rate=1048576,request_percentage=12.5"),
        (("--entity-type", "users", "--entity-name", "alice", "--entity-type", "clients", "--entity-name", "app"),
         "consumer_byte_rate=2048"),
        (("--entity-type", "clients", "--entity-default"), "consumer_byte_rate=4096000000"),
        (("--entity-type", "users", "--entity-default"), "controller_mutation_rate=3000"),
        (("--entity-type", "ips", "--entity-name", "10.0.0.1"), "connection_creation_rate=7"),
        (("--entity-type", "groups", "--entity-name", "g1"), "consumer.session.timeout.ms=50000"),
        (("--entity-type", "client-metrics", "--entity-name", "m1"), "interval.ms=60000,metrics=[org.apache.kafka]"),
        (("--entity-type", "brokers", "--entity-default"), "log.flush.interval.ms=12345"),
    ):  # fmt: skip
        java.check("kafka.admin.ConfigCommand", *common, *entity, "--add-config", values)
    java.check(
        "kafka.admin.ConfigCommand", *common, "--entity-type", "users", "--entity-default",
        "--add-config", "producer_byte_rate=9",
    )  # fmt: skip
    java.check(
        "kafka.admin.ConfigCommand", *common, "--entity-type", "users", "--entity-default",
        "--delete-config", "producer_byte_rate",
    )  # fmt: skip


def make_settings(address: str, java: JavaTools) -> None:
    """All of them."""
    admin = AdminClient({"bootstrap.servers": address})
    make_topics(admin)
    set_configs(admin)
    set_users(admin)
    set_acls(admin)
    set_with_kafkas_tool(address, java)


def consume_once(address: str, topic: str) -> None:
    """Create `__consumer_offsets` if it is missing."""
    consumer = Consumer({"bootstrap.servers": address, "group.id": "once", "auto.offset.reset": "earliest"})
    consumer.subscribe([topic])
    consumer.poll(10)
    consumer.close()
