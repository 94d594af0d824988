"""What is measured of a cluster whose partitions do not all have a leader."""

from __future__ import annotations

from concurrent.futures import Future
from types import SimpleNamespace
from typing import Any

import pytest
from confluent_kafka import TopicPartition

from kafka_cy.tools import measure_cluster
from kafka_cy.tools.client import ToolError
from kafka_cy.tools.measure_cluster import end_offsets

LEADERS = [0, -1, 1]  # of the partitions of "t"


class Admin:
    """An admin client, of whose partitions those without leader, and `silent` ones, get no answer."""

    def __init__(self, *silent: int) -> None:
        self._silent = silent

    def list_topics(self, timeout: float) -> Any:
        partitions = {index: SimpleNamespace(leader=leader) for index, leader in enumerate(LEADERS)}
        return SimpleNamespace(topics={"t": SimpleNamespace(partitions=partitions)})

    def list_offsets(self, asked: dict[TopicPartition, Any]) -> dict[TopicPartition, Future[Any]]:
        answers: dict[TopicPartition, Future[Any]] = {place: Future() for place in asked}
        for place, future in answers.items():
            if LEADERS[place.partition] >= 0 and place.partition not in self._silent:
                future.set_result(SimpleNamespace(offset=place.partition + 10))
        return answers


@pytest.fixture(autouse=True)
def patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measure_cluster, "REQUEST_TIMEOUT_S", 0.01)


def test_a_partition_without_leader_is_left_out() -> None:
    admin: Any = Admin()
    assert end_offsets(admin) == {("t", 0): 10, ("t", 2): 12}


def test_a_broker_that_does_not_answer_is_told() -> None:
    admin: Any = Admin(2)
    with pytest.raises(ToolError, match=r"The leader of t-2 did not tell its end offset in time\."):
        end_offsets(admin)
