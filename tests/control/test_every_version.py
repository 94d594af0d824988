"""Every version of every API that ApiVersions lists: encoded by kio, answered by a live broker, decoded by kio."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from differential_cases import (
    TOPIC,
    State,
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
from differential_security import acl, acl_filter, alter_scram, upsertion, voter
from raw_client import Closed, RawClient

from kafka_cy.api.registry import advertised
from kafka_cy.testing import Broker

Values = dict[str, Any]
INVALID_REQUEST, MEMBER_ID_REQUIRED, ELECTION_NOT_NEEDED, GROUP_ID_NOT_FOUND, BROKER_ID_NOT_REGISTERED = 42, 79, 84, 69, 102
CONCURRENT_TRANSACTIONS = 51
LOADING, NOT_COORDINATOR, SHARE_SESSION_NOT_FOUND = 14, 16, 122
GROUP_APIS = {8, 11, 12, 13, 14}    # tested in the life of a group, below
CONSUMER_GROUP_APIS = {68, 69}      # tested with the consumer groups (tests/coordinator)
TOKEN_APIS = {38, 39, 40}           # kio cannot read their responses; tested in test_security_apis.py
REFUSED = {(0, version) for version in range(3)}    # Produce of old messages: listed for librdkafka only
EVERY_VERSION = [
    (row.api_key, version) for row in advertised() for version in range(row.version_min, row.version_max + 1)
    if row.api_key not in GROUP_APIS | CONSUMER_GROUP_APIS | TOKEN_APIS
]  # fmt: skip


class Live:
    """A broker with the topic `data` of two partitions."""

    def __init__(self, broker: Broker, folder: Path) -> None:
        self.client = RawClient(broker.bootstrap_servers)
        self.folder = str(folder)
        created = self.client.request(19, 7, new_topic("data", 2))["topics"][0]
        assert created["error_code"] == 0
        self.topic_id = created["topic_id"]
        for key_type in (0, 1):
            self.client.request(10, 4, {"key_type": key_type, "coordinator_keys": ["g"]})
        self.broker_id = self.client.request(3, 12, {"topics": []})["brokers"][0]["node_id"]
        assert errors_in(self.client.request(0, 9, produce_values("data", batch(3)))) == {0}
        assert errors_in(self.client.request(8, 8, commit("g", 1))) == {0}

    def transaction(self) -> Values:
        """A producer that may begin a transaction."""
        values = {"transactional_id": "t", "transaction_timeout": 60_000, "producer_id": -1, "producer_epoch": -1}
        while (found := self.client.request(22, 5, values))["error_code"] == CONCURRENT_TRANSACTIONS:
            pass
        return {"transactional_id": "t", "producer_id": found["producer_id"], "producer_epoch": found["producer_epoch"]}

    def open_transaction(self) -> Values:
        """A producer with a transaction over partition 0 of `data`, and over the offsets of group `g`."""
        producer = self.transaction()
        assert errors_in(self.client.request(24, 5, added(producer))) == {0}
        assert errors_in(self.client.request(25, 4, producer | {"group_id": "g"})) == {0}
        return producer

    def with_id(self, values: Values, array: str) -> Values:
        return {**values, array: [{**each, "topic_id": self.topic_id} for each in values[array]]}


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    folder = tmp_path_factory.mktemp("data")
    config = {"group.initial.rebalance.delay.ms": 0, "offsets.topic.num.partitions": 1, "log.dirs": str(folder / "logs")}
    with Broker(config, folder=folder) as broker:
        yield Live(broker, folder / "logs")


DATA = {"name": "data", "topic": "data"}


def added(producer: Values) -> Values:
    """AddPartitionsToTxn, as producers and as brokers send it."""
    transaction = producer | {"verify_only": False, "topics": [{**DATA, "partitions": [0]}]}
    return {"transactions": [transaction]} | {f"v3_and_below_{name}": value for name, value in transaction.items()}


def marker() -> Values:
    return {
        "producer_id": 1 << 40, "producer_epoch": 0, "transaction_result": True, "coordinator_epoch": 0, "transaction_version": 0,
        "topics": [{**DATA, "partition_indexes": [0]}],
    }  # fmt: skip


def transactional_commit(producer: Values) -> Values:
    partition = {"partition_index": 0, "committed_offset": 1, "committed_leader_epoch": -1, "committed_metadata": ""}
    member = {"generation_id": -1, "member_id": "", "group_instance_id": None}
    return producer | member | {"group_id": "g", "topics": [{**DATA, "partitions": [partition]}]}


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
    17: lambda live: {"mechanism": "PLAIN"},
    18: lambda live: {"client_software_name": "kio", "client_software_version": "1"},
    19: lambda live: new_topic("later", validate=True),
    20: lambda live: {"topic_names": [], "topics": [], "timeout": 1000},
    21: lambda live: {"topics": [{**DATA, "partitions": [{"partition_index": 0, "offset": 0}]}], "timeout": 1000},
    22: lambda live: {"transactional_id": None, "transaction_timeout": 1000, "producer_id": -1, "producer_epoch": -1},
    23: lambda live: {"replica_id": -1, "topics": [{**DATA, "partitions": [
        {"partition": 0, "current_leader_epoch": -1, "leader_epoch": 0}]}]},
    24: lambda live: added(live.transaction()),
    25: lambda live: live.transaction() | {"group_id": "g"},
    26: lambda live: live.open_transaction() | {"committed": True},
    27: lambda live: {"markers": [marker()]},
    28: lambda live: transactional_commit(live.open_transaction()),
    29: lambda live: acl_filter(),
    30: lambda live: {"creations": [acl()]},
    31: lambda live: {"filters": [acl_filter()]},
    32: lambda live: configs((TOPIC, "data", None)),
    33: lambda live: legacy("data", ("retention.ms", "-1")),
    34: lambda live: {"dirs": [{"path": live.folder, "topics": [{**DATA, "partitions": [0]}]}]},
    35: lambda live: {"topics": [{**DATA, "partitions": [0, 1]}]},
    36: lambda live: {"auth_bytes": b""},
    37: lambda live: {"topics": [{**DATA, "count": 3, "assignments": None}], "timeout": 1000, "validate_only": True},
    41: lambda live: {"owners": None},
    42: lambda live: {"groups_names": ["nobody"]},
    43: lambda live: {"election_type": 0, "timeout": 1000, "topic_partitions": [{**DATA, "partitions": [0]}]},
    44: lambda live: alter(TOPIC, "data", ("retention.ms", 0, "-1")),
    45: lambda live: {"timeout": 1000, "topics": [{**DATA, "partitions": [{"partition_index": 0, "replicas": [live.broker_id]}]}]},
    46: lambda live: {"timeout": 1000, "topics": None},
    47: lambda live: {"group_id": "g", "topics": [{**DATA, "partitions": [{"partition_index": 0}]}]},
    50: lambda live: {"users": None},
    51: lambda live: alter_scram(upsertion("user")),
    55: lambda live: {"topics": [{"topic_name": "__cluster_metadata", "partitions": [{"partition_index": 0}]}]},
    48: lambda live: {"components": [{"entity_type": "user", "match_type": 2, "match": None}], "strict": False},
    49: lambda live: {
        "entries": [{
            "entity": [{"entity_type": "user", "entity_name": "u"}],
            "ops": [{"key": "producer_byte_rate", "value": 1e9, "remove": False}],
        }],
        "validate_only": False,
    },
    57: lambda live: {"timeout": 1000, "feature_updates": []},
    60: lambda live: {"endpoint_type": 1},
    61: lambda live: {"topics": [{**DATA, "partition_indexes": [0]}]},
    64: lambda live: {"broker_id": 9},
    65: lambda live: {"transactional_ids": [live.open_transaction()["transactional_id"]]},
    66: lambda live: {"state_filters": [], "producer_id_filters": [], "duration_filter": -1, "transactional_id_pattern": None},
    71: lambda live: {"client_instance_id": None},
    72: lambda live: {"client_instance_id": None, "metrics": b""},
    74: lambda live: {"resource_types": []},
    75: lambda live: {"topics": [DATA], "response_partition_limit": 10},
    76: lambda live: {"group_id": "s", "member_id": "m", "member_epoch": 0, "subscribed_topic_names": ["data"]},
    77: lambda live: {"group_ids": ["s"], "include_authorized_operations": True},
    78: lambda live: {"group_id": "s", "member_id": "m", "share_session_epoch": 0, "max_records": 1, "topics": []},
    79: lambda live: {"group_id": "s", "member_id": "m", "share_session_epoch": -1, "topics": []},
    80: lambda live: voter(live.broker_id)(State([], saved={"cluster": None})),
    81: lambda live: voter(9)(State([], saved={"cluster": None})),
    83: lambda live: share_state(live, {"partition": 0, "state_epoch": 1, "start_offset": 0}),
    84: lambda live: share_state(live, {"partition": 0, "leader_epoch": -1}),
    85: lambda live: share_state(live, {"partition": 0, "state_epoch": 1, "leader_epoch": 0, "start_offset": 0}),
    86: lambda live: share_state(live, {"partition": 0}),
    87: lambda live: share_state(live, {"partition": 0, "leader_epoch": -1}),
    88: lambda live: {
        "group_id": "st", "member_id": "m", "member_epoch": 0, "endpoint_information_epoch": -1, "rebalance_timeout": 5000,
        "process_id": "p", "active_tasks": [], "standby_tasks": [], "warmup_tasks": [], "client_tags": [],
        "task_offsets": None, "task_end_offsets": None,
        "topology": {"epoch": 0, "subtopologies": [{
            "subtopology_id": "0", "source_topics": ["data"], "state_changelog_topics": [], "repartition_source_topics": [],
            "copartition_groups": [],
        }]},
    },
    89: lambda live: {"group_ids": ["st"], "include_authorized_operations": True},
    90: lambda live: {"groups": [{"group_id": "s", "topics": [{"topic_name": "data", "partitions": [0]}]}]},
    91: lambda live: {
        "group_id": "s2", "topics": [{"topic_name": "data", "partitions": [{"partition_index": 0, "start_offset": 0}]}],
    },
    92: lambda live: {"group_id": "s2", "topics": [{"topic_name": "data"}]},
}
SECURITY_DISABLED, ILLEGAL_SASL_STATE, TOKEN_REQUEST_NOT_ALLOWED, DUPLICATE_VOTER, VOTER_NOT_FOUND = 54, 34, 64, 126, 127
EXPECTED_ERRORS = {
    **{key: {SECURITY_DISABLED} for key in (29, 30, 31)},
    **{key: {ILLEGAL_SASL_STATE} for key in (17, 36)},
    41: {TOKEN_REQUEST_NOT_ALLOWED},
    80: {DUPLICATE_VOTER},
    81: {VOTER_NOT_FOUND},
    42: {GROUP_ID_NOT_FOUND},
    43: {0, ELECTION_NOT_NEEDED},
    64: {BROKER_ID_NOT_REGISTERED},
    72: {INVALID_REQUEST},  # no client instance id
    79: {0, SHARE_SESSION_NOT_FOUND},
    # Alone, nobody has asked for a share coordinator yet; after a share group's heartbeat it may still load.
    **{key: {0, NOT_COORDINATOR, LOADING, INVALID_REQUEST} for key in (83, 84, 85, 86, 87)},
    77: {0, GROUP_ID_NOT_FOUND},
    89: {0, GROUP_ID_NOT_FOUND},
    92: {0, GROUP_ID_NOT_FOUND},
}


def errors_in(answer: Any) -> set[int]:
    if isinstance(answer, dict):
        own = {answer["error_code"]} if "error_code" in answer else set()
        return own.union(*(errors_in(each) for each in answer.values()))
    return set().union(*(errors_in(each) for each in answer)) if isinstance(answer, list) else set()


def share_state(live: Live, partition: Values) -> Values:
    return {"group_id": "s3", "topics": [{"topic_id": live.topic_id, "partitions": [partition]}]}


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
