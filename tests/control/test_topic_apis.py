"""CreateTopics, DeleteTopics, CreatePartitions, Metadata and the small cluster APIs, each in all versions."""

from __future__ import annotations

import io
import re
from typing import Any
from uuid import UUID

import pytest
from control_fakes import call, make_context

from kafka_cy.api.change_lines import LINES_MAX
from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.server.log import BrokerLog

CREATE, DELETE, PARTITIONS, METADATA = 19, 20, 37, 3


def create(context: Any, version: int = 7, *, validate_only: bool = False, **topic: Any) -> dict[str, Any]:
    values = {"name": "t", "num_partitions": 1, "replication_factor": 1, **topic}
    answer = call(context, CREATE, version, {"topics": [values], "validate_only": validate_only})
    return dict(answer["topics"][0])


@pytest.mark.parametrize("version", range(2, 8))
def test_create_and_describe(version: int) -> None:
    context = make_context()
    answer = create(context, version, num_partitions=3, configs=[{"name": "retention.ms", "value": "1000"}])
    assert answer["error_code"] == 0 and answer["num_partitions"] == 3
    found = {entry["name"]: entry for entry in answer["configs"]}
    assert found["retention.ms"]["value"] == "1000" and found["retention.ms"]["config_source"] == 1
    assert found["segment.bytes"]["config_source"] == 5
    assert len(context.logs.partitions) == 3
    assert create(context, version)["error_code"] == ErrorCode.TOPIC_ALREADY_EXISTS


def test_validate_only_creates_nothing() -> None:
    context = make_context()
    assert create(context, validate_only=True)["error_code"] == 0
    assert context.cluster.topics == {}
    assert create(context, validate_only=True, num_partitions=0)["error_code"] == ErrorCode.INVALID_PARTITIONS


@pytest.mark.parametrize(
    ("topic", "code"),
    [
        ({"name": "a b"}, ErrorCode.INVALID_TOPIC_EXCEPTION),
        ({"name": ".."}, ErrorCode.INVALID_TOPIC_EXCEPTION),
        ({"name": "x" * 250}, ErrorCode.INVALID_TOPIC_EXCEPTION),
        ({"name": "café"}, ErrorCode.INVALID_TOPIC_EXCEPTION),
        ({"name": "p_q"}, ErrorCode.INVALID_TOPIC_EXCEPTION),
        ({"num_partitions": 0}, ErrorCode.INVALID_PARTITIONS),
        ({"num_partitions": 1 << 30}, ErrorCode.POLICY_VIOLATION),
        ({"replication_factor": 0}, ErrorCode.INVALID_REPLICATION_FACTOR),
        ({"replication_factor": 3}, ErrorCode.INVALID_REPLICATION_FACTOR),
        ({"configs": [{"name": "no.such", "value": "1"}]}, ErrorCode.INVALID_CONFIG),
        ({"configs": [{"name": "retention.ms", "value": "soon"}]}, ErrorCode.INVALID_CONFIG),
        ({"configs": [{"name": "retention.ms", "value": None}]}, ErrorCode.INVALID_CONFIG),
        ({"assignments": [{"partition_index": 0, "broker_ids": [1]}]}, ErrorCode.INVALID_REQUEST),
    ],
)
def test_refused(topic: dict[str, Any], code: ErrorCode) -> None:
    context = make_context()
    create(context, name="p.q")
    answer = create(context, **topic)
    assert answer["error_code"] == code and answer["error_message"]
    assert list(context.cluster.topics) == ["p.q"]


@pytest.mark.parametrize(
    ("assignments", "code"),
    [
        ({0: [1], 1: [1]}, ErrorCode.NONE),
        ({0: [1], 2: [1]}, ErrorCode.INVALID_REPLICA_ASSIGNMENT),
        ({0: [7]}, ErrorCode.INVALID_REPLICA_ASSIGNMENT),
        ({0: []}, ErrorCode.INVALID_REPLICA_ASSIGNMENT),
        ({0: [1, 1]}, ErrorCode.INVALID_REPLICA_ASSIGNMENT),
    ],
)
def test_manual_assignment(assignments: dict[int, list[int]], code: ErrorCode) -> None:
    rows = [{"partition_index": index, "broker_ids": brokers} for index, brokers in assignments.items()]
    answer = create(make_context(), num_partitions=-1, replication_factor=-1, assignments=rows)
    assert answer["error_code"] == code


def test_duplicates_and_defaults() -> None:
    context = make_context({"num.partitions": "4"})
    topics = [{"name": name, "num_partitions": -1, "replication_factor": -1} for name in ("a", "b", "a")]
    answer = call(context, CREATE, 7, {"topics": topics})
    assert [(t["name"], t["error_code"]) for t in answer["topics"]] == [("a", ErrorCode.INVALID_REQUEST), ("b", 0)]
    assert len(context.cluster.topics["b"].partitions) == 4


def test_delete() -> None:
    context = make_context()
    for name in ("a", "b"):
        create(context, name=name)
    topic_id = context.cluster.topics["b"].id
    answer = call(context, DELETE, 5, {"topic_names": ["a", "nix"], "timeout": 1000})
    assert [r["error_code"] for r in answer["responses"]] == [0, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION]
    answer = call(context, DELETE, 6, {"topics": [{"name": None, "topic_id": topic_id}], "timeout": 1000})
    assert answer["responses"][0]["name"] == "b" and answer["responses"][0]["error_code"] == 0
    answer = call(context, DELETE, 6, {"topics": [{"name": None, "topic_id": topic_id}], "timeout": 1000})
    assert answer["responses"][0]["error_code"] == ErrorCode.UNKNOWN_TOPIC_ID
    assert context.logs.partitions == {}
    context = make_context({"delete.topic.enable": "false"})
    create(context)
    answer = call(context, DELETE, 4, {"topic_names": ["t"], "timeout": 1000})
    assert answer["responses"][0]["error_code"] == ErrorCode.TOPIC_DELETION_DISABLED


def test_create_partitions() -> None:
    context = make_context()
    create(context)

    def grow(count: int, **more: Any) -> int:
        topics = [{"name": "t", "count": count, "assignments": None, **more}]
        answer = call(context, PARTITIONS, 3, {"topics": topics, "timeout": 1000})
        return int(answer["results"][0]["error_code"])

    assert grow(3) == 0 and len(context.cluster.topics["t"].partitions) == 3
    assert grow(3) == ErrorCode.INVALID_PARTITIONS
    assert grow(2) == ErrorCode.INVALID_PARTITIONS
    assert grow(5, assignments=[{"broker_ids": [1]}]) == ErrorCode.INVALID_REPLICA_ASSIGNMENT
    assert grow(4, assignments=[{"broker_ids": [9]}]) == ErrorCode.INVALID_REPLICA_ASSIGNMENT
    assert grow(4, assignments=[{"broker_ids": [1]}]) == 0
    assert grow(9, name="nix") == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


@pytest.mark.parametrize("version", range(14))
def test_metadata_creates_on_demand(version: int) -> None:
    context = make_context()
    answer = call(context, METADATA, version, {"topics": [{"name": "new"}, {"name": "bad name"}]})
    new, bad = answer["topics"]
    assert new["error_code"] == 0 and new["partitions"][0]["leader_id"] == 1
    assert bad["error_code"] == ErrorCode.INVALID_TOPIC_EXCEPTION
    everything = call(context, METADATA, version, {"topics": [] if version == 0 else None})
    assert [topic["name"] for topic in everything["topics"]] == ["new"]
    if version >= 1:
        assert call(context, METADATA, version, {"topics": []})["topics"] == []
    if version >= 4:
        answer = call(context, METADATA, version, {"topics": [{"name": "x"}], "allow_auto_topic_creation": False})
        assert answer["topics"][0]["error_code"] == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION


@pytest.mark.parametrize("name", [None, "", "other"])
@pytest.mark.parametrize("version", [12, 13])
def test_metadata_by_id_whatever_the_name(version: int, name: str | None) -> None:
    """The Java client sends an empty name with an id."""
    context = make_context()
    create(context)
    topic_id, unknown_id = context.cluster.topics["t"].id, UUID(int=5)
    asked = [{"name": name, "topic_id": topic_id}, {"name": name, "topic_id": unknown_id}]
    answer = call(context, METADATA, version, {"topics": asked, "allow_auto_topic_creation": True})
    unknown, found = answer["topics"]  # unknown ids come first in Kafka
    assert (found["error_code"], found["name"], found["topic_id"]) == (0, "t", topic_id)
    assert (unknown["error_code"], unknown["name"]) == (ErrorCode.UNKNOWN_TOPIC_ID, None)
    assert list(context.cluster.topics) == ["t"]


def test_a_partition_whose_folder_name_would_be_too_long_is_not_moved() -> None:
    context = make_context()
    code = move(context, "x" * 249, "nowhere")
    assert code == ErrorCode.INVALID_TOPIC_EXCEPTION
    assert move(context, "x" * 213, "nowhere") == ErrorCode.LOG_DIR_NOT_FOUND


def move(context: Any, topic: str, path: str) -> int:
    dirs = [{"path": path, "topics": [{"name": topic, "partitions": [0]}]}]
    answer = call(context, 34, 2, {"dirs": dirs})
    return int(answer["results"][0]["partitions"][0]["error_code"])


def test_metadata_creates_nothing_without_enough_brokers_for_the_default_replication_factor() -> None:
    context = make_context({"default.replication.factor": "2"})
    answer = call(context, METADATA, 12, {"topics": [{"name": "t"}], "allow_auto_topic_creation": True})
    assert answer["topics"][0]["error_code"] == ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
    assert context.cluster.topics == {}


def test_metadata_creates_internal_topics_with_their_own_settings() -> None:
    context = make_context()
    names = ["__consumer_offsets", "__transaction_state", "__share_group_state"]
    answer = call(context, METADATA, 12, {"topics": [{"name": name} for name in names]})
    for topic in answer["topics"]:
        assert (topic["error_code"], topic["is_internal"], len(topic["partitions"])) == (0, True, 50)
    topics = context.cluster.topics
    assert [topics[name].config for name in names] == [
        {"cleanup.policy": "compact", "compression.type": "producer", "segment.bytes": "104857600"},
        {
            "cleanup.policy": "compact", "compression.type": "uncompressed", "unclean.leader.election.enable": "false",
            "min.insync.replicas": "1", "segment.bytes": "104857600",
        },
        {
            "cleanup.policy": "delete", "compression.type": "producer", "retention.ms": "-1",
            "min.insync.replicas": "1", "segment.bytes": "104857600",
        },
    ]  # fmt: skip


def test_describe_topic_partitions_pages() -> None:
    context = make_context()
    create(context, name="a", num_partitions=3)
    create(context, name="b", num_partitions=2)
    seen, cursor = [], None
    while True:
        body = {"topics": [], "response_partition_limit": 2, "cursor": cursor}
        answer = call(context, 75, 0, body)
        seen += [(t["name"], p["partition_index"]) for t in answer["topics"] for p in t["partitions"]]
        cursor = answer["next_cursor"]
        if cursor is None:
            break
    assert seen == [("a", 0), ("a", 1), ("a", 2), ("b", 0), ("b", 1)]


def test_small_cluster_apis() -> None:
    context = make_context()
    create(context)
    for version in range(3):
        answer = call(context, 60, version, {})
        assert answer["brokers"][0]["port"] == 9092
    assert call(context, 60, 2, {"endpoint_type": 2})["error_code"] == ErrorCode.MISMATCHED_ENDPOINT_TYPE
    for version in range(6):
        assert call(context, 22, version, {"transactional_id": None})["producer_id"] == version
    for version in range(3):
        asked = {"topic_partitions": [{"topic": "t", "partitions": [0, 9]}]}
        parts = call(context, 43, version, asked)["replica_election_results"][0]["partition_result"]
        assert [p["error_code"] for p in parts] == [84, 3]
    replicas = [None, [1], [2]]
    codes = []
    for wanted in replicas:
        topic = {"name": "t", "partitions": [{"partition_index": 0, "replicas": wanted}]}
        answer = call(context, 45, 1, {"topics": [topic]})
        codes.append(answer["responses"][0]["partitions"][0]["error_code"])
    assert codes == [ErrorCode.NO_REASSIGNMENT_IN_PROGRESS, 0, ErrorCode.INVALID_REPLICA_ASSIGNMENT]
    assert call(context, 46, 0, {"topics": None})["topics"] == []


@pytest.mark.parametrize("version", range(3))
def test_delete_records(version: int) -> None:
    context = make_context()
    create(context)
    create(context, name="c", configs=[{"name": "cleanup.policy", "value": "compact"}])

    def delete(offset: int, name: str = "t", index: int = 0) -> tuple[int, int]:
        topic = {"name": name, "partitions": [{"partition_index": index, "offset": offset}]}
        partition = call(context, 21, version, {"topics": [topic]})["topics"][0]["partitions"][0]
        return partition["low_watermark"], partition["error_code"]

    assert delete(4) == (4, 0)
    assert delete(2) == (4, 0)
    assert delete(11) == (-1, ErrorCode.OFFSET_OUT_OF_RANGE)
    assert delete(-1) == (10, 0)
    assert delete(1, index=1) == (-1, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
    assert delete(1, "c") == (-1, ErrorCode.POLICY_VIOLATION)


def test_the_log_says_who_created_changed_and_deleted_topics() -> None:
    context = make_context()
    stream = io.StringIO()
    context.log = BrokerLog("info", stream)
    create(context, num_partitions=2, configs=[{"name": "retention.ms", "value": "1000"}])
    create(context, validate_only=True, name="other")
    create(context)  # exists
    call(context, PARTITIONS, 3, {"topics": [{"name": "t", "count": 5, "assignments": None}], "timeout": 1000})
    call(context, DELETE, 5, {"topic_names": ["t", "unknown"], "timeout": 1000})
    call(context, CREATE, 7, {"topics": [{"name": f"t{i}", "num_partitions": 1, "replication_factor": 1} for i in range(1000)]})
    told = [re.sub(r"[0-9a-f-]{36}", "ID", line.split(" INFO ")[1]) for line in stream.getvalue().splitlines()]
    by = "client_id=test client=127.0.0.1"
    assert told[:3] == [
        f'topic created topic=t id=ID partitions=2 replication=1 configs="retention.ms=1000" {by}',
        f"partitions added topic=t added=3 partitions=5 {by}",
        f"topic deleted topic=t id=ID {by}",
    ]
    assert told[3:] == [
        *(f"topic created topic=t{i} id=ID partitions=1 replication=1 {by}" for i in range(LINES_MAX)),
        f"topic created: more in the same request count={1000 - LINES_MAX} {by}",
    ]


def test_metadata_creates_no_topic_when_it_asks_for_too_many() -> None:
    """Kafka's controller refuses a batch of more than 10,000 records: one for each topic and partition."""
    context = make_context({"num.partitions": "4"})
    asked = [{"name": f"t{number}"} for number in range(2001)]
    answer = call(context, METADATA, 12, {"topics": asked, "allow_auto_topic_creation": True})
    assert {topic["error_code"] for topic in answer["topics"]} == {ErrorCode.UNKNOWN_TOPIC_OR_PARTITION}
    assert context.cluster.topics == {}
    answer = call(context, METADATA, 12, {"topics": asked[1:], "allow_auto_topic_creation": True})
    assert {topic["error_code"] for topic in answer["topics"]} == {0}
    assert len(context.cluster.topics) == 2000
    asked += [{"name": f"new{number}"} for number in range(2000)]
    answer = call(context, METADATA, 12, {"topics": asked[1:], "allow_auto_topic_creation": True})
    assert {topic["error_code"] for topic in answer["topics"]} == {0}, "topics that exist do not count"


def test_create_partitions_adds_nothing_when_it_asks_for_too_many() -> None:
    """One topic has a limit of its own; together they have the controller's."""
    context = make_context()
    names = [f"t{number}" for number in range(11)]
    for name in names:
        create(context, name=name)
    before = len(context.cluster.topics["t0"].partitions)

    def grow(count: int) -> set[int]:
        topics = [{"name": name, "count": before + count, "assignments": None} for name in names]
        answer = call(context, 37, 3, {"topics": topics, "timeout": 1000, "validate_only": False})
        assert [each["name"] for each in answer["results"]] == names
        return {each["error_code"] for each in answer["results"]}

    assert grow(910) == {ErrorCode.POLICY_VIOLATION}
    assert {len(topic.partitions) for topic in context.cluster.topics.values()} == {before}
    assert grow(909) == {0}
    assert {len(topic.partitions) for topic in context.cluster.topics.values()} == {before + 909}


@pytest.mark.parametrize(("api_key", "version"), [(33, 2), (44, 1)])
def test_a_request_with_too_many_settings_changes_none(api_key: int, version: int) -> None:
    """Names of client metrics subscriptions and of groups are free, so that each would be a new entity."""
    context = make_context()
    operation = {"config_operation": 0} if api_key == 44 else {}

    def alter(count: int) -> list[int]:
        configs = [{"name": "interval.ms", "value": "1000", **operation}]
        resources = [{"resource_type": 16, "resource_name": f"s{number}", "configs": configs} for number in range(count)]
        answer = call(context, api_key, version, {"resources": resources, "validate_only": False})
        return [each["error_code"] for each in answer["responses"]]

    assert alter(10_001) == [ErrorCode.POLICY_VIOLATION] * 10_001
    assert list(context.cluster.config_entities("client-metrics")) == []
    assert alter(3) == [0] * 3
