"""What a request for many partitions may cost: too many are refused before anything is planned, and a few are planned at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from control_fakes import call, start
from test_change_pieces import CREATE, EXTEND, creation, extension
from test_change_pieces import context as context

from kafka_cy.api import create_partitions, create_topics
from kafka_cy.api.batch_limit import RECORDS_PER_REQUEST_MAX, TOO_MANY_RECORDS
from kafka_cy.api.change_pieces import ENTRIES_AT_ONCE
from kafka_cy.api.topic_creation import PARTITIONS_PER_REQUEST_MAX, TOO_MANY_PARTITIONS
from kafka_cy.config import BrokerConfig
from kafka_cy.protocol.errors import ErrorCode

MANY = 4 * ENTRIES_AT_ONCE


class Planned:
    """Counts the partitions whose replicas are chosen, or checked if the client chose them."""

    def __init__(self, context: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        assign = context.cluster.assign
        monkeypatch.setattr(context.cluster, "assign", lambda *counts: self._each(assign(*counts)))
        for module in (create_topics, create_partitions):
            monkeypatch.setattr(module, "check_replicas", self._counting(module.check_replicas))
        self._context = context

    def _each(self, replicas: Iterator[list[int]]) -> Iterator[list[int]]:
        for each in replicas:
            self.count += 1
            yield each

    def _counting(self, check: Callable[..., None]) -> Callable[..., None]:
        def checked(*arguments: Any) -> None:
            self.count += 1
            check(*arguments)

        return checked

    def most_in_one_turn(self, api_key: int, version: int, body: dict[str, Any]) -> tuple[int, Any]:
        """Sends a request. Returns how many were planned in the turn with most of them, and the response."""
        before, loop, turns = self.count, self._context.loop, []
        request = start(self._context, api_key, version, body)
        while True:
            turns.append(self.count - before)
            before = self.count
            if not loop.waiting:
                (response,) = request.responses
                return max(turns), response
            loop.run_one()


@pytest.fixture
def planned(context: Any, monkeypatch: pytest.MonkeyPatch) -> Planned:
    return Planned(context, monkeypatch)


def refusal(response: dict[str, Any]) -> tuple[int, set[tuple[int, str | None]]]:
    rows = response["topics" if "topics" in response else "results"]
    return len(rows), {(row["error_code"], row["error_message"]) for row in rows}


def manual_creation(name: str, count: int) -> dict[str, Any]:
    body = creation([name], -1)
    rows = [{"partition_index": index, "broker_ids": [1]} for index in range(count)]
    body["topics"][0] |= {"replication_factor": -1, "assignments": rows}
    return body


def manual_extension(name: str, count: int, before: int = 1) -> dict[str, Any]:
    body = extension([name], before + count)
    body["topics"][0]["assignments"] = [{"broker_ids": [1]}] * count
    return body


@pytest.mark.parametrize("partitions", [PARTITIONS_PER_REQUEST_MAX, PARTITIONS_PER_REQUEST_MAX // 2 + 1, -1])
def test_too_many_partitions_are_refused_before_they_are_planned(context: Any, planned: Planned, partitions: int) -> None:
    """-1: the broker's number of partitions."""
    context.config = BrokerConfig.load(None, {"num.partitions": str(PARTITIONS_PER_REQUEST_MAX)})
    for count in (2, 30):
        _, response = planned.most_in_one_turn(CREATE, 7, creation([f"t{number}" for number in range(count)], partitions))
        assert refusal(response) == (count, {(ErrorCode.POLICY_VIOLATION, TOO_MANY_PARTITIONS)})
    _, response = planned.most_in_one_turn(CREATE, 7, manual_creation("t", PARTITIONS_PER_REQUEST_MAX + 1))
    assert refusal(response) == (1, {(ErrorCode.POLICY_VIOLATION, TOO_MANY_PARTITIONS)})
    assert planned.count == 0 and context.cluster.topics == {}


def test_a_topic_that_is_named_twice_does_not_count(context: Any) -> None:
    body = creation(["twice", "twice", "once"], PARTITIONS_PER_REQUEST_MAX // 2 + 1)
    request = start(context, CREATE, 7, body | {"validate_only": True})
    context.loop.run_all()
    (response,) = request.responses
    assert [(row["name"], row["error_code"]) for row in response["topics"]] == [("twice", ErrorCode.INVALID_REQUEST), ("once", 0)]


def test_planning_ends_with_the_record_that_is_too_much(context: Any, planned: Planned) -> None:
    count = RECORDS_PER_REQUEST_MAX * 9 // 10
    _, response = planned.most_in_one_turn(CREATE, 7, creation([f"t{number}" for number in range(count)]))
    assert refusal(response) == (count, {(ErrorCode.POLICY_VIOLATION, TOO_MANY_RECORDS)})
    assert planned.count == RECORDS_PER_REQUEST_MAX // 2 + 1, "one record for the topic, and one for its partition"


@pytest.mark.parametrize("validate_only", [False, True])
def test_the_replicas_of_one_topic_are_planned_a_few_at_a_time(context: Any, planned: Planned, validate_only: bool) -> None:
    for body in (creation(["a"], MANY), manual_creation("b", MANY)):
        most, response = planned.most_in_one_turn(CREATE, 7, body | {"validate_only": validate_only})
        assert refusal(response) == (1, {(0, None)}) and response["topics"][0]["num_partitions"] == MANY
        assert most == ENTRIES_AT_ONCE
    if validate_only:
        call(context, CREATE, 7, creation(["a", "b"]))
    before = len(context.cluster.topics["a"].partitions)
    for body in (extension(["a"], before + MANY), manual_extension("b", MANY, before)):
        most, response = planned.most_in_one_turn(EXTEND, 3, body | {"validate_only": validate_only})
        assert refusal(response) == (1, {(0, None)}) and most == ENTRIES_AT_ONCE
    assert {len(topic.partitions) for topic in context.cluster.all_topics()} == {before + (0 if validate_only else MANY)}


def test_topics_of_middle_size_share_a_step(context: Any, planned: Planned) -> None:
    size, many = ENTRIES_AT_ONCE - 1, [f"t{number}" for number in range(16)]
    most, _ = planned.most_in_one_turn(CREATE, 7, creation(many, size))
    assert most <= 2 * ENTRIES_AT_ONCE and len(context.cluster.topics) == len(many)
    most, _ = planned.most_in_one_turn(EXTEND, 3, extension(many, 2 * size))
    assert most <= 2 * ENTRIES_AT_ONCE
    assert {len(topic.partitions) for topic in context.cluster.all_topics()} == {2 * size}


def test_few_partitions_are_checked_at_once(context: Any) -> None:
    for more, is_quick in ((0, True), (1, False)):
        count = ENTRIES_AT_ONCE + more
        for body in (creation(["t"], count), manual_creation("t", count), creation(["t", "u"], count // 2 + more)):
            assert bool(start(context, CREATE, 7, body | {"validate_only": True}).responses) == is_quick
            context.loop.run_all()
    call(context, CREATE, 7, creation(["t"]))
    for more, is_quick in ((0, True), (1, False)):
        for body in (extension(["t"], 1 + ENTRIES_AT_ONCE + more), manual_extension("t", ENTRIES_AT_ONCE + more)):
            assert bool(start(context, EXTEND, 3, body | {"validate_only": True}).responses) == is_quick
            context.loop.run_all()


def test_many_settings_are_checked_in_steps(context: Any) -> None:
    for count, is_quick in ((ENTRIES_AT_ONCE, True), (ENTRIES_AT_ONCE + 1, False)):
        body = creation(["t"]) | {"validate_only": True}
        body["topics"][0]["configs"] = [{"name": "retention.ms", "value": "1000"}] * count
        request = start(context, CREATE, 7, body)
        assert bool(request.responses) == is_quick
        context.loop.run_all()
        assert refusal(request.responses[0]) == (1, {(0, None)})


def test_an_assignment_of_too_many_partitions_is_not_checked(context: Any, planned: Planned) -> None:
    call(context, CREATE, 7, creation(["t", "u"]))
    before = planned.count
    body = manual_extension("t", RECORDS_PER_REQUEST_MAX + 1)
    body["topics"] += extension(["u"])["topics"]
    _, response = planned.most_in_one_turn(EXTEND, 3, body)
    assert refusal(response) == (2, {(ErrorCode.POLICY_VIOLATION, TOO_MANY_RECORDS)})
    assert planned.count == before and {len(topic.partitions) for topic in context.cluster.all_topics()} == {1}


def test_a_topic_that_another_request_extends_meanwhile_gets_the_rest(context: Any) -> None:
    call(context, CREATE, 7, creation(["t"]))
    request = start(context, EXTEND, 3, extension(["t"], 1 + MANY))
    context.loop.run_one()
    assert call(context, EXTEND, 3, extension(["t"], 3))["results"][0]["error_code"] == 0
    assert len(context.cluster.topics["t"].partitions) == 3
    context.loop.run_all()
    assert refusal(request.responses[0]) == (1, {(0, None)})
    topic = context.cluster.topics["t"]
    assert [partition.index for partition in topic.partitions] == list(range(1 + MANY))
