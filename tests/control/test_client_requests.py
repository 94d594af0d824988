"""Clients ask a controller that does not answer, because ZooKeeper has no majority: they do not wait for ever, and not many do."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from control_fakes import KeptRequest, call, start
from test_change_pieces import CREATE, DELETE, EXTEND, creation, deletion_of, extension
from test_change_pieces import context as context
from test_member_creations import HANDLERS as TOPIC_HANDLERS
from test_member_creations import Cluster

from kafka_cy.api import member_partitions
from kafka_cy.api.change_lines import LINES_MAX
from kafka_cy.api.pending_topics import TOO_MANY, TOPICS_AT_ONCE
from kafka_cy.controller.operator_events import Outcome
from kafka_cy.controller.partition_state import TopicPartition
from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.server import client_requests
from kafka_cy.server.client_requests import ClientRequests

ELECT, REASSIGN, LIST = 43, 45, 46
ALL = [CREATE, DELETE, EXTEND, ELECT, REASSIGN, LIST]
HANDLERS: Mapping[int, Any] = {
    **TOPIC_HANDLERS,
    ELECT: member_partitions.elect, REASSIGN: member_partitions.reassign, LIST: member_partitions.list_reassignments,
}  # fmt: skip
TIMED_OUT = ErrorCode.REQUEST_TIMED_OUT
DONE = Outcome(ErrorCode.NONE)


class Silent(Cluster):
    """A controller that answers when the test says so."""

    term = None

    def __init__(self, context: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        super().__init__(context, monkeypatch)
        self.unanswered: list[Callable[[], object]] = []

    def _answer(self, name: str, count: int, done: Callable[[Outcome], object]) -> None:
        self.asked.append((name, count))
        self.unanswered.append(lambda: done(Outcome(ErrorCode.UNKNOWN_SERVER_ERROR, "no") if name in self.failing else DONE))

    def elect_leaders(self, partitions: Any, unclean: bool, done: Any) -> None:
        self.unanswered.append(lambda: done((ErrorCode.NONE, dict.fromkeys(partitions, DONE))))

    def alter_reassignments(self, wanted: Any, done: Any) -> None:
        self.unanswered.append(lambda: done((ErrorCode.NONE, dict.fromkeys(wanted, DONE))))

    def list_reassignments(self, partitions: Any, done: Any) -> None:
        self.unanswered.append(lambda: done((ErrorCode.NONE, {})))

    def ask(self, api_key: int, names: list[str], timeout: int = 1000) -> KeptRequest:
        request = start(self.context, api_key, *body_of(api_key, names, timeout), HANDLERS[api_key])
        self.context.loop.run_all()
        return request

    def time_out(self) -> float:
        """The first timer is due. Returns its delay."""
        delay_s, over = self.timers.pop(0)
        over()
        return delay_s

    def answer_all(self) -> None:
        while self.unanswered:
            self.unanswered.pop(0)()
            self.context.loop.run_all()


@pytest.fixture
def silent(context: Any, monkeypatch: pytest.MonkeyPatch) -> Silent:
    made = Silent(context, monkeypatch)
    call(context, CREATE, 7, creation(["there"]))
    made.lines.clear()
    return made


def body_of(api_key: int, names: list[str], timeout: int) -> tuple[int, dict[str, Any]]:
    partitions = [{"topic": name, "partitions": [0]} for name in names]
    targets = [{"name": name, "partitions": [{"partition_index": 0, "replicas": [1]}]} for name in names]
    version, body = {
        CREATE: (7, creation(names)),
        DELETE: (6, deletion_of(names)),
        EXTEND: (3, extension(names)),
        ELECT: (2, {"election_type": 0, "topic_partitions": partitions}),
        REASSIGN: (0, {"topics": targets}),
        LIST: (0, {"topics": [{"name": name, "partition_indexes": [0]} for name in names]}),
    }[api_key]
    return version, {**body, "timeout": timeout}


def name_of(api_key: int) -> str:
    return "new" if api_key == CREATE else "there"


def errors(api_key: int, response: Mapping[str, Any]) -> set[tuple[int, str | None]]:
    """The errors of a response, with their messages."""
    rows = {CREATE: "topics", DELETE: "responses", EXTEND: "results"}.get(api_key)
    if rows is None:
        found = [response]
        if api_key == ELECT:
            found += [each for topic in response["replica_election_results"] for each in topic["partition_result"]]
        return {(int(each["error_code"]), None) for each in found}
    return {(int(each["error_code"]), each.get("error_message")) for each in response[rows]}


@pytest.mark.parametrize("api_key", ALL)
def test_a_client_is_answered_after_its_time_out(silent: Silent, api_key: int) -> None:
    request = silent.ask(api_key, [name_of(api_key)])
    assert request.responses == [] and silent.requests.count == 1
    assert silent.time_out() == 1
    (response,) = request.responses
    assert errors(api_key, response) == {(TIMED_OUT, None)}
    assert silent.requests.count == 1 and silent.lines == [], "the controller has not done it yet"
    silent.answer_all()
    assert (silent.requests.count, silent.requests.bytes, silent.timers) == (0, 0, [])
    assert request.responses == [response]
    assert silent.lines == ([name_of(api_key)] if api_key in TOPIC_HANDLERS else [])


@pytest.mark.parametrize("api_key", ALL)
def test_no_client_waits_longer_than_the_broker_allows(silent: Silent, api_key: int) -> None:
    for timeout in (2**31 - 1, 0, -1):
        silent.ask(api_key, [name_of(api_key)], timeout)
    assert [delay_s for delay_s, _ in silent.timers] == [30, 30, 30]


@pytest.mark.parametrize("api_key", ALL)
def test_too_many_requests_are_refused_until_the_controller_answers(
    silent: Silent, monkeypatch: pytest.MonkeyPatch, api_key: int
) -> None:
    monkeypatch.setattr(client_requests, "REQUESTS_MAX", 3)
    waiting = [silent.ask(api_key, [name_of(api_key)]) for _ in range(3)]
    before, planned = len(silent.unanswered), silent.planned.count
    refused = silent.ask(api_key, [name_of(api_key)])
    message = TOO_MANY.message if api_key in (CREATE, EXTEND) else None
    assert errors(api_key, refused.responses[0]) == {(TIMED_OUT, message)}
    assert (len(silent.unanswered), silent.planned.count) == (before, planned), "nothing was planned or asked for"
    assert silent.warnings == ["too many requests of clients wait for the controller: others are refused"]
    silent.answer_all()
    assert all(each.responses for each in waiting) and silent.requests.count == 0
    assert silent.ask(api_key, [name_of(api_key)]).responses == []


@pytest.mark.parametrize("api_key", [CREATE, EXTEND])
def test_large_requests_are_refused_by_their_bytes(silent: Silent, monkeypatch: pytest.MonkeyPatch, api_key: int) -> None:
    monkeypatch.setattr(client_requests, "BYTES_MAX", 300_000)
    many = creation(["new"], 1000) if api_key == CREATE else extension(["there"], 1001)
    large, larger = (start(silent.context, api_key, body_of(api_key, [], 1)[0], many, HANDLERS[api_key]) for _ in range(2))
    silent.context.loop.run_all()
    again = start(silent.context, api_key, body_of(api_key, [], 1)[0], many, HANDLERS[api_key])
    silent.context.loop.run_all()
    assert large.responses == larger.responses == [] and silent.requests.bytes > 200_000
    assert errors(api_key, again.responses[0]) == {(TIMED_OUT, TOO_MANY.message)}
    assert len(silent.warnings) == 1 and [count for _, count in silent.asked] == [1000, 1000]
    silent.answer_all()
    assert silent.requests.bytes == 0


def test_the_controller_is_asked_for_some_topics_at_a_time(silent: Silent) -> None:
    """So that a large request does not hold up brokers; its client learns what was done in time."""
    names = [f"n{number}" for number in range(3 * TOPICS_AT_ONCE)]
    silent.failing = {"n1"}
    silent.late = {"n2"}
    request = silent.ask(CREATE, names)
    assert len(silent.asked) == TOPICS_AT_ONCE
    for answer in [silent.unanswered.pop(0) for _ in range(TOPICS_AT_ONCE)]:
        answer()
    silent.context.loop.run_all()
    assert len(silent.asked) == 2 * TOPICS_AT_ONCE
    silent.time_out()
    (response,) = request.responses
    found = {each["name"]: int(each["error_code"]) for each in response["topics"]}
    expected = {name: 0 if index < TOPICS_AT_ONCE else TIMED_OUT for index, name in enumerate(names)}
    assert found == expected | {"n1": ErrorCode.UNKNOWN_SERVER_ERROR, "n2": TIMED_OUT}
    silent.answer_all()
    assert [name for name, _ in silent.asked] == names
    shown = [each for each in names if each != "n1"][:LINES_MAX]
    assert silent.lines == [*shown, "topic created: more in the same request"]


def test_one_request_may_be_larger_than_the_limit_if_it_is_alone() -> None:
    loop: Any = SimpleNamespace(now=lambda: 0.0, call_later=lambda *_: SimpleNamespace(cancel=lambda: None))
    requests = ClientRequests(loop, 1000)
    place = requests.begin(client_requests.BYTES_MAX * 2, 1, lambda: None)
    assert place is not None and requests.is_full and requests.begin(0, 1, lambda: None) is None
    place.end()
    place.end()
    assert (requests.count, requests.bytes) == (0, 0)
    for _ in range(client_requests.REQUESTS_MAX):
        assert requests.begin(0, 1, lambda: None) is not None
    assert requests.begin(0, 1, lambda: None) is None


def test_a_late_answer_is_not_told_twice(silent: Silent) -> None:
    heard: list[Any] = []
    place = silent.requests.begin(0, 10, lambda: heard.append("over"))
    assert place is not None
    silent.now_s = 0.004
    assert place.left_ms == 6
    silent.time_out()
    place.ending(heard.append)(TopicPartition("t", 0))
    assert heard == ["over"] and silent.requests.count == 0
