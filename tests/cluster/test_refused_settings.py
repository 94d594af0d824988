"""A broker in a cluster with a real ZooKeeper that refuses it the settings of a topic: an operator has set an ACL."""

from __future__ import annotations

import urllib.request
from pathlib import Path
from uuid import uuid4

import pytest
from confluent_kafka import KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource
from kazoo.client import KazooClient
from kazoo.security import make_acl

from kafka_cy.cluster.change_formats import ConfigChange
from kafka_cy.cluster.znode_formats import TopicAssignment
from kafka_cy.testing.broker import free_ports
from tests.cluster.member_broker import MemberBroker, seen
from tests.cluster.test_member import config_of, consumed
from tests.cluster.zookeeper_ensemble import Ensemble, wait_until

NOBODY = [make_acl("world", "anyone", admin=True)]
EVERYBODY = [make_acl("world", "anyone", all=True)]
GOOD = b'{"version":1,"config":{"retention.ms":"7000000"}}'
BAD = b'{"version":1,"config":{"retention.ms":"abc"}}'
SMALL = b'{"version":1,"config":{"retention.ms":"-1","segment.bytes":"65536"}}'  # Kafka 3 allows it


def shown(metrics_port: int) -> tuple[float, ...]:
    """The metrics: replicas that wait for settings, and topics without settings."""
    with urllib.request.urlopen(f"http://127.0.0.1:{metrics_port}/metrics") as page:
        lines = page.read().decode().splitlines()
    values = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    return tuple(float(values[name]) for name in ("kafkacy_replicas_waiting_for_settings", "kafkacy_topics_without_settings"))


def create(client: KazooClient, topic: str) -> None:
    """As the tools of Kafka that write to ZooKeeper; the settings come first."""
    client.create(f"/config/topics/{topic}", {"malformed": b"{", "bad": BAD, "small": SMALL}.get(topic, GOOD))
    if topic == "refused":
        client.set_acls(f"/config/topics/{topic}", NOBODY)
    client.create(f"/brokers/topics/{topic}", TopicAssignment(uuid4(), {0: (1,)}).encode())


def test_settings_that_may_not_be_read_hold_up_no_other_topic(
    tmp_path: Path, one_zookeeper: Ensemble, zookeeper_connect: str, chroot: str
) -> None:
    port, metrics_port = free_ports(2)
    more = {"kafkacy.metrics.listen": f"127.0.0.1:{metrics_port}"}
    with one_zookeeper.client() as anybody:  # before the cluster has its folder
        anybody.ensure_path(f"{chroot}/config/topics")
        anybody.create(f"{chroot}/config/topics/earlier", acl=NOBODY)
    with MemberBroker(tmp_path, zookeeper_connect, 1, port, more) as member, one_zookeeper.client(chroot) as other:
        member.wait()
        admin = AdminClient({"bootstrap.servers": f"127.0.0.1:{port}"})
        wait_until(lambda: seen(admin).controller_id == 1, "a controller")
        create(other, "refused")
        wait_until(lambda: "refused" in seen(admin).topics, "the topic whose settings may not be read")
        create(other, "malformed")
        create(other, "bad")
        create(other, "small")
        create(other, "t")
        wait_until(lambda: "t" in seen(admin).topics, "a topic that comes later")
        assert config_of(admin, "t", "retention.ms") == "7000000"
        assert "the settings of topics may not be read topics=1 first=/config/topics/earlier" in member.log()
        assert "the settings of its topic are malformed or not allowed" in member.log() and "refused-0" in member.log()
        assert "stored settings are malformed path=/config/topics/malformed" in member.log()
        assert "a stored setting of a topic is not allowed topic=bad key=retention.ms value=abc" in member.log()
        wait_until(lambda: shown(metrics_port) == (3, 4), "the metrics")
        other.set_acls("/config/topics/refused", EVERYBODY)
        entry = ConfigEntry("max.message.bytes", "2000000", incremental_operation=AlterConfigOpType.SET)
        for topic, why in (("malformed", "cannot be read"), ("small", "segment.bytes"), ("bad", "retention.ms")):
            resource = ConfigResource(ConfigResource.Type.TOPIC, topic, incremental_configs=[entry])
            with pytest.raises(KafkaException, match=why):
                admin.incremental_alter_configs([resource])[resource].result(60)
        assert other.get("/config/topics/malformed")[0] == b"{" and other.get("/config/topics/small")[0] == SMALL
        for topic in ("malformed", "bad"):
            other.set(f"/config/topics/{topic}", GOOD)  # no notification tells of it
        for topic in ("refused", "malformed", "bad"):
            wait_until(lambda topic=topic: config_of(admin, topic, "retention.ms") == "7000000", "the settings")
        wait_until(lambda: shown(metrics_port)[0] == 0, "the metrics")
        # The controller has told of the replica once. It takes its role all the same.
        producer = Producer({"bootstrap.servers": f"127.0.0.1:{port}"})
        for topic in ("refused", "malformed", "bad", "small"):
            producer.produce(topic, b"a record")
        assert producer.flush(60) == 0
        for topic in ("refused", "malformed", "bad", "small"):
            assert consumed(port, topic, 1) == [b"a record"]
        other.set("/config/topics/bad", BAD)
        other.create("/config/changes/config_change_", ConfigChange("topics/bad").encode(), sequence=True)
        wait_until(lambda: shown(metrics_port) == (0, 2), "the metrics")
        deleted = admin.delete_records([TopicPartition("bad", 0, 1)])  # the settings of before are in force
        assert [each.result(60).low_watermark for each in deleted.values()] == [1]
        member.terminate()
        member.start()
        wait_until(lambda: "topic bad has a stored setting that is not allowed" in member.log(), "the reason")
        assert "repair the node /config/topics/bad in ZooKeeper" in member.log()
