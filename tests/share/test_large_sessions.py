"""Share sessions with many partitions: no turn of the loop walks over all of them, and what happens meanwhile counts."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from kafka_cy.base import slices
from kafka_cy.coordinator.share.state_machine import SharePartition as PartitionKey
from kafka_cy.protocol.errors import ErrorCode
from kafka_cy.share.acknowledgements import Acknowledgements
from kafka_cy.share.acknowledging import STORED_AT_ONCE
from kafka_cy.share.fetch_requests import AcknowledgeRequest, FetchRequest, Results
from kafka_cy.share.in_flight_values import ACCEPT, RENEW, Acknowledgement
from kafka_cy.share.sessions import FINAL_EPOCH, SessionKey, ShareSessions, TopicPartition
from kafka_cy.share.share_fetch import ShareFetches
from kafka_cy.share.share_partition import SharePartition
from kafka_cy.share.share_partitions import SharePartitions
from tests.coordinator.share_state import TOPIC_ID

from .harness import Bench
from .test_many_acknowledgements import steps_of

PARTITIONS = 300
MOST = 6_000  # calls of functions in one turn: a look at the ends of 256 logs takes most; a walk over all takes far more
ID = uuid.UUID(bytes=TOPIC_ID.bytes)
PLACES: list[TopicPartition] = [(ID, index) for index in range(PARTITIONS)]
MEMBER, OTHER = SessionKey("g", "m"), SessionKey("g", "other")
NONE = ErrorCode.NONE
Answer = tuple[ErrorCode, Results]


class Turns:
    """The fetches of a broker whose turns the test runs. All partitions have the same log, with two records."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, partitions_max: int = 2 * PARTITIONS) -> None:
        monkeypatch.setattr(slices, "SLICE_S", 0.0)
        self.bench = Bench(folder)
        self.bench.append(2)
        self.loop = self.bench.states.loop
        coordinator = self.bench.states.coordinator
        topic = SimpleNamespace(name="st", id=TOPIC_ID, partitions=list(range(PARTITIONS)))
        self.topics = coordinator.cluster.topic_by_id
        self.topics[TOPIC_ID] = topic
        self.lost: set[int] = set()  # partitions that this broker does not lead any more
        cluster = SimpleNamespace(
            topic_by_id=self.topics, partition=lambda name, index: None if index in self.lost else self.bench.hosted
        )
        for _, index in PLACES:
            self.bench.states.initialize(PartitionKey("g", TOPIC_ID, index), 2)
        while self.loop.timers[0][0] <= self.loop.time_s:
            self.loop.run_next()
        self.partitions = SharePartitions(cluster, coordinator, self.loop, lambda group: self.bench.settings)
        self.sessions = ShareSessions(10, partitions_max)
        self.fetches = ShareFetches(self.sessions, self.partitions, self.loop)
        self.most = 0

    def turn(self, work: Callable[[], object]) -> None:
        """And the look of the loop."""

        def both() -> None:
            work()
            self.partitions.write_collected()
            self.bench.states.coordinator.look()

        self.most = max(self.most, steps_of(both))

    def run(self, until: Callable[[], object] = lambda: False) -> None:
        """All turns that are due, or until then."""
        while not until() and self.loop.timers and self.loop.timers[0][0] <= self.loop.time_s:
            self.turn(self.loop.run_next)

    def fetch(
        self, epoch: int, named: Sequence[TopicPartition] = (), acknowledged: Mapping[TopicPartition, Any] | None = None, *,
        key: SessionKey = MEMBER, connection: int = 1, wait_ms: int = 0, records: int = 10_000,
        forgotten: Sequence[TopicPartition] = (),
    ) -> list[Answer]:  # fmt: skip
        answers: list[Answer] = []
        request = FetchRequest(
            key, connection, False, epoch, wait_ms, 1, 1 << 20, records, 500, False, False, list(named), acknowledged or {},
            list(forgotten),
        )  # fmt: skip
        self.turn(lambda: self.fetches.fetch(request, lambda error, results: answers.append((error, results))))
        return answers

    def acknowledge(
        self, epoch: int, kind: int = ACCEPT, renews: bool = False, places: Sequence[TopicPartition] = PLACES
    ) -> list[Answer]:
        answers: list[Answer] = []
        acknowledgements = {place: Acknowledgements([Acknowledgement(0, 1, [kind])]) for place in places}
        request = AcknowledgeRequest(MEMBER, epoch, renews, acknowledgements)
        self.turn(lambda: self.fetches.acknowledge(request, lambda error, results: answers.append((error, results))))
        return answers

    def settled(self, answers: list[Answer]) -> Results:
        self.run()
        ((error, results),) = answers
        assert error == NONE
        return results

    def acquired(self, answers: list[Answer]) -> int:
        return sum(len(each.acquired) for each in self.settled(answers).values())

    def held(self, key: SessionKey = MEMBER) -> int:
        """Share partitions that another member gets no records of."""
        other = self.fetch(0, PLACES, key=SessionKey("g", "looks"), connection=99)
        free = self.acquired(other)
        self.fetches.connection_closed(99)
        self.run()
        return PARTITIONS - free

    def check(self) -> None:
        """No turn did much, and nothing is left of what has ended."""
        assert 0 < self.most <= MOST
        assert not len(self.fetches.walks)
        assert self.sessions.partition_count == sum(len(each) for each in self.sessions._sessions.values())
        assert not self.sessions._coming


@pytest.fixture
def turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Turns:
    return Turns(tmp_path / "st-0", monkeypatch)


def test_no_turn_walks_over_many_partitions(turns: Turns) -> None:
    """Opening, fetches with and without records, acknowledgements, fetches that wait, and all ends."""
    opened = turns.fetch(0, PLACES, records=0)
    assert opened == [], "it takes more than a turn"
    assert list(turns.settled(opened)) == PLACES
    assert turns.acquired(turns.fetch(1)) == PARTITIONS
    stored = turns.settled(turns.acknowledge(2))
    assert list(stored) == PLACES and not any(each.error for each in stored.values())
    assert turns.settled(turns.fetch(3)) == {}
    waiting = turns.fetch(4, wait_ms=500)
    turns.run()
    assert waiting == []
    turns.loop.time_s += 1
    assert turns.settled(waiting) == {}
    waiting = turns.fetch(5, wait_ms=500, forgotten=PLACES[:200])
    turns.run()
    turns.fetches.connection_closed(1)
    assert turns.settled(waiting) == {}
    turns.bench.append(1)
    assert turns.acquired(turns.fetch(0, PLACES)) == PARTITIONS
    assert turns.settled(turns.fetch(FINAL_EPOCH)) == {}
    assert not turns.held()
    turns.check()


@pytest.mark.parametrize("how", ["connection", "final fetch"])
def test_a_session_releases_all_it_holds_before_its_member_begins_anew(turns: Turns, how: str) -> None:
    """Else the release would take away what the new session has locked."""
    assert turns.acquired(turns.fetch(0, PLACES)) == PARTITIONS
    ended: list[Answer] = []
    if how == "connection":
        turns.turn(lambda: turns.fetches.connection_closed(1))
    else:
        ended = turns.fetch(FINAL_EPOCH)
    turns.bench.append(1)
    begun = turns.fetch(0, PLACES[-1:], connection=3, wait_ms=60_000)
    results = turns.settled(begun)
    assert [error for error, _ in ended] == ([] if how == "connection" else [NONE])
    assert results[PLACES[-1]].acquired
    stored = turns.settled(turns.acknowledge(1, places=PLACES[-1:]))
    assert not stored[PLACES[-1]].error, "it holds what it was told"
    turns.check()


@pytest.mark.parametrize("after", range(0, 1300, 97))
def test_a_connection_that_closes_between_two_steps_leaves_nothing_locked(turns: Turns, after: int) -> None:
    """While partitions are added, found, locked, or the response is made."""
    answers = turns.fetch(0, PLACES, records=2 * PARTITIONS - 100)
    for _ in range(after):
        turns.turn(turns.loop.run_next)
    assert not answers
    turns.turn(lambda: turns.fetches.connection_closed(1))
    turns.run()
    assert len(answers) == 1 and not len(turns.sessions)
    assert not turns.held()
    assert not turns.fetches.waiting and not turns.fetches.by_connection and not turns.partitions._waiting
    turns.check()


@pytest.mark.parametrize("after", [0, 150, 299])
def test_acknowledgements_that_are_being_stored_count_when_the_connection_closes(turns: Turns, after: int) -> None:
    turns.settled(turns.fetch(0, PLACES))
    answers = turns.acknowledge(1)
    for _ in range(after):
        turns.turn(turns.loop.run_next)
    turns.turn(lambda: turns.fetches.connection_closed(1))
    results = turns.settled(answers)
    assert len(results) == PARTITIONS and not any(each.error for each in results.values())
    assert turns.held() == PARTITIONS, "all is accepted, and nothing is left to get"
    turns.check()


def test_requests_of_one_session_are_done_in_their_order(turns: Turns) -> None:
    """An acceptance that overtakes a renewal would refuse it."""
    turns.settled(turns.fetch(0, PLACES))
    renewed = turns.acknowledge(1, RENEW, renews=True)
    accepted, late = turns.acknowledge(2, places=PLACES[::-1]), turns.acknowledge(2)
    ended, gone = turns.fetch(FINAL_EPOCH), turns.fetch(3)
    turns.run()
    for answers in (renewed, accepted):
        assert not any(each.error for each in turns.settled(answers).values())
    assert late == [(ErrorCode.INVALID_SHARE_SESSION_EPOCH, {})]
    assert ended == [(NONE, {})]
    assert [error for error, _ in gone] in ([NONE], [ErrorCode.SHARE_SESSION_NOT_FOUND])
    turns.check()


def test_requests_of_other_members_wait_for_no_long_walk(turns: Turns) -> None:
    opened = turns.fetch(0, PLACES)
    assert turns.fetch(0, PLACES[:1], key=OTHER) and not opened
    turns.settled(opened)
    turns.check()


def test_sessions_that_are_opened_at_the_same_time_keep_the_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    turns = Turns(tmp_path / "st-0", monkeypatch, partitions_max=PARTITIONS + 100)
    opened = [turns.fetch(0, PLACES, key=SessionKey("g", str(number)), connection=number) for number in range(3)]
    turns.run(until=lambda: turns.sessions.partition_count > turns.sessions.partitions_max)
    assert [[error for error, _ in answers] for answers in opened] == [
        [NONE], [ErrorCode.SHARE_SESSION_LIMIT_REACHED], [ErrorCode.SHARE_SESSION_LIMIT_REACHED],
    ]  # fmt: skip
    turns.check()


@pytest.mark.parametrize("what", ["released", "appended"])
@pytest.mark.parametrize("after", range(0, 900, 149))
def test_records_that_come_while_a_fetch_begins_to_wait_wake_it(turns: Turns, after: int, what: str) -> None:
    last = turns.fetch(0, PLACES[:1], key=OTHER, connection=2)
    assert turns.acquired(last) == 1
    turns.settled(turns.fetch(0, PLACES, records=0))
    taken = turns.fetch(1)
    assert turns.acquired(taken) == PARTITIONS - 1
    waiting = turns.fetch(2, wait_ms=60_000)
    for _ in range(after):
        if turns.loop.timers[0][0] <= turns.loop.time_s:
            turns.turn(turns.loop.run_next)
    assert not waiting
    if what == "released":
        turns.turn(lambda: turns.fetches.connection_closed(2))
    else:
        turns.bench.append(1)
        turns.run()
        turns.turn(turns.partitions.look)
    got = turns.acquired(waiting)
    assert got >= 1 and not turns.partitions._waiting
    assert got + turns.acquired(turns.fetch(3)) == (1 if what == "released" else PARTITIONS), "it has locked what it was told"
    turns.check()


@pytest.mark.parametrize("after", [0, 120, 299])
def test_a_leader_that_loses_partitions_between_two_steps_says_so_for_those_that_are_left(turns: Turns, after: int) -> None:
    turns.settled(turns.fetch(0, PLACES))
    answers = turns.acknowledge(1)
    for _ in range(after):
        turns.turn(turns.loop.run_next)
    turns.lost.update(range(PARTITIONS))
    errors = [each.error for each in turns.settled(answers).values()]
    stored = errors.count(NONE)
    assert errors == [NONE] * stored + [ErrorCode.NOT_LEADER_OR_FOLLOWER] * (PARTITIONS - stored)
    assert 0 < stored <= after + 2 and stored < PARTITIONS
    assert {each.error for each in turns.settled(turns.fetch(2)).values()} == {ErrorCode.NOT_LEADER_OR_FOLLOWER}
    turns.check()


@pytest.mark.parametrize("where", ["acknowledge", "fetch", "release", "update", "publish_terms"])
def test_a_fault_of_one_partition_ends_in_one_response(turns: Turns, monkeypatch: pytest.MonkeyPatch, where: str) -> None:
    turns.settled(turns.fetch(0, PLACES, records=2 * PARTITIONS if where != "fetch" else 0))
    works = getattr(SharePartition, where, None)

    def fails_once(partition: SharePartition, *arguments: Any) -> Any:
        if partition.key.partition == 7:
            raise RuntimeError("a fault")
        assert works is not None
        return works(partition, *arguments)

    def update(*_: Any) -> Iterator[None]:
        yield
        raise MemoryError

    with monkeypatch.context() as context:
        if works is None:
            context.setattr(ShareSessions, where, update)
        else:
            context.setattr(SharePartition, where, fails_once)
        if where == "acknowledge":
            results = turns.settled(turns.acknowledge(1))
            assert [place for place, each in results.items() if each.error] == [PLACES[7]]
            assert results[PLACES[7]].error == ErrorCode.UNKNOWN_SERVER_ERROR
        elif where in ("fetch", "update", "publish_terms"):
            answers = turns.fetch(1, wait_ms=500)
            turns.run()
            assert answers == [(ErrorCode.UNKNOWN_SERVER_ERROR, {})]
            assert not turns.fetches.waiting and not turns.fetches.by_connection
        else:
            assert turns.settled(turns.fetch(FINAL_EPOCH)) == {}
            assert turns.held() == 1
    turns.check()


def _write_all_fails_once(turns: Turns, context: pytest.MonkeyPatch) -> list[RuntimeError]:
    """What it will have raised."""
    coordinator = turns.bench.states.coordinator
    raised: list[RuntimeError] = []
    works = coordinator.write_all

    def fails_once(requests: Any) -> None:
        if raised:
            works(requests)
        else:
            raised.append(RuntimeError("a fault"))
            raise raised[0]

    context.setattr(coordinator, "write_all", fails_once)
    context.setattr(slices, "SLICE_S", 60.0)  # a walk is one turn: it collects the changes of as many partitions as it may
    return raised


@pytest.mark.parametrize("how", ["connection", "final fetch"])
def test_a_fault_in_one_write_does_not_end_the_release_of_a_session(
    turns: Turns, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    assert turns.acquired(turns.fetch(0, PLACES)) == PARTITIONS
    with monkeypatch.context() as context:
        raised = _write_all_fails_once(turns, context)
        if how == "connection":
            turns.fetches.connection_closed(1)
            turns.run()
        else:
            assert turns.settled(turns.fetch(FINAL_EPOCH)) == {}
        assert raised
    assert turns.held() == STORED_AT_ONCE, "those that were to be stored together; their locks expire"


def test_acknowledgements_after_a_fault_in_one_write_are_stored(turns: Turns, monkeypatch: pytest.MonkeyPatch) -> None:
    turns.settled(turns.fetch(0, PLACES))
    with monkeypatch.context() as context:
        assert _write_all_fails_once(turns, context) == []
        results = turns.settled(turns.acknowledge(1))
    failed = [ErrorCode.UNKNOWN_SERVER_ERROR] * STORED_AT_ONCE
    assert [each.error for each in results.values()] == failed + [NONE] * (PARTITIONS - STORED_AT_ONCE)
    again = turns.settled(turns.acknowledge(2, places=PLACES[:STORED_AT_ONCE]))
    assert not any(each.error for each in again.values()), "the member holds them still"


def test_the_broker_stops_while_fetches_wait(turns: Turns) -> None:
    turns.settled(turns.fetch(0, PLACES, records=0))
    turns.acquired(turns.fetch(1))
    waiting = turns.fetch(2, wait_ms=60_000)
    turns.run()
    assert not waiting
    turns.fetches.stop()
    assert waiting == [(NONE, {})]
