"""Requests that name partitions, groups or topics in any number, also the same again: response and work stay in proportion."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from control_fakes import KeptRequest, make_context, start
from test_change_pieces import Turns

from kafka_cy.api import describe_producers
from kafka_cy.base import slices
from kafka_cy.base.slices import AT_ONCE_MAX, Slices
from kafka_cy.protocol.errors import ErrorCode

DESCRIBE_CONFIGS, ALTER_LOG_DIRS, ALTER_REASSIGNMENTS, DESCRIBE_PRODUCERS, DESCRIBE_PARTITIONS = 32, 34, 45, 61, 75
DELETE_RECORDS, GROUP, MANY = 21, 32, 1000
PRODUCER = (7, 0, 5, 1000, -1, -1)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], Any]]:
    """What the other thread would make."""
    later: list[Callable[[], Any]] = []
    monkeypatch.setattr(KeptRequest, "respond_long", lambda request, prepare: prepare(later.append))
    return later


@pytest.fixture
def context(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setattr(slices, "SLICE_S", 0.0)  # each step has a turn of its own
    context: Any = make_context()
    context.loop = Turns()
    context.slices = Slices(context.loop, pytest.fail)
    context.topic_changes.create_topic("t", [[1]] * MANY, {})
    return context


class CountingLog:
    """A log that counts how often its producers are listed."""

    def __init__(self) -> None:
        self.listed = 0

    def producers(self) -> list[tuple[int, int, int, int, int, int]]:
        self.listed += 1
        return [PRODUCER]


def test_a_partition_that_is_named_again_and_again_is_described_once(context: Any, made: list[Callable[[], Any]]) -> None:
    log = CountingLog()
    context.cluster = SimpleNamespace(
        topics={"t": SimpleNamespace(partitions=[0, 1])}, partition=lambda name, index: SimpleNamespace(log=log)
    )
    asked = [{"name": "t", "partition_indexes": [0] * MANY}, {"name": "t", "partition_indexes": [0, 1, 5]}]
    start(context, DESCRIBE_PRODUCERS, 0, {"topics": asked}, describe_producers.handle)
    turns = 0
    while context.loop.waiting:
        context.loop.run_one()
        turns += 1
    assert turns > MANY and log.listed == 0, "another thread lists the producers"
    response = made[0]()
    rows = [(each["partition_index"], each["error_code"], len(each["active_producers"]))
            for topic in response["topics"] for each in topic["partitions"]]  # fmt: skip
    assert rows == [(0, 0, 1), (1, 0, 1), (5, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION, 0)] and log.listed == 2


def test_groups_with_the_same_settings_share_their_description(context: Any, made: list[Callable[[], Any]]) -> None:
    names = [f"g{number}" for number in range(MANY)]
    resources = [{"resource_type": GROUP, "resource_name": name, "configuration_keys": None} for name in names]
    few = [{**resources[0], "resource_name": "other", "configuration_keys": ["consumer.session.timeout.ms"]}]
    body = {"resources": resources + few, "include_synonyms": True, "include_documentation": True}
    start(context, DESCRIBE_CONFIGS, 4, body)
    results = made[0]()["results"]
    assert [each["resource_name"] for each in results] == [*names, "other"]
    assert len({id(each["configs"]) for each in results}) == 2
    assert len(results[0]["configs"]) > 5 and len(results[-1]["configs"]) == 1


@pytest.mark.parametrize("topics", [[], [{"name": "t"}], [{"name": f"n{number}"} for number in range(MANY)]])
def test_a_large_page_of_topics_is_made_on_another_thread(
    context: Any, made: list[Callable[[], Any]], topics: list[dict[str, Any]]
) -> None:
    body = {"topics": topics, "response_partition_limit": 100, "cursor": None}
    assert start(context, DESCRIBE_PARTITIONS, 0, body).responses == []
    (topic, *others) = made[0]()["topics"]
    assert len(topic["partitions"]) == (0 if others else 100)
    few = {**body, "topics": [{"name": "n"}]}
    assert len(start(context, DESCRIBE_PARTITIONS, 0, few).responses) == 1


def test_many_reassignments_are_answered_by_another_thread(context: Any, made: list[Callable[[], Any]]) -> None:
    rows = [{"partition_index": index, "replicas": [1]} for index in range(MANY)]
    body = {"timeout": 1000, "topics": [{"name": "t", "partitions": rows}]}
    assert start(context, ALTER_REASSIGNMENTS, 0, body).responses == []
    (topic,) = made[0]()["responses"]
    assert [each["error_code"] for each in topic["partitions"]] == [0] * MANY


class Moving:
    """The log manager of moves."""

    def __init__(self) -> None:
        self.log_dirs, self.offline_dirs, self.cordoned_dirs = ["/a", "/b"], set[str](), set[str]()
        self.partitions = {("t", index): SimpleNamespace(state=0) for index in range(MANY)}
        self.moved: list[tuple[str, int, str]] = []

    def move(self, *which: Any) -> None:
        self.moved.append(which)


def test_many_moves_between_directories_go_in_slices(context: Any, made: list[Callable[[], Any]]) -> None:
    context.logs = Moving()
    dirs = [
        {"path": "/a", "topics": [{"name": "t", "partitions": list(range(MANY))}, {"name": "none", "partitions": []}]},
        {"path": "/b/", "topics": [{"name": "t", "partitions": [1]}]},
        {"path": "/c", "topics": [{"name": "t", "partitions": [2]}]},
    ]
    start(context, ALTER_LOG_DIRS, 2, {"dirs": dirs})
    seen: Iterator[int] = iter(range(MANY * 2))
    while context.loop.waiting:
        before = len(context.logs.moved)
        context.loop.run_one()
        assert len(context.logs.moved) <= before + 1
        next(seen)
    (topic,) = made[0]()["results"]
    wrong = {each["partition_index"]: each["error_code"] for each in topic["partitions"] if each["error_code"]}
    assert wrong == {2: ErrorCode.LOG_DIR_NOT_FOUND} and len(topic["partitions"]) == MANY
    assert context.logs.moved[:3] == [("t", 0, "/a"), ("t", 1, "/b"), ("t", 3, "/a")]


def test_few_moves_are_made_at_once(context: Any, made: list[Callable[[], Any]]) -> None:
    context.logs = Moving()
    dirs = [{"path": "/a", "topics": [{"name": "t", "partitions": list(range(AT_ONCE_MAX))}]}]
    (response,) = start(context, ALTER_LOG_DIRS, 2, {"dirs": dirs}).responses
    assert len(response["results"][0]["partitions"]) == len(context.logs.moved) == AT_ONCE_MAX and made == []
