"""An authorizer and brokers that are no super users: their user needs CLUSTER_ACTION on the cluster."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka.admin import AdminClient
from kazoo.client import KazooClient

from kafka_cy.authorizer.acls import AclEntry, Operation, PatternType, Permission, Resource, ResourceType
from kafka_cy.cluster.acl_formats import acl_data, acl_path, decode_acls
from tests.cluster.guarded_members import GuardedCluster, check_a_killed_leader, check_beside_kafka, guarded
from tests.cluster.member_broker import seen
from tests.cluster.zookeeper_ensemble import wait_until

JAAS = (
    "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required "
    'unsecuredLoginStringClaim_sub="broker" unsecuredLoginLifetimeSeconds="60";'
)
CLUSTER = Resource(ResourceType.CLUSTER, PatternType.LITERAL, "kafka-cluster")


def allowed(user: str, *operations: Operation) -> set[AclEntry]:
    return {AclEntry(f"User:{user}", "*", each, Permission.ALLOW) for each in operations}


def store(connect: str, *, brokers: bool) -> None:
    """As kafka-acls.sh with zookeeper.connect, before the first start: rights of clients, and perhaps of brokers."""
    every = allowed("ANONYMOUS", Operation.ALL)
    of_cluster = allowed("ANONYMOUS", Operation.CREATE, Operation.ALTER, Operation.DESCRIBE, Operation.IDEMPOTENT_WRITE)
    acls = {
        **{Resource(kind, PatternType.LITERAL, "*"): every for kind in
           (ResourceType.TOPIC, ResourceType.GROUP, ResourceType.TRANSACTIONAL_ID)},
        CLUSTER: of_cluster | (allowed("broker", Operation.CLUSTER_ACTION) if brokers else set()),
    }  # fmt: skip
    with zookeeper_at(connect) as (zookeeper, root):
        for resource, entries in acls.items():
            zookeeper.create(root + acl_path(resource), acl_data(sorted(entries)), makepath=True)


@contextmanager
def zookeeper_at(connect: str) -> Iterator[tuple[KazooClient, str]]:
    hosts, slash, chroot = connect.partition("/")
    zookeeper = KazooClient(hosts)
    zookeeper.start()
    try:
        yield zookeeper, slash + chroot
    finally:
        zookeeper.stop()
        zookeeper.close()


def let_brokers_in(connect: str) -> None:
    """As kafka-acls.sh with zookeeper.connect, while they run."""
    with zookeeper_at(connect) as (zookeeper, root):
        path = root + acl_path(CLUSTER)
        entries = decode_acls(zookeeper.get(path)[0]) | allowed("broker", Operation.CLUSTER_ACTION)
        zookeeper.set(path, acl_data(sorted(entries)))
        zookeeper.create(f"{root}/kafka-acl-changes/acl_changes_", b"CLUSTER:kafka-cluster", sequence=True)


def settings() -> dict[str, str]:
    return {
        **guarded("OAUTHBEARER", JAAS),
        "authorizer.class.name": "kafka.security.authorizer.AclAuthorizer",
        "offsets.topic.replication.factor": "3",
    }


def test_brokers_that_may(tmp_path: Path, zookeeper_connect: str) -> None:
    store(zookeeper_connect, brokers=True)
    with GuardedCluster(tmp_path, zookeeper_connect, 3, settings()) as cluster:
        check_a_killed_leader(cluster, cluster.start())
        assert "Principal = User:broker is Denied" not in cluster.lines()


def test_brokers_that_may_not(tmp_path: Path, zookeeper_connect: str) -> None:
    """They start, as in Kafka. Both sides say why nothing else happens."""
    store(zookeeper_connect, brokers=False)
    with GuardedCluster(tmp_path, zookeeper_connect, 2, settings()) as cluster:
        for member in cluster.members:
            member.start()
            member.wait()
        controller, other = cluster.members
        wait_until(lambda: "this broker is the controller" in controller.log(), "the controller")
        denied = "Principal = User:broker is Denied operation = CLUSTER_ACTION"
        wait_until(lambda: denied in other.log() and "for request = UpdateMetadata" in other.log(), "the denial")
        refused = f"broker {other.broker_id} refused UpdateMetadata: CLUSTER_AUTHORIZATION_FAILED"
        wait_until(lambda: refused in controller.log(), "the controller's line")
        let_brokers_in(zookeeper_connect)
        assert other.terminate() == 0
        other.start()
        admin = AdminClient(cluster.client)
        wait_until(lambda: set(seen(admin).brokers) == {1, 2}, "both brokers")


@pytest.mark.interop
@pytest.mark.slow
@pytest.mark.crash
@pytest.mark.timeout(600)
@pytest.mark.skipif("CLUSTER_TESTS" not in os.environ, reason="`make cluster` runs it")
def test_beside_apache_kafka(tmp_path: Path, zookeeper_connect: str) -> None:
    store(zookeeper_connect, brokers=True)
    with GuardedCluster(tmp_path, zookeeper_connect, 3, settings(), kafka={}) as cluster:
        check_beside_kafka(cluster, cluster.start())
        assert "Principal = User:broker is Denied" not in cluster.lines() + cluster.brokers[1].log()
