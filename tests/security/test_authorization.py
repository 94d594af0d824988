"""Every API of a broker with an authorizer: with exactly the rights of Kafka's table, with all but one, and with none."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from raw_client import RawClient

from kafka_cy import Broker
from kafka_cy.api.authorization_table import TABLE, Denied
from kafka_cy.api.member_registry import MEMBER_APIS
from kafka_cy.api.registry import APIS
from kafka_cy.authorizer.acls import Operation
from kafka_cy.config import BrokerConfig
from kafka_cy.server.authorization import authorizer_from
from kafka_cy.server.check_config import run as check
from tests.security.authorization_cases import (
    ALL_ERRORS,
    CASES,
    GROUP,
    TOPIC,
    Case,
    G,
    Right,
    T,
    errors_in,
)
from tests.security.authorization_world import SECRET, USERS, World, login
from tests.waiting import wait_until

SETTINGS = {
    "listener.security.protocol.map": "PLAINTEXT:SASL_PLAINTEXT",
    "sasl.enabled.mechanisms": "PLAIN",
    "listener.name.plaintext.plain.sasl.jaas.config": (
        "org.apache.kafka.common.security.plain.PlainLoginModule required "
        + " ".join(f'user_{user}="{SECRET}"' for user in USERS) + ";"
    ),
    "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
    "super.users": "User:admin",
    "offsets.topic.num.partitions": "1",
    "transaction.state.log.num.partitions": "1",
    "share.coordinator.state.topic.num.partitions": "1",
}  # fmt: skip
#: APIs whose checks need something that one request cannot show; the tests of their subject, or those below, have them.
ELSEWHERE = {36, 38, 39, 40, 41, 72, 78, 79}


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    folder = tmp_path_factory.mktemp("broker")
    with Broker({**SETTINGS, "kafkacy.audit.log": f"{folder}/audit.log"}, folder=folder) as broker:
        yield broker


@pytest.fixture(scope="module")
def world(broker: Broker) -> Iterator[World]:
    made = World(broker.bootstrap_servers)
    made.fill()
    yield made
    made.close()


def test_every_api_has_a_row_and_a_case() -> None:
    served = APIS.keys() | MEMBER_APIS.keys()
    assert served <= TABLE.keys(), "an API without a row"
    tested = {case.api_key for case in CASES} | ELSEWHERE | {4, 5, 6, 7, 56, 67}
    assert served <= tested, "an API without a case"
    for case in CASES:
        named = {
            (kind, operation) for check in TABLE[case.api_key] for kind, operation in check.alternatives
        }
        for right in (*case.rights, *(each for rights in case.instead for each in rights)):
            implied = {Operation.DESCRIBE: (Operation.DELETE,), Operation.DESCRIBE_CONFIGS: (Operation.ALTER_CONFIGS,)}
            fits = [each for each in named if each[0] == right.kind]
            assert any(
                right.operation == operation or right.operation in implied.get(operation, ()) for _, operation in fits
            ), f"{case.name}: {right} is not in the table"
        errors = {check.error for check in TABLE[case.api_key] if check.denied in (Denied.REQUEST, Denied.ITEM)}
        assert {each.code for each in case.rights if each.code} <= errors | {29}, case.name


@pytest.mark.parametrize("case", CASES, ids=[case.name for case in CASES])
def test_rights(world: World, case: Case) -> None:
    world.give([])
    answer = world.ask(case)
    codes = {each.code for each in case.rights[:1] if each.code is not None}
    assert codes <= errors_in(answer), f"not denied without any right: {answer}"
    for without in case.rights:
        world.give([each for each in case.rights if each != without])
        answer = world.ask(case)
        if without.code is None:
            assert not case.shows(answer), f"shown without {without}: {answer}"
        else:
            assert without.code in errors_in(answer), f"not denied without {without}: {answer}"
    for rights in (case.rights, *case.instead):
        world.give(rights)
        answer = world.ask(case)
        assert not errors_in(answer) & ALL_ERRORS, f"denied with {rights}: {answer}"
        assert case.shows(answer), f"hidden with {rights}: {answer}"


# -- settings --


def test_settings_that_stop_the_start(capsys: pytest.CaptureFixture[str]) -> None:
    standard = {"authorizer.class.name": "kafka.security.authorizer.AclAuthorizer"}
    assert authorizer_from(BrokerConfig.load(None, {"super.users": "nonsense"})) is None, "there is no authorizer"
    made = authorizer_from(BrokerConfig.load(None, {**standard, "allow.everyone.if.no.acl.found": "true"}))
    assert made is not None and made.image.closed and made.image.everyone
    for settings, words in (
        ({"authorizer.class.name": "com.example.Mine"}, "cannot load Java classes"),
        ({**standard, "super.users": "User:a;b"}, "`b` is not a principal"),
        ({**standard, "allow.everyone.if.no.acl.found": "perhaps"}, "allow.everyone.if.no.acl.found"),
    ):
        assert check(None, settings, printed=False) == 2
        assert words in capsys.readouterr().err


# -- what one request cannot show --


def test_a_right_that_is_taken_away_counts_from_the_next_request_on(world: World) -> None:
    describe = Right(G, Operation.DESCRIBE)
    for _ in range(20):
        world.give([describe])
        assert errors_in(world.alice.request(15, 5, {"groups": [GROUP]})) == {0}
        world.give([])
        assert errors_in(world.alice.request(15, 5, {"groups": [GROUP]})) == {30}


def topic_id(world: World) -> UUID:
    found: UUID = world.admin.request(3, 12, {"topics": [{"name": TOPIC}]})["topics"][0]["topic_id"]
    return found


def test_share_sessions(world: World) -> None:
    """The topics of a session are asked about with each request."""
    reads_group, reads_topic = Right(G, Operation.READ, "sg"), Right(T, Operation.READ)
    partitions = [{"topic_id": topic_id(world), "partitions": [{"partition_index": 0, "acknowledgement_batches": []}]}]
    fetch = {"group_id": "sg", "member_id": "AAAAAAAAAAAAAAAAAAAAAQ", "max_wait": 0, "min_bytes": 0, "max_bytes": 1000,
             "max_records": 10, "batch_size": 10, "topics": partitions, "forgotten_topics_data": []}  # fmt: skip

    def fetched(epoch: int) -> tuple[int, set[int]]:
        topics = partitions if epoch == 0 else []
        answer = world.alice.request(78, 1, fetch | {"share_session_epoch": epoch, "topics": topics})
        return answer["error_code"], errors_in(answer["responses"])

    world.give([reads_topic])
    assert fetched(0) == (30, set())
    world.give([reads_group])
    assert fetched(0) == (0, {29, 0})
    world.give([reads_group, reads_topic])
    assert 29 not in fetched(1)[1]
    world.give([reads_group])
    assert 29 in fetched(2)[1], "of the session, not of the request"
    acknowledged = {"topic_id": topic_id(world), "partitions": [{"partition_index": 0, "acknowledgement_batches": [
        {"first_offset": 0, "last_offset": 0, "acknowledge_types": [1]}]}]}  # fmt: skip
    body = {"group_id": "sg", "member_id": "AAAAAAAAAAAAAAAAAAAAAQ", "share_session_epoch": 3, "topics": [acknowledged]}
    answer = world.alice.request(79, 1, body)
    assert (answer["error_code"], errors_in(answer["responses"])) == (0, {29})
    world.give([])
    assert world.alice.request(79, 1, body | {"share_session_epoch": 4})["error_code"] == 30


def fetch(client: RawClient, session_id: int, epoch: int) -> tuple[int, int, list[str]]:
    """A fetch without changes of a session, or a full one of the topic: the error, the session's id, the topics."""
    topics = [] if session_id else [{"topic": TOPIC, "partitions": [
        {"partition": 0, "current_leader_epoch": -1, "fetch_offset": 0, "last_fetched_epoch": -1, "log_start_offset": -1,
         "partition_max_bytes": 1024},
    ]}]  # fmt: skip
    answer = client.request(1, 12, {
        "replica_id": -1, "max_wait": 0, "min_bytes": 0, "max_bytes": 1024, "isolation_level": 0, "session_id": session_id,
        "session_epoch": epoch, "topics": topics, "forgotten_topics_data": [], "rack_id": "",
    })  # fmt: skip
    return answer["error_code"], answer["session_id"], [each["topic"] for each in answer["responses"]]


def test_a_fetch_session_is_its_users(world: World, broker: Broker) -> None:
    """Others who know its id neither read the names of its topics nor change or remove it."""
    world.give([])
    error, session_id, topics = fetch(world.admin, 0, 0)
    assert not error and session_id and topics == [TOPIC]
    for epoch in (1, 2, 7, -2):
        assert fetch(world.alice, session_id, epoch) == (70, 0, []), "FETCH_SESSION_ID_NOT_FOUND, whatever the epoch"
    for epoch in (0, -1):
        assert fetch(world.alice, session_id, epoch) == (0, 0, [])
    assert fetch(world.admin, session_id, 1)[:2] == (0, session_id)
    world.give([Right(T, Operation.READ, TOPIC)])
    error, hers, _ = fetch(world.alice, 0, 0)
    again = login(broker.bootstrap_servers, "alice")
    assert hers and fetch(again, hers, 1)[:2] == (0, hers), "of the user, not of the connection"
    assert fetch(again, hers, -1)[0] == 0 and fetch(world.alice, hers, 2)[0] == 70, "its user removes it"
    again.close()
    assert fetch(world.admin, session_id, 2)[:2] == (0, session_id)


def test_a_regular_expression_finds_what_its_member_may_describe(world: World) -> None:
    new = [{"name": name, "num_partitions": 1, "replication_factor": 1} for name in ("seen-1", "seen-2", "hidden-1")]
    assert errors_in(world.admin.request(19, 7, {"topics": new, "timeout": 10000})) == {0}
    reads = Right(G, Operation.READ, "patterns")
    world.give([reads, Right(T, Operation.DESCRIBE, "seen-1"), Right(T, Operation.DESCRIBE, "seen-2")])
    joining = {"group_id": "patterns", "member_id": "m", "rebalance_timeout": 60000, "subscribed_topic_names": [],
               "subscribed_topic_regex": ".*-1", "topic_partitions": []}  # fmt: skip
    answer = world.alice.request(68, 1, joining)
    assert errors_in(answer) == {0}
    shown: list[Any] = []

    def assigned() -> bool:
        beat = {"group_id": "patterns", "member_id": "m", "member_epoch": answer["member_epoch"], "rebalance_timeout": -1,
                "subscribed_topic_names": None, "topic_partitions": None}  # fmt: skip
        answer.update(world.alice.request(68, 1, beat))
        members = world.admin.request(69, 1, {"group_ids": ["patterns"]})["groups"][0]["members"]
        shown[:] = [each["topic_name"] for each in members[0]["assignment"]["topic_partitions"]]
        return bool(shown)

    wait_until(assigned, "no topic is found")
    assert shown == ["seen-1"]


def test_internal_topics_that_a_streams_member_may_not_create(world: World) -> None:
    changelog = [{"name": "app-changelog", "partitions": 0, "replication_factor": 0, "topic_configs": []}]
    topology = {"epoch": 0, "subtopologies": [
        {"subtopology_id": "0", "source_topics": [TOPIC], "state_changelog_topics": changelog}]}  # fmt: skip
    joining = {"group_id": "tg2", "member_id": "m", "rebalance_timeout": 60000, "active_tasks": [], "standby_tasks": [],
               "warmup_tasks": [], "topology": topology, "process_id": "p", "task_offsets": None, "task_end_offsets": None,
               "instance_id": None}  # fmt: skip
    names = (TOPIC, "app-changelog")
    rights = [Right(G, Operation.READ, "tg2"), *(Right(T, Operation.DESCRIBE, name) for name in names)]
    world.give(rights)
    answer = world.alice.request(88, 0, joining)
    assert answer["error_code"] == 0
    details = [each["status_detail"] for each in answer["status"]]
    assert any("Unauthorized to CREATE on topics app-changelog." in detail for detail in details), details
    seen = {"topics": [{"name": "app-changelog"}], "allow_auto_topic_creation": False}
    assert errors_in(world.admin.request(3, 12, seen)) == {3}, "it was not created"
    world.give([*rights, Right(T, Operation.CREATE, "app-changelog")])
    world.alice.request(88, 0, joining)
    wait_until(lambda: errors_in(world.admin.request(3, 12, seen)) == {0}, "it is not created")


def test_many_names(world: World) -> None:
    """Requests that are worked on in slices, or answered by another thread."""
    world.give([Right(G, Operation.DESCRIBE, "g7"), Right(G, Operation.DELETE, "g8"), Right(T, Operation.DESCRIBE, "n7")])
    groups = [f"g{i}" for i in range(200)]
    described = {each["group_id"]: each["error_code"] for each in world.alice.request(15, 5, {"groups": groups})["groups"]}
    assert {name for name, code in described.items() if code != 30} == {"g7", "g8"}
    deleted = {each["group_id"]: each["error_code"] for each in world.alice.request(42, 2, {"groups_names": groups})["results"]}
    assert {name for name, code in deleted.items() if code != 30} == {"g8"} and len(deleted) == 200
    found = world.alice.request(10, 4, {"key_type": 0, "coordinator_keys": groups})["coordinators"]
    assert {each["key"] for each in found if each["error_code"] != 30} == {"g7", "g8"}
    names = [{"name": f"n{i}"} for i in range(200)]
    shown = world.alice.request(3, 12, {"topics": names, "allow_auto_topic_creation": True})["topics"]
    assert {each["name"]: each["error_code"] for each in shown} == {each["name"]: 29 for each in names}
    assert shown[-1]["error_code"] == 29
    joining = {"group_id": "cg9", "member_id": "m", "rebalance_timeout": 1000, "topic_partitions": [],
               "subscribed_topic_names": [each["name"] for each in names]}  # fmt: skip
    world.give([Right(G, Operation.READ, "cg9"), *(Right(T, Operation.DESCRIBE, each["name"]) for each in names[1:])])
    assert world.alice.request(68, 1, joining)["error_code"] == 29
    page = world.alice.request(75, 0, {"topics": names, "response_partition_limit": 10, "cursor": None})["topics"]
    assert [each["name"] for each in page if each["error_code"] == 29] == ["n0"]


def test_the_log_and_the_audit(world: World, broker: Broker) -> None:
    world.give([])

    def is_logged() -> bool:
        world.alice.request(15, 5, {"groups": ["audited"]})  # again: there are few lines a second
        return "Group:LITERAL:audited" in broker.log_text()

    wait_until(is_logged, "the log has no line")
    line = next(line for line in broker.log_text().splitlines() if "Group:LITERAL:audited" in line)
    assert "INFO Principal = User:alice is Denied operation = DESCRIBE from host = 127.0.0.1" in line
    assert "for request = DescribeGroups with resourceRefCount = 1 based on rule DefaultDeny" in line
    with urllib.request.urlopen(broker.metrics_url) as page:
        text = page.read().decode()
    count = next(line for line in text.splitlines() if line.startswith("kafkacy_authorization_denied_total"))
    assert float(count.split()[1]) > 0 and "kafkacy_audit_lines_dropped_total 0.0" in text

    def records() -> list[dict[str, Any]]:
        lines = (broker.folder / "audit.log").read_text().splitlines()
        return [each for each in map(json.loads, lines) if each["resource"] == "audited"]

    wait_until(records, "the audit log has no line")
    record = records()[0]
    assert record | {"time": ""} == {
        "time": "", "principal": "User:alice", "host": "127.0.0.1", "client_id": "raw", "api": "DescribeGroups",
        "operation": "DESCRIBE", "resource_type": "GROUP", "resource": "audited", "decision": "denied",
    }  # fmt: skip


def test_who_is_denied_very_often_does_not_take_the_lines_of_others(world: World, broker: Broker) -> None:
    """What a reactor denies waits up to half a second for the control plane."""
    world.give([])

    def produce(user: RawClient, topics: list[str]) -> None:
        rows = [{"name": name, "partition_data": [{"index": 0, "records": None}]} for name in topics]
        user.request(0, 9, {"transactional_id": None, "acks": 1, "timeout_ms": 1000, "topic_data": rows})

    def users() -> set[str]:
        lines = map(json.loads, (broker.folder / "audit.log").read_text().splitlines())
        return {each["principal"] for each in lines if each["resource"] == "crowded"}

    bob = login(broker.bootstrap_servers, "bob")
    produce(world.alice, [f"a{i}" for i in range(1000)])
    produce(bob, ["crowded"])
    bob.close()
    wait_until(users, "bob's line was lost")
    assert users() == {"User:bob"}
    with urllib.request.urlopen(broker.metrics_url) as page:
        dropped = next(line for line in page.read().decode().splitlines() if line.startswith("kafkacy_audit_lines_dropped_total"))
    assert float(dropped.split()[1]) >= 1000 - 8 * 64


def test_acls_outlive_a_restart(tmp_path: Path) -> None:
    """They are known before the first request is answered."""
    with Broker(SETTINGS, folder=tmp_path) as broker:
        world = World(broker.bootstrap_servers)
        world.give([Right(T, Operation.DESCRIBE, "kept")])
        world.close()
        broker.restart()
        alice = login(broker.bootstrap_servers, "alice")
        wanted = {"topics": [{"name": "kept"}, {"name": "other"}], "allow_auto_topic_creation": False}
        assert {each["name"]: each["error_code"] for each in alice.request(3, 12, wanted)["topics"]} == {"kept": 3, "other": 29}
        alice.close()


@pytest.mark.parametrize(
    ("settings", "warns"),
    [({}, True), ({"super.users": "User:admin"}, False), ({"allow.everyone.if.no.acl.found": "true"}, False)],
)
def test_a_broker_that_allows_nobody_anything(tmp_path: Path, settings: dict[str, str], warns: bool) -> None:
    standard = {"authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer"}
    with Broker({**standard, **settings}, folder=tmp_path) as broker:
        assert broker.log_text().count("nobody is allowed anything, not even to create ACLs") == warns
