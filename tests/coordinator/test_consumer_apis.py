"""ConsumerGroupHeartbeat and ConsumerGroupDescribe byte for byte as Apache Kafka 4.3.1, and what other APIs say of the groups."""

from __future__ import annotations

import uuid
from types import SimpleNamespace
from typing import Any

from kafka_cy.api.registry import cold_handler
from kafka_cy.protocol.bridge import decode_request, encode_response, unknown_fields
from kafka_cy.protocol.errors import ErrorCode

from .consumer_fakes import ConsumerHarness
from .golden import golden

WIRE = golden("consumer-wire.json")


class Server:
    """Calls handlers with bytes, as the dispatcher does."""

    def __init__(self, **config: Any) -> None:
        self.harness = ConsumerHarness(**config)
        self.context = SimpleNamespace(groups=self.harness.coordinator, cluster=self.harness.cluster)

    def call(self, data: bytes) -> bytes:
        """`data` begins with the request header (version 2) with the client id "w"."""
        api_key, version = int.from_bytes(data[:2], "big"), int.from_bytes(data[2:4], "big")
        request = SimpleNamespace(
            authorizer=None,
            api_key=api_key, api_version=version, client_id="w", client_host="127.0.0.1",
            body=decode_request(api_key, version, data[12:]), body_size=len(data) - 12,
        )  # fmt: skip
        responses: list[Any] = []
        request.respond = responses.append
        request.respond_long = lambda prepare: prepare(lambda make: responses.append(make()))
        handle = cold_handler(api_key)
        assert handle is not None
        response = handle(request, self.context) or responses[0]  # type: ignore[arg-type]
        assert not unknown_fields(api_key, response)
        return data[4:8] + b"\x00" + bytes(encode_response(api_key, version, response))


def test_wire() -> None:
    server = Server(group_consumer_heartbeat_interval_ms=500)
    topic_id = uuid.UUID(WIRE[0]["response_decoded"]["Assignment"]["TopicPartitions"][0]["TopicId"])
    server.harness.topic("wt", topic_id, 1)
    for each in WIRE:
        assert server.call(bytes.fromhex(each["request"])) == bytes.fromhex(each["response"]), each["note"]


def test_without_the_feature_or_the_protocol_the_apis_are_not_supported() -> None:
    listed = Server(group_coordinator_rebalance_protocols=["classic"])
    finalized = Server()
    finalized.harness.cluster.features.levels = {"group.version": 0}
    for server in (listed, finalized):
        for each in (WIRE[0], WIRE[2]):
            assert ErrorCode.UNSUPPORTED_VERSION.to_bytes(2, "big") in server.call(bytes.fromhex(each["request"]))
        assert server.harness.group("wg") is None


def test_other_apis_know_the_group() -> None:
    harness = ConsumerHarness()
    harness.join_consumer("g", "m1")
    assert harness.coordinator.list_groups([], []) == (
        ErrorCode.NONE,
        [{"group_id": "g", "protocol_type": "consumer", "group_state": "Stable", "group_type": "consumer"}],
    )
    assert harness.coordinator.list_groups(["stable"], ["Consumer"])[1]
    assert not harness.coordinator.list_groups([], ["classic"])[1]
    described = harness.describe("g")
    assert described["error_code"] == ErrorCode.GROUP_ID_NOT_FOUND
    assert described["error_message"] == "Group g is not a classic group."
    assert (described["group_state"], harness.describe("g", version=5)["error_code"]) == ("Dead", 0)
    assert harness.delete_group("g") == ErrorCode.NON_EMPTY_GROUP
    assert harness.commit(group="g", member="m1", generation=2) == 0
    found: list[Any] = []
    harness.coordinator.delete_offsets("g", [("ct", 0)], lambda error, errors: found.append((error, errors)))
    assert found == [(0, {("ct", 0): ErrorCode.GROUP_SUBSCRIBED_TO_TOPIC})]
    assert harness.commit(group="g", member="m1", generation=2, new=False) == ErrorCode.UNSUPPORTED_VERSION
    assert harness.commit(group="g") == ErrorCode.UNKNOWN_MEMBER_ID
    group = harness.consumer_group("g")
    assert group.validate_offset_fetch(None, -1) == 0 == group.validate_offset_fetch("m1", 2)
    assert group.validate_offset_fetch("m1", 1) == group.validate_offset_fetch("m1", 3) == ErrorCode.STALE_MEMBER_EPOCH
    assert group.validate_offset_fetch("", -1) == ErrorCode.UNKNOWN_MEMBER_ID
