"""The APIs of share groups on a broker: bytes as Apache Kafka's, and what survives kill -9."""

from __future__ import annotations

import json
import time
import uuid
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from raw_client import RawClient

from kafka_cy.api import read_share_group_state
from kafka_cy.api.registry import cold_handler
from kafka_cy.coordinator.share.state_machine import SharePartition, is_share_key
from kafka_cy.protocol.bridge import decode_request, encode_response
from kafka_cy.records import build_batch
from kafka_cy.share.log_reader import split
from kafka_cy.testing import Broker
from tests.coordinator.share_state import TOPIC_ID, ShareHarness
from tests.waiting import wait_until

GOLDEN = json.loads((Path(__file__).parent / "golden_state_apis.json").read_text())
KEYS = {"InitializeShareGroupState": 83, "WriteShareGroupState": 85, "DeleteShareGroupState": 86}
GOLDEN_TOPIC = uuid.UUID("cdb101b7-bb80-4faf-8447-6e69c94c42e2")
HEADER = 2 + 2 + 4 + 2 + 1 + 1  # key, version, correlation id, client id "w", no tags


def test_state_apis_respond_with_the_bytes_of_kafka() -> None:
    harness = ShareHarness()
    harness.coordinator.cluster.topic_by_id[GOLDEN_TOPIC] = SimpleNamespace(name="t", id=GOLDEN_TOPIC, partitions=[0])
    context = SimpleNamespace(share=SimpleNamespace(coordinator=harness.coordinator))
    for entry in GOLDEN:
        api_key, version, data = KEYS[entry["api"]], entry["version"], bytes.fromhex(entry["request"])
        responses: list[Any] = []
        request: Any = SimpleNamespace(
            authorizer=None,
            api_version=version, body=decode_request(api_key, version, data[HEADER:]), respond=responses.append,
            guarded=lambda function: function,
        )  # fmt: skip
        handle = cold_handler(api_key)
        assert handle is not None
        handle(request, context)  # type: ignore[arg-type]
        response = encode_response(api_key, version, responses[0], {})
        assert (data[4:8] + b"\x00" + bytes(response)).hex().endswith(entry["response"][10:])


def test_state_that_does_not_fit_into_a_response_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_share_group_state, "BATCHES_SHOWN_MAX", 3)
    harness = ShareHarness()
    for index in (0, 1):
        harness.initialize(SharePartition("g", TOPIC_ID, index), 1)
        harness.write(SharePartition("g", TOPIC_ID, index), (0, 0, 2, 1), (2, 2, 2, 1), start_offset=0)
    responses: list[Any] = []
    names = [SimpleNamespace(partition=index, leader_epoch=-1) for index in (0, 1)]
    request: Any = SimpleNamespace(
        authorizer=None,
        body=SimpleNamespace(group_id="g", topics=[SimpleNamespace(topic_id=TOPIC_ID, partitions=names)]),
        respond=responses.append, guarded=lambda function: function,
    )  # fmt: skip
    read_share_group_state.handle(request, SimpleNamespace(share=SimpleNamespace(coordinator=harness.coordinator)))  # type: ignore[arg-type]
    partitions = responses[0]["results"][0]["partitions"]
    assert [(each["error_code"], len(each["state_batches"])) for each in partitions] == [(0, 2), (44, 0)]


def test_keys_of_share_coordinators() -> None:
    key = SharePartition("a:b", uuid.uuid4(), 3).key
    assert not is_share_key(key)  # as in Kafka: a colon separates
    assert is_share_key(SharePartition("ab", uuid.uuid4(), 3).key)
    for wrong in ("", "a", "a:b", "a:b:c", ":AAAAAAAAAAAAAAAAAAAAAA:0", "a:AAAAAAAAAAAAAAAAAAAAAA:-1", "a:AAAA:0"):
        assert not is_share_key(wrong)


class Member:
    """A member of a share group, by raw requests."""

    def __init__(self, broker: Broker, topic_id: uuid.UUID, name: str = "m") -> None:
        self.client = RawClient(broker.bootstrap_servers)
        self.topic_id = topic_id
        self.name = name

    def heartbeat(self, epoch: int) -> dict[str, Any]:
        names = ["t"] if epoch == 0 else None
        body = {"group_id": "g", "member_id": self.name, "member_epoch": epoch, "rack_id": None, "subscribed_topic_names": names}
        return self.client.request(76, 1, body)

    def initialize(self) -> int:
        body = {"partition": 0, "state_epoch": 1, "start_offset": 0}
        asked = {"group_id": "g", "topics": [{"topic_id": self.topic_id, "partitions": [body]}]}
        (topic,) = self.client.request(83, 0, asked)["results"]
        return int(topic["partitions"][0]["error_code"])

    def fetch(self, epoch: int, *, wait_ms: int = 0, acknowledged: list[dict[str, Any]] | None = None) -> dict[str, Any]:
        partition = {"partition_index": 0, "acknowledgement_batches": acknowledged or []}
        body = {
            "group_id": "g", "member_id": self.name, "share_session_epoch": epoch, "max_wait": wait_ms, "min_bytes": 1,
            "max_bytes": 1 << 20, "max_records": 500, "batch_size": 500, "forgotten_topics_data": [],
            "topics": [{"topic_id": self.topic_id, "partitions": [partition]}],
        }  # fmt: skip
        return self.client.request(78, 2, body)

    def acquired(self, answer: dict[str, Any]) -> list[tuple[int, int, int]]:
        assert answer["error_code"] == 0
        partitions = [each for topic in answer["responses"] for each in topic["partitions"]]
        assert not any(each["error_code"] or each["acknowledge_error_code"] for each in partitions), partitions
        rows = [row for each in partitions for row in each["acquired_records"]]
        return [(row["first_offset"], row["last_offset"], row["delivery_count"]) for row in rows]


def produce(client: RawClient, count: int) -> None:
    batch = build_batch([(None, b"v", int(time.time() * 1000), (), -1)] * count)
    topics = [{"name": "t", "partition_data": [{"index": 0, "records": batch}]}]
    body = {"transactional_id": None, "acks": -1, "timeout": 30_000, "topic_data": topics}
    answer = client.request(0, 12, body)
    assert answer["responses"][0]["partition_responses"][0]["error_code"] == 0


@pytest.mark.crash
def test_records_are_delivered_until_they_are_acknowledged_also_after_kill(tmp_path: Path) -> None:
    accept = [{"first_offset": 0, "last_offset": 1, "acknowledge_types": [1]}]
    with Broker({"share.coordinator.state.topic.num.partitions": 3}, folder=tmp_path) as broker:
        client = RawClient(broker.bootstrap_servers)
        topic = {"name": "t", "num_partitions": 1, "replication_factor": 1}
        topic_id = client.request(19, 7, {"topics": [topic], "timeout": 30_000})["topics"][0]["topic_id"]
        key = SharePartition("g", topic_id, 0).key
        found = client.request(10, 6, {"key_type": 2, "coordinator_keys": [key]})["coordinators"][0]
        assert (found["error_code"], found["port"]) == (0, broker.port)
        member = Member(broker, topic_id)
        wait_until(lambda: member.initialize() == 0, "the share coordinator")
        produce(client, 3)
        answer = member.fetch(0)
        assert member.acquired(answer) == [(0, 2, 1)]
        assert answer["acquisition_lock_timeout"] == 30_000
        assert [each[:2] for each in split(answer["responses"][0]["partitions"][0]["records"])] == [(0, 2)]
        assert member.acquired(member.fetch(1, acknowledged=accept)) == []
        broker.kill()
        broker.start()
        member = Member(broker, topic_id)

        def delivered() -> bool:
            answer = member.fetch(0)
            partitions = [each for topic in answer["responses"] for each in topic["partitions"]]
            return any(each["acquired_records"] for each in partitions) and member.acquired(answer) == [(2, 2, 1)]

        wait_until(delivered, "the stored state")
        produce(RawClient(broker.bootstrap_servers), 1)
        assert member.acquired(member.fetch(1, wait_ms=5000)) == [(3, 3, 1)]
        assert member.fetch(-1)["error_code"] == 0


def test_a_closed_connection_releases_its_records_at_once(tmp_path: Path) -> None:
    with Broker({"share.coordinator.state.topic.num.partitions": 3}, folder=tmp_path) as broker:
        client = RawClient(broker.bootstrap_servers)
        topic = {"name": "t", "num_partitions": 1, "replication_factor": 1}
        topic_id = client.request(19, 7, {"topics": [topic], "timeout": 30_000})["topics"][0]["topic_id"]
        offsets = [{"partition_index": 0, "start_offset": 0}]
        altered = {"group_id": "g", "topics": [{"topic_name": "t", "partitions": offsets}]}
        first, second = Member(broker, topic_id, "m1"), Member(broker, topic_id, "m2")
        client.request(10, 6, {"key_type": 0, "coordinator_keys": ["g"]})
        wait_until(lambda: first.client.request(91, 0, altered)["error_code"] == 0, "the coordinators")
        produce(client, 3)
        epoch = 0

        def assigned() -> bool:
            nonlocal epoch
            answer = first.heartbeat(epoch)
            epoch = answer["member_epoch"]
            assert answer["error_code"] == 0
            return bool(answer["assignment"]) and bool(answer["assignment"]["topic_partitions"])

        wait_until(assigned, "an assignment")
        assert first.acquired(first.fetch(0)) == [(0, 2, 1)]
        assert second.acquired(second.fetch(0)) == []
        first.client.close()
        assert second.acquired(second.fetch(1, wait_ms=20_000)) == [(0, 2, 2)]
        described = client.request(90, 1, {"groups": [{"group_id": "g", "topics": None}]})["groups"][0]
        assert described["topics"][0]["partitions"][0]["lag"] == 3

        update = {"timeout": 30_000, "validate_only": False,
                  "feature_updates": [{"feature": "share.version", "max_version_level": 0, "upgrade_type": 3}]}
        assert client.request(57, 2, update)["error_code"] == 0
        refused = second.heartbeat(0)
        assert (refused["error_code"], refused["member_id"]) == (35, None)
        assert second.fetch(0)["error_code"] == 35 == client.request(91, 0, altered)["error_code"]
