"""A share session with 300 partitions, which the coordinator's thread handles, on a live broker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Producer

from kafka_cy.testing import Broker
from tests.waiting import wait_until

from .test_hot_requests import ACCEPT, CONFIG, HotMember, Live

PARTITIONS = 300


class LargeLive(Live):
    """Its topic has so many partitions, each with a record."""

    def __init__(self, broker: Broker) -> None:
        super().__init__(broker)
        topic = {"name": self.group, "count": PARTITIONS, "assignments": None}
        more = {"topics": [topic], "timeout": 30_000, "validate_only": False}
        assert self.client.request(37, 2, more)["results"][0]["error_code"] == 0
        offsets = [{"partition_index": index, "start_offset": 0} for index in range(PARTITIONS)]
        altered = {"group_id": self.group, "topics": [{"topic_name": self.group, "partitions": offsets}]}
        wait_until(lambda: self.is_altered(altered), "the states of all partitions")
        producer = Producer({"bootstrap.servers": broker.bootstrap_servers})
        for index in range(PARTITIONS):
            producer.produce(self.group, b"v", partition=index)
        assert producer.flush(30) == 0

    def is_altered(self, altered: dict[str, Any]) -> bool:
        answer = self.client.request(91, 0, altered)
        rows = [row for topic in answer["responses"] for row in topic["partitions"]]
        return answer["error_code"] == 0 and len(rows) == PARTITIONS and not any(row["error_code"] for row in rows)


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LargeLive]:
    folder: Path = tmp_path_factory.mktemp("large-share")
    with Broker(CONFIG, folder=folder) as broker:
        yield LargeLive(broker)


def topics(member: HotMember, kind: int | None = None) -> list[dict[str, Any]]:
    batches = [] if kind is None else [{"first_offset": 0, "last_offset": 0, "acknowledge_types": [kind]}]
    rows = [{"partition_index": index, "acknowledgement_batches": batches} for index in range(PARTITIONS)]
    return [{"topic_id": member.topic_id, "partitions": rows}]


def fetch_all(member: HotMember, deliveries: int) -> None:
    """A new session gets the record of each partition."""
    got = member.fetch(topics=topics(member), max_wait=5_000)
    while len(got) < PARTITIONS:  # a fetch leaves with the first records that become available
        got += member.fetch(topics=[], max_wait=5_000)
    assert got == [(0, 0, deliveries)] * PARTITIONS


def test_all_partitions_are_fetched_released_and_acknowledged(live: LargeLive) -> None:
    first, second, third = (live.member(name) for name in ("first", "second", "third"))
    fetch_all(first, 1)
    first.client.close()
    fetch_all(second, 2)
    second.epoch = -1
    assert second.fetch(topics=[]) == []
    fetch_all(third, 3)
    answer = third.client.request(79, 2, third.body(topics=topics(third, ACCEPT)))
    third.epoch += 1
    (answered,) = answer["responses"]
    assert answer["error_code"] == 0
    assert [(row["partition_index"], row["error_code"]) for row in answered["partitions"]] == [
        (index, 0) for index in range(PARTITIONS)
    ]
    assert third.fetch(topics=[]) == []
