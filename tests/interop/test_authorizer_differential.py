"""The same random ACLs and questions for Apache Kafka 4.3.1 with its StandardAuthorizer and for ours: the same verdicts.

Kafka's verdicts are read from the bit fields of its answers where a user may DESCRIBE, and from errors of requests that need the
operation. Filters and refused creations are compared, too.
"""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from apache_kafka import start_apache_kafka
from differential_cases import batch
from foreign_tools import require
from java_tools import KAFKA_JARS
from raw_client import Closed, RawClient

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
from kafka_cy.authorizer.authorizer import Authorizer
from kafka_cy.testing.broker import free_ports

pytestmark = [pytest.mark.interop, pytest.mark.timeout(300)]

USERS = ("alice", "bob", "carol d")
TOPICS = ("a", "ab", "abc", "abd", "b", "hardcode", "x.y")
GROUPS = ("g", "group", "a/b", "é")
TRANSACTIONAL = ("x", "xy", "tx 1")
PASSWORD = "secret"
HOST = "127.0.0.1"
HOSTS = ("*", "*", "*", HOST, HOST, "10.0.0.1", "127.0.0.0/8", "localhost")
T, G, C, X = ResourceType.TOPIC, ResourceType.GROUP, ResourceType.CLUSTER, ResourceType.TRANSACTIONAL_ID
TAF, GAF, CAF, XAF = 29, 30, 31, 53
ROUNDS = 15
Acls = dict[Resource, set[AclEntry]]
Verdicts = dict[tuple[str, str], bool | int]  # (what was asked, name)

_LOGIN = " ".join([f'user_{name}="{PASSWORD}"' for name in ("admin", *USERS[:2])] + [f'"user_{USERS[2]}"="{PASSWORD}"'])
SETTINGS = {
    "listener.security.protocol.map": "PLAINTEXT:SASL_PLAINTEXT,CONTROLLER:PLAINTEXT",
    "inter.broker.listener.name": "PLAINTEXT",
    "sasl.enabled.mechanisms": "PLAIN",
    "sasl.mechanism.inter.broker.protocol": "PLAIN",
    "listener.name.plaintext.plain.sasl.jaas.config": (
        "org.apache.kafka.common.security.plain.PlainLoginModule required "
        f'username="admin" password="{PASSWORD}" {_LOGIN};'
    ),
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": "User:admin;User:ANONYMOUS",
    "auto.create.topics.enable": "false",
    "offsets.topic.num.partitions": "1",
}


def login(address: str, user: str) -> RawClient:
    client = RawClient(address)
    assert client.request(17, 1, {"mechanism": "PLAIN"})["error_code"] == 0
    assert client.request(36, 2, {"auth_bytes": f"\0{user}\0{PASSWORD}".encode()})["error_code"] == 0
    return client


def until(condition: Callable[[], object], what: str, deadline_s: float = 60) -> None:
    deadline = time.monotonic() + deadline_s
    while True:
        try:
            if condition():
                return
        except (OSError, Closed):
            pass
        assert time.monotonic() < deadline, what
        time.sleep(0.05)


@pytest.fixture(scope="module", params=[False, True], ids=["nobody", "everyone"])
def everyone(request: pytest.FixtureRequest) -> bool:
    """allow.everyone.if.no.acl.found."""
    return bool(request.param)


@pytest.fixture(scope="module")
def kafka(tmp_path_factory: pytest.TempPathFactory, everyone: bool) -> Iterator[str]:
    require(shutil.which("java"), "java")
    require(KAFKA_JARS.is_dir(), f"Apache Kafka in {KAFKA_JARS}")
    folder: Path = tmp_path_factory.mktemp("kafka")
    port, controller_port = free_ports(2)
    more = {"allow.everyone.if.no.acl.found": str(everyone).lower()}
    process = start_apache_kafka(folder, port, controller_port, SETTINGS | more)
    address = f"{HOST}:{port}"
    try:
        until(lambda: login(address, "admin").request(3, 12, {"topics": []})["brokers"], "Kafka does not start")
        topics = [{"name": name, "num_partitions": 1, "replication_factor": 1} for name in TOPICS]
        login(address, "admin").request(19, 7, {"topics": topics, "timeout": 10000})
        until(lambda: all(known(address)), "the topics are not there")
        until(lambda: coordinates(address), "there is no coordinator")
        yield address
    finally:
        process.kill()
        process.wait()


def known(address: str) -> list[bool]:
    topics = [{"name": name} for name in TOPICS]
    return [each["error_code"] == 0 for each in login(address, "admin").request(3, 12, {"topics": topics})["topics"]]


def coordinates(address: str) -> bool:
    admin = login(address, "admin")
    admin.request(10, 4, {"key_type": 0, "coordinator_keys": ["g"]})
    wanted = {"groups": list(GROUPS), "include_authorized_operations": True}
    return all(each["error_code"] == 0 for each in admin.request(15, 5, wanted)["groups"])


# -- Kafka's verdicts --


def topic_verdicts(client: RawClient, name: str) -> Verdicts:
    """What errors say about one topic."""
    partition: dict[str, Any] = {"partition_index": 0, "partition": 0, "index": 0, "offset": 0}
    fetched = client.request(
        1, 12, {"replica_id": -1, "max_bytes": 1, "session_epoch": -1, "topics": [
            {"topic": name, "partitions": [{"partition": 0, "partition_max_bytes": 1, "current_leader_epoch": -1}]}]}
    )["responses"][0]["partitions"][0]["error_code"]  # fmt: skip
    produced = client.request(
        0, 9, {"acks": 1, "timeout": 1000, "topic_data": [
            {"name": name, "partition_data": [{"index": 0, "records": batch(1)}]}]}
    )["responses"][0]["partition_responses"][0]["error_code"]  # fmt: skip
    emptied = client.request(21, 2, {"topics": [{"name": name, "partitions": [partition]}], "timeout": 1000})
    grown = client.request(37, 3, {"topics": [{"name": name, "count": 2}], "timeout": 1000, "validate_only": True})
    shown = client.request(32, 4, {"resources": [{"resource_type": 2, "resource_name": name}]})["results"][0]
    altered = client.request(44, 1, {"resources": [{"resource_type": 2, "resource_name": name}], "validate_only": True})
    created = client.request(
        19, 7, {"topics": [{"name": name, "num_partitions": 1, "replication_factor": 1}], "timeout": 1000, "validate_only": True}
    )  # fmt: skip
    errors = {
        "READ": fetched,
        "WRITE": produced,
        "DELETE": emptied["topics"][0]["partitions"][0]["error_code"],
        "ALTER": grown["results"][0]["error_code"],
        "DESCRIBE_CONFIGS": shown["error_code"],
        "ALTER_CONFIGS": altered["responses"][0]["error_code"],
        "CREATE": created["topics"][0]["error_code"],
    }
    return {(f"topic {operation}", name): error != TAF for operation, error in errors.items()}


def kafkas(client: RawClient) -> Verdicts:
    found: Verdicts = {}
    wanted = {"topics": [{"name": name} for name in TOPICS], "include_topic_authorized_operations": True}
    for topic in client.request(3, 12, wanted)["topics"]:
        found["topic bits", topic["name"]] = topic["topic_authorized_operations"] if topic["error_code"] != TAF else 0
    groups = client.request(15, 5, {"groups": list(GROUPS), "include_authorized_operations": True})["groups"]
    for group in groups:
        found["group bits", group["group_id"]] = group["authorized_operations"] if group["error_code"] != GAF else 0
    for name in TOPICS:
        found |= topic_verdicts(client, name)
    for name in GROUPS:
        beat = client.request(12, 4, {"group_id": name, "generation_id": 1, "member_id": "m"})["error_code"]
        gone = client.request(42, 2, {"groups_names": [name]})["results"][0]["error_code"]
        found |= {("group READ", name): beat != GAF, ("group DELETE", name): gone != GAF}
    for state in client.request(65, 0, {"transactional_ids": list(TRANSACTIONAL)})["transaction_states"]:
        found["transactional id DESCRIBE", state["transactional_id"]] = state["error_code"] != XAF
    cluster = client.request(60, 0, {"include_cluster_authorized_operations": True})["cluster_authorized_operations"]
    found["cluster bits", ""] = cluster
    ids = client.request(22, 4, {"transactional_id": None, "producer_id": -1, "producer_epoch": -1})["error_code"]
    found["any topic WRITE", ""] = ids != CAF
    return found


# -- ours --


def ours(authorizer: Authorizer, user: str) -> Verdicts:
    def may(operation: Operation, kind: ResourceType, name: str) -> bool:
        return authorizer.allows(user, HOST, operation, kind, name)

    def bits(kind: ResourceType, name: str) -> int:
        return authorizer.operations(user, HOST, kind, name) if may(Operation.DESCRIBE, kind, name) else 0

    found: Verdicts = {}
    create_all = may(Operation.CREATE, C, "kafka-cluster")
    for name in TOPICS:
        found["topic bits", name] = bits(T, name)
        for operation in ("READ", "WRITE", "DELETE", "ALTER", "DESCRIBE_CONFIGS", "ALTER_CONFIGS", "CREATE"):
            found[f"topic {operation}", name] = may(Operation[operation], T, name)
        found["topic CREATE", name] = create_all or bool(found["topic CREATE", name])
    for name in GROUPS:
        found["group bits", name] = bits(G, name)
        found["group READ", name], found["group DELETE", name] = (
            may(Operation.READ, G, name),
            may(Operation.DELETE, G, name),
        )
    for name in TRANSACTIONAL:
        found["transactional id DESCRIBE", name] = may(Operation.DESCRIBE, X, name)
    found["cluster bits", ""] = bits(C, "kafka-cluster")
    idempotent = may(Operation.IDEMPOTENT_WRITE, C, "kafka-cluster")
    found["any topic WRITE", ""] = idempotent or authorizer.allows_any(user, HOST, Operation.WRITE, T)
    return found


def random_acls(seed: int) -> Acls:
    """Few users and names, so that ACLs meet."""
    chance = random.Random(seed)
    names = {
        T: ("a", "ab", "abc", "abd", "b", "h", "hardcode", "x", "*", "*", "A"),
        G: ("g", "gr", "a/b", "a", "é", "*"),
        C: ("kafka-cluster",),
        X: ("x", "xy", "t", "*"),
    }
    kinds = (T, T, T, T, T, G, G, C, X)
    operations = [each for each in Operation if each != Operation.ANY] + [
        Operation.READ,
        Operation.WRITE,
        Operation.WRITE,
        Operation.ALL,
    ]
    acls: Acls = {}
    for _ in range(chance.choice((3, 8, 20, 40, 60))):
        kind = chance.choice(kinds)
        resource = Resource(kind, chance.choice((3, 3, 4)), chance.choice(names[kind]))
        principal = chance.choice([*(f"User:{user}" for user in USERS), "User:*", "Group:alice", "user:alice", "User:"])
        permission = chance.choice((Permission.ALLOW, Permission.ALLOW, Permission.ALLOW, Permission.DENY))
        acls.setdefault(resource, set()).add(
            AclEntry(principal, chance.choice(HOSTS), chance.choice(operations), permission)
        )
    return acls


def creation(resource: Resource, entry: AclEntry) -> dict[str, Any]:
    kind, pattern, name = resource
    principal, host, operation, permission = entry
    return {"resource_type": kind, "resource_pattern_type": pattern, "resource_name": name, "principal": principal,
            "host": host, "operation": operation, "permission_type": permission}  # fmt: skip


def filter_values(wanted: AclFilter) -> dict[str, Any]:
    return {"resource_type_filter": wanted.resource_type, "resource_name_filter": wanted.name,
            "pattern_type_filter": wanted.pattern_type, "principal_filter": wanted.principal, "host_filter": wanted.host,
            "operation": wanted.operation, "permission_type": wanted.permission}  # fmt: skip


def described(admin: RawClient, wanted: AclFilter) -> set[tuple[Resource, AclEntry]]:
    answer = admin.request(29, 3, filter_values(wanted))
    assert answer["error_code"] == 0
    return {
        (Resource(each["resource_type"], each["pattern_type"], each["resource_name"]),
         AclEntry(acl["principal"], acl["host"], acl["operation"], acl["permission_type"]))
        for each in answer["resources"] for acl in each["acls"]
    }  # fmt: skip


def pairs(authorizer: Authorizer, wanted: AclFilter) -> set[tuple[Resource, AclEntry]]:
    return {(resource, entry) for resource, entries in authorizer.matching(wanted) for entry in entries}


def random_filter(chance: random.Random) -> AclFilter:
    return AclFilter(
        chance.choice((1, T, T, G, C, X, 6, 77)),
        chance.choice((None, "a", "abc", "abcd", "*", "x", "kafka-cluster", "")),
        chance.choice((1, 2, 2, 3, 4)),
        chance.choice((None, None, "User:alice", "User:*", "nobody")),
        chance.choice((None, None, "*", HOST)),
        chance.choice((1, 1, 1, 2, 3, 8)),
        chance.choice((1, 1, 2, 3)),
    )


@pytest.mark.parametrize("seed", range(ROUNDS))
def test_same_verdicts(kafka: str, everyone: bool, seed: int) -> None:
    admin = login(kafka, "admin")
    everything = AclFilter()
    acls = random_acls(seed + ROUNDS * everyone)
    authorizer = Authorizer("User:admin", everyone=everyone)
    authorizer.update(acls)
    authorizer.open()
    creations = [creation(resource, entry) for resource, entries in acls.items() for entry in entries]
    assert {each["error_code"] for each in admin.request(30, 3, {"creations": creations})["results"]} == {0}
    until(lambda: described(admin, everything) == pairs(authorizer, everything), "the ACLs are not there")
    try:
        for user in USERS:
            client, expected = login(kafka, user), ours(authorizer, user)
            different: dict[Any, Any] = {}

            def agree(client: RawClient = client, expected: Verdicts = expected, different: Any = different) -> bool:
                theirs = kafkas(client)
                different.clear()
                different |= {key: (theirs[key], expected[key]) for key in expected if theirs[key] != expected[key]}
                assert theirs.keys() == expected.keys()
                return not different

            try:
                until(agree, "", deadline_s=5)  # Kafka's controller hears of ACLs a little later
            except AssertionError:
                pytest.fail(f"{user}: (Kafka's, ours) differ in {different}, with {acls}")
            client.close()
        chance = random.Random(seed)
        for _ in range(20):
            wanted = random_filter(chance)
            assert described(admin, wanted) == pairs(authorizer, wanted), wanted
    finally:
        removed = admin.request(31, 3, {"filters": [filter_values(everything)]})["filter_results"][0]["matching_acls"]
        assert len(removed) == len(creations)
        until(lambda: described(admin, everything) == set(), "the ACLs are still there")
        admin.close()


GOOD = AclEntry("User:alice", "*", Operation.READ, Permission.ALLOW)
TOPIC = Resource(T, PatternType.LITERAL, "a")


@pytest.mark.parametrize(
    ("resource", "entry"),
    [
        (TOPIC._replace(name=""), GOOD),
        (TOPIC._replace(name="", pattern_type=4), GOOD),
        (Resource(C, 3, "other"), GOOD),
        (Resource(C, 4, "kafka"), GOOD),
        (TOPIC, GOOD._replace(principal="alice")),
        (TOPIC, GOOD._replace(principal="")),
        (TOPIC, GOOD._replace(principal="User:")),
        (TOPIC, GOOD._replace(principal="Group:x")),
        (TOPIC, GOOD._replace(host="")),
        (TOPIC, GOOD._replace(host="no address")),
        (TOPIC, GOOD._replace(operation=15)),
        (Resource(ResourceType.USER, 3, "User:bob"), GOOD._replace(operation=13)),
        (Resource(T, 1, "a"), GOOD),
        (Resource(T, 2, "a"), GOOD),
        (Resource(1, 3, "a"), GOOD),
        (TOPIC, GOOD._replace(operation=1)),
        (TOPIC, GOOD._replace(permission=1)),
    ],
)
def test_same_creations_are_refused(kafka: str, resource: Resource, entry: AclEntry) -> None:
    """Kafka answers some of them UNKNOWN_SERVER_ERROR, or closes the connection, where ours is INVALID_REQUEST."""
    admin = login(kafka, "admin")
    try:
        result = admin.request(30, 3, {"creations": [creation(resource, entry)]})["results"][0]
    except Closed:
        result = {"error_code": -1, "error_message": "closed"}
    ours = why_invalid(resource, entry)
    assert (result["error_code"] == 0) == (ours is None), (result, ours)
    if result["error_code"] == 42:
        assert result["error_message"] == ours
    login(kafka, "admin").request(31, 3, {"filters": [filter_values(AclFilter())]})
