"""Every version of every API that ApiVersions lists: encoded by kio, answered by a live broker, decoded by kio."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from differential_cases import (
    TOPIC,
    alter,
    batch,
    commit,
    configs,
    fetch_values,
    heartbeat,
    join,
    leave,
    legacy,
    list_offsets,
    new_topic,
    produce_values,
    sync,
)
from raw_client import Closed, RawClient

from kafka_cy.api.registry import advertised
from kafka_cy.testing import Broker

Values = dict[str, Any]
INVALID_REQUEST, MEMBER_ID_REQUIRED, ELECTION_NOT_NEEDED, GROUP_ID_NOT_FOUND = 42, 79, 84, 69
GROUP_APIS = {8, 11, 12, 13, 14}    # tested in the life of a group, below
REFUSED = {(0, version) for version in range(3)}    # Produce of old messages: listed for librdkafka only
EVERY_VERSION = [
    (row.api_key, version) for row in advertised() for version in range(row.version_min, row.version_max + 1)
    if row.api_key not in GROUP_APIS
]  # fmt: skip


class Live:
    """A broker with the topic `data` of two partitions."""

    def __init__(self, broker: Broker, folder: Path) -> None:
        self.client = RawClient(broker.bootstrap_servers)
        self.folder = str(folder)
        created = self.client.request(19, 7, new_topic("data", 2))["topics"][0]
        assert created["error_code"] == 0
        self.topic_id = created["topic_id"]
        self.client.request(10, 4, {"key_type": 0, "coordinator_keys": ["g"]})
        self.broker_id = self.client.request(3, 12, {"topics": []})["brokers"][0]["node_id"]
        assert errors_in(self.client.request(0, 9, produce_values("data", batch(3)))) == {0}
        assert errors_in(self.client.request(8, 8, commit("g", 1))) == {0}

    def with_id(self, values: Values, array: str) -> Values:
        return {**values, array: [{**each, "topic_id": self.topic_id} for each in values[array]]}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("data")
    config = {"group.initial.rebalance.delay.ms": 0, "offsets.topic.num.partitions": 1, "log.dirs": str(folder / "logs")}
    with Broker(config, folder=folder) as broker:
        yield Live(broker, folder / "logs")


DATA = {"name": "data", "topic": "data"}
GROUP = {"group_id": "g", "topics": None}
REQUESTS: dict[int, Callable[[Live], Values]] = {
    0: lambda live: live.with_id(produce_values("data", batch(1)), "topic_data"),
    1: lambda live: live.with_id(fetch_values("data", 0), "topics"),
    2: lambda live: list_offsets(-1),
    3: lambda live: {"topics": [{"name": "data"}]},
    9: lambda live: {"group_id": "g", "topics": [{"name": "data", "partition_indexes": [0]}], "groups": [GROUP]},
    10: lambda live: {"key": "g", "key_type": 0, "coordinator_keys": ["g"]},
    15: lambda live: {"groups": ["g"]},
    16: lambda live: {},
    18: lambda live: {"client_software_name": "kio", "client_software_version": "1"},
    19: lambda live: new_topic("later", validate=True),
    20: lambda live: {"topic_names": [], "topics": [], "timeout": 1000},
    21: lambda live: {"topics": [{**DATA, "partitions": [{"partition_index": 0, "offset": 0}]}], "timeout": 1000},
    22: lambda live: {"transactional_id": None, "transaction_timeout": 1000, "producer_id": -1, "producer_epoch": -1},
    23: lambda live: {"replica_id": -1, "topics": [{**DATA, "partitions": [
        {"partition": 0, "current_leader_epoch": -1, "leader_epoch": 0}]}]},
    32: lambda live: configs((TOPIC, "data", None)),
    33: lambda live: legacy("data", ("retention.ms", "-1")),
    34: lambda live: {"dirs": [{"path": live.folder, "topics": [{**DATA, "partitions": [0]}]}]},
    35: lambda live: {"topics": [{**DATA, "partitions": [0, 1]}]},
    37: lambda live: {"topics": [{**DATA, "count": 3, "assignments": None}], "timeout": 1000, "validate_only": True},
    42: lambda live: {"groups_names": ["nobody"]},
    43: lambda live: {"election_type": 0, "timeout": 1000, "topic_partitions": [{**DATA, "partitions": [0]}]},
    44: lambda live: alter(TOPIC, "data", ("retention.ms", 0, "-1")),
    45: lambda live: {"timeout": 1000, "topics": [{**DATA, "partitions": [{"partition_index": 0, "replicas": [live.broker_id]}]}]},
    46: lambda live: {"timeout": 1000, "topics": None},
    47: lambda live: {"group_id": "g", "topics": [{**DATA, "partitions": [{"partition_index": 0}]}]},
    60: lambda live: {"endpoint_type": 1},
    61: lambda live: {"topics": [{**DATA, "partition_indexes": [0]}]},
    71: lambda live: {"client_instance_id": None},
    72: lambda live: {"client_instance_id": None, "metrics": b""},
    74: lambda live: {"resource_types": []},
    75: lambda live: {"topics": [DATA], "response_partition_limit": 10},
}
EXPECTED_ERRORS = {42: {GROUP_ID_NOT_FOUND}, 43: {0, ELECTION_NOT_NEEDED}, 72: {INVALID_REQUEST}}  # 72: no client instance id


def errors_in(answer: Any) -> set[int]:
    if isinstance(answer, dict):
        own = {answer["error_code"]} if "error_code" in answer else set()
        return own.union(*(errors_in(each) for each in answer.values()))
    return set().union(*(errors_in(each) for each in answer)) if isinstance(answer, list) else set()


@pytest.mark.parametrize(("api_key", "version"), EVERY_VERSION)
def test_answer(live: Live, api_key: int, version: int) -> None:
    if (api_key, version) in REFUSED:
        with pytest.raises(Closed):
            live.client.request_bytes(api_key, version, bytes(10), flexible=False)
        return
    if api_key == 47:
        assert errors_in(live.client.request(8, 8, commit("g", 1))) == {0}
    answer = live.client.request(api_key, version, REQUESTS[api_key](live))
    assert errors_in(answer) <= EXPECTED_ERRORS.get(api_key, {0}), answer


def of(api_key: int) -> range:
    row = next(row for row in advertised() if row.api_key == api_key)
    return range(row.version_min, row.version_max + 1)


@pytest.mark.parametrize("version", of(11))
def test_the_life_of_a_group(live: Live, version: int) -> None:
    """JoinGroup in this version, then every version of the requests that a member sends."""
    group, client = f"g-{version}", live.client
    joined = client.request(11, version, join(group))
    if version >= 4:
        assert joined["error_code"] == MEMBER_ID_REQUIRED
        joined = client.request(11, version, join(group, joined["member_id"]))
    assert joined["error_code"] == 0 and joined["generation_id"] == 1, joined
    member = joined["member_id"]
    assert joined["leader"] == member
    for each in of(14):
        synced = client.request(14, each, sync(group, member, 1, assignment=b"mine"))
        assert (synced["error_code"], synced["assignment"]) == (0, b"mine")
    for each in of(12):
        assert client.request(12, each, heartbeat(group, member, 1))["error_code"] == 0
    for each in of(8):
        values = live.with_id(commit(group, each, generation=1, member=member), "topics")
        assert errors_in(client.request(8, each, values)) == {0}
        asked = {"group_id": group, "topics": [{"name": "data", "partition_indexes": [0]}]}
        fetched = client.request(9, 7, asked)["topics"][0]["partitions"][0]
        assert fetched["committed_offset"] == each
    for each in of(13):
        values = {**leave(group, ("who", None)), "member_id": "who"}
        assert 25 in errors_in(client.request(13, each, values))
    assert errors_in(client.request(13, version % 6, {**leave(group, (member, None)), "member_id": member})) == {0}
    assert client.request(15, 5, {"groups": [group]})["groups"][0]["group_state"] == "Empty"
