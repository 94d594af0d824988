"""Metadata, ApiVersions, Heartbeat: every version compared with kio."""

from __future__ import annotations

import time
import uuid
from typing import Any

import pytest

from kafka_cy.coordinator import heartbeat_table

from .harness import API_TABLE, BROKER_ID, CLUSTER_ID, Connection, HotServer
from .kio_wire import encode_request

VERSIONS = range(14)
NO_ID = uuid.UUID(int=0)
NOT_ASKED = -(2**31)


def request(version: int, names: list[str] | None, **more: Any) -> dict[str, Any]:
    topics = None if names is None else [{"name": name, "topic_id": None} for name in names]
    return {
        "topics": topics, "allow_auto_topic_creation": True, "include_cluster_authorized_operations": False,
        "include_topic_authorized_operations": False,
    } | more


@pytest.mark.parametrize("version", VERSIONS)
def test_known_topic(hot_server: HotServer, connection: Connection, version: int) -> None:
    topic_id = hot_server.create_topic("t", 2)
    hot_server.create_topic("__consumer_offsets", internal=True)
    answer = connection.call(3, version, request(version, ["t", "__consumer_offsets"]))
    (broker,) = answer["brokers"]
    assert (broker["node_id"], broker["host"], broker["port"]) == (BROKER_ID, "127.0.0.1", hot_server.port)
    topic, internal = answer["topics"]
    assert (topic["error_code"], topic["name"], len(topic["partitions"])) == (0, "t", 2)
    for index, row in enumerate(topic["partitions"]):
        assert (row["error_code"], row["partition_index"], row["leader_id"]) == (0, index, BROKER_ID)
        assert (row["replica_nodes"], row["isr_nodes"]) == ([BROKER_ID, 9], [BROKER_ID])
        assert version < 5 or row["offline_replicas"] == [9]
        assert version < 7 or row["leader_epoch"] == 0
    if version >= 1:
        assert (broker["rack"], answer["controller_id"]) == ("rack-a", BROKER_ID)
        assert (topic["is_internal"], internal["is_internal"]) == (False, True)
    assert version < 2 or answer["cluster_id"] == CLUSTER_ID
    assert version < 3 or answer["throttle_time"] == 0
    assert version < 8 or topic["topic_authorized_operations"] == NOT_ASKED
    assert version < 10 or topic["topic_id"] == topic_id
    assert version < 13 or answer["error_code"] == 0
    if 8 <= version <= 10:
        assert answer["cluster_authorized_operations"] == NOT_ASKED


@pytest.mark.parametrize("version", VERSIONS)
def test_all_and_none(hot_server: HotServer, connection: Connection, version: int) -> None:
    hot_server.create_topic("b")
    hot_server.create_topic("a")
    every = connection.call(3, version, request(version, [] if version == 0 else None))
    assert [topic["name"] for topic in every["topics"]] == ["a", "b"]
    if version >= 1:
        assert connection.call(3, version, request(version, []))["topics"] == []


@pytest.mark.parametrize("version", range(8, 14))
def test_authorized_operations(hot_server: HotServer, connection: Connection, version: int) -> None:
    hot_server.create_topic("t")
    answer = connection.call(3, version, request(
        version, ["t"], include_cluster_authorized_operations=True, include_topic_authorized_operations=True,
    ))
    assert answer["topics"][0]["topic_authorized_operations"] == 3576
    assert answer.get("cluster_authorized_operations", 8096) == 8096


@pytest.mark.parametrize("version", VERSIONS)
def test_unknown_name_goes_to_the_control_plane(hot_server: HotServer, connection: Connection, version: int) -> None:
    body = encode_request(3, version, request(version, ["new"]))
    connection.send(3, version, body)
    assert connection.receive() is None                         # the harness closes connections whose requests reach Python
    assert hot_server.forwarded == [(3, version, body)]


@pytest.mark.parametrize("version", range(10, 14))
def test_topic_ids(hot_server: HotServer, connection: Connection, version: int) -> None:
    topic_id = hot_server.create_topic("t")
    asked = request(version, [], topics=[
        {"name": None if version >= 12 else "t", "topic_id": topic_id},
        {"name": None if version >= 12 else "t", "topic_id": uuid.UUID(int=99)},
    ])
    known, unknown = connection.call(3, version, asked)["topics"]
    if version >= 12:
        assert (known["error_code"], known["name"], len(known["partitions"])) == (0, "t", 1)
        assert (unknown["error_code"], unknown["name"], unknown["topic_id"]) == (100, None, uuid.UUID(int=99))
    else:
        assert known["error_code"] == 42 and unknown["error_code"] == 42


@pytest.mark.parametrize("version", [12, 13])
def test_topic_ids_with_an_empty_name(hot_server: HotServer, connection: Connection, version: int) -> None:
    """Java's admin client sends an id with the name "" in place of null."""
    topic_id = hot_server.create_topic("t")
    topics = [{"name": "", "topic_id": topic_id}, {"name": "", "topic_id": uuid.UUID(int=99)}]
    known, unknown = connection.call(3, version, request(version, [], topics=topics))["topics"]
    assert (known["error_code"], known["name"], len(known["partitions"])) == (0, "t", 1)
    assert (unknown["error_code"], unknown["name"], unknown["topic_id"]) == (100, None, uuid.UUID(int=99))


@pytest.mark.parametrize("version", VERSIONS)
def test_no_leader(hot_server: HotServer, connection: Connection, version: int) -> None:
    hot_server.create_topic("t", leader=9)
    (row,) = connection.call(3, version, request(version, ["t"]))["topics"][0]["partitions"]
    assert (row["error_code"], row["leader_id"]) == (5, -1)
    hot_server.publisher.set_brokers("c", 7, 7, [(7, None, [("127.0.0.1", 1)]), (9, None, [None])])
    hot_server.publisher.publish()
    (row,) = connection.call(3, version, request(version, ["t"]))["topics"][0]["partitions"]
    assert (row["error_code"], row["leader_id"]) == (72 if version >= 6 else 5, -1)


@pytest.mark.parametrize("version", range(5))
def test_api_versions(hot_server: HotServer, connection: Connection, version: int) -> None:
    answer = connection.call(18, version, {"client_software_name": "a-b.c", "client_software_version": "1.0"})
    assert answer["error_code"] == 0 and answer.get("throttle_time", 0) == 0
    found = [(row["api_key"], row["min_version"], row["max_version"]) for row in answer["api_keys"]]
    assert found == API_TABLE


@pytest.mark.parametrize(("name", "software_version"), [("", "1"), ("-a", "1"), ("a", "1."), ("a b", "1"), ("a", "")])
def test_api_versions_of_nameless_software(
    hot_server: HotServer, connection: Connection, name: str, software_version: str
) -> None:
    values = {"client_software_name": name, "client_software_version": software_version}
    assert connection.call(18, 3, values)["error_code"] == 42


@pytest.mark.parametrize("version", [5, 99, 32767])
def test_api_versions_unknown_version(hot_server: HotServer, connection: Connection, version: int) -> None:
    connection.send(18, version, b"whatever \xff")
    answer = connection.answer(18, 0)
    assert answer["error_code"] == 35
    assert [(row["api_key"], row["min_version"], row["max_version"]) for row in answer["api_keys"]] == [(18, 0, 4)]
    assert connection.call(18, 0, {})["error_code"] == 0


@pytest.mark.parametrize("version", range(5))
def test_heartbeat_of_an_unknown_member(hot_server: HotServer, connection: Connection, version: int) -> None:
    values = {"group_id": "nobody", "generation_id": 1, "member_id": "m", "group_instance_id": None}
    connection.send(12, version, encode_request(12, version, values))
    assert connection.receive() is None
    time.sleep(0)
    assert [row[:2] for row in hot_server.forwarded] == [(12, version)]


@pytest.mark.parametrize("version", range(5))
def test_heartbeat_of_a_stable_member(hot_server: HotServer, connection: Connection, version: int) -> None:
    instance = b"i" if version >= 3 else None
    heartbeat_table.set_member(b"g", b"m", instance, 4, True, 0)
    values = {"group_id": "g", "generation_id": 4, "member_id": "m", "group_instance_id": "i"}
    answer = connection.call(12, version, values)
    assert answer["error_code"] == 0 and answer.get("throttle_time", 0) == 0
    assert heartbeat_table.last_heartbeat_ns(b"g", b"m") > 0
    connection.send(12, version, encode_request(12, version, values | {"generation_id": 3}))
    assert connection.receive() is None and len(hot_server.forwarded) == 1
    heartbeat_table.clear()
