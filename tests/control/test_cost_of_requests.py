"""The cost of a request is linear in its size, whatever its content: comparisons are counted, not time."""

from __future__ import annotations

import uuid
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from control_fakes import call, make_context

from kafka_cy.api import config_alterations, create_partitions, topic_creation
from kafka_cy.api.config_alterations import APPEND, SUBTRACT, TOPIC, Operation
from kafka_cy.protocol.errors import ErrorCode

COUNT = 3000
LIST_KEY = "leader.replication.throttled.replicas"


@pytest.fixture
def compared(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Counts the comparisons of two ids."""
    counted = [0]
    equal = uuid.UUID.__eq__

    def count(self: uuid.UUID, other: object) -> bool:
        counted[0] += 1
        return bool(equal(self, other))

    monkeypatch.setattr(uuid.UUID, "__eq__", count)
    return counted


def colliding_ids() -> list[uuid.UUID]:
    """Different ids with one hash."""
    ids = [uuid.UUID(int=(1 << 64) + number * ((1 << 61) - 1)) for number in range(1, COUNT + 1)]
    assert len({hash(each) for each in ids}) == 1
    return ids


class CountedText(str):
    """Text that counts its comparisons."""

    __slots__ = ()
    comparisons = 0
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        CountedText.comparisons += 1
        return str.__eq__(self, other)


def texts(prefix: str) -> list[Any]:
    CountedText.comparisons = 0
    return [CountedText(f"{prefix}{number}") for number in range(COUNT)]


def test_delete_topics(compared: list[int]) -> None:
    topics = [{"name": None, "topic_id": each} for each in colliding_ids()]
    answer = call(make_context(), 20, 6, {"topics": topics, "timeout": 1000})
    assert [each["error_code"] for each in answer["responses"]] == [ErrorCode.UNKNOWN_TOPIC_ID] * COUNT
    assert compared[0] < 10 * COUNT


def test_metadata(compared: list[int]) -> None:
    topics = [{"name": None, "topic_id": each} for each in colliding_ids()]
    answer = call(make_context(), 3, 13, {"topics": topics, "allow_auto_topic_creation": False})
    assert [each["error_code"] for each in answer["topics"]] == [ErrorCode.UNKNOWN_TOPIC_ID] * COUNT
    assert compared[0] < 10 * COUNT


def test_create_partitions() -> None:
    names = texts("t")
    topics = [SimpleNamespace(name=name, count=2, assignments=None) for name in names]
    body = SimpleNamespace(topics=topics, timeout=timedelta(1), validate_only=True)
    responses: list[Any] = []
    request: Any = SimpleNamespace(
        authorizer=None,
        body=body, sender={}, api_version=3, fail=None, responded=False, guarded=lambda function: function,
        respond_long=lambda prepare: prepare(lambda make: responses.append(make())),
    )  # fmt: skip
    create_partitions.handle(request, make_context())
    (results,) = [response["results"] for response in responses]
    assert [each["error_code"] for each in results] == [ErrorCode.UNKNOWN_TOPIC_OR_PARTITION] * COUNT
    assert CountedText.comparisons < 10 * COUNT


def test_manual_assignment() -> None:
    """The broker that occurs twice is at the end."""
    replicas: Any = [*texts("broker"), "last", "last"]
    with pytest.raises(topic_creation.TopicRefused, match="the broker last more than once"):
        topic_creation.check_replicas(replicas, frozenset(replicas))
    assert CountedText.comparisons < 10 * COUNT


def test_a_long_list_of_replicas() -> None:
    """With the brokers that there are, the list has a fault near its beginning."""
    for replicas, fault in (([1, 2] * COUNT, "the broker 1 more than once"), ([*range(1, COUNT)], "broker 3, but no such")):
        looked_at = iter(replicas)
        with pytest.raises(topic_creation.TopicRefused, match=fault):
            topic_creation.check_replicas(looked_at, frozenset([1, 2]))  # type: ignore[arg-type]
        assert len(list(looked_at)) == len(replicas) - 3


@pytest.mark.parametrize(("operation", "left"), [(APPEND, 2 * COUNT), (SUBTRACT, COUNT)])
def test_list_settings(monkeypatch: pytest.MonkeyPatch, operation: int, left: int) -> None:
    lists = {"old": texts("old"), "new": texts("new")}
    monkeypatch.setattr(config_alterations, "split_list", lambda text: lists[text][:])
    changed = config_alterations.changed_settings(TOPIC, {LIST_KEY: "old"}, [Operation(LIST_KEY, operation, "new")])
    assert len(changed[LIST_KEY].split(",")) == left
    assert CountedText.comparisons < 10 * COUNT
