"""Complete scenarios of streams groups, compared byte for byte with the records that Apache Kafka 4.3.1 stored."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from kafka_cy.api.registry import cold_handler
from kafka_cy.coordinator.group_kinds import decode_any, encode_any
from kafka_cy.coordinator.records import OffsetKey
from kafka_cy.coordinator.streams.records import Group, Member, TargetMetadata, Topology
from kafka_cy.coordinator.streams.tasks import NO_TASKS, Tasks
from kafka_cy.protocol.bridge import decode_request, encode_response, unknown_fields

from .golden import golden
from .streams_fakes import SIN, StreamsHarness, task_map, tasks_in

Row = tuple[str, str | None]
SIN_HASH = 0x02C1006A5C061AE1  # of a group that reads only the topic sin; other hashes have ids of topics that are not known


def rows(records: list[tuple[bytes, bytes | None]]) -> list[Row]:
    """Records in hexadecimal, without times, and without offsets. Hashes that are not known are numbered."""
    hashes: dict[int, int] = {0: 0, SIN_HASH: SIN_HASH}
    found = []
    for key, value in records:
        record = decode_any(key, value)
        assert record is not None
        decoded_key, decoded = record
        if isinstance(decoded_key, OffsetKey):
            continue
        if isinstance(decoded, TargetMetadata):
            assert decoded.assignment_timestamp_ms
            key, value = encode_any((decoded_key, decoded._replace(assignment_timestamp_ms=1)))
        if isinstance(decoded, Group):
            number = hashes.setdefault(decoded.metadata_hash, len(hashes))
            key, value = encode_any((decoded_key, decoded._replace(metadata_hash=number)))
        found.append((key.hex(), None if value is None else value.hex()))
    return found


def stored(name: str) -> list[tuple[bytes, bytes | None]]:
    """What Kafka stored."""
    (found,) = [each for each in golden("streams-sequences.json")["sequences"] if each["id"] == name]
    return [(bytes.fromhex(key), value and bytes.fromhex(value)) for *_, key, value in found["records"]]


def kafka(name: str) -> list[Row]:
    return rows(stored(name))


def ours(harness: StreamsHarness, name: str) -> list[Row]:
    return rows(harness.written(name))


def joins(name: str) -> list[tuple[str, dict[str, Any]]]:
    """The members of a scenario in the order of their joins, and what they said, as their records tell."""
    found: dict[str, dict[str, Any]] = {}
    topology: Topology | None = None
    for key, value in stored(name):
        record = decode_any(key, value)
        assert record is not None
        _, decoded = record
        topology = decoded if isinstance(decoded, Topology) else topology
        if isinstance(decoded, Member):
            found[record[0].member_id] = {
                "process": decoded.process_id, "endpoint": decoded.user_endpoint, "client_tags": decoded.client_tags,
                "rebalance_timeout_ms": decoded.rebalance_timeout_ms, "client_id": decoded.client_id,
            }  # fmt: skip
    assert topology is not None
    return [(member_id, said | {"topology": topology}) for member_id, said in found.items()]


def active(**tasks: list[int]) -> Tasks:
    return Tasks(task_map({name[1:]: each for name, each in tasks.items()}))


def test_str1_internal_topics_initial_delay_session_timeout_deletion() -> None:
    harness = StreamsHarness()
    ((member_id, said),) = joins("str1")
    harness.join_streams("str1", member_id, **said)
    assert [(each.name, each.partitions) for each in harness.created] == [("str1-rep", 2), ("str1-store-changelog", 2)]
    harness.loop.advance(0.3)
    assert harness.beat("str1", member_id, 1, NO_TASKS)["member_epoch"] == 1
    harness.loop.advance(0.8)
    response = harness.beat("str1", member_id, 1, NO_TASKS)
    assert response["member_epoch"] == 3 and tasks_in(response) == {"0": [0, 1], "1": [0, 1]}
    harness.loop.advance(45)
    assert harness.delete_group("str1") == 0
    assert ours(harness, "str1") == kafka("str1")
    assert "str1" not in {group.group_id for group in harness.coordinator.all_groups()}


def test_str4b_stale_topology_revocation_standby_setting_leave_deletion() -> None:
    harness = StreamsHarness()
    (first, said), (second, said_too) = joins("str4b")
    harness.join_streams("str4b", first, **said)
    harness.loop.advance(1.1)
    assert tasks_in(harness.beat("str4b", first, 1, NO_TASKS)) == {"0": [0, 1]}
    stale = harness.join_streams("str4b", second, **said_too | {"topology": said["topology"]._replace(epoch=0)})
    assert [each["status_code"] for each in stale["status"]] == [0, 5]
    harness.loop.advance(1.1)
    assert tasks_in(harness.beat("str4b", first, 2, active(_0=[0, 1]))) == {"0": [0]}
    assert tasks_in(harness.beat("str4b", second, 2, NO_TASKS)) is None
    assert harness.beat("str4b", first, 2, active(_0=[0]))["member_epoch"] == 3
    assert tasks_in(harness.beat("str4b", second, 3, NO_TASKS)) == {"0": [1]}
    harness.commit(group="str4b", member=first, generation=3, topic="sin", topic_id=SIN)
    harness.cluster.configs["groups", "str4b"] = {"streams.num.standby.replicas": "1"}
    harness.loop.advance(1.1)
    assert harness.beat("str4b", first, 3)["member_epoch"] == 4
    assert harness.beat("str4b", second, 3)["member_epoch"] == 4
    for member_id in (second, first):
        assert harness.beat("str4b", member_id, -1)["member_epoch"] == -1
    assert harness.delete_group("str4b") == 0
    assert ours(harness, "str4b") == kafka("str4b")


def test_sapp1_two_threads_of_an_application() -> None:
    harness = StreamsHarness()
    (first, said), (second, said_too) = joins("sapp1")
    harness.late = []
    harness.join_streams("sapp1", first, **said)
    harness.join_streams("sapp1", second, **said_too)
    harness.loop.advance(1.1)
    harness.create_late()
    client_ids = {first: said["client_id"], second: said_too["client_id"]}
    for each in (second, first):
        assert tasks_in(harness.beat("sapp1", each, 1, NO_TASKS, client_id=client_ids[each])) is None
    harness.loop.advance(1)
    for each, partition in ((second, 0), (first, 1)):
        response = harness.beat("sapp1", each, 3, NO_TASKS, client_id=client_ids[each])
        assert tasks_in(response) == {"0": [partition], "1": [partition]}
    harness.commit(group="sapp1", member=first, generation=4, topic="sin", topic_id=SIN)
    for member_id in (first, second):
        harness.beat("sapp1", member_id, -1)
    harness.loop.advance(10080 * 60 + 601)  # the offset expires, and the group with it
    assert ours(harness, "sapp1") == kafka("sapp1")
    assert "sapp1" not in {group.group_id for group in harness.coordinator.all_groups()}


def test_strsb_standby_tasks_of_two_processes() -> None:
    harness = StreamsHarness()
    harness.cluster.configs["groups", "strsb"] = {"streams.num.standby.replicas": "1"}
    (first, said), (second, said_too) = joins("strsb")
    harness.late = []
    harness.join_streams("strsb", first, **said)
    harness.join_streams("strsb", second, **said_too)
    harness.loop.advance(0.5)
    harness.create_late()
    harness.beat("strsb", first, 1, NO_TASKS)
    harness.loop.advance(0.6)
    response = harness.beat("strsb", first, 1, NO_TASKS)
    assert (tasks_in(response), tasks_in(response, "standby")) == ({"0": [0]}, {"0": [1]})
    response = harness.beat("strsb", second, 1, NO_TASKS)
    assert (tasks_in(response), tasks_in(response, "standby")) == ({"0": [1]}, {"0": [0]})
    assert ours(harness, "strsb") == kafka("strsb")


def test_str5_missing_source_topic() -> None:
    harness = StreamsHarness()
    ((member_id, said),) = joins("str5")
    response = harness.join_streams("str5", member_id, **said)
    assert [each["status_code"] for each in response["status"]] == [5, 1]
    harness.loop.advance(1.9)
    harness.topic("nosx", 2)
    assert tasks_in(harness.beat("str5", member_id, 1, NO_TASKS)) == {"0": [0, 1]}
    harness.loop.advance(45)
    assert harness.delete_group("str5") == 0
    assert ours(harness, "str5") == kafka("str5")


class Server:
    """Calls handlers with bytes, as the dispatcher does."""

    def __init__(self, **config: Any) -> None:
        self.harness = StreamsHarness(**config)
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
    server = Server(group_streams_heartbeat_interval_ms=500)
    server.harness.topic("wt", 1)
    for each in golden("streams-wire.json"):
        assert server.call(bytes.fromhex(each["request"])).hex() == each["response"], each["api"] + each["note"]
        server.harness.loop.advance(1.1)
