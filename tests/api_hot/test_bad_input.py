"""Truncated and corrupted bodies of every version: a response or a closed connection, never a crash."""

from __future__ import annotations

import random
from typing import Any

import pytest

from .harness import API_TABLE, Connection, HotServer
from .kio_wire import encode_request
from .test_fetch import request as fetch_request
from .test_metadata import request as metadata_request
from .test_produce import batch
from .test_produce import request as produce_request

HOT = [(key, version) for key, low, high in API_TABLE if key != 60 for version in range(low, high + 1)]


def valid_body(server: HotServer, api_key: int, version: int) -> bytes:
    values: dict[str, Any] = {}
    if api_key == 0:
        values = produce_request(version, server, {("t", 0): batch(), ("t", 1): batch()}, acks=1)
    elif api_key == 1:
        values = fetch_request(server, {("t", 0): 0, ("t", 1): 0}, session=(0, 0), forget=[("t", 3)])
    elif api_key == 2:
        asked = {"partition_index": 0, "timestamp": 1, "current_leader_epoch": 0}
        topics = [{"name": "t", "partitions": [asked]}]
        values = {"replica_id": -1, "isolation_level": 1, "timeout": 5, "topics": topics}
    elif api_key == 3:
        values = metadata_request(version, ["t"])
    elif api_key == 8:
        row = {"partition_index": 0, "committed_offset": 5, "committed_leader_epoch": 1, "committed_metadata": "m"}
        topics = [{"name": "t", "topic_id": server.topic_ids["t"], "partitions": [row, row | {"partition_index": 1}]}]
        values = {
            "group_id": "g", "generation_id_or_member_epoch": 1, "member_id": "m", "group_instance_id": "i",
            "retention_time": -1, "topics": topics,
        }  # fmt: skip
    elif api_key == 12:
        values = {"group_id": "g", "generation_id": 1, "member_id": "m", "group_instance_id": "i"}
    elif api_key == 18:
        values = {"client_software_name": "a", "client_software_version": "1"}
    elif api_key == 23:
        row = {"partition": 0, "current_leader_epoch": -1, "leader_epoch": 0}
        values = {"replica_id": -1, "topics": [{"topic": "t", "partitions": [row]}]}
    elif api_key == 68:
        values = {
            "group_id": "k68", "member_id": "m", "member_epoch": 1, "instance_id": "i", "rack_id": None, "rebalance_timeout": -1,
            "subscribed_topic_names": None, "subscribed_topic_regex": "r.", "server_assignor": None, "topic_partitions": None,
        }  # fmt: skip
    elif api_key == 76:
        values = {"group_id": "k76", "member_id": "m", "member_epoch": 1}
    elif api_key == 88:
        lists = ("active_tasks", "standby_tasks", "warmup_tasks", "client_tags", "task_offsets", "task_end_offsets")
        values = {"group_id": "k88", "member_id": "m", "member_epoch": 1, "endpoint_information_epoch": 0, **dict.fromkeys(lists)}
    elif api_key in (78, 79):
        batches = [
            {"first_offset": 0, "last_offset": 1, "acknowledge_types": [1, 2]},
            {"first_offset": 2, "last_offset": 2, "acknowledge_types": [3]},
        ]
        rows = [{"partition_index": 0, "acknowledgement_batches": batches}, {"partition_index": 1, "acknowledgement_batches": []}]
        values = {
            "group_id": "s", "member_id": "m", "share_session_epoch": 1, "max_wait": 5, "min_bytes": 1, "max_bytes": 1 << 20,
            "max_records": 2, "batch_size": 2, "topics": [{"topic_id": server.topic_ids["t"], "partitions": rows}],
            "forgotten_topics_data": [], "share_acquire_mode": 1, "is_renew_ack": False,
        }  # fmt: skip
    return encode_request(api_key, version, values)


@pytest.fixture
def server(hot_server: HotServer) -> HotServer:
    hot_server.create_topic("t", 2)
    return hot_server


def alive(server: HotServer) -> None:
    probe = server.connect()
    assert probe.call(18, 0, {})["error_code"] == 0
    probe.close()


def closed_or_silent(client: Connection) -> bool:
    """Whether the connection can no longer be used (acks=0 and long polls send no response); closes it in that case."""
    client.socket.settimeout(0.05)
    try:
        if client.receive() is not None:
            return False
    except TimeoutError:
        pass
    client.close()
    return True


@pytest.mark.parametrize(("api_key", "version"), [row for row in HOT if row[0] != 0 or row[1] >= 3])
def test_every_truncation_closes(server: HotServer, api_key: int, version: int) -> None:
    body = valid_body(server, api_key, version)
    for size in range(len(body)):
        client = server.connect()
        client.send(api_key, version, body[:size])
        frame = client.receive()
        assert frame is None, f"{size} of {len(body)} bytes were answered: {frame!r}"
        client.close()
    alive(server)
    assert server.partitions["t", 0].log_end_offset == 0


@pytest.mark.parametrize(("api_key", "version"), [row for row in HOT if row[0] != 0 or row[1] >= 3])
def test_garbled_bodies(server: HotServer, api_key: int, version: int) -> None:
    chance = random.Random(api_key * 100 + version)
    body = valid_body(server, api_key, version)
    client: Connection | None = None
    for _ in range(150):
        spoiled = bytearray(body or b"\0")
        for _ in range(chance.randrange(1, 5)):
            spoiled[chance.randrange(len(spoiled))] = chance.choice([0, 1, 0x7F, 0x80, 0xFF, chance.randrange(256)])
        client = client or server.connect()
        client.send(api_key, version, bytes(spoiled))
        if closed_or_silent(client):
            client = None
    alive(server)


def test_random_bodies(server: HotServer) -> None:
    chance = random.Random(11)
    for api_key, version in HOT:
        client: Connection | None = None
        for _ in range(30):
            client = client or server.connect()
            client.send(api_key, version, chance.randbytes(chance.randrange(0, 80)))
            if closed_or_silent(client):
                client = None
    alive(server)
