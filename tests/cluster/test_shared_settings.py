"""Two brokers of a cluster change the settings of one topic at the same time: both changes stay."""

from __future__ import annotations

from pathlib import Path

from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from kafka_cy.cluster.znode_formats import decode_config
from kafka_cy.testing.broker import free_ports
from tests.cluster.member_broker import MemberBroker, seen
from tests.cluster.zookeeper_ensemble import Ensemble, wait_until

ROUNDS = 30
KEYS = ("retention.ms", "segment.bytes")  # one for each broker
LEAST = 1 << 20


def test_both_changes_stay(tmp_path: Path, one_zookeeper: Ensemble, zookeeper_connect: str, chroot: str) -> None:
    ports = free_ports(2)
    first, second = (MemberBroker(tmp_path, zookeeper_connect, index + 1, port) for index, port in enumerate(ports))
    with first, second, one_zookeeper.client() as zookeeper:
        first.wait()
        second.wait()
        admins = [AdminClient({"bootstrap.servers": f"127.0.0.1:{port}"}) for port in ports]
        wait_until(lambda: len(seen(admins[0]).brokers) == 2, "both brokers")
        admins[0].create_topics([NewTopic("t", 1, 1)])["t"].result(30)
        wait_until(lambda: all("t" in seen(each).topics for each in admins), "the topic")
        for number in range(ROUNDS):
            value = str(LEAST + number)
            futures = []
            for admin, key in zip(admins, KEYS, strict=True):
                entry = ConfigEntry(key, value, incremental_operation=AlterConfigOpType.SET)
                resource = ConfigResource(ResourceType.TOPIC, "t", incremental_configs=[entry])
                futures += admin.incremental_alter_configs([resource]).values()
            for future in futures:
                future.result(30)
            assert decode_config(zookeeper.get(f"{chroot}/config/topics/t")[0]) == dict.fromkeys(KEYS, value)
        assert first.errors() == second.errors() == []
