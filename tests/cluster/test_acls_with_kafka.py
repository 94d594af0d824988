"""ACLs beside Apache Kafka 3.9.2 with its AclAuthorizer: each sees what the other creates and deletes, in the same nodes."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest
from raw_client import RawClient

from kafka_cy.authorizer.acls import (
    AclEntry,
    AclFilter,
    Operation,
    PatternType,
    Permission,
    Resource,
    ResourceType,
    why_invalid,
)
from kafka_cy.cluster.acl_formats import acl_path, decode_acls
from kafka_cy.testing.broker import free_ports
from tests.cluster.kafka39 import Kafka
from tests.cluster.store_owner import Owner
from tests.cluster.test_acl_store import member
from tests.cluster.zookeeper_ensemble import Ensemble, wait_until

AUTHORIZER = {"authorizer.class.name": "kafka.security.authorizer.AclAuthorizer", "super.users": "User:ANONYMOUS"}
LITERAL, PREFIXED = PatternType.LITERAL, PatternType.PREFIXED
NAMES = ("a", "a b", "100%", "é", "*", '"q"', "User:bob", "x\\y")
State = dict[Resource, frozenset[AclEntry]]


def random_acls(chance: random.Random) -> State:
    """Every type, pattern, operation and permission, with odd names and hosts."""
    acls: dict[Resource, set[AclEntry]] = {}
    for operation in set(Operation) - {Operation.ANY, Operation.TWO_PHASE_COMMIT}:
        for _ in range(4):
            kind = chance.choice([each for each in ResourceType if each not in (ResourceType.ANY, ResourceType.CLUSTER)])
            resource = Resource(kind, chance.choice((LITERAL, PREFIXED)), chance.choice(NAMES))
            entry = AclEntry(
                chance.choice(("User:alice", "User:*", 'User:CN=a "b",O=é', "Group:x", "User:")),
                chance.choice(("*", "127.0.0.1", "10.0.0.0/8", "host")),
                operation,
                chance.choice((Permission.ALLOW, Permission.DENY)),
            )
            acls.setdefault(resource, set()).add(entry)
    acls[Resource(ResourceType.CLUSTER, LITERAL, "kafka-cluster")] = {
        AclEntry("User:alice", "*", Operation.CLUSTER_ACTION, Permission.ALLOW)
    }
    return {resource: frozenset(entries) for resource, entries in acls.items()}


def described(client: RawClient) -> State:
    everything = {
        "resource_type_filter": 1, "resource_name_filter": None, "pattern_type_filter": 1, "principal_filter": None,
        "host_filter": None, "operation": 1, "permission_type": 1,
    }  # fmt: skip
    return {
        Resource(each["resource_type"], each["pattern_type"], each["resource_name"]): frozenset(
            AclEntry(acl["principal"], acl["host"], acl["operation"], acl["permission_type"]) for acl in each["acls"]
        )
        for each in client.request(29, 3, everything)["resources"]
    }


def creation(resource: Resource, entry: AclEntry) -> dict[str, Any]:
    return {
        "resource_type": resource.resource_type, "resource_pattern_type": resource.pattern_type,
        "resource_name": resource.name, "principal": entry.principal, "host": entry.host,
        "operation": entry.operation, "permission_type": entry.permission,
    }  # fmt: skip


@pytest.mark.interop
@pytest.mark.slow
def test_acls_beside_kafka(tmp_path: Path, one_zookeeper: Ensemble, zookeeper_connect: str, chroot: str) -> None:
    (port,) = free_ports(1)
    with (
        Kafka(tmp_path, zookeeper_connect, 1, port, AUTHORIZER) as kafka,
        Owner(zookeeper_connect) as owner,
        one_zookeeper.client(chroot) as other,
    ):
        wait_until(lambda: "[KafkaServer id=1] started" in kafka.log(), "Kafka")
        broker, client = member(owner), RawClient(f"127.0.0.1:{port}")
        ours = random_acls(random.Random(1))
        ended = broker.add(ours)
        owner.run_until(lambda: ended)
        assert ended[0][1] is None and set(ended[0][0].values()) == {None}
        owner.run_until(lambda: described(client) == ours)

        theirs = random_acls(random.Random(2))
        creations = [creation(resource, entry) for resource, entries in theirs.items() for entry in entries]
        assert {each["error_code"] for each in client.request(30, 3, {"creations": creations})["results"]} == {0}
        both = {each: ours.get(each, frozenset()) | theirs.get(each, frozenset()) for each in {**ours, **theirs}}
        owner.run_until(lambda: broker.state == both)
        assert described(client) == both == {each: decode_acls(other.get(acl_path(each))[0]) for each in both}

        ended = broker.remove(theirs)
        left = {each: entries - theirs.get(each, frozenset()) for each, entries in ours.items()}
        left = {each: entries for each, entries in left.items() if entries}
        owner.run_until(lambda: ended and described(client) == left)
        assert broker.state == left
        wanted = AclFilter()
        everything = {
            "resource_type_filter": wanted.resource_type, "pattern_type_filter": wanted.pattern_type, "operation": 1,
            "permission_type": 1, "resource_name_filter": None, "principal_filter": None, "host_filter": None,
        }  # fmt: skip
        client.request(31, 3, {"filters": [everything]})
        owner.run_until(lambda: broker.state == {})
        assert not any(other.exists(acl_path(each)) for each in both)

        refused = Resource(ResourceType.GROUP, LITERAL, "a/b")
        entry = AclEntry("User:a", "*", Operation.READ, Permission.ALLOW)
        assert client.request(30, 3, {"creations": [creation(refused, entry)]})["results"][0]["error_code"] != 0
        assert why_invalid(refused, entry)
        client.close()
    assert [line for line in kafka.log().splitlines() if line.startswith("ERROR") and "a/b" not in line] == []
