"""Responses of DescribeLogDirs and DescribeConfigs that take longer than a moment are not built on the loop's thread."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from control_fakes import make_context

from kafka_cy.api import describe_configs, describe_log_dirs
from kafka_cy.api.config_alterations import BROKER, TOPIC
from kafka_cy.storage.log_manager import LogManager

TOPIC_ID = bytes(range(16))
PARTITIONS = 50


class LongRequest(SimpleNamespace):
    """Keeps the functions that build long responses; the test runs them like the other thread."""

    def __init__(self, **fields: Any) -> None:
        super().__init__(body=SimpleNamespace(**fields), made=[], authorizer=None)

    def respond_long(self, prepare: Callable[[Callable[[Any], object]], object]) -> None:
        prepare(self.made.append)

    def response(self) -> Mapping[str, Any]:
        """The response that the other thread builds."""
        (make,) = self.made
        return make()


class Untouchable:
    """A mutex that a long operation on folders holds: who takes it, waits."""

    def __enter__(self) -> None:
        raise AssertionError("the mutex was taken")

    def __exit__(self, *_: object) -> None:
        pass


@pytest.fixture
def logs(tmp_path: Path) -> Iterator[LogManager]:
    manager = LogManager([str(tmp_path)], 1, "cluster", {})
    manager.start({})
    for index in range(PARTITIONS):
        manager.create("t", index, TOPIC_ID, {})
    mutex, manager._hosted.mutex = manager._hosted.mutex, Untouchable()  # type: ignore[assignment]
    yield manager
    manager._hosted.mutex = mutex
    manager.shutdown()


def partitions_of(response: Mapping[str, Any]) -> list[int]:
    (directory,) = response["results"]
    return [each["partition_index"] for topic in directory["topics"] for each in topic["partitions"]]


def test_log_directories_are_described_without_the_mutex_and_on_another_thread(logs: LogManager) -> None:
    context: Any = SimpleNamespace(logs=logs, cluster=make_context().cluster)
    request: Any = LongRequest(topics=None)
    assert describe_log_dirs.handle(request, context) is None
    assert partitions_of(request.response()) == list(range(PARTITIONS))
    named = SimpleNamespace(topic="t", partitions=(3, 1, 1, PARTITIONS))
    few = describe_log_dirs.handle(LongRequest(topics=[named]), context)  # type: ignore[arg-type]
    assert few is not None and partitions_of(few) == [1, 3]


def test_named_partitions_cost_what_they_are(logs: LogManager) -> None:
    looked: list[int] = []
    real = logs._hosted.partitions
    logs._hosted.partitions = SimpleNamespace(  # type: ignore[assignment]
        copy=lambda: SimpleNamespace(get=lambda key: looked.append(key[1]) or real.get(key))
    )
    try:
        assert [row[2] for row in logs.describe([("t", 7), ("t", 8)])] == [7, 8]
    finally:
        logs._hosted.partitions = real
    assert looked == [7, 8]


def test_many_or_long_configurations_are_described_on_another_thread() -> None:
    context = make_context()
    for number in range(10):
        context.topic_changes.create_topic(f"t{number}", [[1]], {})

    def asked(*resources: tuple[int, str]) -> tuple[Any, LongRequest]:
        each = [SimpleNamespace(resource_type=k, resource_name=n, configuration_keys=None) for k, n in resources]
        request: Any = LongRequest(resources=each, include_synonyms=True, include_documentation=True)
        return describe_configs.handle(request, context), request

    now, request = asked((TOPIC, "t1"))
    assert now["results"][0]["error_code"] == 0 and not request.made
    later, request = asked(*((TOPIC, f"t{number}") for number in range(10)))
    assert later is None
    assert [each["resource_name"] for each in request.response()["results"]] == [f"t{number}" for number in range(10)]
    later, request = asked((BROKER, "1"))
    assert later is None and len(request.response()["results"][0]["configs"]) > 200
