"""The controller's messages, byte for byte as Apache Kafka 3.9.2 writes them.

`golden/controller_messages.jsonl.gz` has every version as Kafka's own serializer wrote it, and what live brokers sent.
"""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kafka_cy.cluster.znodes import id_from_text
from kafka_cy.protocol.controller_messages import (
    allocate_producer_ids,
    alter_partition,
    controlled_shutdown,
    leader_and_isr,
    stop_replica,
    update_metadata,
)
from kafka_cy.protocol.controller_messages.headers import (
    request_header,
    response_header,
    split_request,
    split_response,
)
from kafka_cy.protocol.controller_messages.wire import Output
from kafka_cy.protocol.decoder import MalformedRequest, TooManyElements

APIS: dict[str, tuple[Any, Any, Any]] = {
    "LeaderAndIsr": (leader_and_isr, leader_and_isr.LeaderAndIsrRequest, leader_and_isr.LeaderAndIsrResponse),
    "StopReplica": (stop_replica, stop_replica.StopReplicaRequest, stop_replica.StopReplicaResponse),
    "UpdateMetadata": (update_metadata, update_metadata.UpdateMetadataRequest, update_metadata.UpdateMetadataResponse),
    "ControlledShutdown": (
        controlled_shutdown,
        controlled_shutdown.ControlledShutdownRequest,
        controlled_shutdown.ControlledShutdownResponse,
    ),
    "AlterPartition": (
        alter_partition,
        alter_partition.AlterPartitionRequest,
        alter_partition.AlterPartitionResponse,
    ),
    "AllocateProducerIds": (
        allocate_producer_ids,
        allocate_producer_ids.AllocateProducerIdsRequest,
        allocate_producer_ids.AllocateProducerIdsResponse,
    ),
}
with gzip.open(Path(__file__).parent / "golden" / "controller_messages.jsonl.gz", "rt") as _file:
    VECTORS = [json.loads(line) for line in _file]
# Names of the recorded fields that differ from ours.
NAMES = {
    "isKRaft": "is_kraft_controller",
    "deleteAll": "delete_all",
    "brokers": "live_brokers",
    "id": "broker_id",
    "offline": "offline_replicas",
    "adding": "adding_replicas",
    "removing": "removing_replicas",
    "recoveryState": "leader_recovery_state",
    "delete": "delete_partition",
    "remaining": "remaining_partitions",
    "throttleMs": "throttle_time_ms",
    "error": "error_code",
    "start": "producer_id_start",
    "len": "producer_id_len",
    "newIsrEpochs": "new_isr",
    "topicsV1": "topics",
}


def _snake(name: str) -> str:
    return NAMES.get(name) or "".join("_" + each.lower() if each.isupper() else each for each in name)


def _check(message: Any, recorded: Any, where: str) -> None:
    """Every recorded field has the recorded value."""
    if isinstance(recorded, dict):
        flat = "partitions" in recorded and recorded["partitions"] and _is_named(recorded["partitions"][0])
        for name, value in recorded.items():
            if flat and name == "partitions" and hasattr(message, "topics"):
                _check_flat(message, value, where)
            elif name == "host" and hasattr(message, "endpoints"):  # UpdateMetadata 0
                assert message.endpoints[0].host == value and message.endpoints[0].port == recorded["port"]
            elif name == "port" and hasattr(message, "endpoints"):
                continue
            else:
                _check(getattr(message, _snake(name)), value, f"{where}.{name}")
    elif isinstance(recorded, list):
        assert len(message) == len(recorded), where
        for index, (each, value) in enumerate(zip(message, recorded, strict=True)):
            if isinstance(value, int) and not isinstance(each, int):
                each = each[0]  # a partition of StopReplica 1, a member of an ISR without epoch
            _check(each, value, f"{where}[{index}]")
    elif where.endswith("opicId"):
        assert message == id_from_text(recorded), where
    else:
        assert message == recorded, where


def _is_named(value: Any) -> bool:
    return isinstance(value, dict) and "topic" in value


def _check_flat(message: Any, recorded: list[dict[str, Any]], where: str) -> None:
    """Partitions that name their topic: ours are grouped by topic."""
    ours = [(topic.topic, partition) for topic in message.topics for partition in topic.partitions]
    assert len(ours) == len(recorded), where
    for (topic, partition), value in zip(ours, recorded, strict=True):
        assert topic == value["topic"], where
        _check(partition, {name: each for name, each in value.items() if name != "topic"}, where)


def test_all_versions_are_among_the_vectors() -> None:
    covered = {(vector["api"], vector["version"]) for vector in VECTORS}
    assert covered == {(name, version) for name, (api, _, _) in APIS.items() for version in api.VERSIONS}


@pytest.mark.parametrize("vector", VECTORS, ids=[vector["id"] for vector in VECTORS])
def test_requests_and_responses_are_those_of_kafka(vector: dict[str, Any]) -> None:
    api, request_class, response_class = APIS[vector["api"]]
    version, frame = vector["version"], bytes.fromhex(vector["req"])
    assert vector["key"] == api.API_KEY

    correlation_id, client_id, body = split_request(api, version, frame)
    request = request_class.decode(version, body)
    _check(request, vector["q"], "request")
    header = request_header(api, version, correlation_id, client_id or "")
    assert (header + request.encode(version)).hex() == vector["req"]

    if vector["resp"]:  # the broker was killed before it answered the others
        correlation_id, body = split_response(api, version, bytes.fromhex(vector["resp"]))
        response = response_class.decode(version, body)
        _check(response, vector["a"], "response")
        assert (response_header(api, version, correlation_id) + response.encode(version)).hex() == vector["resp"]


BODIES = [
    (request_class, vector["version"], split_request(api, vector["version"], bytes.fromhex(vector["req"]))[2])
    for vector in VECTORS
    for api, request_class, _ in [APIS[vector["api"]]]
    if len(vector["req"]) < 1000
] + [
    (response_class, vector["version"], split_response(api, vector["version"], bytes.fromhex(vector["resp"]))[1])
    for vector in VECTORS
    for api, _, response_class in [APIS[vector["api"]]]
    if vector["resp"] and len(vector["resp"]) < 1000
]


def test_a_message_that_ends_early_is_malformed() -> None:
    for message_class, version, body in BODIES:
        for length in range(len(body)):
            with pytest.raises(MalformedRequest):
                message_class.decode(version, body[:length])


@settings(max_examples=300, deadline=None)
@given(st.sampled_from(BODIES), st.data())
def test_any_changed_bytes_are_malformed_or_read(body: tuple[Any, int, bytes], data: st.DataObject) -> None:
    message_class, version, original = body
    changed = bytearray(original)
    for _ in range(data.draw(st.integers(1, 4))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    try:
        message = message_class.decode(version, bytes(changed))
    except MalformedRequest:
        return
    try:
        again = message.encode(version)
    except ValueError:
        raise AssertionError("what was read cannot be written") from None
    assert message_class.decode(version, again) == message


def test_a_false_length_reserves_no_memory() -> None:
    head = bytes.fromhex("00000001" + "00000005" + "000000000000004d" + "00")
    with pytest.raises(MalformedRequest, match="array of 268435454 elements"):
        leader_and_isr.LeaderAndIsrRequest.decode(5, head + b"\xff\xff\xff\x7f" + bytes(20))


def test_the_elements_of_all_arrays_are_limited() -> None:
    vector = next(each for each in VECTORS if each["id"] == "LeaderAndIsr-v7")
    body = split_request(leader_and_isr, 7, bytes.fromhex(vector["req"]))[2]
    assert leader_and_isr.LeaderAndIsrRequest.decode(7, body, elements_max=17)
    with pytest.raises(TooManyElements):
        leader_and_isr.LeaderAndIsrRequest.decode(7, body, elements_max=5)


def test_one_request_cannot_delete_some_replicas_before_version_3() -> None:
    partitions = tuple(stop_replica.StopReplicaPartition(index, -1, index == 0) for index in range(2))
    request = stop_replica.StopReplicaRequest(1, 1, 1, (stop_replica.StopReplicaTopic("t", partitions),))
    with pytest.raises(ValueError, match="all partitions or none"):
        request.encode(2)
    assert stop_replica.StopReplicaRequest.decode(3, request.encode(3)) == request


@pytest.mark.parametrize("name", ["LeaderAndIsr-v4", "LeaderAndIsr-v7", "UpdateMetadata-v6", "UpdateMetadata-v8"])
def test_what_is_equal_for_several_brokers_is_encoded_once(name: str) -> None:
    message: Any = leader_and_isr if name.startswith("Leader") else update_metadata
    version = int(name[-1])
    vector = next(each for each in VECTORS if each["id"] == name)
    body = split_request(message, version, bytes.fromhex(vector["req"]))[2]
    kind = leader_and_isr.LeaderAndIsrRequest if message is leader_and_isr else update_metadata.UpdateMetadataRequest
    request = kind.decode(version, body)
    out = Output(True)
    out.array_length(len(request.topics))
    for topic in request.topics:
        states = [message.encode_state(state, version) for state in topic.partitions]
        out.topic(topic.topic, topic.topic_id, states, with_id=version >= message.TOPIC_IDS_FROM)
    for broker_epoch in (1, 1 << 40):
        other: Any = request._replace(broker_epoch=broker_epoch)
        assert other.encode_head(version) + out + other.encode_end(version) == other.encode(version)
