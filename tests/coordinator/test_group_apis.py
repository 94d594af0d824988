"""The API modules: every advertised version is decoded, handled and encoded, and its special features are checked."""

from __future__ import annotations

import gc
import io
import uuid
from datetime import timedelta
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import pytest

from kafka_cy.api import offset_commit_cold as offset_commit
from kafka_cy.api.context import Request
from kafka_cy.api.registry import COLD_APIS, cold_handler
from kafka_cy.protocol.bridge import decode_request, encode_response, unknown_fields
from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.server.log import BrokerLog

from .fakes import Harness

GROUP_APIS = {
    8: (2, 10), 9: (1, 10), 10: (0, 6), 11: (0, 9), 12: (0, 4), 13: (0, 5), 14: (0, 5), 15: (0, 6), 16: (0, 5),
    42: (0, 2), 47: (0, 0),
}  # fmt: skip
TOPIC_ID = uuid.uuid4()


class Server:
    """Calls handlers like the dispatcher, with a coordinator that has a fake log."""

    def __init__(self) -> None:
        self.harness = Harness()
        cluster = self.harness.cluster
        topic = SimpleNamespace(name="ct", id=TOPIC_ID, partitions=[0, 1])
        cluster.topics["ct"], cluster.topic_by_id[TOPIC_ID] = topic, topic
        self.context = SimpleNamespace(
            groups=self.harness.coordinator, cluster=cluster, broker_id=1, advertised=[("127.0.0.1", 9092)],
            log=BrokerLog("error"), transactions=SimpleNamespace(is_coordinator_of=self._is_coordinator_of),
            create_topics=lambda names, request, done: done(),
        )
        self.asked_for: list[str] = []

    def _is_coordinator_of(self, transactional_id: str) -> bool:
        self.asked_for.append(transactional_id)
        return True

    def call(self, api_key: int, version: int, **fields: Any) -> dict[str, Any]:
        request = SimpleNamespace(
            authorizer=None,
            api_key=api_key, api_version=version, client_id="me", client_host="127.0.0.1", listener_index=0,
            body_size=0, sender={"client_id": "me", "client": "127.0.0.1"},
            body=decode_request(api_key, version, encode_request(api_key, version, fields)),
        )  # fmt: skip
        responses: list[dict[str, Any]] = []
        request.respond = responses.append
        request.guarded = lambda function: function
        request.end_turn = lambda: None
        request.respond_long = lambda prepare: prepare(lambda make: responses.append(make()))
        handle = cold_handler(api_key)
        assert handle is not None
        response = handle(request, self.context)  # type: ignore[arg-type]
        if response is None and not responses:
            self.harness.loop.advance(5)
        response = dict(response) if response is not None else responses[0]
        assert not unknown_fields(api_key, response)
        assert encode_response(api_key, version, response)
        return response


class Waiting:
    """The network's side of a request that is not answered yet."""

    def respond(self, payload: bytes, errors: object) -> None:
        """Answered."""

    def close(self, reason: str) -> None:
        """Closed."""


def ask(server: Server, api_key: int, version: int, **fields: Any) -> tuple[Request[Any], type]:
    """Call a handler with a request as the dispatcher makes it; return the request and the type of its body."""
    body = decode_request(api_key, version, encode_request(api_key, version, fields))
    control: Any = Waiting()
    request = Request(
        api_key=api_key, api_version=version, correlation_id=1, client_id="me", client_host="127.0.0.1", listener_index=0,
        connection_id=1, body=body, control=control,
    )  # fmt: skip
    handle = cold_handler(api_key)
    assert handle is not None
    answer = handle(request, server.context)  # type: ignore[arg-type]
    if answer is not None:
        request.respond(answer)
    return request, type(body)


def encode_request(api_key: int, version: int, fields: dict[str, Any]) -> bytes:
    """The request as encoded by kio."""
    from kio.serial import entity_writer

    name = {8: "offset_commit", 9: "offset_fetch", 42: "delete_groups", 47: "offset_delete"}.get(api_key)
    name = name or COLD_APIS[api_key].module.replace("heartbeat_cold", "heartbeat")
    module = import_module(f"kio.schema.{name}.v{version}.request")
    buffer = io.BytesIO()
    entity = build(module, next(each for each in vars(module) if each.endswith("Request")), fields)
    entity_writer(type(entity))(buffer, entity)
    return buffer.getvalue()


def build(module: Any, class_name: str, fields: dict[str, Any]) -> Any:
    """An entity from the fields that this version has; durations are given in milliseconds."""
    kind = getattr(module, class_name)
    values = {}
    for name, field in kind.__dataclass_fields__.items():
        if name not in fields:
            continue
        value = fields[name]
        if "timedelta" in field.metadata.get("kafka_type", ""):
            value = timedelta(milliseconds=value)
        elif isinstance(value, list):
            inner = str(field.type).removeprefix("tuple[").split(",")[0].rsplit(".", 1)[-1]
            value = tuple(build(module, inner, each) if isinstance(each, dict) else each for each in value)
        values[name] = value
    return kind(**values)


def join_fields(member: str = "") -> dict[str, Any]:
    return {
        "group_id": "g", "session_timeout": 10_000, "rebalance_timeout": 30_000, "member_id": member,
        "group_instance_id": None, "protocol_type": "consumer",
        "protocols": [{"name": "range", "metadata": b"\x00\x01\x00\x00\x00\x00"}], "reason": None,
    }  # fmt: skip


def member_of(server: Server) -> str:
    response = server.call(11, 3, **join_fields())
    return str(response["member_id"])


@pytest.mark.parametrize(("api_key", "versions"), GROUP_APIS.items())
def test_ranges_are_those_of_kafka_4_3(api_key: int, versions: tuple[int, int]) -> None:
    row = COLD_APIS[api_key]
    assert (row.version_min, row.version_max) == versions
    assert cold_handler(api_key) is not None


@pytest.mark.parametrize("version", range(10))
def test_join_sync_heartbeat_leave(version: int) -> None:
    server = Server()
    response = server.call(11, version, **join_fields())
    if version >= 4:
        assert response["error_code"] == ErrorCode.MEMBER_ID_REQUIRED
        response = server.call(11, version, **join_fields(response["member_id"]))
    assert response["error_code"] == 0 and response["generation_id"] == 1
    member = response["member_id"]
    assert member == response["leader"]
    base = {"group_id": "g", "generation_id": 1, "member_id": member, "group_instance_id": None}
    protocol = {"protocol_type": "consumer", "protocol_name": "range"}
    assignments = [{"member_id": member, "assignment": b"part"}]
    synced = server.call(14, min(version, 5), **base, **protocol, assignments=assignments)
    assert synced["assignment"] == b"part"
    assert server.call(12, min(version, 4), **base)["error_code"] == 0
    failed = server.call(11, version, **join_fields("x"))
    assert failed["error_code"] == ErrorCode.UNKNOWN_MEMBER_ID
    assert failed["protocol_name"] == (None if version >= 7 else "")
    members = [{"member_id": member, "group_instance_id": None, "reason": None}]
    left = server.call(13, min(version, 5), group_id="g", member_id=member, members=members)
    assert left["error_code"] == 0
    again = server.call(13, min(version, 5), group_id="g", member_id=member, members=members)
    codes = [each["error_code"] for each in again["members"]] if version >= 3 else [again["error_code"]]
    assert codes == [ErrorCode.UNKNOWN_MEMBER_ID]


@pytest.mark.parametrize("version", range(2, 11))
def test_commit_and_fetch(version: int) -> None:
    server = Server()

    def partition(index: int) -> dict[str, Any]:
        return {"partition_index": index, "committed_offset": 7, "committed_leader_epoch": 3, "committed_metadata": "n"}

    topics = [
        {"name": "ct", "topic_id": TOPIC_ID, "partitions": [partition(0), partition(9)]},
        {"name": "none", "topic_id": uuid.uuid4(), "partitions": [partition(0)]},
    ]
    response = server.call(
        8, version, group_id="g", generation_id_or_member_epoch=-1, member_id="", group_instance_id=None,
        retention_time=-1, topics=topics,
    )  # fmt: skip
    codes = [[each["error_code"] for each in topic["partitions"]] for topic in response["topics"]]
    assert codes == [[0, 3], [100 if version >= 10 else 3]]
    wanted = [{"name": "ct", "topic_id": TOPIC_ID, "partition_indexes": [0, 1]}]
    one = {"group_id": "g", "topics": wanted, "member_id": None, "member_epoch": -1}
    fetched = server.call(9, version, **one, groups=[one, one | {"group_id": "unknown"}], require_stable=True)
    groups = fetched["groups"] if version >= 8 else [fetched]
    found = [
        (each["committed_offset"], each["committed_leader_epoch"], each["metadata"], each["error_code"])
        for each in groups[0]["topics"][0]["partitions"]
    ]
    assert found == [(7, 3 if version >= 6 else -1, "n", 0), (-1, -1, "", 0)]
    if version >= 8:
        assert [each["committed_offset"] for each in groups[1]["topics"][0]["partitions"]] == [-1, -1]
    everything = one | {"topics": None}
    response = server.call(9, version, **everything, groups=[everything], require_stable=False)
    topics = (response["groups"][0] if version >= 8 else response)["topics"]
    assert [[each["partition_index"] for each in topic["partitions"]] for topic in topics] == [[0]]


def test_fetch_v10_has_unknown_topics_behind_the_others() -> None:
    server = Server()
    unknown = uuid.uuid4()
    wanted = [{"topic_id": unknown, "partition_indexes": [0]}, {"topic_id": TOPIC_ID, "partition_indexes": [5]}]
    group = {"group_id": "g", "topics": wanted, "member_id": None, "member_epoch": -1}
    (found,) = server.call(9, 10, groups=[group], require_stable=False)["groups"]
    errors = [(each["topic_id"], each["partitions"][0]["error_code"]) for each in found["topics"]]
    assert errors == [(TOPIC_ID, 0), (unknown, ErrorCode.UNKNOWN_TOPIC_ID)]


def test_a_group_that_is_named_twice() -> None:
    server = Server()
    server.harness.commit(topic_id=TOPIC_ID)
    group = {"group_id": "g", "topics": None, "member_id": None, "member_epoch": -1}
    for version in (8, 9, 10):
        found = server.call(9, version, groups=[group, group | {"group_id": "h"}, group], require_stable=False)["groups"]
        errors = [(each["group_id"], each["error_code"], len(each["topics"])) for each in found]
        assert errors == [("g", 0, 1), ("h", 0, 0), ("g", ErrorCode.INVALID_REQUEST, 0)]
    described = server.call(15, 6, groups=["g", "none", "g"], include_authorized_operations=False)["groups"]
    assert [each["group_id"] for each in described] == ["g", "none"]


def test_fetch_v1_has_its_errors_at_the_partitions() -> None:
    server = Server()
    del server.context.cluster.topics["__consumer_offsets"]
    response = server.call(9, 1, group_id="g", topics=[{"name": "ct", "partition_indexes": [0]}])
    assert response["topics"][0]["partitions"][0]["error_code"] == ErrorCode.NOT_COORDINATOR
    assert server.call(9, 2, group_id="g", topics=None)["error_code"] == ErrorCode.NOT_COORDINATOR


@pytest.mark.parametrize("version", range(7))
def test_find_coordinator(version: int) -> None:
    server = Server()
    response = server.call(10, version, key="g", key_type=0, coordinator_keys=["g", "h"])
    found = response["coordinators"] if version >= 4 else [response]
    assert len(found) == (2 if version >= 4 else 1)
    assert all(
        (each["node_id"], each["host"], each["port"], each["error_code"]) == (1, "127.0.0.1", 9092, 0) for each in found
    )
    if version >= 1:
        response = server.call(10, version, key="t", key_type=1, coordinator_keys=["t"])
        found = response["coordinators"] if version >= 4 else [response]
        assert [(each["node_id"], each["error_code"]) for each in found] == [(1, 0)]
        assert server.asked_for == ["t"]


@pytest.mark.parametrize("version", range(7))
def test_describe_and_list(version: int) -> None:
    server = Server()
    member = member_of(server)
    response = server.call(15, version, groups=["g", "none"], include_authorized_operations=True)
    known, unknown = response["groups"]
    assert (known["group_state"], known["protocol_data"]) == ("CompletingRebalance", "")
    assert known["members"][0]["member_id"] == member and known["members"][0]["client_host"] == "/127.0.0.1"
    assert unknown["group_state"] == "Dead"
    assert unknown["error_code"] == (ErrorCode.GROUP_ID_NOT_FOUND if version >= 6 else 0)
    assert known["authorized_operations"] == (3400 if version >= 3 else -(1 << 31))
    listed = server.call(16, min(version, 5), states_filter=[], types_filter=[])["groups"]
    assert [each["group_id"] for each in listed] == ["g"]
    assert bool(server.call(16, min(version, 5), states_filter=["dead"], types_filter=[])["groups"]) == (version < 4)


def test_delete_groups_and_offsets() -> None:
    server = Server()
    member_of(server)
    for version in range(3):
        results = server.call(42, version, groups_names=["g", "none"])["results"]
        assert [each["error_code"] for each in results] == [ErrorCode.NON_EMPTY_GROUP, ErrorCode.GROUP_ID_NOT_FOUND]
    topics = [{"name": name, "partitions": [{"partition_index": 0}]} for name in ("ct", "none")]
    server.harness.commit(group="simple")
    response = server.call(47, 0, group_id="simple", topics=topics)
    assert [(each["name"], each["partitions"][0]["error_code"]) for each in response["topics"]] == [("none", 3), ("ct", 0)]
    assert server.call(47, 0, group_id="none", topics=topics)["error_code"] == ErrorCode.GROUP_ID_NOT_FOUND


def test_requests_that_wait_for_other_members_do_not_keep_their_bodies() -> None:
    """A decoded body occupies up to 20 times its encoded size, and no limit counts it."""
    server = Server()
    join, join_body = ask(server, 11, 3, **join_fields())
    assert not join.responded, "it waits for more members"
    assert count_of(join_body) == 0
    joining = server.harness.join()
    server.harness.loop.advance(5)
    assert join.responded
    follower, generation = joining[0]["member_id"], joining[0]["generation_id"]
    assert follower != joining[0]["leader"]
    sync, sync_body = ask(
        server, 14, 5, group_id="g", member_id=follower, generation_id=generation, group_instance_id=None,
        protocol_type="consumer", protocol_name="range",
        assignments=[{"member_id": str(number), "assignment": b""} for number in range(1000)],
    )  # fmt: skip
    assert not sync.responded, "it waits for the leader"
    assert count_of(sync_body) == 0


def count_of(kind: type) -> int:
    """How many objects of this type exist."""
    gc.collect()
    return sum(type(each) is kind for each in gc.get_objects())


@pytest.mark.parametrize("version", [2, 9, 10])
def test_a_commit_with_too_many_offsets_is_refused_before_they_are_looked_at(
    version: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Server()
    monkeypatch.setattr(server.harness.coordinator.offset_commit, "offsets_max", lambda: 2000)

    def commit(count: int) -> set[int]:
        partitions = [
            {"partition_index": number % 2, "committed_offset": 1, "committed_metadata": ""} for number in range(count)
        ]  # fmt: skip
        topic = {"topic_id": TOPIC_ID} if version >= 10 else {"name": "ct"}
        response = server.call(
            8, version, group_id="g", generation_id_or_member_epoch=-1, member_id="", group_instance_id=None,
            retention_time=-1, topics=[{**topic, "partitions": partitions}],
        )  # fmt: skip
        (answered,) = response["topics"]
        assert answered["topic_id"] == TOPIC_ID if version >= 10 else answered["name"] == "ct"
        assert len(answered["partitions"]) == count
        return {each["error_code"] for each in answered["partitions"]}

    assert commit(2000) == {ErrorCode.NONE}
    monkeypatch.setattr(offset_commit, "_topic", None)  # nothing looks for the topic
    assert commit(2001) == {ErrorCode.UNKNOWN_SERVER_ERROR}
