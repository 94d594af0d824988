"""Which fetcher follows what: on demand, after a leader has moved, with another number of fetchers, when none can be started."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kafka_cy.replication.fetcher_of import fetcher_of
from kafka_cy.replication.fetchers import Endpoint, Fetchers
from kafka_cy.replication.follower_decisions import Following
from tests.waiting import wait_until

KEYS = [("t", index) for index in range(6)]


class Fetcher:
    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.by_name = False
        self.follows: dict[str, int] = {}
        self.broker_epoch = -1
        self.stopped = False

    def stop(self) -> None:
        self.stopped = True

    def follow(self, partition: str, leader_epoch: int) -> None:
        self.follows[partition] = leader_epoch

    def leave(self, partition: str) -> None:
        del self.follows[partition]

    def set_broker_epoch(self, broker_epoch: int) -> None:
        self.broker_epoch = broker_epoch

    failure = "no response in time"

    def counts(self) -> tuple[int, int, int, int]:
        return 0, 0, 0, 0


class Broker:
    def __init__(self, count: int = 1) -> None:
        self.endpoints = {2: Endpoint("b2", 9092), 3: Endpoint("b3", 9092)}
        self.made: list[Fetcher] = []
        self.failing = False
        self.delayed: list[Callable[[], None]] = []
        self.lines: list[str] = []
        self.partitions = {key: f"{key[0]}-{key[1]}" for key in KEYS}
        self.fetchers = Fetchers(
            self.partitions, count, self.endpoints.get, self.make, lambda _, call: self.delayed.append(call),
            lambda text, **_: self.lines.append(text),
            repeated=lambda level, text, details, leader: self.lines.append(f"{level} {text} {details} {leader}"),
        )  # fmt: skip

    def make(self, leader: int, fetcher_id: int, number: int, endpoint: Endpoint, by_name: bool) -> Fetcher:
        if self.failing:
            raise OSError("no thread")
        assert number == len(self.made)
        self.made.append(Fetcher(endpoint))
        self.made[-1].by_name = by_name
        return self.made[-1]

    def run_delayed(self) -> None:
        delayed, self.delayed = self.delayed, []
        for call in delayed:
            call()

    def running(self) -> list[dict[str, int]]:
        return [each.follows for each in self.made if not each.stopped]


@pytest.fixture
def broker() -> Broker:
    return Broker()


def test_one_for_each_leader(broker: Broker) -> None:
    broker.fetchers.set_broker_epoch(7)
    broker.fetchers.follow(KEYS[0], 2, 5)
    broker.fetchers.follow(KEYS[1], 3, 1)
    broker.fetchers.follow(KEYS[2], 2, 4)
    assert broker.running() == [{"t-0": 5, "t-2": 4}, {"t-1": 1}]
    assert [each.broker_epoch for each in broker.made] == [7, 7]
    broker.fetchers.follow(KEYS[1], 2, 2)  # another leader
    broker.fetchers.leave(KEYS[0])
    broker.fetchers.stop_idle()
    wait_until(lambda: broker.made[1].stopped, "nothing is fetched from broker 3")
    assert broker.running() == [{"t-2": 4, "t-1": 2}]
    assert broker.fetchers.following == {KEYS[2]: Following(2, 4), KEYS[1]: Following(2, 2)}


def test_a_leader_that_moves(broker: Broker) -> None:
    for key in KEYS[:3]:
        broker.fetchers.follow(key, 2, 5)
    broker.endpoints[2] = Endpoint("elsewhere", 9092)
    broker.fetchers.endpoints_changed()
    broker.run_delayed()
    wait_until(lambda: broker.made[0].stopped, "the former fetcher ends")
    assert (broker.made[1].endpoint.host, broker.running()) == ("elsewhere", [{"t-0": 5, "t-1": 5, "t-2": 5}])
    del broker.endpoints[2]
    broker.fetchers.endpoints_changed()  # it is dead, and may come again
    assert broker.running() == [{"t-0": 5, "t-1": 5, "t-2": 5}]


def test_a_leader_that_comes_later(broker: Broker) -> None:
    broker.fetchers.follow(KEYS[0], 4, 5)
    assert broker.made == []
    broker.endpoints[4] = Endpoint("b4", 9092)
    broker.fetchers.endpoints_changed()
    assert broker.running() == [{"t-0": 5}]
    broker.fetchers.follow(KEYS[1], 5, 1)
    broker.fetchers.leave(KEYS[1])
    broker.endpoints[5] = Endpoint("b5", 9092)
    broker.fetchers.endpoints_changed()
    assert broker.running() == [{"t-0": 5}]


def test_no_thread(broker: Broker) -> None:
    broker.failing = True
    for key in KEYS[:2]:
        broker.fetchers.follow(key, 2, 5)
    assert (len(broker.delayed), broker.lines) == (1, ["a fetcher cannot be started; it is tried again"] * 2)
    broker.run_delayed()
    broker.failing = False
    broker.run_delayed()
    assert broker.running() == [{"t-0": 5, "t-1": 5}]


def test_another_number_of_fetchers(broker: Broker) -> None:
    for key in KEYS:
        broker.fetchers.follow(key, 2, 5)
    broker.fetchers.resize(3)
    wait_until(lambda: broker.made[0].stopped or len(broker.running()) == 3, "there are three")
    by_id = {fetcher_id: running.fetcher.follows for (_, fetcher_id, _), running in broker.fetchers.running.items()}
    expected: dict[int, dict[str, int]] = {0: {}, 1: {}, 2: {}}
    for topic, index in KEYS:
        expected[fetcher_of(topic, index, 3)][f"{topic}-{index}"] = 5
    assert by_id == expected
    broker.fetchers.resize(1)
    assert sum(map(len, broker.running()), 0) == 6


def test_failed_partitions(broker: Broker) -> None:
    broker.fetchers.follow(KEYS[0], 2, 5)
    broker.fetchers.mark_failed(KEYS[0], 4)
    broker.fetchers.mark_failed(KEYS[1], 5)
    assert broker.fetchers.failed == set()
    broker.fetchers.mark_failed(KEYS[0], 5)
    assert broker.fetchers.failed == {KEYS[0]}
    broker.fetchers.follow(KEYS[0], 2, 6)
    assert broker.fetchers.failed == set()


def test_after_the_end(broker: Broker) -> None:
    broker.fetchers.follow(KEYS[0], 2, 5)
    broker.fetchers.close()
    broker.fetchers.join()
    broker.fetchers.follow(KEYS[1], 2, 5)
    broker.fetchers.resume(KEYS[0])
    assert (broker.running(), broker.fetchers.following) == ([], {})


def test_connections_are_told_with_the_leader_and_the_reason(broker: Broker) -> None:
    for key in KEYS:
        broker.fetchers.follow(key, 2, 5)
    broker.fetchers.tell(0, connected=False)
    broker.fetchers.tell(7, connected=False)  # it has ended
    broker.fetchers.tell(0, connected=True)
    about = "{'leader': 2, 'address': 'b2:9092'} 2"
    assert broker.lines == [
        f"warning the leader cannot be fetched from; this is tried again: no response in time {about}",
        f"info the leader is fetched from again {about}",
    ]


class Named:
    """A partition, whose topic may have an id."""

    def __init__(self, topic_id: bytes) -> None:
        self.topic_id = topic_id


def test_topics_without_ids_are_fetched_by_name() -> None:
    """This broker has a later inter.broker.protocol.version than the controller, which has given no ids yet."""
    broker = Broker()
    partitions: dict[tuple[str, int], Named] = {KEYS[0]: Named(bytes(16)), KEYS[1]: Named(bytes(15) + b"1")}
    fetchers = Fetchers(
        partitions, 1, broker.endpoints.get, broker.make, lambda _, call: broker.delayed.append(call), by_id=True
    )
    before = partitions[KEYS[0]]
    for key in KEYS[:2]:
        fetchers.follow(key, 2, 5)
    assert [each.by_name for each in broker.made] == [True, False]
    assert [list(each.follows) for each in broker.made] == [[before], [partitions[KEYS[1]]]]
    partitions[KEYS[0]] = Named(bytes(15) + b"2")  # it has got its id
    fetchers.follow(KEYS[0], 2, 5)
    fetchers.stop_idle()
    wait_until(lambda: broker.made[0].stopped, "nothing is fetched by name any more")
    assert list(broker.made[1].follows) == [partitions[KEYS[1]], partitions[KEYS[0]]]
    fetchers.leave(KEYS[0])
    assert list(broker.made[1].follows) == [partitions[KEYS[1]]]


def test_an_older_version_fetches_all_by_name() -> None:
    broker = Broker()
    fetchers = Fetchers({KEYS[0]: Named(bytes(16))}, 1, broker.endpoints.get, broker.make, lambda *_: None)
    fetchers.follow(KEYS[0], 2, 5)
    assert [each.by_name for each in broker.made] == [False], "there is one kind of fetchers"
