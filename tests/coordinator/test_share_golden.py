"""Complete scenarios of share groups, compared byte for byte with the records that Apache Kafka 4.3.1 stored."""

from __future__ import annotations

import uuid
from types import SimpleNamespace
from typing import Any

from kafka_cy.api.registry import cold_handler
from kafka_cy.coordinator.group_kinds import decode_any, encode_any
from kafka_cy.coordinator.share.offsets import DeletedTopic
from kafka_cy.coordinator.share.records import STATE_RECORDS, Snapshot, TargetMetadata
from kafka_cy.coordinator.share.state_batches import StateBatch
from kafka_cy.coordinator.share.state_machine import SharePartition
from kafka_cy.coordinator.share.state_writes import StateWrite
from kafka_cy.protocol.bridge import decode_request, encode_response, unknown_fields

from .golden import golden
from .share_group_fakes import SST, ST6, ShareGroupHarness, assigned
from .share_state import TrimmedPartition

Row = tuple[str, str | None]


def row(key: bytes, value: bytes | None) -> Row:
    """A record of `__consumer_offsets` in hexadecimal, without times."""
    record = decode_any(key, value)
    assert record is not None
    decoded_key, decoded = record
    if isinstance(decoded, TargetMetadata):
        assert decoded.assignment_timestamp_ms
        key, value = encode_any((decoded_key, decoded._replace(assignment_timestamp_ms=1)))
    return key.hex(), None if value is None else value.hex()


def state_row(key: bytes, value: bytes | None) -> Row:
    """A record of `__share_group_state` in hexadecimal, without times."""
    record = STATE_RECORDS.decode(key, value)
    assert record is not None
    decoded_key, decoded = record
    if isinstance(decoded, Snapshot):
        key, value = STATE_RECORDS.encode(decoded_key, decoded._replace(create_timestamp_ms=1, write_timestamp_ms=1))
    return key.hex(), None if value is None else value.hex()


def kafka(name: str, topic: str) -> list[Row]:
    """What Kafka stored in `__consumer_offsets` ("o") or `__share_group_state` ("s")."""
    (found,) = [each for each in golden("share-sequences.json")["sequences"] if each["id"] == name]
    rows = [(bytes.fromhex(key), value and bytes.fromhex(value)) for at, *_, key, value in found["records"] if at == topic]
    return [row(*each) if topic == "o" else state_row(*each) for each in rows]


def ours(harness: ShareGroupHarness, name: str) -> list[Row]:
    return [row(*record) for record in harness.written(name)]


def our_states(harness: ShareGroupHarness, group: str) -> dict[str, list[str | None]]:
    found: dict[str, list[str | None]] = {}
    for log in harness.cluster.states.values():
        for record in log.records():
            key, value = state_row(*record)
            if bytes.fromhex(key)[4:].startswith(group.encode()):
                found.setdefault(key, []).append(value)
    return found


def kafka_states(name: str, *, writes: bool) -> dict[str, list[str | None]]:
    """By key; without `writes` only what the group coordinator asked for: first states, tombstones, altered offsets."""
    found: dict[str, list[str | None]] = {}
    for key, value in kafka(name, "s"):
        if writes or not key.startswith("0001"):
            found.setdefault(key, []).append(value)
    return found


def test_sh1_join_initialize_assign_leave() -> None:
    harness = ShareGroupHarness()
    response = harness.beat("sh1", "M1", 0, ("st",))
    assert response["member_epoch"] == 2 and assigned(response) == {}
    harness.loop.advance(0.7)
    response = harness.beat("sh1", "M1", 2)
    assert response["member_epoch"] == 2 and assigned(response) is None
    harness.loop.advance(0.4)
    response = harness.beat("sh1", "M1", 2)
    assert response["member_epoch"] == 3 and assigned(response) == {SST: [0, 1]}
    assert assigned(harness.beat("sh1", "M1", 2)) is None  # the previous epoch: the response was lost
    for _ in range(20):
        harness.loop.advance(3)
        assert assigned(harness.beat("sh1", "M1", 3)) is None
    assert harness.beat("sh1", "M1", -1)["member_epoch"] == -1
    assert ours(harness, "sh1") == kafka("sh1", "o")


def test_sh5_alter_and_delete_offsets_and_the_group() -> None:
    harness = ShareGroupHarness()
    response = harness.settle("sh5")
    assert response["member_epoch"] == 3 and assigned(response) == {SST: [0, 1]}
    harness.beat("sh5", "M1", -1)
    harness.alter("sh5", {"st": {0: 6}})
    assert harness.state("sh5", SST, 0).start_offset == 6  # type: ignore[union-attr]
    assert harness.delete_offsets("sh5", "st") == {"st": DeletedTopic(SST)}
    assert harness.delete_group("sh5") == 0
    assert ours(harness, "sh5") == kafka("sh5", "o")
    assert our_states(harness, "sh5") == kafka_states("sh5", writes=False)
    assert "sh5" not in {group.group_id for group in harness.coordinator.all_groups()}
    partitions = {partition for partition, _ in harness.forgotten}
    assert partitions == {SharePartition("sh5", SST, 0), SharePartition("sh5", SST, 1)}


def test_sh6_partition_growth_and_topic_deletion() -> None:
    harness = ShareGroupHarness()
    assert assigned(harness.settle("sh6", topics=("st6",))) == {ST6: [0]}
    harness.topic("st6", ST6, 2)
    harness.loop.advance(1.1)
    response = harness.beat("sh6", "M1", 3)
    assert response["member_epoch"] == 4 and assigned(response) is None
    harness.loop.advance(1.1)
    response = harness.beat("sh6", "M1", 4)
    assert response["member_epoch"] == 5 and assigned(response) == {ST6: [0, 1]}
    harness.delete_topic("st6")
    harness.loop.advance(1.1)
    response = harness.beat("sh6", "M1", 5)
    assert response["member_epoch"] == 6 and assigned(response) == {}
    harness.loop.advance(45)  # its session ends
    assert harness.group("sh6").is_empty
    assert ours(harness, "sh6") == kafka("sh6", "o")
    assert our_states(harness, "sh6") == kafka_states("sh6", writes=True)


def test_shnope_alter_offsets_of_a_group_that_does_not_exist() -> None:
    harness = ShareGroupHarness()
    harness.alter("shnope", {"st": {0: 6}})
    assert ours(harness, "shnope") == kafka("shnope", "o")
    (found,) = our_states(harness, "shnope").values()
    assert found == [kafka("shnope", "s")[0][1]]
    assert harness.group("shnope").listed() == {
        "group_id": "shnope", "protocol_type": "share", "group_state": "Empty", "group_type": "share",
    }  # fmt: skip


class Server:
    """Calls handlers with bytes, as the dispatcher does."""

    def __init__(self, **config: Any) -> None:
        self.harness = ShareGroupHarness(**config)
        self.context = SimpleNamespace(groups=self.harness.coordinator, cluster=self.harness.cluster)

    def call(self, data: bytes) -> bytes:
        """`data` begins with the request header (version 2) with the client id "w"."""
        api_key, version = int.from_bytes(data[:2], "big"), int.from_bytes(data[2:4], "big")
        request = SimpleNamespace(
            authorizer=None,
            api_key=api_key, api_version=version, client_id="w", client_host="127.0.0.1", guarded=lambda function: function,
            body=decode_request(api_key, version, data[12:]),
        )  # fmt: skip
        responses: list[Any] = []
        request.respond = responses.append
        handle = cold_handler(api_key)
        assert handle is not None
        response = handle(request, self.context) or responses[0]  # type: ignore[arg-type]
        assert not unknown_fields(api_key, response)
        return data[4:8] + b"\x00" + bytes(encode_response(api_key, version, response))


def test_wire() -> None:
    server = Server(group_share_heartbeat_interval_ms=500)
    harness = server.harness
    wire = golden("share-wire.json")
    topic_id = uuid.UUID(wire[1]["response_decoded"]["Assignment"]["TopicPartitions"][0]["TopicId"])
    harness.topic("wt", topic_id, 1)
    for each in wire:
        if each["api"] == "DescribeShareGroupOffsets":  # a record of three was accepted, another one rejected or archived
            harness.cluster.logs["wt", 0] = TrimmedPartition(high_watermark=3)
            write = StateWrite(SharePartition("ws", topic_id, 0), 2, 0, 1, 1, (StateBatch(2, 2, 4, 1),))
            harness.states.write(write, lambda error: None)
        assert server.call(bytes.fromhex(each["request"])).hex() == each["response"], each["api"] + each["note"]
        harness.loop.advance(1.1)
