"""ElectLeaders and ListPartitionReassignments of very many partitions: another thread makes the response."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from control_fakes import KeptRequest, start
from test_change_pieces import context as context
from test_client_requests import ELECT, HANDLERS, LIST, Silent
from test_client_requests import silent as silent

from kafka_cy.api.elect_leaders import ROWS_AT_ONCE
from kafka_cy.api.waiting_requests import ROW_BYTES
from kafka_cy.authorizer.authorizer import Authorizer
from kafka_cy.cluster.topics import PartitionMetadata, Topic
from kafka_cy.controller.operator_events import Outcome
from kafka_cy.controller.partition_state import ReplicaAssignment, TopicPartition
from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.server import client_requests

MANY = 10_000
TIMED_OUT = ErrorCode.REQUEST_TIMED_OUT
FOUND: Mapping[int, Any] = {ELECT: Outcome(ErrorCode.NONE), LIST: ReplicaAssignment((1, 2), adding=(2,))}
BODIES: Mapping[int, tuple[int, dict[str, Any]]] = {
    ELECT: (2, {"election_type": 0, "topic_partitions": None, "timeout": 1000}),
    LIST: (0, {"topics": None, "timeout": 1000}),
}


class Everything:
    """A controller that is asked for all partitions, and finds `rows` of them."""

    def __init__(self, silent: Silent, monkeypatch: pytest.MonkeyPatch) -> None:
        self.silent, self.context = silent, silent.context
        self.prepared: list[Callable[[Any], object]] = []
        self.asked: list[tuple[int, Any]] = []  # partitions, and who hears of the answer
        monkeypatch.setattr(silent, "elect_leaders", lambda partitions, unclean, done: self.asked.append((partitions, done)))
        monkeypatch.setattr(silent, "list_reassignments", lambda partitions, done: self.asked.append((partitions, done)))
        monkeypatch.setattr(KeptRequest, "respond_long", lambda request, prepare: self.prepared.append(prepare))

    def ask(self, api_key: int) -> KeptRequest:
        version, body = BODIES[api_key]
        return start(self.context, api_key, version, body, HANDLERS[api_key])

    def answer(self, api_key: int, rows: int) -> int:
        """Returns how many turns of the loop the controller's thread took for it."""
        partitions, done = self.asked.pop(0)
        assert partitions is None
        found = {TopicPartition(f"t{number % 7}", number): FOUND[api_key] for number in reversed(range(rows))}
        done((ErrorCode.NONE, found))
        turns = 0
        while self.context.loop.waiting:
            self.context.loop.run_one()
            turns += 1
        return turns


@pytest.fixture
def everything(silent: Silent, monkeypatch: pytest.MonkeyPatch) -> Everything:
    return Everything(silent, monkeypatch)


def rows_of(api_key: int, response: Mapping[str, Any]) -> list[tuple[str, int]]:
    topics, name, rows, index = {
        ELECT: ("replica_election_results", "topic", "partition_result", "partition_id"),
        LIST: ("topics", "name", "partitions", "partition_index"),
    }[api_key]
    return [(topic[name], each[index]) for topic in response[topics] for each in topic[rows]]


@pytest.mark.parametrize("api_key", [ELECT, LIST])
def test_many_rows_are_made_on_another_thread_in_their_turn(everything: Everything, api_key: int) -> None:
    request = everything.ask(api_key)
    requests = everything.silent.requests
    turns = everything.answer(api_key, MANY)
    assert turns == (MANY if api_key == ELECT else 0), "the test's loop does one step in each turn"
    assert request.responses == [] and len(everything.prepared) == 1
    assert requests.count == 1 and requests.bytes > MANY * ROW_BYTES, "it counts while it waits for its turn"
    assert everything.silent.timers == [], "the controller has answered in time"
    made: list[Callable[[], Any]] = []
    everything.prepared[0](made.append)
    assert (requests.count, requests.bytes) == (0, 0)
    response = made[0]()
    assert response["error_code"] == ErrorCode.NONE
    assert rows_of(api_key, response) == sorted((f"t{number % 7}", number) for number in range(MANY))


@pytest.mark.parametrize("api_key", [ELECT, LIST])
def test_few_rows_are_answered_at_once(everything: Everything, api_key: int) -> None:
    request = everything.ask(api_key)
    everything.answer(api_key, ROWS_AT_ONCE)
    assert everything.prepared == [] and len(rows_of(api_key, request.responses[0])) == ROWS_AT_ONCE
    assert everything.silent.requests.count == 0


@pytest.mark.parametrize("api_key", [ELECT, LIST])
def test_answers_that_are_too_large_together_are_refused(
    everything: Everything, monkeypatch: pytest.MonkeyPatch, api_key: int
) -> None:
    monkeypatch.setattr(client_requests, "BYTES_MAX", MANY * ROW_BYTES // 2)
    alone = everything.ask(api_key)
    everything.answer(api_key, MANY)
    assert len(everything.prepared) == 1, "one may be larger than the limit, if there is no other"
    everything.prepared.pop()(lambda make: make)
    first, second = (everything.ask(api_key) for _ in range(2))
    everything.answer(api_key, MANY)
    (response,) = first.responses
    assert response["error_code"] == TIMED_OUT and rows_of(api_key, response) == []
    assert everything.silent.warnings == ["too many requests of clients wait for the controller: others are refused"]
    everything.answer(api_key, MANY)
    assert alone.responses == second.responses == [] and len(everything.prepared) == 1
    everything.prepared.pop()(lambda make: make)
    assert (everything.silent.requests.count, everything.silent.requests.bytes) == (0, 0)


@pytest.mark.parametrize("api_key", [ELECT, LIST])
def test_a_request_that_is_closed_instead_of_waiting_for_its_turn_counts_no_more(
    everything: Everything, monkeypatch: pytest.MonkeyPatch, api_key: int
) -> None:
    monkeypatch.setattr(KeptRequest, "respond_long", lambda request, prepare: request.close("too many long requests wait"))
    everything.ask(api_key)
    everything.answer(api_key, MANY)
    assert (everything.silent.requests.count, everything.silent.requests.bytes) == (0, 0)


def test_named_partitions_are_given_to_the_controller_one_at_a_time(everything: Everything) -> None:
    topics = [{"topic": "a", "partitions": [1, 0]}, {"topic": "b", "partitions": [2]}]
    start(everything.context, ELECT, 2, {**BODIES[ELECT][1], "topic_partitions": topics}, HANDLERS[ELECT])
    partitions, _ = everything.asked.pop()
    assert next(partitions) == TopicPartition("a", 1)
    assert list(partitions) == [TopicPartition("a", 0), TopicPartition("b", 2)]


@pytest.mark.parametrize("allowed", [True, False])
@pytest.mark.parametrize("named", [True, False])
def test_a_broker_by_itself(everything: Everything, *, named: bool, allowed: bool) -> None:
    partitions = [PartitionMetadata(index, 1, 0, [1], [1]) for index in range(MANY if named else 1)]
    cluster = everything.context.cluster
    for number in range(1 if named else MANY):
        cluster.topics[f"n{number}"] = Topic(f"n{number}", None, partitions)  # type: ignore[arg-type]
    asked = [{"topic": "n0", "partitions": list(range(MANY))}] if named else None
    authorizer = None if allowed else Authorizer()
    request = start(
        everything.context, ELECT, 2, {**BODIES[ELECT][1], "topic_partitions": asked}, authorizer=authorizer, user="u"
    )
    if not named and not allowed:
        assert request.responses[0]["error_code"] == ErrorCode.CLUSTER_AUTHORIZATION_FAILED
        return
    assert request.responses == []
    made: list[Callable[[], Any]] = []
    everything.prepared[0](made.append)
    response = made[0]()
    assert response["error_code"] == (ErrorCode.NONE if allowed else ErrorCode.CLUSTER_AUTHORIZATION_FAILED)
    assert len(rows_of(ELECT, response)) == (MANY if named else 0)
    assert len(response["replica_election_results"]) == (1 if named else len(cluster.topics))
