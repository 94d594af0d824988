"""Reactors ask the ACLs: Produce, ListOffsets, OffsetForLeaderEpoch, and who answers the other requests."""

from __future__ import annotations

import hashlib
import random
from typing import Any

import pytest

from kafka_cy.authorizer.acls import Operation, PatternType, Permission
from kafka_cy.network.authorization import look_ups
from kafka_cy.network.server import ReactorDenial
from tests.waiting import wait_until

from .acls import (
    CLUSTER,
    CLUSTER_ACTION,
    DESCRIBE,
    READ,
    TOPIC,
    TOPIC_DENIED,
    TRANSACTIONAL_ID,
    TRANSACTIONAL_ID_DENIED,
    WRITE,
    Acls,
)
from .harness import BROKER_ID, Connection, HotServer
from .kio_wire import encode_request
from .test_fetch import fill
from .test_fetch import request as fetch_request
from .test_fetch import rows as fetch_rows
from .test_list_offsets import ask
from .test_produce import batch, only
from .test_produce import request as produce_request

PRODUCE, FETCH, LIST_OFFSETS, EPOCHS = 0, 1, 2, 23
UNKNOWN_TOPIC, INVALID_TOPIC, UNKNOWN_ID, ALLOWED = 3, 17, 100, 0
TRANSACTIONAL = 0x10


def produce(connection: Connection, server: HotServer, version: int, topics: list[str], **more: Any) -> dict[str, int]:
    """The error of each topic."""
    client_id = more.pop("client_id", b"hot-tests")
    records = more.pop("records", batch())
    values = produce_request(version, server, {(name, 0): records for name in topics}, **more)
    answer = connection.call(PRODUCE, version, values, client_id=client_id)
    rows = [row for topic in answer["responses"] for row in topic["partition_responses"]]
    for row in rows:
        if row["error_code"] in (TOPIC_DENIED, TRANSACTIONAL_ID_DENIED):
            assert row["base_offset"] == -1 and row.get("log_start_offset", -1) == -1 and row.get("error_message") is None
    return dict(zip(topics, [row["error_code"] for row in rows], strict=True))


def list_offsets(connection: Connection, version: int, topic: str, timestamp_ms: int = -1) -> int:
    row = ask(connection, version, timestamp_ms, topic=topic)
    assert row["error_code"] == 0 or row["offset"] == -1
    return int(row["error_code"])


def epochs(connection: Connection, version: int, topics: list[str]) -> dict[str, int]:
    rows = [{"topic": name, "partitions": [{"partition": 0, "current_leader_epoch": -1, "leader_epoch": 0}]} for name in topics]
    answer = connection.call(EPOCHS, version, {"replica_id": -2, "topics": rows})
    return {topic["topic"]: topic["partitions"][0]["error_code"] for topic in answer["topics"]}


def denials(server: HotServer) -> list[ReactorDenial]:
    taken, dropped = server.server.take_denials(1000)
    assert dropped == 0
    return taken


@pytest.mark.parametrize("version", [3, 8, 9, 12, 13])
def test_produce(hot_server: HotServer, connection: Connection, version: int) -> None:
    acls = Acls(hot_server)
    for name in ("mine", "other", "prefixed"):
        hot_server.create_topic(name)
    acls.allow(WRITE, "mine")
    acls.allow(WRITE, "pre", pattern=PatternType.PREFIXED)
    acls.allow(READ, "other")
    unknown = UNKNOWN_ID if version >= 13 else TOPIC_DENIED        # an id that is unknown is no name that could be denied
    topics = ["mine", "other", "prefixed", "nowhere", "prenowhere"]
    expected = [ALLOWED, TOPIC_DENIED, ALLOWED, unknown, UNKNOWN_ID if version >= 13 else UNKNOWN_TOPIC]
    topics = topics[:-1] if version >= 13 else topics               # two unknown topics would have the same id here
    assert list(produce(connection, hot_server, version, topics).values()) == expected[: len(topics)]
    assert hot_server.partitions["mine", 0].high_watermark == 3 and hot_server.partitions["other", 0].high_watermark == 0


def test_a_right_that_is_revoked_is_gone_from_the_next_request_on(hot_server: HotServer, connection: Connection) -> None:
    acls = Acls(hot_server)
    hot_server.create_topic("t")
    fill(hot_server, "t")
    for _ in range(3):
        acls.allow(Operation.ALL, "t")
        assert produce(connection, hot_server, 9, ["t"]) == {"t": ALLOWED}
        assert list_offsets(connection, 6, "t") == ALLOWED
        assert epochs(connection, 4, ["t"]) == {"t": ALLOWED}
        acls.revoke("t")
        assert produce(connection, hot_server, 9, ["t"]) == {"t": TOPIC_DENIED}
        assert list_offsets(connection, 6, "t") == TOPIC_DENIED
        assert epochs(connection, 4, ["t"]) == {"t": TOPIC_DENIED}


def test_produce_without_acknowledgement_closes_the_connection(hot_server: HotServer, connection: Connection) -> None:
    acls = Acls(hot_server)
    hot_server.create_topic("t")
    values = produce_request(9, hot_server, {("t", 0): batch()}, acks=0)
    connection.send(PRODUCE, 9, encode_request(PRODUCE, 9, values))
    assert connection.receive() is None
    acls.allow(WRITE, "t")
    client = hot_server.connect()
    client.send(PRODUCE, 9, encode_request(PRODUCE, 9, values))
    assert produce(client, hot_server, 9, ["t"]) == {"t": ALLOWED}
    assert hot_server.partitions["t", 0].high_watermark == 6
    client.close()


@pytest.mark.parametrize("version", [3, 9, 13])
def test_transactional_batches_need_a_right_of_their_own(hot_server: HotServer, connection: Connection, version: int) -> None:
    """The whole request is refused, batches without a transaction, too."""
    acls = Acls(hot_server)
    acls.allow(WRITE, "*")
    for name in ("a", "b"):
        hot_server.create_topic(name)
    transactional = batch(producer_id=7, producer_epoch=0, base_sequence=0, attributes=TRANSACTIONAL)
    values = produce_request(version, hot_server, {("a", 0): batch(), ("b", 0): transactional}, transactional_id="tx")
    answer = connection.call(PRODUCE, version, values)
    found = [row["error_code"] for topic in answer["responses"] for row in topic["partition_responses"]]
    assert found == [TRANSACTIONAL_ID_DENIED, TRANSACTIONAL_ID_DENIED]
    assert hot_server.partitions["a", 0].high_watermark == 0
    assert produce(connection, hot_server, version, ["a", "b"], transactional_id="tx") == {"a": ALLOWED, "b": ALLOWED}
    answers = produce(connection, hot_server, version, ["a"], records=transactional)
    assert answers == {"a": TRANSACTIONAL_ID_DENIED}                # no id at all
    acls.allow(WRITE, "tx", TRANSACTIONAL_ID)
    answer = connection.call(PRODUCE, version, values)
    found = [row["error_code"] for topic in answer["responses"] for row in topic["partition_responses"]]
    assert found[0] == ALLOWED and found[1] != TRANSACTIONAL_ID_DENIED      # nobody answers for the coordinator here


def test_who_calls_himself_an_admin_client_needs_to_be_a_broker(hot_server: HotServer, connection: Connection) -> None:
    acls = Acls(hot_server)
    acls.allow(WRITE, "*")
    hot_server.create_topic("__inside", internal=True)
    admin = {"client_id": b"__admin_client"}
    assert produce(connection, hot_server, 9, ["__inside"], **admin) == {"__inside": INVALID_TOPIC}
    acls.allow(CLUSTER_ACTION, "kafka-cluster", CLUSTER)
    assert produce(connection, hot_server, 9, ["__inside"], **admin) == {"__inside": ALLOWED}
    assert produce(connection, hot_server, 9, ["__inside"]) == {"__inside": INVALID_TOPIC}


@pytest.mark.parametrize("timestamp_ms", [-1, -2, 0])
@pytest.mark.parametrize("version", [1, 4, 6, 11])
def test_list_offsets(hot_server: HotServer, connection: Connection, version: int, timestamp_ms: int) -> None:
    acls = Acls(hot_server)
    for name in ("described", "read", "denied", "hidden"):
        hot_server.create_topic(name)
        fill(hot_server, name)
    acls.allow(DESCRIBE, "described")
    acls.allow(READ, "read")                                        # implies DESCRIBE
    acls.allow(READ, "denied")
    acls.deny(DESCRIBE, "denied")
    names = ("described", "read", "denied", "hidden", "no")
    found = {name: list_offsets(connection, version, name, timestamp_ms) for name in names}
    assert found == {
        "described": ALLOWED, "read": ALLOWED, "denied": TOPIC_DENIED, "hidden": TOPIC_DENIED, "no": TOPIC_DENIED,
    }  # fmt: skip


@pytest.mark.parametrize("version", [2, 3, 4])
def test_offset_for_leader_epoch(hot_server: HotServer, connection: Connection, version: int) -> None:
    acls = Acls(hot_server)
    for name in ("described", "hidden"):
        hot_server.create_topic(name)
    acls.allow(DESCRIBE, "described")
    topics = ["described", "hidden", "no"]
    assert list(epochs(connection, version, topics).values()) == [ALLOWED, TOPIC_DENIED, TOPIC_DENIED]
    acls.allow(CLUSTER_ACTION, "kafka-cluster", CLUSTER)
    assert list(epochs(connection, version, topics).values()) == [ALLOWED, ALLOWED, UNKNOWN_TOPIC]


def test_other_requests_go_to_the_control_plane(hot_server: HotServer) -> None:
    """They are not asked about there without an authorizer."""

    def forwarded(api_key: int, version: int, values: dict[str, Any]) -> bool:
        before = len(hot_server.forwarded)
        client = hot_server.connect()
        client.send(api_key, version, encode_request(api_key, version, values))
        closed = client.receive() is None
        client.close()
        assert closed == (len(hot_server.forwarded) > before)
        return closed

    metadata, versions = {"topics": []}, {"client_software_name": "a", "client_software_version": "1"}
    assert not forwarded(3, 4, metadata)
    Acls(hot_server)
    assert forwarded(3, 4, metadata)
    assert not forwarded(18, 3, versions)
    group = {"group_id": "g", "generation_id": 1, "member_id": "m"}
    assert forwarded(12, 4, group)
    assert forwarded(8, 8, {**group, "topics": []})


def test_super_users_and_closed_indexes(hot_server: HotServer, connection: Connection) -> None:
    hot_server.create_topic("t")
    acls = Acls(hot_server, super_users="User:ANONYMOUS")
    acls.deny(Operation.ALL, "t")
    acls.authorizer.shut()
    assert produce(connection, hot_server, 9, ["t"]) == {"t": ALLOWED}
    acls = Acls(hot_server)
    acls.allow(Operation.ALL, "t")
    assert produce(connection, hot_server, 9, ["t"]) == {"t": ALLOWED}
    acls.authorizer.shut()
    assert produce(connection, hot_server, 9, ["t"]) == {"t": TOPIC_DENIED}
    Acls(hot_server, everyone=True)
    assert produce(connection, hot_server, 9, ["t"]) == {"t": ALLOWED}


def test_hosts(hot_server: HotServer) -> None:
    acls = Acls(hot_server)
    hot_server.create_topic("t")
    acls.allow(WRITE, "t", host="127.0.0.2")
    for address, error in {"127.0.0.1": TOPIC_DENIED, "127.0.0.2": ALLOWED, "127.0.0.22": TOPIC_DENIED}.items():
        client = hot_server.connect(address)
        assert produce(client, hot_server, 9, ["t"]) == {"t": error}
        client.close()


def test_denials_are_told_once_for_each_state_of_the_acls(hot_server: HotServer, connection: Connection) -> None:
    acls = Acls(hot_server)
    hot_server.create_topic("t")
    for _ in range(3):
        produce(connection, hot_server, 9, ["t", "no\nwhere"])
    generation = acls.authorizer.image.generation
    first = ReactorDenial("ANONYMOUS", "127.0.0.1", "hot-tests", PRODUCE, WRITE, TOPIC, "t", generation, False)
    assert denials(hot_server) == [first, first._replace(name="no\nwhere")]
    acls.allow(READ, "t")
    produce(connection, hot_server, 9, ["t"])
    assert denials(hot_server) == [first._replace(acls_generation=generation + 1)]


def test_long_names_of_denials_are_cut(hot_server: HotServer, connection: Connection) -> None:
    Acls(hot_server)
    names = ["n" * 256, "m" * 256 + "a", "m" * 256 + "b"]
    produce(connection, hot_server, 9, names, client_id=b"c" * 100)
    first, *others = denials(hot_server)
    assert (first.name, first.client_id, first.cut) == (names[0], "c" * 48, False)
    marks = [f"...(sha256 {hashlib.sha256(name.encode()).hexdigest()[:16]})" for name in names[1:]]
    assert [(other.name, other.cut) for other in others] == [("m" * 256 + mark, True) for mark in marks]


def test_one_principal_has_a_part_of_the_denials_that_wait(hot_server: HotServer, connection: Connection) -> None:
    """More are counted. What else reactors have to say keeps its room in the log."""
    Acls(hot_server)
    produce(connection, hot_server, 9, [f"x{i}" for i in range(300)])
    assert hot_server.server.take_log_events() == []
    taken, dropped = hot_server.server.take_denials(40)
    assert [each.name for each in taken] == [f"x{i}" for i in range(40)] and dropped == 300 - 64
    produce(connection, hot_server, 9, [f"y{i}" for i in range(41)])
    taken, dropped = hot_server.server.take_denials(1000)
    assert [each.name for each in taken] == [f"x{i}" for i in range(40, 64)] + [f"y{i}" for i in range(40)] and dropped == 1


def test_verdicts_are_kept(hot_server: HotServer, connection: Connection) -> None:
    """Until the metadata change."""
    acls = Acls(hot_server)
    acls.allow(Operation.ALL, "*")
    topics = [f"t{i}" for i in range(100)]
    for name in topics:
        hot_server.create_topic(name)
    for _ in range(2):
        produce(connection, hot_server, 9, topics)
        before = look_ups()
        for _ in range(3):
            produce(connection, hot_server, 9, topics)
            connection.call(FETCH, 12, fetch_request(hot_server, {(name, 0): 0 for name in topics}))
        assert look_ups() - before <= 6       # a topic may have found no place
        acls.allow(READ, "other")
        before = look_ups()
        produce(connection, hot_server, 9, topics)
        assert look_ups() - before >= len(topics)
        acls.revoke("other")


def random_acls(acls: Acls, dice: random.Random, names: list[str]) -> None:
    for _ in range(dice.randrange(8)):
        pattern = dice.choice([PatternType.LITERAL, PatternType.PREFIXED])
        name = dice.choice([*names, "*", "kafka-cluster"])
        kind = CLUSTER if name == "kafka-cluster" else TOPIC
        if pattern == PatternType.PREFIXED and kind == TOPIC:
            name = name[: dice.randrange(1, 3)]
        acls.allow(
            dice.choice([Operation.ALL, READ, WRITE, DESCRIBE, CLUSTER_ACTION]), name, kind,
            host=dice.choice(["*", "127.0.0.1", "::1"]), user=dice.choice(["*", "ANONYMOUS", "other"]), pattern=pattern,
            permission=dice.choice([Permission.ALLOW, Permission.ALLOW, Permission.DENY]),
        )  # fmt: skip


@pytest.mark.parametrize("seed", range(4))
def test_like_the_control_plane(hot_server: HotServer, connection: Connection, seed: int) -> None:
    """Random ACLs, changed between requests of one connection and of a session: each verdict is that of the Authorizer."""
    dice = random.Random(seed)
    names = ["aa", "ab", "ba", "b", "*x"][:4]
    for name in names:
        hot_server.create_topic(name)
    for _ in range(30):
        acls = Acls(hot_server, everyone=dice.random() < 0.3)
        random_acls(acls, dice, names)

        def may(operation: Operation, name: str, kind: Any = TOPIC, acls: Acls = acls) -> bool:
            return acls.authorizer.allows(None, "127.0.0.1", operation, kind, name)

        def errors(operation: Operation) -> list[int]:
            return [ALLOWED if may(operation, name) else TOPIC_DENIED for name in names]

        assert list(produce(connection, hot_server, 9, names).values()) == errors(WRITE)
        fetched = connection.call(FETCH, 12, fetch_request(hot_server, {(name, 0): 0 for name in names}))
        assert [row["error_code"] for row in fetch_rows(fetched)] == errors(READ)
        assert [list_offsets(connection, 6, name) for name in names] == errors(DESCRIBE)
        is_broker = may(CLUSTER_ACTION, "kafka-cluster", CLUSTER)
        assert list(epochs(connection, 4, names).values()) == ([ALLOWED] * len(names) if is_broker else errors(DESCRIBE))


def test_an_answer_of_a_waiting_produce_needs_no_right(hot_server: HotServer, connection: Connection) -> None:
    """Its batch is appended already."""
    acls = Acls(hot_server)
    acls.allow(WRITE, "t")
    hot_server.create_topic("t", sole_replica=False)
    partition = hot_server.partitions["t", 0]
    partition.lead(0, [BROKER_ID, 9], [BROKER_ID, 9], BROKER_ID)
    values = produce_request(9, hot_server, {("t", 0): batch()}, timeout_ms=60_000)
    connection.send(PRODUCE, 9, encode_request(PRODUCE, 9, values))
    wait_until(lambda: hot_server.server.counters()["parked"] == 1, "the produce waits")
    acls.revoke("t")
    partition.follower_fetched(9, 3)
    answer = connection.answer(PRODUCE, 9)
    assert only(answer)["error_code"] == ALLOWED
