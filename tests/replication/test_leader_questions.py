"""The follower's questions, against kio."""

from __future__ import annotations

import pytest
from kio.index import load_request_schema
from kio.serial import entity_reader

from kafka_cy.replication.follower_decisions import Answer, Question
from kafka_cy.replication.leader_questions import NO_ANSWER, LeaderRequest, MalformedRequest, answers_in, requests_for
from tests.api_hot.kio_wire import plain
from tests.replication.fake_leader import encode_response

END = Question("end", ("a", 0), 5)
START = Question("start", ("a", 1), 6)
EPOCH = Question("epoch", ("b", 2), 7, 3)


def read(request: LeaderRequest) -> dict[str, object]:
    value, size = entity_reader(load_request_schema(request.api_key, request.version))(request.body, 0)
    assert size == len(request.body)
    found: dict[str, object] = plain(value)
    return found


def response(request: LeaderRequest, topics: list[dict[str, object]]) -> bytes:
    return encode_response(request.api_key, request.version, {"throttle_time": 0, "topics": topics})


@pytest.mark.parametrize("version", range(5, 10))
def test_list_offsets(version: int) -> None:
    [request] = requests_for([END, START], 9, version, 4)
    asked = read(request)
    assert (request.api_key, asked["replica_id"], asked["isolation_level"]) == (2, 9, 0)
    assert asked["topics"] == [
        {"name": "a", "partitions": [
            {"partition_index": 0, "current_leader_epoch": 5, "timestamp": -1},
            {"partition_index": 1, "current_leader_epoch": 6, "timestamp": -2},
        ]}
    ]  # fmt: skip
    body = response(request, [{"name": "a", "partitions": [
        {"partition_index": 1, "error_code": 0, "timestamp": -1, "offset": 33, "leader_epoch": 4}]}])  # fmt: skip
    assert answers_in(request, body) == {END: NO_ANSWER, START: Answer(0, 33, 4)}


@pytest.mark.parametrize("version", [3, 4])
def test_offset_for_leader_epoch(version: int) -> None:
    [request] = requests_for([EPOCH], 9, 9, version)
    asked = read(request)
    assert (request.api_key, asked["replica_id"]) == (23, 9)
    assert asked["topics"] == [
        {"topic": "b", "partitions": [{"partition": 2, "current_leader_epoch": 7, "leader_epoch": 3}]}
    ]
    body = response(request, [{"topic": "b", "partitions": [
        {"error_code": 0, "partition": 2, "leader_epoch": 2, "end_offset": 44}]}])  # fmt: skip
    assert answers_in(request, body) == {EPOCH: Answer(0, 44, 2)}


def test_one_request_of_each_kind() -> None:
    assert [each.questions for each in requests_for([EPOCH, END, START], 9, 9, 4)] == [(END, START), (EPOCH,)]
    assert requests_for([], 9, 9, 4) == []


def test_a_response_that_does_not_parse() -> None:
    [request] = requests_for([END], 9, 9, 4)
    for body in (b"", b"\0\0\0\0\xff\xff\xff\x0f", b"\0\0\0\0\x02\x02a\x09"):
        with pytest.raises(MalformedRequest):
            answers_in(request, body)
